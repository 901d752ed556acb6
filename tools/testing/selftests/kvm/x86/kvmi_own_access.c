// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM's accessors of guest memory refuse what a tool restricts, each time once,
 * and count it.  Here the VMM is the one that has KVM access memory: it asks
 * nobody.
 */
#include <asm/kvm_para.h>

#include "kvmi_own.h"

#define CLOCK	128

static void do_one(u64 it)
{
}

KVMI_SUITE(kvmi_own_access, 1);

static void stopped(struct kvmi_fixture *f)
{
	start(f);
	fill(f);
	kvmi_stop(&f->runner);
}

static void set_wall_clock(struct kvmi_fixture *f, u64 gpa)
{
	vcpu_set_msr(f->vcpu, MSR_KVM_WALL_CLOCK_NEW, gpa);
}

static bool has_clock(struct kvmi_fixture *f)
{
	return *(u32 *)(page(f) + CLOCK) != UNTOUCHED * 0x01010101u;
}

/* One write of the clock stops at the first access that is refused. */
static void write_clock(struct kvmi_fixture *f, u8 allowed, bool refuses)
{
	u64 before;

	stopped(f);
	restrict_page(f, PAGE, allowed);
	before = refused(f);
	set_wall_clock(f, PAGE + CLOCK);
	TEST_ASSERT_EQ(refused(f), before + refuses);
	TEST_ASSERT_EQ(has_clock(f), !refuses);
	set_wall_clock(f, PAGE + CLOCK);
	TEST_ASSERT_EQ(refused(f), before + 2 * refuses);
	kvmi_expect_quiet(&f->kvmi);
}

KVMI_TEST(kvmi_own_access, read) { write_clock(f, 0, true); }
KVMI_TEST(kvmi_own_access, write) { write_clock(f, R, true); }
KVMI_TEST(kvmi_own_access, write_of_code) { write_clock(f, R | X, true); }
KVMI_TEST(kvmi_own_access, not_executable) { write_clock(f, R | W, false); }
KVMI_TEST(kvmi_own_access, all) { write_clock(f, R | W | X, false); }

/* Of an access to two pages the part in the restricted one is refused. */
KVMI_TEST(kvmi_own_access, two_pages)
{
	u8 *second;
	u64 before;
	unsigned int i;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS,
				    PAGE + PAGE_SIZE, SLOT + 1, 1, 0);
	stopped(f);
	second = addr_gpa2hva(f->vm, PAGE + PAGE_SIZE);
	memset(second, UNTOUCHED, PAGE_SIZE);
	restrict_page(f, PAGE + PAGE_SIZE, R | X);
	before = refused(f);
	set_wall_clock(f, PAGE + PAGE_SIZE - 8);
	TEST_ASSERT_EQ(refused(f), before + 1);
	for (i = 0; i < PAGE_SIZE; i++)
		TEST_ASSERT_EQ(second[i], UNTOUCHED);
}

/* What is lifted is written again, by the tool or by its end. */
KVMI_TEST(kvmi_own_access, lifted)
{
	u64 before;

	stopped(f);
	restrict_page(f, PAGE, 0);
	before = refused(f);
	set_wall_clock(f, PAGE + CLOCK);
	TEST_ASSERT_EQ(refused(f), before + 1);
	kvmi_unhook(f->vm);
	set_wall_clock(f, PAGE + CLOCK);
	TEST_ASSERT_EQ(refused(f), before + 1);
	TEST_ASSERT(has_clock(f), "Not written");
}

/* The tool's own reads and writes are none of the guest's. */
KVMI_TEST(kvmi_own_access, tool)
{
	u64 before, word = 0x1234;

	stopped(f);
	restrict_page(f, PAGE, 0);
	before = refused(f);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, PAGE, sizeof(word), &word), 0);
	word = 0;
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, PAGE, sizeof(word), &word), 0);
	TEST_ASSERT_EQ(word, 0x1234);
	TEST_ASSERT_EQ(refused(f), before);
}

KVMI_TEST_MAIN
