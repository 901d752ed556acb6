// SPDX-License-Identifier: GPL-2.0-only
/* Two vCPUs at once: events side by side, commands in order per vCPU. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_two_vcpus, 2);

static void start(struct kvmi_fixture *f, struct kvmi_runner *runners)
{
	kvmi_start(&runners[0], f->vcpus[0]);
	kvmi_start(&runners[1], f->vcpus[1]);
}

static void stop(struct kvmi_runner *runners)
{
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

/* Both events, whichever came first, indexed by vCPU. */
static void recv_both(struct kvmi *k, struct kvmi_event *ev)
{
	struct kvmi_event got;
	unsigned int i, seen = 0;

	for (i = 0; i < 2; i++) {
		kvmi_recv_event(k, &got);
		TEST_ASSERT_EQ(got.event, KVMI_VCPU_EVENT_PAUSE);
		TEST_ASSERT(got.vcpu.vcpu < 2, "vCPU %u", got.vcpu.vcpu);
		ev[got.vcpu.vcpu] = got;
		seen |= BIT(got.vcpu.vcpu);
	}
	TEST_ASSERT_EQ(seen, 3);
	TEST_ASSERT(ev[0].seq != ev[1].seq, "Two events with one seq");
}

/* Answered in either order; the other vCPU stays where it is. */
KVMI_TEST(kvmi_two_vcpus, events_at_the_same_time)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2];
	unsigned int i, first;
	u64 still;

	start(f, runners);
	for (i = 0; i < 50; i++) {
		first = i & 1;
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, !!(i & 2)), 0);
		kvmi_assert_err(kvmi_pause(&f->kvmi, 1, !!(i & 4)), 0);
		recv_both(&f->kvmi, ev);
		TEST_ASSERT_EQ(ev[0].seq + ev[1].seq, 4 * i + 3);

		still = kvmi_read_progress(f->vm, !first);
		kvmi_reply(&f->kvmi, &ev[first], KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_progress(f->vm, first);
		TEST_ASSERT_EQ(kvmi_read_progress(f->vm, !first), still);
		kvmi_reply(&f->kvmi, &ev[!first], KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_progress(f->vm, !first);
	}
	stop(runners);
	kvmi_expect_quiet(&f->kvmi);
}

/* The reply of one is not that of the other. */
KVMI_TEST(kvmi_two_vcpus, replies_crossed)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2];
	struct kvmi_reply_msg msg;

	start(f, runners);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 1, 0), 0);
	recv_both(&f->kvmi, ev);
	kvmi_build_reply(&msg, &ev[0], KVMI_EVENT_ACTION_CONTINUE);
	msg.hdr.seq = ev[1].seq;
	kvmi_send_raw(&f->kvmi, &msg, sizeof(msg));
	kvmi_expect_closed(&f->kvmi);
	/* Both are released. */
	kvmi_wait_progress(f->vm, 0);
	kvmi_wait_progress(f->vm, 1);
	stop(runners);
}

/* One crashes; that is its own affair. */
KVMI_TEST(kvmi_two_vcpus, one_crashes)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2];

	start(f, runners);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 1, 0), 0);
	recv_both(&f->kvmi, ev);
	kvmi_reply(&f->kvmi, &ev[1], KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&runners[1]);
	TEST_ASSERT_EQ(runners[1].exit_reason, KVM_EXIT_SHUTDOWN);
	kvmi_reply(&f->kvmi, &ev[0], KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&runners[0]);
}

/*
 * Many commands to both, interleaved: each vCPU's answers come in its order,
 * each exactly once, and VM commands are answered too.
 */
KVMI_TEST(kvmi_two_vcpus, order)
{
	const unsigned int n = 300;
	struct kvmi_runner runners[2];
	unsigned int i, vcpu, got[3] = {};
	struct kvmi_msg *msg;

	start(f, runners);
	/* seq = 3 * i + whom: vCPU 0, vCPU 1 or the VM. */
	f->kvmi.seq = -1;
	for (i = 0; i < n; i++) {
		kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, NULL, 0);
		kvmi_send_vcpu(&f->kvmi, 1, KVMI_VCPU_GET_INFO, NULL, 0);
		kvmi_send(&f->kvmi, KVMI_VM_GET_INFO, NULL, 0);
	}
	for (i = 0; i < 3 * n; i++) {
		msg = kvmi_recv(&f->kvmi);
		TEST_ASSERT(msg, "The session ended");
		vcpu = msg->hdr.seq % 3;
		TEST_ASSERT_EQ(msg->hdr.id, vcpu == 2 ? KVMI_VM_GET_INFO :
			       KVMI_VCPU_GET_INFO);
		TEST_ASSERT_EQ(msg->hdr.seq, 3 * got[vcpu] + vcpu);
		got[vcpu]++;
		free(msg);
	}
	f->kvmi.seq = 0x10000;
	stop(runners);
	kvmi_expect_quiet(&f->kvmi);
}

/* A vCPU that does not run holds up neither the other nor the VM. */
KVMI_TEST(kvmi_two_vcpus, one_does_not_run)
{
	struct kvmi_vcpu_get_info_reply info;
	struct kvmi_event ev;
	unsigned int i;
	u32 seq;

	seq = kvmi_send_vcpu(&f->kvmi, 1, KVMI_VCPU_GET_INFO, NULL, 0);
	kvmi_start(&f->runner, f->vcpus[0]);
	for (i = 0; i < 20; i++) {
		kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0,
						  KVMI_VCPU_GET_INFO, NULL, 0,
						  &info, sizeof(info)), 0);
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		TEST_ASSERT_EQ(kvmi_vcpu_count(&f->kvmi), 2);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);

	kvmi_start(&f->runner, f->vcpus[1]);
	kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_VCPU_GET_INFO, seq,
					&info, sizeof(info)), 0);
	kvmi_stop(&f->runner);
}

/* The index counts in the order of creation, whatever the ids are. */
KVMI_TEST(kvmi_two_vcpus, index_is_not_id)
{
	struct kvm_vcpu *third = vm_vcpu_add(f->vm, 9, kvmi_guest_count);
	struct kvmi_event ev;

	vcpu_args_set(third, 1, 2);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 9, 0), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 2, 0), 0);
	kvmi_start(&f->runner, third);
	kvmi_recv_pause(&f->kvmi, 2, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 2);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
