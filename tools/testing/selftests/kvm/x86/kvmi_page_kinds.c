// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each kind of access to a page is for itself.  What is allowed maps the page,
 * and nobody hears of it; what is denied is told; what an answer lets through is
 * that kind, until the end of the instruction.
 */
#include "kvmi_page.h"

#define SECOND	(PAGE + PAGE_SIZE)
#define TIMES	3

KVMI_SUITE(kvmi_page_kinds, 1);

enum { CALL = 1, STORE_AND_CROSS, JUST_CALL, LOAD, STORE, ADD };

/* movb $1, PAGE + 64, which is 57 bytes behind it; ret */
static const u8 code[] = { 0xc6, 0x05, 57, 0, 0, 0, 1, 0xc3 };
#define RETURN	(PAGE + sizeof(code) - 1)

static void do_one(u64 it)
{
	switch (it) {
	case CALL:
		((void (*)(void))PAGE)();
		break;
	case JUST_CALL:
		((void (*)(void))RETURN)();
		break;
	case LOAD:
		GUEST_ASSERT_EQ(*(volatile u8 *)RETURN, 0xc3);
		break;
	case STORE:
		*(volatile u64 *)(PAGE + 64) = 1;
		break;
	case ADD:
		asm volatile("lock incq %0" : "+m"(*(u64 *)(PAGE + 64)));
		break;
	case STORE_AND_CROSS:
		*(volatile u64 *)(SECOND + 64) = 1;
		*(volatile u64 *)(SECOND - 4) = 0x1122334455667788;
		break;
	}
}

static void let_through(struct kvmi_fixture *f, u64 gpa, u8 access)
{
	struct kvmi_event ev;

	kvmi_recv_pf(&f->kvmi, &ev, gpa, access);
	proceed(f, &ev);
}

/* An instruction that is fetched from a page, and stores there. */
KVMI_TEST(kvmi_page_kinds, two_kinds)
{
	u8 *byte;
	int i;

	start(f);
	memcpy(addr_gpa2hva(f->vm, PAGE), code, sizeof(code));
	byte = addr_gpa2hva(f->vm, PAGE + 64);
	restrict_page(f, PAGE, R);
	for (i = 1; i <= TIMES; i++) {
		*byte = 0;
		run(f, CALL);
		let_through(f, PAGE, X);
		let_through(f, PAGE + 64, W);
		let_through(f, RETURN, X);
		wait_done(f, i);
		TEST_ASSERT_EQ(*byte, 1);
	}
	finish(f, TIMES);
}

/* One that stores in two pages, behind one that stored in the second. */
KVMI_TEST(kvmi_page_kinds, two_pages)
{
	u8 *second;
	int i;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, SECOND,
				    SLOT + 1, 1, 0);
	virt_map(f->vm, SECOND, SECOND, 1);
	start(f);
	second = addr_gpa2hva(f->vm, SECOND);
	restrict_page(f, PAGE, R | X);
	restrict_page(f, SECOND, R | X);
	for (i = 1; i <= TIMES; i++) {
		memset(second, 0, PAGE_SIZE);
		run(f, STORE_AND_CROSS);
		let_through(f, SECOND + 64, W);
		let_through(f, SECOND - 4, W);
		let_through(f, SECOND, W);
		wait_done(f, i);
		TEST_ASSERT_EQ(*(u64 *)(second + 64), 1);
		TEST_ASSERT_EQ(*(u32 *)second, 0x11223344);
	}
	finish(f, TIMES);
}

/* The page is mapped by what is allowed: what is denied is told all the same. */
static void allow_then_deny(struct kvmi_fixture *f, u8 access, u64 allowed,
			    u64 denied, u64 gpa, u8 wanted)
{
	int i;

	restrict_page(f, PAGE, access);
	for (i = 0; i < TIMES; i++) {
		u64 times = *ON_HOST(f, done);

		run(f, allowed);
		wait_done(f, times + 1);
		kvmi_expect_quiet(&f->kvmi);
		run(f, denied);
		let_through(f, gpa, wanted);
		wait_done(f, times + 2);
		kvmi_expect_quiet(&f->kvmi);
	}
}

KVMI_TEST(kvmi_page_kinds, allowed_before_denied)
{
	start(f);
	memcpy(addr_gpa2hva(f->vm, PAGE), code, sizeof(code));
	allow_then_deny(f, R, LOAD, JUST_CALL, RETURN, X);
	allow_then_deny(f, R, LOAD, STORE, PAGE + 64, W);
	allow_then_deny(f, R | W, STORE, JUST_CALL, RETURN, X);
	allow_then_deny(f, R | X, JUST_CALL, STORE, PAGE + 64, W);
	allow_then_deny(f, R | X, LOAD, STORE, PAGE + 64, W);
	if (kvmi_set_page_access(&f->kvmi, PAGE, X) == 0)
		allow_then_deny(f, X, JUST_CALL, LOAD, RETURN, R);
	kvmi_stop(&f->runner);
}

/* EPT may tell that a read-modify-write reads, too. */
KVMI_TEST(kvmi_page_kinds, read_modify_write)
{
	bool ept = host_cpu_is_intel && kvm_is_tdp_enabled();
	const struct kvmi_vcpu_event_pf *pf;
	struct kvmi_event ev;
	int i;

	start(f);
	restrict_page(f, PAGE, 0);
	for (i = 1; i <= TIMES; i++) {
		run(f, ADD);
		kvmi_recv_event(&f->kvmi, &ev);
		pf = (const void *)ev.specific;
		TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
		TEST_ASSERT_EQ(pf->gpa, PAGE + 64);
		TEST_ASSERT(pf->access == W ||
			    (ept && pf->access == (R | W)),
			    "Access %u", pf->access);
		proceed(f, &ev);
		wait_done(f, i);
		TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(f->vm, PAGE + 64), i);
	}
	finish(f, TIMES);
}

KVMI_TEST_MAIN
