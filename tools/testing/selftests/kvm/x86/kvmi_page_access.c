// SPDX-License-Identifier: GPL-2.0-only
/* VM_SET_PAGE_ACCESS and the PF event: each access of a restricted page once. */
#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X
#define TIMES	100

KVMI_SUITE(kvmi_page_access, 2);

/* What the guest does, and how often still. */
enum { NOTHING, WRITE, READ, CALL, LOCKED, CROSS, SGDT, SSE };

static struct {
	u64 what;
	u64 todo;
	u64 done;
	u64 value;
} work[2];

/* Two pages: a RET at their beginning. */
static u8 *pages;

static void do_one(u64 what, u64 i)
{
	volatile u64 *word = (void *)(pages + 64);
	void (*function)(void) = (void *)pages;

	switch (what) {
	case WRITE:
		*word = i;
		break;
	case READ:
		work[0].value += *word;
		break;
	case CALL:
		function();
		break;
	case LOCKED:
		asm volatile("lock incq %0" : "+m"(*word));
		break;
	case CROSS:
		*(volatile u64 *)(pages + 4092) = 0x1122334455667788;
		break;
	case SGDT:
		asm volatile("sgdt %0" : "=m"(*(u8 (*)[10])(pages + 4092)));
		break;
	case SSE:
		asm volatile("movups %%xmm0, %0" : "=m"(*(u8 (*)[16])(pages + 128)));
		break;
	}
}

static void guest(u64 me)
{
	u64 i;

	for (;;) {
		WRITE_ONCE(kvmi_progress[me], kvmi_progress[me] + 1);
		if (!READ_ONCE(work[me].todo))
			continue;
		for (i = 0; work[me].todo; i++) {
			do_one(work[me].what, i + 1);
			WRITE_ONCE(work[me].todo, work[me].todo - 1);
		}
		WRITE_ONCE(work[me].done, work[me].done + 1);
	}
}

static void *host(struct kvmi_fixture *f, void *of)
{
	return addr_gva2hva(f->vm, (gva_t)of);
}

static u64 page_gpa(struct kvmi_fixture *f)
{
	u8 **where = host(f, &pages);

	return addr_gva2gpa(f->vm, (gva_t)*where);
}

static u8 *page_hva(struct kvmi_fixture *f)
{
	u8 **where = host(f, &pages);

	return addr_gva2hva(f->vm, (gva_t)*where);
}

static void prepare(struct kvmi_fixture *f)
{
	u8 **where = host(f, &pages);
	int i;

	*where = (u8 *)vm_alloc_pages(f->vm, 2);
	memset(addr_gva2hva(f->vm, (gva_t)*where), 0, 2 * 4096);
	*(u8 *)addr_gva2hva(f->vm, (gva_t)*where) = 0xc3;
	for (i = 0; i < 2; i++) {
		vcpu_arch_set_entry_point(f->vcpus[i], guest);
		vcpu_args_set(f->vcpus[i], 1, i);
	}
}

static void watch(struct kvmi_fixture *f, unsigned int vcpus)
{
	unsigned int i;

	for (i = 0; i < vcpus; i++)
		kvmi_assert_err(kvmi_control_event(&f->kvmi, i,
						   KVMI_VCPU_EVENT_PF, 1), 0);
}

static void start(struct kvmi_fixture *f, u8 access)
{
	prepare(f);
	kvmi_start(&f->runner, f->vcpu);
	watch(f, 1);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, page_gpa(f), access), 0);
}

static void run(struct kvmi_fixture *f, unsigned int vcpu, u64 what, u64 times)
{
	struct { u64 what, todo, done, value; } *w = host(f, &work[vcpu]);

	WRITE_ONCE(w->what, what);
	WRITE_ONCE(w->todo, times);
}

static void wait_done(struct kvmi_fixture *f, unsigned int vcpu, u64 rounds)
{
	u64 *done = host(f, &work[vcpu].done);

	kvmi_wait_until(READ_ONCE(*done) == rounds);
}

/* EPT tells the linear address, NPT does not; KVM's own tables need it. */
static bool tells_gva(void)
{
	return host_cpu_is_intel || !get_kvm_amd_param_bool("npt");
}

/* Each of @times accesses is one event, let through. */
static void each(struct kvmi_fixture *f, u64 what, u64 gpa, u8 access, u64 times)
{
	u64 gva = *(u64 *)host(f, &pages) + gpa - page_gpa(f), i;
	struct kvmi_event ev;
	const struct kvmi_vcpu_event_pf *pf = (const void *)ev.specific;

	run(f, 0, what, times);
	for (i = 0; i < times; i++) {
		kvmi_recv_pf(&f->kvmi, &ev, gpa, access);
		TEST_ASSERT(pf->gva == (tells_gva() ? gva : ~0ull),
			    "The address is %#llx", pf->gva);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	wait_done(f, 0, 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_page_access, writes)
{
	start(f, R | X);
	each(f, WRITE, page_gpa(f) + 64, W, TIMES);
	TEST_ASSERT_EQ(*(u64 *)(page_hva(f) + 64), TIMES);
}

KVMI_TEST(kvmi_page_access, reads)
{
	start(f, 0);
	*(u64 *)(page_hva(f) + 64) = 3;
	each(f, READ, page_gpa(f) + 64, R, TIMES);
	TEST_ASSERT_EQ(*(u64 *)host(f, &work[0].value), 3 * TIMES);
}

KVMI_TEST(kvmi_page_access, calls)
{
	start(f, R | W);
	each(f, CALL, page_gpa(f), X, TIMES);
}

/* A page that can be executed and not be read, where EPT has that. */
KVMI_TEST(kvmi_page_access, execute_only)
{
	struct kvmi_event ev;
	int err;

	start(f, R | W | X);
	err = kvmi_set_page_access(&f->kvmi, page_gpa(f), X);
	if (err) {
		kvmi_assert_err(err, -KVM_EOPNOTSUPP);
		kvmi_stop(&f->runner);
		SKIP(return, "the processor has no execute-only pages");
	}
	run(f, 0, CALL, TIMES);
	wait_done(f, 0, 1);
	kvmi_expect_quiet(&f->kvmi);
	run(f, 0, READ, 1);
	kvmi_recv_pf(&f->kvmi, &ev, page_gpa(f) + 64, R);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 0, 2);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_page_access, locked)
{
	start(f, R | X);
	each(f, LOCKED, page_gpa(f) + 64, W, TIMES);
	TEST_ASSERT_EQ(*(u64 *)(page_hva(f) + 64), TIMES);
}

KVMI_TEST(kvmi_page_access, vectors)
{
	start(f, R | X);
	each(f, SSE, page_gpa(f) + 128, W, TIMES);
}

/* Nothing is stored before both pages were granted. */
KVMI_TEST(kvmi_page_access, across_pages)
{
	struct kvmi_event ev;
	u64 gpa;

	start(f, R | X);
	gpa = page_gpa(f);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, gpa + 4096, R | X), 0);
	run(f, 0, CROSS, 1);
	kvmi_recv_pf(&f->kvmi, &ev, gpa + 4092, W);
	TEST_ASSERT_EQ(*(u32 *)(page_hva(f) + 4092), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_pf(&f->kvmi, &ev, gpa + 4096, W);
	TEST_ASSERT_EQ(*(u32 *)(page_hva(f) + 4092), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 0, 1);
	TEST_ASSERT_EQ(*(u32 *)(page_hva(f) + 4092), 0x55667788);
	TEST_ASSERT_EQ(*(u32 *)(page_hva(f) + 4096), 0x11223344);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/*
 * KVM's emulator does it as the processor would: here because the instruction
 * is intercepted for another event.
 */
KVMI_TEST(kvmi_page_access, emulated)
{
	struct kvmi_event ev;
	u64 gpa;

	start(f, R | X);
	if (kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_DESCRIPTOR, 1)) {
		kvmi_stop(&f->runner);
		SKIP(return, "the processor does not intercept SGDT");
	}
	gpa = page_gpa(f);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, gpa + 4096, R | X), 0);
	memset(page_hva(f) + 4092, 0xff, 10);
	run(f, 0, SGDT, 1);
	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_DESCRIPTOR);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_pf(&f->kvmi, &ev, gpa + 4092, W);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_pf(&f->kvmi, &ev, gpa + 4096, W);
	TEST_ASSERT_EQ(*(u32 *)(page_hva(f) + 4092), ~0u);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 0, 1);
	TEST_ASSERT(*(u32 *)(page_hva(f) + 4092) != ~0u, "Nothing was stored");
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* What is allowed is no event, and what was granted once is denied again. */
KVMI_TEST(kvmi_page_access, allowed)
{
	struct kvmi_event ev;

	start(f, R | X);
	run(f, 0, READ, TIMES);
	wait_done(f, 0, 1);
	run(f, 0, CALL, TIMES);
	wait_done(f, 0, 2);
	kvmi_expect_quiet(&f->kvmi);
	run(f, 0, WRITE, 1);
	kvmi_recv_pf(&f->kvmi, &ev, page_gpa(f) + 64, W);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 0, 3);
	/* Forgotten. */
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, page_gpa(f), R | W | X), 0);
	run(f, 0, WRITE, TIMES);
	wait_done(f, 0, 4);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_page_access, retry)
{
	struct kvmi_event ev;
	u64 gpa;
	u32 i;

	start(f, R | X);
	gpa = page_gpa(f) + 64;
	run(f, 0, WRITE, 1);
	for (i = 1; i < 10; i++) {
		kvmi_recv_pf(&f->kvmi, &ev, gpa, W);
		TEST_ASSERT_EQ(ev.seq, i);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	}
	kvmi_recv_pf(&f->kvmi, &ev, gpa, W);
	TEST_ASSERT_EQ(*(u64 *)(page_hva(f) + 64), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, gpa, R | W | X), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	wait_done(f, 0, 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_page_access, crash)
{
	struct kvmi_event ev;

	start(f, R | X);
	run(f, 0, WRITE, 1);
	kvmi_recv_pf(&f->kvmi, &ev, page_gpa(f) + 64, W);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pf(&f->kvmi, &ev, page_gpa(f) + 64, W);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 0, 1);
	kvmi_stop(&f->runner);
}

/* KVM_RUN is left for a signal; the event is the same one. */
KVMI_TEST(kvmi_page_access, signal)
{
	struct kvmi_event ev;

	start(f, R | X);
	run(f, 0, WRITE, 1);
	kvmi_recv_pf(&f->kvmi, &ev, page_gpa(f) + 64, W);
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 0, 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* Without the event accesses are let through. */
KVMI_TEST(kvmi_page_access, nobody_asks)
{
	start(f, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 0), 0);
	run(f, 0, WRITE, TIMES);
	wait_done(f, 0, 1);
	kvmi_expect_quiet(&f->kvmi);
	TEST_ASSERT_EQ(*(u64 *)(page_hva(f) + 64), TIMES);
	kvmi_stop(&f->runner);
}

/* The dead tool's restrictions are lifted at once. */
KVMI_TEST(kvmi_page_access, tool_dies)
{
	struct kvmi_event ev;

	start(f, 0);
	run(f, 0, WRITE, TIMES);
	kvmi_recv_pf(&f->kvmi, &ev, page_gpa(f) + 64, W);
	kvmi_close(&f->kvmi);
	wait_done(f, 0, 1);
	TEST_ASSERT_EQ(*(u64 *)(page_hva(f) + 64), TIMES);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_page_access, unhooked)
{
	start(f, 0);
	kvmi_unhook(f->vm);
	run(f, 0, WRITE, TIMES);
	wait_done(f, 0, 1);
	kvmi_stop(&f->runner);
}

/* Two vCPUs at one page: every access is seen. */
KVMI_TEST(kvmi_page_access, two_vcpus)
{
	unsigned int i, seen[2] = {};
	struct kvmi_runner other;
	struct kvmi_event ev;

	prepare(f);
	kvmi_start(&f->runner, f->vcpus[0]);
	kvmi_start(&other, f->vcpus[1]);
	watch(f, 2);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, page_gpa(f), R | X), 0);
	run(f, 0, LOCKED, TIMES);
	run(f, 1, LOCKED, TIMES);
	for (i = 0; i < 2 * TIMES; i++) {
		kvmi_recv_pf(&f->kvmi, &ev, page_gpa(f) + 64, W);
		seen[ev.vcpu.vcpu]++;
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	wait_done(f, 0, 1);
	wait_done(f, 1, 1);
	TEST_ASSERT_EQ(seen[0], TIMES);
	TEST_ASSERT_EQ(seen[1], TIMES);
	TEST_ASSERT_EQ(*(u64 *)(page_hva(f) + 64), 2 * TIMES);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
	kvmi_stop(&other);
}

KVMI_TEST(kvmi_page_access, errors)
{
	struct kvmi *k = &f->kvmi;
	u64 gpa, none;

	start(f, R | X);
	gpa = page_gpa(f);
	none = 0xffff000000ull;
	kvmi_assert_err(kvmi_set_page_access(k, gpa, 8), -KVM_EINVAL);
	kvmi_assert_err(kvmi_set_page_access(k, gpa, W), -KVM_EINVAL);
	kvmi_assert_err(kvmi_set_page_access(k, gpa, W | X), -KVM_EINVAL);
	kvmi_assert_err(kvmi_set_page_access(k, none, R), -KVM_EINVAL);
	kvmi_assert_err(kvmi_set_page_access(k, none, R | W | X), 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
