/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events of an instruction: the cases that each of them has.  Included by
 * kvmi_insn.h alone.
 */
#ifndef SELFTEST_KVM_KVMI_INSN_CASES_H
#define SELFTEST_KVM_KVMI_INSN_CASES_H

static void kvmi_insn_each(struct kvmi_fixture *f)
{
	struct kvmi_event ev;
	u32 i;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_enable(&f->kvmi, true);
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
	kvmi_insn_enable(&f->kvmi, false);
	kvmi_insn_run(f, 100);
	kvmi_insn_wait(f, 101);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn_enable(&f->kvmi, true);
	kvmi_insn_once_more(f, 102, 2);
}

static void kvmi_insn_expect_shutdown(struct kvmi_fixture *f)
{
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->runs, 0);
}

static void kvmi_insn_crash(struct kvmi_fixture *f)
{
	struct kvmi_event ev, next;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_insn_expect_shutdown(f);

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

	kvmi_insn_expect_closed(f, kvmi_insn.refused);
}

static void kvmi_insn_no_action(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CRASH + 1);
	kvmi_insn_expect_closed(f, kvmi_insn.refused);
}

/* What is wrong with a reply; a size is that many bytes more. */
struct kvmi_insn_wrong {
	int size;
	u32 seq;
	bool event;
	u16 padding1;
	u32 padding2;
};

/* An event whose reply is as long as that of the right one. */
static u8 kvmi_insn_other_event(void)
{
	if (!kvmi_insn.value_offset)
		return KVMI_VCPU_EVENT_PAUSE;

	return kvmi_insn.event == KVMI_VCPU_EVENT_CR ? KVMI_VCPU_EVENT_MSR :
	       KVMI_VCPU_EVENT_CR;
}

static void kvmi_insn_wrong(struct kvmi_fixture *f, struct kvmi_insn_wrong by)
{
	struct kvmi_insn_reply reply;
	struct kvmi_event ev;

	kvmi_insn_start_marked(f, &ev);
	kvmi_insn_build(&reply, &ev, KVMI_EVENT_ACTION_CONTINUE);
	reply.msg.hdr.size += by.size;
	reply.msg.hdr.seq += by.seq;
	if (by.event)
		reply.msg.reply.event = kvmi_insn_other_event();
	reply.msg.reply.padding1 = by.padding1;
	reply.msg.reply.padding2 = by.padding2;
	/* No guest could write this one. */
	reply.value = 0x1234567812345678;
	kvmi_insn_send(f, &reply);

	/* Nothing of the tool's is done, all of the guest's. */
	kvmi_insn_expect_closed(f, KVMI_INSN_DONE);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, 0);
}

/* Nothing was asked yet. */
static void kvmi_insn_too_early(struct kvmi_fixture *f)
{
	const struct kvmi_event none = { .seq = 1, .event = kvmi_insn.event };

	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_enable(&f->kvmi, true);
	kvmi_insn_reply(f, &none, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_expect_closed(&f->kvmi);
	kvmi_insn_run(f, 1);
	kvmi_insn_expect(f, 1, kvmi_insn.unasked);
	kvmi_stop(&f->runner);
}

/*
 * The second reply is one too many, whether the first was used or, while KVM_RUN
 * is left, was not.
 */
static void kvmi_insn_twice(struct kvmi_fixture *f, bool outside)
{
	struct kvmi_insn_reply reply;
	u8 both[2 * sizeof(reply)];
	struct kvmi_event ev;
	size_t size;

	kvmi_insn_start(f, &ev);
	if (outside)
		kvmi_stop(&f->runner);
	kvmi_insn_build(&reply, &ev, KVMI_EVENT_ACTION_CONTINUE);
	size = sizeof(reply.msg.hdr) + reply.msg.hdr.size;
	memcpy(both, &reply, size);
	memcpy(both + size, &reply, size);
	kvmi_send_raw(&f->kvmi, both, 2 * size);
	kvmi_expect_closed(&f->kvmi);
	/* Outside, the guest does it again, and nobody is there to be asked. */
	if (outside)
		kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_expect(f, 1, outside ? kvmi_insn.unasked : KVMI_INSN_DONE);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_late(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_expect_closed(&f->kvmi);
	kvmi_insn_run(f, 10);
	kvmi_insn_expect(f, 11, kvmi_insn.unasked);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_set_registers(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start_marked(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect_marked(f);
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
	if (action == KVMI_EVENT_ACTION_CONTINUE)
		regs.rip -= kvmi_insn.trap_len;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_insn_reply(f, &ev, action);
	kvmi_insn_wait(f, 1);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, KVMI_INSN_MARK);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->vector, KVMI_INSN_MOVED);
	/* is() looks at what was done, not at how it ended. */
	kvmi_insn_host(f)->vector = 0;
	kvmi_insn_expect(f, 1, action == KVMI_EVENT_ACTION_CONTINUE &&
			       kvmi_insn.done_if_moved ? KVMI_INSN_DONE :
			       KVMI_INSN_SKIPPED);
	kvmi_insn_once_more(f, 2, 2);
}

/* A signal, again and again: the event stays, and is not sent twice. */
static void kvmi_insn_signal(struct kvmi_fixture *f)
{
	struct kvmi_event ev;
	struct kvm_regs now;
	unsigned int i;

	kvmi_insn_start_marked(f, &ev);
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
	kvmi_insn_expect_marked(f);
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
	kvmi_insn_expect_shutdown(f);
}

/* The VMM writes state: the event is over, the same again is a new one. */
static void kvmi_insn_state_written(struct kvmi_fixture *f)
{
	struct kvmi_event ev, next;
	struct kvm_regs regs;

	kvmi_insn_start_marked(f, &ev);
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

	kvmi_insn_start_marked(f, &ev);
	kvmi_close(&f->kvmi);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, 0);

	/* And the next session begins with nothing. */
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_insn_run(f, 10);
	kvmi_insn_wait(f, 11);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn_enable(&f->kvmi, true);
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

/* The event and what it is about must both be wanted. */
static void __maybe_unused kvmi_insn_half_wanted(struct kvmi_fixture *f)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn.control(&f->kvmi, true);
	kvmi_insn_run(f, 10);
	kvmi_insn_wait(f, 10);
	kvmi_insn.control(&f->kvmi, false);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, kvmi_insn.event, 1), 0);
	kvmi_insn_run(f, 10);
	kvmi_insn_wait(f, 20);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn.control(&f->kvmi, true);
	kvmi_insn_once_more(f, 21, 1);
}

/* The same value again is no event. */
static void __maybe_unused kvmi_insn_no_change(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_wait(f, 1);
	kvmi_insn_same = 1;
	sync_global_to_guest(f->vm, kvmi_insn_same);
	kvmi_insn_run(f, 10);
	kvmi_insn_expect(f, 11, KVMI_INSN_SKIPPED);
	kvmi_insn_same = 0;
	sync_global_to_guest(f->vm, kvmi_insn_same);
	kvmi_insn_once_more(f, 12, 2);
}

#define KVMI_INSN_TEST(suite, name, call)				\
KVMI_TEST(suite, name)							\
{									\
	call;								\
}

#define KVMI_INSN_WRONG_TEST(suite, name, ...)				\
KVMI_TEST(suite, reply_##name)						\
{									\
	kvmi_insn_wrong(f, (struct kvmi_insn_wrong){ __VA_ARGS__ });	\
}

#define KVMI_INSN_TESTS(suite)						\
KVMI_INSN_TEST(suite, each, kvmi_insn_each(f))				\
KVMI_INSN_TEST(suite, not_enabled, kvmi_insn_not_enabled(f))		\
KVMI_INSN_TEST(suite, crash, kvmi_insn_crash(f))			\
KVMI_INSN_TEST(suite, retry, kvmi_insn_retry(f))			\
KVMI_INSN_TEST(suite, no_action, kvmi_insn_no_action(f))		\
KVMI_INSN_WRONG_TEST(suite, too_short, .size = -1)			\
KVMI_INSN_WRONG_TEST(suite, too_long, .size = 8)			\
KVMI_INSN_WRONG_TEST(suite, wrong_seq, .seq = 1)			\
KVMI_INSN_WRONG_TEST(suite, wrong_event, .event = true)			\
KVMI_INSN_WRONG_TEST(suite, wrong_padding1, .padding1 = 0x100)		\
KVMI_INSN_WRONG_TEST(suite, wrong_padding2, .padding2 = 1)		\
KVMI_INSN_TEST(suite, reply_too_early, kvmi_insn_too_early(f))		\
KVMI_INSN_TEST(suite, reply_twice, kvmi_insn_twice(f, false))		\
KVMI_INSN_TEST(suite, reply_twice_outside, kvmi_insn_twice(f, true))	\
KVMI_INSN_TEST(suite, reply_late, kvmi_insn_late(f))			\
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

/* Of events whose reply carries a value and that have a command of their own. */
#define KVMI_INSN_VALUE_TESTS(suite)					\
KVMI_INSN_TEST(suite, no_change, kvmi_insn_no_change(f))		\
KVMI_INSN_TEST(suite, half_wanted, kvmi_insn_half_wanted(f))		\
KVMI_INSN_WRONG_TEST(suite, without_value, .size = -8)

#endif /* SELFTEST_KVM_KVMI_INSN_CASES_H */
