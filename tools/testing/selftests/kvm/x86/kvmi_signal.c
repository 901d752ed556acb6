// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU thread that is kicked by a signal while it waits for a reply leaves
 * KVM_RUN with its event kept: no event is sent twice, none is lost.
 */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_signal, 1);

static unsigned int eintr(struct kvmi_runner *r)
{
	return __atomic_load_n(&r->eintr, __ATOMIC_SEQ_CST);
}

static void kick_and_wait(struct kvmi_runner *r)
{
	unsigned int before = eintr(r);

	/* A signal that comes before KVM_RUN is entered interrupts nothing. */
	kvmi_wait_until((kvmi_kick(r), eintr(r) != before));
}

/* The guest runs, and then waits for the reply to @ev. */
static void start_and_pause(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop_vcpu(&f->kvmi, 0, ev);
}

/* It gets its reply and goes on. */
static void let_go(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	kvmi_reply(&f->kvmi, ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

/* Kicked again and again, and KVM_RUN called again and again. */
KVMI_TEST(kvmi_signal, event_is_kept)
{
	struct kvmi_event ev, next;
	unsigned int i;
	u64 still;

	start_and_pause(f, &ev);
	still = kvmi_read_progress(f->vm, 0);
	for (i = 0; i < 50; i++)
		kick_and_wait(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_read_progress(f->vm, 0), still);

	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);

	kvmi_stop_vcpu(&f->kvmi, 0, &next);
	TEST_ASSERT_EQ(next.seq, ev.seq + 1);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/* Nobody is in KVM_RUN when the reply comes; the next KVM_RUN finds it. */
KVMI_TEST(kvmi_signal, reply_while_outside)
{
	struct kvmi_event ev;

	start_and_pause(f, &ev);
	kvmi_stop(&f->runner);

	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_ping(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
}

/* The other way round: KVM_RUN first. */
KVMI_TEST(kvmi_signal, reply_after_return)
{
	struct kvmi_event ev;
	u64 still;

	start_and_pause(f, &ev);
	still = kvmi_read_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_start(&f->runner, f->vcpu);
	kick_and_wait(&f->runner);
	TEST_ASSERT_EQ(kvmi_read_progress(f->vm, 0), still);
	kvmi_expect_quiet(&f->kvmi);
	let_go(f, &ev);
}

/* CRASH that came meanwhile. */
KVMI_TEST(kvmi_signal, crash_while_outside)
{
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_stop(&f->runner);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_ping(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
}

/* Registers stored in the event survive the signal. */
KVMI_TEST(kvmi_signal, registers_are_kept)
{
	struct kvmi_event ev, next;
	struct kvm_regs regs;

	start_and_pause(f, &ev);
	regs = ev.vcpu.arch.regs;
	/* The guest's loop uses neither. */
	regs.r14 = 0x1414141414141414;
	regs.r15 = 0x1515151515151515;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kick_and_wait(&f->runner);
	kick_and_wait(&f->runner);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop_vcpu(&f->kvmi, 0, &next);
	TEST_ASSERT_EQ(next.vcpu.arch.regs.r14, regs.r14);
	TEST_ASSERT_EQ(next.vcpu.arch.regs.r15, regs.r15);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/*
 * Userspace writes state in between: the event is over, what the tool stored
 * is dropped, and its late reply is ignored.
 */
KVMI_TEST(kvmi_signal, userspace_writes_state)
{
	struct kvm_regs regs, stored;
	struct kvmi_event ev, next;

	start_and_pause(f, &ev);
	stored = ev.vcpu.arch.regs;
	stored.r15 = 0xbad;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &stored), 0);
	kvmi_stop(&f->runner);

	vcpu_regs_get(f->vcpu, &regs);
	regs.r15 = 0x900d;
	vcpu_regs_set(f->vcpu, &regs);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_ping(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);

	kvmi_stop_vcpu(&f->kvmi, 0, &next);
	TEST_ASSERT_EQ(next.vcpu.arch.regs.r15, 0x900d);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/* The same when the reply is already there. */
KVMI_TEST(kvmi_signal, userspace_writes_state_after_reply)
{
	struct kvmi_event ev, next;
	struct kvm_regs regs;

	start_and_pause(f, &ev);
	kvmi_stop(&f->runner);

	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_ping(&f->kvmi);
	vcpu_regs_get(f->vcpu, &regs);
	vcpu_regs_set(f->vcpu, &regs);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop_vcpu(&f->kvmi, 0, &next);
	TEST_ASSERT_EQ(next.seq, ev.seq + 1);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/* Every way of writing it counts, and no way of reading. */
static const struct {
	const char *name;
	unsigned long get;
	unsigned long set;
	long cap;
} state_ioctls[] = {
	{ "REGS", KVM_GET_REGS, KVM_SET_REGS },
	{ "SREGS", KVM_GET_SREGS, KVM_SET_SREGS },
	{ "SREGS2", KVM_GET_SREGS2, KVM_SET_SREGS2, KVM_CAP_SREGS2 },
	{ "VCPU_EVENTS", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS },
	{ "MP_STATE", KVM_GET_MP_STATE, KVM_SET_MP_STATE },
	{ "XSAVE", KVM_GET_XSAVE, KVM_SET_XSAVE, KVM_CAP_XSAVE },
	{ "FPU", KVM_GET_FPU, KVM_SET_FPU },
	{ "XCRS", KVM_GET_XCRS, KVM_SET_XCRS, KVM_CAP_XCRS },
	{ "DEBUGREGS", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS },
};

/* Read one kind of state, and write it back as it is if asked to. */
static void copy_state(struct kvm_vcpu *vcpu, unsigned int i, bool write)
{
	u8 state[sizeof(struct kvm_xsave)];
	int ret;

	ret = ioctl(vcpu->fd, state_ioctls[i].get, state);
	TEST_ASSERT(!ret, "KVM_GET_%s: %d", state_ioctls[i].name, errno);
	if (!write)
		return;
	ret = ioctl(vcpu->fd, state_ioctls[i].set, state);
	TEST_ASSERT(!ret, "KVM_SET_%s: %d", state_ioctls[i].name, errno);
}

static void write_msrs(struct kvm_vcpu *vcpu)
{
	vcpu_set_msr(vcpu, MSR_LSTAR, 0x1000);
}

static void write_sync_regs(struct kvm_vcpu *vcpu)
{
	vcpu_regs_get(vcpu, &vcpu->run->s.regs.regs);
	vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
}

/* In an event, before and after @write: the event is over. */
static void event_ends(struct kvmi_fixture *f, const char *name,
		       void (*write)(struct kvm_vcpu *vcpu), unsigned int i)
{
	struct kvmi_event ev;

	ksft_print_msg("%s\n", name);
	start_and_pause(f, &ev);
	kvmi_stop(&f->runner);
	if (write)
		write(f->vcpu);
	else
		copy_state(f->vcpu, i, true);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_signal, each_way_of_writing_state)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(state_ioctls); i++) {
		if (state_ioctls[i].cap && !kvm_has_cap(state_ioctls[i].cap))
			continue;
		event_ends(f, state_ioctls[i].name, NULL, i);
	}
	event_ends(f, "MSRS", write_msrs, 0);
	if (kvm_has_cap(KVM_CAP_SYNC_REGS))
		event_ends(f, "sync_regs", write_sync_regs, 0);
}

KVMI_TEST(kvmi_signal, reading_state_ends_nothing)
{
	struct kvmi_event ev;
	unsigned int i;
	u64 still;

	start_and_pause(f, &ev);
	still = kvmi_read_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	for (i = 0; i < ARRAY_SIZE(state_ioctls); i++) {
		if (state_ioctls[i].cap && !kvm_has_cap(state_ioctls[i].cap))
			continue;
		copy_state(f->vcpu, i, false);
	}
	vcpu_get_msr(f->vcpu, MSR_LSTAR);
	kvmi_start(&f->runner, f->vcpu);
	kick_and_wait(&f->runner);
	TEST_ASSERT_EQ(kvmi_read_progress(f->vm, 0), still);
	let_go(f, &ev);
}

/* Commands sent while the vCPU is outside are answered when it is back. */
KVMI_TEST(kvmi_signal, commands_while_outside)
{
	struct kvmi_vcpu_get_info_reply info;
	struct kvmi_event ev;
	unsigned int i;
	u32 seq[20];

	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_stop(&f->runner);
	for (i = 0; i < ARRAY_SIZE(seq); i++)
		seq[i] = kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, NULL,
					0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < ARRAY_SIZE(seq); i++)
		kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_VCPU_GET_INFO,
						seq[i], &info, sizeof(info)),
				0);
	let_go(f, &ev);
}

/* A storm of signals while commands and events go to and fro. */
KVMI_TEST(kvmi_signal, storm)
{
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvmi_event ev;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 300; i++) {
		kvmi_kick(&f->runner);
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, i & 1), 0);
		kvmi_kick(&f->runner);
		kvmi_recv_pause(&f->kvmi, 0, &ev);
		TEST_ASSERT_EQ(ev.seq, i + 1);
		kvmi_kick(&f->runner);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
}

KVMI_TEST_MAIN
