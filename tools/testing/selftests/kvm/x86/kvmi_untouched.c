// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory that nobody has ever touched is there for a tool, and is zero,
 * whatever kind of memory it is: only what user space supplies is refused.
 */
#include "kvmi_test.h"

#define SLOT		10
#define GPA		(4ull << 30)
#define PAGES		1024
#define HUGE		(2ul << 20)

KVMI_SUITE(kvmi_untouched, 1);

static void read_and_write(struct kvmi_fixture *f, enum vm_mem_backing_src_type src)
{
	static const u8 zero[PAGE_SIZE];
	u64 gpa, value = 0x1122334455667788, seen;
	u8 page[PAGE_SIZE], *hva;

	vm_userspace_mem_region_add(f->vm, src, GPA, SLOT, PAGES, 0);
	hva = addr_gpa2hva(f->vm, GPA);
	/* Read first in one huge page, written first in the next. */
	for (gpa = GPA; gpa < GPA + HUGE; gpa += 16 * PAGE_SIZE) {
		memset(page, 0xee, sizeof(page));
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, gpa, PAGE_SIZE, page), 0);
		TEST_ASSERT(!memcmp(page, zero, PAGE_SIZE), "Not zero");
		kvmi_assert_err(kvmi_write_physical(&f->kvmi, gpa + 8, 8, &value), 0);
		TEST_ASSERT_EQ(*(u64 *)(hva + (gpa - GPA) + 8), value);
	}
	for (; gpa < GPA + 2 * HUGE; gpa += 16 * PAGE_SIZE) {
		kvmi_assert_err(kvmi_write_physical(&f->kvmi, gpa + 16, 8, &value), 0);
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, gpa + 16, 8, &seen), 0);
		TEST_ASSERT_EQ(seen, value);
		TEST_ASSERT_EQ(*(u64 *)(hva + (gpa - GPA) + 16), value);
		TEST_ASSERT_EQ(*(u64 *)(hva + (gpa - GPA) + 8), 0);
	}
}

KVMI_TEST(kvmi_untouched, anonymous)
{
	read_and_write(f, VM_MEM_SRC_ANONYMOUS);
}

KVMI_TEST(kvmi_untouched, transparent_huge)
{
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		SKIP(return, "no transparent huge pages");
	read_and_write(f, VM_MEM_SRC_ANONYMOUS_THP);
}

KVMI_TEST(kvmi_untouched, shmem)
{
	read_and_write(f, VM_MEM_SRC_SHMEM);
}

/* The library ends the test if there are none. */
static bool reserve_huge_pages(void)
{
	FILE *file = fopen("/proc/sys/vm/nr_hugepages", "r+");
	int got = 0;

	if (!file)
		return false;
	fprintf(file, "4\n");
	fflush(file);
	rewind(file);
	if (fscanf(file, "%d", &got) != 1)
		got = 0;
	fclose(file);
	return got >= 4;
}

KVMI_TEST(kvmi_untouched, hugetlb)
{
	if (!reserve_huge_pages() || get_def_hugetlb_pagesz() != HUGE)
		SKIP(return, "no huge pages");
	read_and_write(f, VM_MEM_SRC_ANONYMOUS_HUGETLB_2MB);
}

KVMI_TEST(kvmi_untouched, shared_hugetlb)
{
	if (!reserve_huge_pages() || get_def_hugetlb_pagesz() != HUGE)
		SKIP(return, "no huge pages");
	read_and_write(f, VM_MEM_SRC_SHARED_HUGETLB);
}

KVMI_TEST_MAIN
