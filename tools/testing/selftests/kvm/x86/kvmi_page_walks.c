// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's page tables are restricted: what the processor does to them when
 * it walks them is no event, what the guest does to them is one.
 */
#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define SLOT	10
#define GPA	(4ull << 30)
/* Where the guest finds the last table that maps GPA. */
#define TABLE	(8ull << 30)
#define TIMES	20
/* Software's own. */
#define MARK	BIT_ULL(9)
#define SEEN	(BIT_ULL(5) | BIT_ULL(6))

KVMI_SUITE(kvmi_page_walks, 1);

/* An entry that maps nothing. */
#define UNUSED	300

static u64 pte_at, todo, done, writes_table;

static void guest(void)
{
	for (;;) {
		if (!READ_ONCE(todo))
			continue;
		if (writes_table)
			asm volatile("lock xorq %1, %0"
				     : "+m"(*(u64 *)pte_at) : "r"(MARK) : "cc");
		set_cr3(get_cr3());
		*(volatile u64 *)GPA += 1;
		WRITE_ONCE(todo, todo - 1);
		WRITE_ONCE(done, done + 1);
	}
}

/* Where the entry is that maps GPA. */
static u64 *start(struct kvmi_fixture *f, u64 *gpa)
{
	u64 *pte;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT, 1, 0);
	virt_map(f->vm, GPA, GPA, 1);
	pte = vm_get_pte(f->vm, GPA);
	*gpa = addr_hva2gpa(f->vm, pte);
	virt_map(f->vm, TABLE, *gpa & PAGE_MASK, 1);
	*(u64 *)addr_gva2hva(f->vm, (gva_t)&pte_at) = TABLE + *gpa % PAGE_SIZE;
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	return pte;
}

static void run(struct kvmi_fixture *f, u64 times)
{
	WRITE_ONCE(*(u64 *)addr_gva2hva(f->vm, (gva_t)&todo), times);
}

static void wait_done(struct kvmi_fixture *f, u64 times)
{
	u64 *end = addr_gva2hva(f->vm, (gva_t)&done);

	kvmi_wait_until(READ_ONCE(*end) == times);
	TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(f->vm, GPA), times);
}

/* Accessed and dirty are set for the guest as ever, whatever is denied. */
static void walked(struct kvmi_fixture *f, u8 access)
{
	u64 *pte, gpa, i;

	pte = start(f, &gpa);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, gpa, access), 0);
	for (i = 1; i <= TIMES; i++) {
		*pte &= ~SEEN;
		run(f, 1);
		wait_done(f, i);
		/* KVM's own tables need not be walked again for what we did. */
		if (i == 1 || kvm_is_tdp_enabled())
			TEST_ASSERT_EQ(*pte & SEEN, SEEN);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_page_walks, write_denied)
{
	walked(f, R | X);
}

KVMI_TEST(kvmi_page_walks, all_denied)
{
	walked(f, 0);
}

KVMI_TEST(kvmi_page_walks, written)
{
	struct kvmi_event ev;
	u64 *pte, gpa, i;

	pte = start(f, &gpa);
	*(u64 *)addr_gva2hva(f->vm, (gva_t)&writes_table) = 1;
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, gpa, R | X), 0);
	run(f, TIMES);
	for (i = 0; i < TIMES; i++) {
		kvmi_recv_pf(&f->kvmi, &ev, gpa, W);
		TEST_ASSERT_EQ(!!(*pte & MARK), i & 1);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	wait_done(f, TIMES);
	TEST_ASSERT_EQ(*pte & MARK, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static void guest_stores(void)
{
	for (;;) {
		if (!READ_ONCE(todo))
			continue;
		set_cr3(get_cr3());
		((volatile u64 *)TABLE)[UNUSED] = done + 1;
		WRITE_ONCE(todo, todo - 1);
		WRITE_ONCE(done, done + 1);
	}
}

/*
 * A store into the very table that maps it, while the walk sets bits there.
 * NPT cannot deny the one and allow the other: the event comes behind it.
 */
KVMI_TEST(kvmi_page_walks, stored_while_walked)
{
	bool late = !host_cpu_is_intel && kvm_is_tdp_enabled();
	u64 *pte, *word, gpa, i, *end;
	struct kvmi_event ev;

	virt_map(f->vm, TABLE, 0, 1);
	pte = vm_get_pte(f->vm, TABLE);
	gpa = addr_hva2gpa(f->vm, pte) & PAGE_MASK;
	*pte = (*pte & ~PHYSICAL_PAGE_MASK) | gpa;
	word = (u64 *)addr_gpa2hva(f->vm, gpa) + UNUSED;
	end = addr_gva2hva(f->vm, (gva_t)&done);
	vcpu_arch_set_entry_point(f->vcpu, guest_stores);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, gpa, R | X), 0);
	for (i = 1; i <= TIMES; i++) {
		*pte &= ~SEEN;
		run(f, 1);
		kvmi_recv_pf(&f->kvmi, &ev, gpa + UNUSED * sizeof(*word), W);
		TEST_ASSERT_EQ(READ_ONCE(*word), late ? i : i - 1);
		kvmi_reply(&f->kvmi, &ev, i & 1 && late ? KVMI_EVENT_ACTION_RETRY :
							  KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_until(READ_ONCE(*end) == i);
		TEST_ASSERT_EQ(READ_ONCE(*word), i);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
