// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two vCPUs in events of instructions at the same time: each waits for its own
 * reply, and nothing of one is the other's.
 */
#include "kvmi_test.h"

#define MARK(vcpu)	(0x1000 + (vcpu))

static struct {
	/* The host wants so many executed. */
	u64 go;
	u64 done;
	u64 r15;
	u64 lstar;
} state[2];

#define EXECUTE(insn, index, a, c)					\
	asm volatile("xor %%r15d, %%r15d\n\t"				\
		     insn "\n\t"					\
		     "mov %%r15, %[r15]"				\
		     : [r15] "=m"(state[index].r15), "+a"(a), "+c"(c)	\
		     : : "rbx", "rdx", "r15", "memory")

/* vCPU 0 executes CPUID, vCPU 1 WRMSR; r15 is what the tool makes it. */
static void guest(u64 index)
{
	for (;;) {
		u32 eax = 0, ecx = 0;

		while (READ_ONCE(state[index].done) == READ_ONCE(state[index].go))
			WRITE_ONCE(kvmi_progress[index],
				   kvmi_progress[index] + 1);
		if (index) {
			eax = READ_ONCE(state[index].go) << 12;
			ecx = MSR_LSTAR;
			EXECUTE("xor %%edx, %%edx\n\twrmsr", index, eax, ecx);
			state[index].lstar = rdmsr(MSR_LSTAR);
		} else {
			EXECUTE("cpuid", index, eax, ecx);
		}
		WRITE_ONCE(state[index].done, state[index].done + 1);
	}
}

static void prepare(struct kvmi_fixture *f)
{
	unsigned int i;

	for (i = 0; i < 2; i++)
		vcpu_args_set(f->vcpus[i], 1, i);
	kvmi_hook(&f->kvmi, f->vm);
}

KVMI_SUITE_OF(kvmi_two_events, vm_create_with_vcpus(2, guest, f->vcpus),
	      prepare(f));

static typeof(state[0]) *host_state(struct kvmi_fixture *f, unsigned int vcpu)
{
	return (typeof(state[0]) *)addr_gva2hva(f->vm, (gva_t)&state[vcpu]);
}

static void start(struct kvmi_fixture *f, struct kvmi_runner *runners)
{
	struct kvmi *k = &f->kvmi;

	kvmi_start(&runners[0], f->vcpus[0]);
	kvmi_start(&runners[1], f->vcpus[1]);
	kvmi_assert_err(kvmi_control_event(k, 0, KVMI_VCPU_EVENT_CPUID, 1), 0);
	kvmi_assert_err(kvmi_control_event(k, 1, KVMI_VCPU_EVENT_MSR, 1), 0);
	kvmi_assert_err(kvmi_control_msr(k, 1, MSR_LSTAR, 1), 0);
}

static void stop(struct kvmi_runner *runners)
{
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

static void execute(struct kvmi_fixture *f, unsigned int vcpu)
{
	WRITE_ONCE(host_state(f, vcpu)->go, host_state(f, vcpu)->go + 1);
}

static void recv_either(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_recv_event(&f->kvmi, ev);
	TEST_ASSERT(ev->vcpu.vcpu < 2, "vCPU %u", ev->vcpu.vcpu);
	TEST_ASSERT_EQ(ev->event, ev->vcpu.vcpu ? KVMI_VCPU_EVENT_MSR :
		       KVMI_VCPU_EVENT_CPUID);
}

/* Both execute; the events come in either order, and are sorted here. */
static void both(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	struct kvmi_event got[2];

	execute(f, 0);
	execute(f, 1);
	recv_either(f, &got[0]);
	recv_either(f, &got[1]);
	TEST_ASSERT(got[0].vcpu.vcpu != got[1].vcpu.vcpu, "Two of one vCPU");
	/* Numbered before they are sent: the later number may come first. */
	TEST_ASSERT(got[1].seq == got[0].seq + 1 || got[0].seq == got[1].seq + 1,
		    "Numbers %u and %u", got[0].seq, got[1].seq);
	ev[got[0].vcpu.vcpu] = got[0];
	ev[got[1].vcpu.vcpu] = got[1];
}

static void expect_done(struct kvmi_fixture *f, unsigned int vcpu, u64 r15)
{
	typeof(state[0]) *s = host_state(f, vcpu);

	kvmi_wait_until(READ_ONCE(s->done) == s->go);
	TEST_ASSERT_EQ(s->r15, r15);
}

static void mark(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	struct kvm_regs regs = ev->vcpu.arch.regs;

	regs.r15 = MARK(ev->vcpu.vcpu);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, ev->vcpu.vcpu, &regs), 0);
}

/* Answered in either order, with registers and a value of the tool's. */
KVMI_TEST(kvmi_two_events, answered_in_either_order)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2];
	unsigned int i, first;

	start(f, runners);
	for (i = 0; i < 50; i++) {
		both(f, ev);
		first = ev[0].seq > ev[1].seq;
		if (i & 1)
			first = !first;
		mark(f, &ev[0]);
		mark(f, &ev[1]);
		if (first)
			kvmi_reply_value(&f->kvmi, &ev[1], 0, 0x7000 + i);
		else
			kvmi_continue(&f->kvmi, &ev[0]);
		expect_done(f, first, MARK(first));
		TEST_ASSERT_EQ(READ_ONCE(host_state(f, !first)->done), i);
		if (first)
			kvmi_continue(&f->kvmi, &ev[0]);
		else
			kvmi_reply_value(&f->kvmi, &ev[1], 0, 0x7000 + i);
		expect_done(f, !first, MARK(!first));
		TEST_ASSERT_EQ(host_state(f, 1)->lstar, 0x7000 + i);
	}
	kvmi_expect_quiet(&f->kvmi);
	stop(runners);
}

/* While one waits, the other is commanded, paused, and has its own events. */
KVMI_TEST(kvmi_two_events, one_waits)
{
	struct kvmi_vcpu_get_registers_reply regs;
	struct kvmi_event first, ev;
	struct kvmi_runner runners[2];
	unsigned int i;

	start(f, runners);
	execute(f, 0);
	recv_either(f, &first);
	TEST_ASSERT_EQ(first.vcpu.vcpu, 0);
	mark(f, &first);
	for (i = 0; i < 50; i++) {
		/* The other is in no event: it has no registers to set. */
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 1, &regs), 0);
		kvmi_assert_err(kvmi_set_regs(&f->kvmi, 1, &regs.regs),
				-KVMI_EOPNOTSUPP);
		execute(f, 1);
		recv_either(f, &ev);
		TEST_ASSERT_EQ(ev.vcpu.vcpu, 1);
		TEST_ASSERT_EQ(ev.seq, first.seq + 2 * i + 1);
		/* Commands to the one that waits, and to the other. */
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &regs), 0);
		TEST_ASSERT_EQ(regs.regs.rip, first.vcpu.arch.regs.rip);
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 1, &regs), 0);
		TEST_ASSERT_EQ(regs.regs.rip, ev.vcpu.arch.regs.rip);
		kvmi_continue(&f->kvmi, &ev);
		expect_done(f, 1, 0);
		kvmi_stop_vcpu(&f->kvmi, 1, &ev);
		TEST_ASSERT_EQ(ev.seq, first.seq + 2 * i + 2);
		kvmi_continue(&f->kvmi, &ev);
		TEST_ASSERT_EQ(READ_ONCE(host_state(f, 0)->done), 0);
	}
	kvmi_continue(&f->kvmi, &first);
	expect_done(f, 0, MARK(0));
	kvmi_expect_quiet(&f->kvmi);
	stop(runners);
}

/* The sequence number of the one in the reply of the other. */
KVMI_TEST(kvmi_two_events, replies_crossed)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2], crossed;

	start(f, runners);
	both(f, ev);
	mark(f, &ev[0]);
	mark(f, &ev[1]);
	crossed = ev[0];
	crossed.seq = ev[1].seq;
	kvmi_continue(&f->kvmi, &crossed);
	kvmi_expect_closed(&f->kvmi);
	expect_done(f, 0, 0);
	expect_done(f, 1, 0);
	TEST_ASSERT_EQ(host_state(f, 1)->lstar, 0x1000);
	stop(runners);
}

/* A signal to the one is nothing to the other. */
KVMI_TEST(kvmi_two_events, one_is_interrupted)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2];

	start(f, runners);
	both(f, ev);
	mark(f, &ev[0]);
	kvmi_stop(&runners[0]);
	kvmi_continue(&f->kvmi, &ev[1]);
	expect_done(f, 1, 0);
	kvmi_continue(&f->kvmi, &ev[0]);
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(READ_ONCE(host_state(f, 0)->done), 0);
	kvmi_start(&runners[0], f->vcpus[0]);
	expect_done(f, 0, MARK(0));
	kvmi_expect_quiet(&f->kvmi);
	stop(runners);
}

/* The tool dies in the middle of both. */
KVMI_TEST(kvmi_two_events, tool_dies)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2];

	start(f, runners);
	both(f, ev);
	mark(f, &ev[0]);
	mark(f, &ev[1]);
	kvmi_close(&f->kvmi);
	expect_done(f, 0, 0);
	expect_done(f, 1, 0);
	stop(runners);
}

KVMI_TEST_MAIN
