/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events of an instruction: what holds for each of them.
 *
 * The guest executes the instruction of the test, once for each time that it
 * is told to.  A test includes this file once, defines kvmi_insn, and names
 * the cases with KVMI_INSN_TESTS().
 */
#ifndef SELFTEST_KVM_KVMI_INSN_H
#define SELFTEST_KVM_KVMI_INSN_H

#include "kvmi_test.h"

/* Who answers "does the register marker get through?" puts this there. */
#define KVMI_INSN_MARK		0x6b766d69ull
/* What the guest sees as a vector when the tool moved RIP. */
#define KVMI_INSN_MOVED		0x77

/* What has become of the instruction. */
enum kvmi_insn_fate {
	/* It did what it does. */
	KVMI_INSN_DONE,
	/* It faulted, or whatever a refusal is. */
	KVMI_INSN_REFUSED,
	/* It did nothing. */
	KVMI_INSN_SKIPPED,
};

/* What the guest saw of it. */
struct kvmi_insn_seen {
	u64 runs;
	union {
		u64 full_vector;
		u8 vector;
	};
	u64 error_code;
	u64 marker;
	/* Of the test's own choice. */
	u64 before;
	u64 after;
};

static struct kvmi_insn_seen kvmi_insn_seen;
static u64 kvmi_insn_go;

struct kvmi_insn {
	u16 event;
	size_t size;
	/* The reply carries a value, which is taken from the event. */
	size_t value_offset;
	/* The tool may answer RETRY. */
	bool retry;
	/* It is done even if the tool moved RIP. */
	bool done_if_moved;
	/* It is not done if the tool set registers, wherever RIP is. */
	bool skipped_if_set;
	enum kvmi_insn_fate refused;

	void (*enable)(struct kvmi *k, bool enable);
	/* In the guest. */
	void (*execute)(struct kvmi_insn_seen *seen);
	/* The event is that of the instruction. */
	void (*check)(struct kvmi_fixture *f, const struct kvmi_event *ev);
	bool (*is)(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate);
	/* Before the vCPU runs. */
	void (*prepare)(struct kvmi_fixture *f);
};

static const struct kvmi_insn kvmi_insn;

/*
 * One instruction, in the guest: in the event r10 is its address and r11 that
 * of the next, and r8 comes back as the marker.  kvmi_insn_seen is cleared
 * before it is executed.
 */
#define KVMI_INSN_ASM(insn)						\
	"xor %%r8d, %%r8d\n\t"						\
	KVM_ASM_SAFE(insn)						\
	"mov %%r8, %[marker]\n\t"
#define KVMI_INSN_OUTPUTS(seen)						\
	[marker] "=m"((seen)->marker), [vector] "=m"((seen)->vector),	\
	[error_code] "=m"((seen)->error_code)
#define KVMI_INSN_CLOBBERS	"r8", KVM_ASM_SAFE_CLOBBERS, "memory"

static void kvmi_insn_guest(void)
{
	u64 go;

	for (;;) {
		while (!(go = READ_ONCE(kvmi_insn_go)))
			WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		WRITE_ONCE(kvmi_insn_go, go - 1);
		/* The host may have changed what execute() reads. */
		barrier();
		kvmi_insn_seen.full_vector = 0;
		kvmi_insn.execute(&kvmi_insn_seen);
		WRITE_ONCE(kvmi_insn_seen.runs, kvmi_insn_seen.runs + 1);
	}
}

/* Have the guest execute it @times more. */
static void kvmi_insn_run(struct kvmi_fixture *f, u64 times)
{
	u64 *go = addr_gva2hva(f->vm, (gva_t)&kvmi_insn_go);

	WRITE_ONCE(*go, times);
}

static struct kvmi_insn_seen *kvmi_insn_host(struct kvmi_fixture *f)
{
	return addr_gva2hva(f->vm, (gva_t)&kvmi_insn_seen);
}

static void kvmi_insn_wait(struct kvmi_fixture *f, u64 runs)
{
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);

	kvmi_wait_until(READ_ONCE(seen->runs) == runs);
	kvmi_wait_progress(f->vm, 0);
}

static void kvmi_insn_expect(struct kvmi_fixture *f, u64 runs,
			     enum kvmi_insn_fate fate)
{
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);

	kvmi_insn_wait(f, runs);
	TEST_ASSERT(kvmi_insn.is(seen, fate),
		    "Run %lu: vector %#lx, marker %#lx, %#lx became %#lx; fate %u was wanted",
		    (unsigned long)runs, (unsigned long)seen->full_vector,
		    (unsigned long)seen->marker, (unsigned long)seen->before,
		    (unsigned long)seen->after, fate);
}

static void kvmi_insn_recv(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_recv_this(&f->kvmi, ev, kvmi_insn.event, kvmi_insn.size);
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rip, ev->vcpu.arch.regs.r10);
	kvmi_insn.check(f, ev);
}

static void kvmi_insn_reply(struct kvmi_fixture *f, const struct kvmi_event *ev,
			    u8 action)
{
	u64 value;

	if (!kvmi_insn.value_offset) {
		kvmi_reply(&f->kvmi, ev, action);
		return;
	}
	memcpy(&value, ev->specific + kvmi_insn.value_offset, sizeof(value));
	kvmi_reply_value(&f->kvmi, ev, action, value);
}

/* Up to the first event. */
static void kvmi_insn_start(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn.enable(&f->kvmi, true);
	kvmi_insn_run(f, 1);
	kvmi_insn_recv(f, ev);
	TEST_ASSERT_EQ(ev->seq, 1);
	TEST_ASSERT_EQ(READ_ONCE(kvmi_insn_host(f)->runs), 0);
}

/* The next is event number @seq, and nothing hinders it. */
static void kvmi_insn_once_more(struct kvmi_fixture *f, u64 runs, u32 seq)
{
	struct kvmi_event ev;

	kvmi_insn_run(f, 1);
	kvmi_insn_recv(f, &ev);
	TEST_ASSERT_EQ(ev.seq, seq);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, runs, KVMI_INSN_DONE);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_kick(struct kvmi_fixture *f)
{
	struct kvmi_runner *r = &f->runner;
	unsigned int before = __atomic_load_n(&r->eintr, __ATOMIC_SEQ_CST);

	kvmi_wait_until((kvmi_kick(r),
			 __atomic_load_n(&r->eintr, __ATOMIC_SEQ_CST) != before));
}

static void kvmi_insn_each(struct kvmi_fixture *f)
{
	struct kvmi_event ev;
	u32 i;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn.enable(&f->kvmi, true);
	kvmi_insn_run(f, 100);
	for (i = 1; i <= 100; i++) {
		kvmi_insn_recv(f, &ev);
		TEST_ASSERT_EQ(ev.seq, i);
		kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_insn_expect(f, 100, KVMI_INSN_DONE);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_not_enabled(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_insn.enable(&f->kvmi, false);
	kvmi_insn_run(f, 100);
	kvmi_insn_wait(f, 101);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn.enable(&f->kvmi, true);
	kvmi_insn_once_more(f, 102, 2);
}

static void kvmi_insn_crash(struct kvmi_fixture *f)
{
	struct kvmi_event ev, next;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->runs, 0);

	/* It was not executed: the next KVM_RUN does it again. */
	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_recv(f, &next);
	TEST_ASSERT_EQ(next.seq, 2);
	TEST_ASSERT_EQ(next.vcpu.arch.regs.rip, ev.vcpu.arch.regs.rip);
	kvmi_insn_reply(f, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_retry(struct kvmi_fixture *f)
{
	struct kvmi_event ev, next;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_RETRY);
	if (kvmi_insn.retry) {
		kvmi_insn_recv(f, &next);
		TEST_ASSERT_EQ(next.seq, 2);
		TEST_ASSERT_EQ(kvmi_insn_host(f)->runs, 0);
		kvmi_insn_reply(f, &next, KVMI_EVENT_ACTION_CONTINUE);
		kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
		kvmi_insn_once_more(f, 2, 3);
		return;
	}

	kvmi_expect_closed(&f->kvmi);
	kvmi_insn_expect(f, 1, kvmi_insn.refused);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_no_action(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CRASH + 1);
	kvmi_expect_closed(&f->kvmi);
	kvmi_insn_expect(f, 1, kvmi_insn.refused);
	kvmi_stop(&f->runner);
}

/* A byte less, or eight more, than the reply has: the guest's own value. */
static void kvmi_insn_wrong_size(struct kvmi_fixture *f, int by)
{
	struct {
		struct kvmi_reply_msg msg;
		u64 tail[2];
	} __packed reply = {};
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_build_reply(&reply.msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
	reply.msg.hdr.size += (kvmi_insn.value_offset ? 8 : 0) + by;
	kvmi_send_raw(&f->kvmi, &reply,
		      sizeof(reply.msg.hdr) + reply.msg.hdr.size);
	kvmi_expect_closed(&f->kvmi);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_set_registers(struct kvmi_fixture *f)
{
	struct kvmi_event ev;
	struct kvm_regs regs;

	kvmi_insn_start(f, &ev);
	regs = ev.vcpu.arch.regs;
	regs.r8 = KVMI_INSN_MARK;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, kvmi_insn.skipped_if_set ? KVMI_INSN_SKIPPED :
			       KVMI_INSN_DONE);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, KVMI_INSN_MARK);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->vector, 0);
	kvmi_insn_once_more(f, 2, 2);
}

static void kvmi_insn_move_rip(struct kvmi_fixture *f, u8 action)
{
	struct kvmi_event ev;
	struct kvm_regs regs;

	kvmi_insn_start(f, &ev);
	regs = ev.vcpu.arch.regs;
	regs.r8 = KVMI_INSN_MARK;
	regs.r9 = KVMI_INSN_MOVED;
	regs.rip = regs.r11;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_insn_reply(f, &ev, action);
	kvmi_insn_wait(f, 1);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, KVMI_INSN_MARK);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->vector, KVMI_INSN_MOVED);
	/* is() looks at what was done, not at how it ended. */
	kvmi_insn_host(f)->vector = 0;
	kvmi_insn_expect(f, 1, kvmi_insn.done_if_moved ? KVMI_INSN_DONE :
			       KVMI_INSN_SKIPPED);
	kvmi_insn_once_more(f, 2, 2);
}

/* A signal, again and again: the event stays, and is not sent twice. */
static void kvmi_insn_signal(struct kvmi_fixture *f)
{
	struct kvm_regs regs, now;
	struct kvmi_event ev;
	unsigned int i;

	kvmi_insn_start(f, &ev);
	regs = ev.vcpu.arch.regs;
	regs.r8 = KVMI_INSN_MARK;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	for (i = 0; i < 10; i++)
		kvmi_insn_kick(f);
	/* Outside of KVM_RUN nothing has happened. */
	kvmi_stop(&f->runner);
	vcpu_regs_get(f->vcpu, &now);
	TEST_ASSERT_EQ(now.rip, ev.vcpu.arch.regs.rip);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->runs, 0);
	kvmi_expect_quiet(&f->kvmi);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, kvmi_insn.skipped_if_set ? KVMI_INSN_SKIPPED :
			       KVMI_INSN_DONE);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, KVMI_INSN_MARK);
	kvmi_insn_once_more(f, 2, 2);
}

/* The reply comes while nobody is in KVM_RUN. */
static void kvmi_insn_reply_outside(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_stop(&f->runner);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_ping(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_insn_once_more(f, 2, 2);
}

/* CRASH that comes after a signal. */
static void kvmi_insn_crash_outside(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_stop(&f->runner);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_ping(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->runs, 0);
}

/* The VMM writes state: the event is over, the same again is a new one. */
static void kvmi_insn_state_written(struct kvmi_fixture *f)
{
	struct kvmi_event ev, next;
	struct kvm_regs regs;

	kvmi_insn_start(f, &ev);
	regs = ev.vcpu.arch.regs;
	regs.r8 = KVMI_INSN_MARK;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_stop(&f->runner);
	vcpu_regs_get(f->vcpu, &regs);
	vcpu_regs_set(f->vcpu, &regs);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_recv(f, &next);
	TEST_ASSERT_EQ(next.seq, 2);
	/* Late, and ignored. */
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_ping(&f->kvmi);
	kvmi_insn_reply(f, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, 0);
	kvmi_insn_once_more(f, 2, 3);
}

/* The tool dies, without an answer: the guest has its own way. */
static void kvmi_insn_tool_dies(struct kvmi_fixture *f)
{
	struct kvmi_event ev;
	struct kvm_regs regs;

	kvmi_insn_start(f, &ev);
	regs = ev.vcpu.arch.regs;
	regs.r8 = KVMI_INSN_MARK;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_close(&f->kvmi);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, 0);

	/* And the next session begins with nothing. */
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_insn_run(f, 10);
	kvmi_insn_wait(f, 11);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn.enable(&f->kvmi, true);
	kvmi_insn_once_more(f, 12, 1);
}

/* The session ends while KVM_RUN is left. */
static void kvmi_insn_unhook_outside(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_stop(&f->runner);
	kvmi_unhook(f->vm);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_wait(f, 1);
	kvmi_stop(&f->runner);
}

/* A pause that comes meanwhile comes afterwards. */
static void kvmi_insn_pause(struct kvmi_fixture *f)
{
	struct kvmi_vcpu_get_registers_reply now;
	struct kvmi_event ev, pause;

	kvmi_insn_start(f, &ev);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &now), 0);
	TEST_ASSERT_EQ(now.regs.rip, ev.vcpu.arch.regs.rip);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_pause(&f->kvmi, 0, &pause);
	TEST_ASSERT_EQ(pause.seq, 2);
	kvmi_reply(&f->kvmi, &pause, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_insn_once_more(f, 2, 3);
}

#define KVMI_INSN_SUITE(name)						\
FIXTURE(name) {								\
	struct kvmi_fixture f;						\
};									\
									\
FIXTURE_SETUP(name)							\
{									\
	self->f.vm = vm_create_with_vcpus(1, kvmi_insn_guest,		\
					  self->f.vcpus);		\
	self->f.vcpu = self->f.vcpus[0];				\
	if (kvmi_insn.prepare)						\
		kvmi_insn.prepare(&self->f);				\
	kvmi_hook(&self->f.kvmi, self->f.vm);				\
}									\
									\
FIXTURE_TEARDOWN(name)							\
{									\
	kvmi_close(&self->f.kvmi);					\
	kvm_vm_free(self->f.vm);					\
}

#define KVMI_INSN_TEST(suite, name, call)				\
KVMI_TEST(suite, name)							\
{									\
	call;								\
}

#define KVMI_INSN_TESTS(suite)						\
KVMI_INSN_TEST(suite, each, kvmi_insn_each(f))				\
KVMI_INSN_TEST(suite, not_enabled, kvmi_insn_not_enabled(f))		\
KVMI_INSN_TEST(suite, crash, kvmi_insn_crash(f))			\
KVMI_INSN_TEST(suite, retry, kvmi_insn_retry(f))			\
KVMI_INSN_TEST(suite, no_action, kvmi_insn_no_action(f))		\
KVMI_INSN_TEST(suite, reply_too_short, kvmi_insn_wrong_size(f, -1))	\
KVMI_INSN_TEST(suite, reply_too_long, kvmi_insn_wrong_size(f, 8))	\
KVMI_INSN_TEST(suite, set_registers, kvmi_insn_set_registers(f))	\
KVMI_INSN_TEST(suite, move_rip,						\
	       kvmi_insn_move_rip(f, KVMI_EVENT_ACTION_CONTINUE))	\
KVMI_INSN_TEST(suite, signal, kvmi_insn_signal(f))			\
KVMI_INSN_TEST(suite, reply_outside, kvmi_insn_reply_outside(f))	\
KVMI_INSN_TEST(suite, crash_outside, kvmi_insn_crash_outside(f))	\
KVMI_INSN_TEST(suite, state_written, kvmi_insn_state_written(f))	\
KVMI_INSN_TEST(suite, tool_dies, kvmi_insn_tool_dies(f))		\
KVMI_INSN_TEST(suite, unhook_outside, kvmi_insn_unhook_outside(f))	\
KVMI_INSN_TEST(suite, pause, kvmi_insn_pause(f))

#endif /* SELFTEST_KVM_KVMI_INSN_H */
