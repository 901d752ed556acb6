// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an answer lets through is one kind of access to one page, until the end of
 * the instruction: whatever else that does is another event.
 */
#include "kvmi_page.h"

#define SECOND	(PAGE + PAGE_SIZE)
#define TIMES	3

KVMI_SUITE(kvmi_page_grant, 1);

enum { CALL = 1, STORE_AND_CROSS };

/* movb $1, PAGE + 64, which is 57 bytes behind it; ret */
static const u8 code[] = { 0xc6, 0x05, 57, 0, 0, 0, 1, 0xc3 };
#define RETURN	(PAGE + sizeof(code) - 1)

static void do_one(u64 it)
{
	switch (it) {
	case CALL:
		((void (*)(void))PAGE)();
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
KVMI_TEST(kvmi_page_grant, two_kinds)
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
KVMI_TEST(kvmi_page_grant, two_pages)
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

KVMI_TEST_MAIN
