// SPDX-License-Identifier: GPL-2.0-only
/*
 * More vCPUs have something let through at the same time than there are views
 * to do it in: those that have none wait, and none waits for ever.
 */
#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define NR	12
#define TIMES	10

KVMI_SUITE(kvmi_page_views, NR);

/* All count in one page, and each in one of its own. */
static u64 *shared, *own, finished[NR];

static void guest(u64 me)
{
	u64 *mine = own + me * PAGE_SIZE / sizeof(*own);
	unsigned int i;

	for (i = 0; i < TIMES; i++) {
		asm volatile("lock incq %0" : "+m"(*shared));
		asm volatile("movq %0, %%rax\n\tincq %%rax\n\tmovq %%rax, %0"
			     : "+m"(*mine) : : "rax", "cc");
	}
	WRITE_ONCE(finished[me], 1);
	for (;;)
		;
}

static void prepare(struct kvmi_fixture *f)
{
	u64 **where = addr_gva2hva(f->vm, (gva_t)&shared);
	unsigned int i;

	*where = (u64 *)vm_alloc_pages(f->vm, NR + 1);
	*(u64 **)addr_gva2hva(f->vm, (gva_t)&own) = *where + PAGE_SIZE / sizeof(u64);
	memset(addr_gva2hva(f->vm, (gva_t)*where), 0, (NR + 1) * PAGE_SIZE);
	for (i = 0; i < NR; i++) {
		vcpu_arch_set_entry_point(f->vcpus[i], guest);
		vcpu_args_set(f->vcpus[i], 1, (u64)i);
	}
}

/* What vCPU @i will do next is known: of all that wait, each is answered at once. */
KVMI_TEST(kvmi_page_views, more_vcpus)
{
	struct kvmi_runner runners[NR];
	struct kvmi_event events[NR];
	unsigned int i, n, seen[NR] = {};
	u64 *where, gva;

	prepare(f);
	gva = *(u64 *)addr_gva2hva(f->vm, (gva_t)&shared);
	for (i = 0; i < NR; i++)
		kvmi_assert_err(kvmi_pause(&f->kvmi, i, 0), 0);
	for (i = 0; i < NR; i++)
		kvmi_start(&runners[i], f->vcpus[i]);
	for (i = 0; i < NR; i++)
		kvmi_recv_event(&f->kvmi, &events[i]);
	for (i = 0; i < NR; i++)
		kvmi_assert_err(kvmi_control_event(&f->kvmi, i,
						   KVMI_VCPU_EVENT_PF, 1), 0);
	for (i = 0; i <= NR; i++)
		kvmi_assert_err(kvmi_set_page_access(&f->kvmi,
				addr_gva2gpa(f->vm, gva + i * PAGE_SIZE), 0), 0);
	for (i = 0; i < NR; i++)
		kvmi_reply(&f->kvmi, &events[i], KVMI_EVENT_ACTION_CONTINUE);

	/* Three accesses a turn: one to the shared page, a load and a store. */
	for (n = 0; n < 3 * TIMES; n++) {
		for (i = 0; i < NR; i++) {
			kvmi_recv_event(&f->kvmi, &events[i]);
			TEST_ASSERT_EQ(events[i].event, KVMI_VCPU_EVENT_PF);
			seen[events[i].vcpu.vcpu]++;
		}
		for (i = 0; i < NR; i++)
			kvmi_reply(&f->kvmi, &events[i], KVMI_EVENT_ACTION_CONTINUE);
	}
	for (i = 0; i < NR; i++) {
		where = addr_gva2hva(f->vm, (gva_t)&finished[i]);
		kvmi_wait_until(READ_ONCE(*where));
		TEST_ASSERT_EQ(seen[i], 3 * TIMES);
		where = addr_gva2hva(f->vm, gva + (i + 1) * PAGE_SIZE);
		TEST_ASSERT_EQ(*where, TIMES);
	}
	TEST_ASSERT_EQ(*(u64 *)addr_gva2hva(f->vm, gva), NR * TIMES);
	kvmi_expect_quiet(&f->kvmi);
	for (i = 0; i < NR; i++)
		kvmi_stop(&runners[i]);
}

/* The tool dies while some wait for a view. */
KVMI_TEST(kvmi_page_views, tool_dies)
{
	struct kvmi_runner runners[NR];
	unsigned int i;
	u64 *where, gva;

	prepare(f);
	gva = *(u64 *)addr_gva2hva(f->vm, (gva_t)&shared);
	for (i = 0; i <= NR; i++)
		kvmi_assert_err(kvmi_set_page_access(&f->kvmi,
				addr_gva2gpa(f->vm, gva + i * PAGE_SIZE), 0), 0);
	/* Nobody wants the event: everything is let through, in views. */
	for (i = 0; i < NR; i++)
		kvmi_start(&runners[i], f->vcpus[i]);
	kvmi_close(&f->kvmi);
	for (i = 0; i < NR; i++) {
		where = addr_gva2hva(f->vm, (gva_t)&finished[i]);
		kvmi_wait_until(READ_ONCE(*where));
	}
	TEST_ASSERT_EQ(*(u64 *)addr_gva2hva(f->vm, gva), NR * TIMES);
	for (i = 0; i < NR; i++)
		kvmi_stop(&runners[i]);
}

KVMI_TEST_MAIN
