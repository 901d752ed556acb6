// SPDX-License-Identifier: GPL-2.0-only
/*
 * An instruction whose walk goes through a page table that may not be read: that
 * is no event, but what the instruction itself reads of the table is one.
 */
#include "kvmi_page.h"

/* Where the guest finds the last table that maps PAGE. */
#define TABLE	(8ull << 30)

KVMI_SUITE(kvmi_page_walk_data, 1);

enum { LOAD = 1, COMPARE, LOAD_TABLE, FLOAT };

static u64 pte_where, equal;

static void do_one(u64 it)
{
	u64 si = pte_where, di = PAGE;
	u8 eq;

	/* The tables are walked. */
	set_cr3(get_cr3());
	switch (it) {
	case LOAD:
		*(volatile u64 *)PAGE;
		break;
	case COMPARE:
		/* The emulator of the tests reads [rdi] first. */
		asm volatile("cld; cmpsq; sete %2"
			     : "+S"(si), "+D"(di), "=qm"(eq) : : "memory", "cc");
		WRITE_ONCE(equal, eq);
		break;
	case LOAD_TABLE:
		*(volatile u64 *)si;
		break;
	case FLOAT:
		asm volatile("fldl (%0); fstp %%st(0)" : : "r"(di) : "memory");
		break;
	}
}

/* The entry that maps PAGE is in a table that allows nothing. */
static u64 restrict_table(struct kvmi_fixture *f)
{
	u64 *pte, gpa;

	start(f);
	pte = vm_get_pte(f->vm, PAGE);
	gpa = addr_hva2gpa(f->vm, pte);
	virt_map(f->vm, TABLE, gpa & PAGE_MASK, 1);
	*ON_HOST(f, pte_where) = TABLE + gpa % PAGE_SIZE;
	*pte |= BIT_ULL(5) | BIT_ULL(6);
	/* The guest's guess, which is right. */
	*(u64 *)addr_gpa2hva(f->vm, PAGE) = *pte;
	restrict_page(f, gpa, 0);
	return gpa;
}

KVMI_TEST(kvmi_page_walk_data, walked_only)
{
	restrict_table(f);
	run(f, LOAD);
	finish(f, 1);
}

KVMI_TEST(kvmi_page_walk_data, walked_and_read)
{
	u64 gpa = restrict_table(f);
	struct kvmi_event ev;

	run(f, COMPARE);
	kvmi_recv_pf(&f->kvmi, &ev, gpa, R);
	TEST_ASSERT_EQ(*ON_HOST(f, done), 0);
	proceed(f, &ev);
	finish(f, 1);
	TEST_ASSERT_EQ(*ON_HOST(f, equal), 1);
}

/* Nothing is read as long as the tool does not let it. */
KVMI_TEST(kvmi_page_walk_data, retried)
{
	u64 gpa = restrict_table(f);
	struct kvmi_event ev;
	int i;

	run(f, COMPARE);
	for (i = 0; i < 5; i++) {
		kvmi_recv_pf(&f->kvmi, &ev, gpa, R);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	}
	kvmi_recv_pf(&f->kvmi, &ev, gpa, R);
	TEST_ASSERT_EQ(*ON_HOST(f, done), 0);
	proceed(f, &ev);
	finish(f, 1);
}

KVMI_TEST(kvmi_page_walk_data, read_only)
{
	u64 gpa = restrict_table(f);
	struct kvmi_event ev;

	run(f, LOAD_TABLE);
	kvmi_recv_pf(&f->kvmi, &ev, gpa, R);
	proceed(f, &ev);
	finish(f, 1);
}

/*
 * What KVM's emulator does not tell the operands of is asked for.  With shadow
 * page tables it is KVM that walks, and nobody's access.
 */
KVMI_TEST(kvmi_page_walk_data, unknown_instruction)
{
	u64 gpa = restrict_table(f);
	const struct kvmi_vcpu_event_pf *pf;
	struct kvmi_event ev;

	run(f, FLOAT);
	if (kvm_is_tdp_enabled()) {
		kvmi_recv_event(&f->kvmi, &ev);
		TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
		pf = (const void *)ev.specific;
		TEST_ASSERT_EQ(pf->gpa & PAGE_MASK, gpa & PAGE_MASK);
		TEST_ASSERT_EQ(pf->access, R);
		proceed(f, &ev);
	}
	finish(f, 1);
}

KVMI_TEST_MAIN
