// SPDX-License-Identifier: GPL-2.0-only
/*
 * A restricted frame splits the large page that would cover it and no other,
 * and the large page comes back when nothing in it is restricted any more.
 */
#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define SLOT	10
#define GPA	(4ull << 30)
#define LARGE	(2ull << 20)
#define NR	4
#define PAGES	(NR * LARGE / PAGE_SIZE)
#define ALL	(R | W | X)

KVMI_SUITE(kvmi_page_huge, 1);

static u64 round_nr, done;

static void guest(void)
{
	u64 i, now;

	for (;;) {
		now = READ_ONCE(round_nr);
		if (now == done)
			continue;
		for (i = 0; i < PAGES; i++)
			*(volatile u64 *)(GPA + i * PAGE_SIZE) = now;
		WRITE_ONCE(done, now);
	}
}

/* The guest writes to each page; @nr of them, from @gpa on, are events. */
static void write_round(struct kvmi_fixture *f, u64 gpa, unsigned int nr)
{
	u64 *end = addr_gva2hva(f->vm, (gva_t)&done);
	u64 *now = addr_gva2hva(f->vm, (gva_t)&round_nr);
	struct kvmi_event ev;
	unsigned int i;

	WRITE_ONCE(*now, *now + 1);
	for (i = 0; i < nr; i++) {
		kvmi_recv_pf(&f->kvmi, &ev, gpa + i * PAGE_SIZE, W);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_wait_until(READ_ONCE(*end) == READ_ONCE(*now));
	kvmi_expect_quiet(&f->kvmi);
	for (i = 0; i < PAGES; i++)
		TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(f->vm, GPA + i * PAGE_SIZE),
			       *now);
}

/* The slot anew: nothing of it is mapped in any tables. */
static void make_slot(struct kvmi_fixture *f)
{
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS_THP, GPA, SLOT,
				    PAGES, 0);
	memset(addr_gpa2hva(f->vm, GPA), 0, PAGES * PAGE_SIZE);
}

static void assert_large(struct kvmi_fixture *f, unsigned int want)
{
	u64 got = vm_get_stat(f->vm, pages_2m);

	TEST_ASSERT(got == want, "%lu large pages, not %u", got, want);
}

KVMI_TEST(kvmi_page_huge, split_and_back)
{
	u64 in_first = GPA + 5 * PAGE_SIZE, in_third = GPA + 3 * LARGE - 8 * PAGE_SIZE;

	make_slot(f);
	virt_map(f->vm, GPA, GPA, PAGES);
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	write_round(f, 0, 0);
	if (vm_get_stat(f->vm, pages_2m) != NR) {
		kvmi_stop(&f->runner);
		SKIP(return, "the host has no large pages for the guest");
	}

	/*
	 * One frame.  With EPT the tables of an unrestricted guest, which have
	 * other accessed and dirty bits, stay until the slots change.
	 */
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, in_first, R | X), 0);
	write_round(f, in_first, 1);
	vm_mem_region_delete(f->vm, SLOT);
	make_slot(f);
	write_round(f, in_first, 1);
	assert_large(f, NR - 1);
	/* Sixteen more, on both sides of a border. */
	kvmi_assert_err(kvmi_set_pages_access(&f->kvmi, in_third, 16, R | X), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, in_first, ALL), 0);
	write_round(f, in_third, 16);
	assert_large(f, NR - 2);
	/* Half of them. */
	kvmi_assert_err(kvmi_set_pages_access(&f->kvmi, in_third, 8, ALL), 0);
	write_round(f, in_third + 8 * PAGE_SIZE, 8);
	assert_large(f, NR - 1);
	/* The last. */
	kvmi_assert_err(kvmi_set_pages_access(&f->kvmi, in_third + 8 * PAGE_SIZE,
					      8, ALL), 0);
	write_round(f, 0, 0);
	assert_large(f, NR);

	/* The tool's death lifts the rest. */
	kvmi_assert_err(kvmi_set_pages_access(&f->kvmi, GPA, 511, R | X), 0);
	write_round(f, GPA, 511);
	assert_large(f, NR - 1);
	kvmi_unhook(f->vm);
	kvmi_close(&f->kvmi);
	kvmi_hook(&f->kvmi, f->vm);
	write_round(f, 0, 0);
	assert_large(f, host_cpu_is_intel ? NR + NR - 1 : NR);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
