// SPDX-License-Identifier: GPL-2.0-only
/*
 * One instruction needs more restricted frames than most: a gather whose elements
 * lie in two pages each, with page tables of their own.  It ends, and each frame
 * is an event once.
 */
#include "kvmi_page.h"

/* Intel SDM volume 2, CPUID. */
#define FEATURE_AVX2	KVM_X86_CPU_FEATURE(0x7, 0, EBX, 5)

#define ELEMENTS	8
#define FRAMES		(2 * ELEMENTS)
#define GB		(1ull << 30)
/* Behind this element @i crosses the end of gigabyte @i. */
#define BASE		(64 * GB)
#define SCALE		8
/* A page of which the guest makes an event when it is through. */
#define END		(PAGE + FRAMES * PAGE_SIZE)

KVMI_SUITE(kvmi_page_gather, 1);

static int where[ELEMENTS] __aligned(32), mask[ELEMENTS] __aligned(32),
	   result[ELEMENTS] __aligned(32);

static void do_one(u64 it)
{
	asm volatile("vmovdqa (%1), %%ymm1; vmovdqa (%2), %%ymm2;"
		     "vpgatherdd %%ymm2, (%3,%%ymm1,8), %%ymm0;"
		     "vmovdqa %%ymm0, (%0)"
		     : : "r"(result), "r"(where), "r"(mask), "r"(BASE - 2) : "memory");
	*(volatile u64 *)END = 1;
}

/* Two pages for each element, one on either side of its gigabyte's end. */
static void map(struct kvmi_fixture *f)
{
	u64 i;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT,
				    FRAMES + 1, 0);
	virt_map(f->vm, END, END, 1);
	for (i = 0; i < ELEMENTS; i++) {
		u64 end = BASE + (i + 1) * GB, gpa = PAGE + 2 * i * PAGE_SIZE;

		virt_map(f->vm, end - PAGE_SIZE, gpa, 1);
		virt_map(f->vm, end, gpa + PAGE_SIZE, 1);
		*(u16 *)addr_gpa2hva(f->vm, gpa + PAGE_SIZE - 2) = 0x100 + i;
		*(u16 *)addr_gpa2hva(f->vm, gpa + PAGE_SIZE) = 0x200 + i;
		((int *)addr_gva2hva(f->vm, (gva_t)where))[i] = (i + 1) * (GB / SCALE);
		((int *)addr_gva2hva(f->vm, (gva_t)mask))[i] = -1;
	}
}

static void start_gather(struct kvmi_fixture *f)
{
	map(f);
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
}

static void check(struct kvmi_fixture *f)
{
	int i, *got = addr_gva2hva(f->vm, (gva_t)result);

	for (i = 0; i < ELEMENTS; i++)
		TEST_ASSERT_EQ(got[i], (0x200 + i) << 16 | (0x100 + i));
}

struct seen {
	u64 gpa;
	u8 access;
};

/* Answers events until the guest is done; none comes twice.  Returns how many. */
static unsigned int answer(struct kvmi_fixture *f, struct seen *seen)
{
	const struct kvmi_vcpu_event_pf *pf;
	struct kvmi_event ev;
	unsigned int i, nr = 0;

	for (;;) {
		kvmi_recv_event(&f->kvmi, &ev);
		TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
		pf = (const void *)ev.specific;
		if (pf->gpa == END) {
			proceed(f, &ev);
			return nr;
		}
		for (i = 0; i < nr; i++)
			TEST_ASSERT(seen[i].gpa >> 12 != pf->gpa >> 12 ||
				    !(seen[i].access & pf->access),
				    "%llx, access %u, is the second event of its frame",
				    (unsigned long long)pf->gpa, pf->access);
		TEST_ASSERT(nr < 128, "It does not end");
		seen[nr].gpa = pf->gpa;
		seen[nr++].access = pf->access;
		proceed(f, &ev);
	}
}

/* The frame of the table at a level, 1 being the last, that maps @gva. */
static u64 table(struct kvmi_fixture *f, u64 gva, int level)
{
	u64 gpa = f->vm->mmu.pgd, *entries;
	int at;

	for (at = 4; at > level; at--) {
		entries = addr_gpa2hva(f->vm, gpa);
		gpa = entries[gva >> (3 + 9 * at) & 511] & PHYSICAL_PAGE_MASK;
	}
	return gpa;
}

static void gather(struct kvmi_fixture *f, bool tables)
{
	unsigned int i, nr, level, data = 0;
	struct seen seen[128];

	start_gather(f);
	restrict_page(f, END, R | X);
	for (i = 0; i < FRAMES; i++)
		restrict_page(f, PAGE + i * PAGE_SIZE, 0);
	for (i = 0; tables && i < ELEMENTS; i++) {
		u64 end = BASE + (i + 1) * GB;

		for (level = 1; level < 3; level++) {
			restrict_page(f, table(f, end - PAGE_SIZE, level), 0);
			restrict_page(f, table(f, end, level), 0);
		}
	}
	run(f, 1);
	nr = answer(f, seen);
	finish(f, 1);
	check(f);
	for (i = 0; i < nr; i++)
		data += seen[i].gpa - PAGE < FRAMES * PAGE_SIZE;
	TEST_ASSERT_EQ(data, FRAMES);
	if (!tables)
		TEST_ASSERT_EQ(nr, FRAMES);
}

KVMI_TEST(kvmi_page_gather, frames)
{
	if (!kvm_cpu_has(FEATURE_AVX2))
		SKIP(return, "the guest has no AVX2");
	gather(f, false);
}

/* With the tables that map them there are 41 frames. */
KVMI_TEST(kvmi_page_gather, frames_and_tables)
{
	if (!kvm_cpu_has(FEATURE_AVX2))
		SKIP(return, "the guest has no AVX2");
	gather(f, true);
}

KVMI_TEST_MAIN
