// SPDX-License-Identifier: GPL-2.0-only
/* Replies to a vCPU event that are not as they should be. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_reply, 2);

/* Into a PAUSE event of vCPU 0. */
static void start(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop_vcpu(&f->kvmi, 0, ev);
}

/* The session ended; the guest goes on, and the VM can be hooked again. */
static void finish(struct kvmi_fixture *f)
{
	kvmi_expect_closed(&f->kvmi);
	kvmi_close(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
}

static void assert_ends(struct kvmi_fixture *f,
			void (*spoil)(struct kvmi_reply_msg *, unsigned int),
			unsigned int arg)
{
	struct kvmi_reply_msg msg;
	struct kvmi_event ev;

	start(f, &ev);
	kvmi_build_reply(&msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
	spoil(&msg, arg);
	kvmi_send_raw(&f->kvmi, &msg, sizeof(msg));
	finish(f);
}

static void set_seq(struct kvmi_reply_msg *msg, unsigned int seq)
{
	msg->hdr.seq += seq;
}

KVMI_TEST(kvmi_reply, wrong_seq)
{
	assert_ends(f, set_seq, 1);
	assert_ends(f, set_seq, -1);
	assert_ends(f, set_seq, 0x80000000);
}

static void set_padding(struct kvmi_reply_msg *msg, unsigned int byte)
{
	((u8 *)&msg->reply)[byte] = 1;
}

KVMI_TEST(kvmi_reply, padding)
{
	unsigned int i;

	for (i = offsetof(struct kvmi_vcpu_event_reply, padding1);
	     i < sizeof(struct kvmi_vcpu_event_reply); i++)
		assert_ends(f, set_padding, i);
}

static void set_event(struct kvmi_reply_msg *msg, unsigned int event)
{
	msg->reply.event = event;
}

KVMI_TEST(kvmi_reply, wrong_event)
{
	assert_ends(f, set_event, KVMI_VM_EVENT_UNHOOK);
	assert_ends(f, set_event, KVMI_VCPU_EVENT_HYPERCALL);
	assert_ends(f, set_event, 0xff);
}

static void set_action(struct kvmi_reply_msg *msg, unsigned int action)
{
	msg->reply.action = action;
}

KVMI_TEST(kvmi_reply, unsupported_action)
{
	assert_ends(f, set_action, KVMI_EVENT_ACTION_RETRY);
	assert_ends(f, set_action, KVMI_EVENT_ACTION_CRASH + 1);
	assert_ends(f, set_action, 0xff);
}

/* A header that belongs to no vCPU in an event: its reply is none. */
static void set_vcpu(struct kvmi_reply_msg *msg, unsigned int vcpu)
{
	msg->vcpu.vcpu = vcpu;
}

KVMI_TEST(kvmi_reply, vcpu_that_waits_for_nothing)
{
	struct kvmi_runner other;

	/* Whether it runs or not. */
	assert_ends(f, set_vcpu, 1);
	kvmi_start(&other, f->vcpus[1]);
	assert_ends(f, set_vcpu, 1);
	kvmi_stop(&other);
}

KVMI_TEST(kvmi_reply, wrong_size)
{
	static const unsigned int sizes[] = { 8, 9, 15, 17, 24, 32 };
	struct {
		struct kvmi_reply_msg msg;
		u8 more[64];
	} buf;
	struct kvmi_event ev;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		start(f, &ev);
		memset(&buf, 0, sizeof(buf));
		kvmi_build_reply(&buf.msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
		buf.msg.hdr.size = sizes[i];
		kvmi_send_raw(&f->kvmi, &buf,
			      sizeof(struct kvmi_msg_hdr) + sizes[i]);
		finish(f);
	}
}

/* Not even the header that names the vCPU, whatever is in what there is. */
KVMI_TEST(kvmi_reply, shorter_than_vcpu_header)
{
	struct kvmi_reply_msg msg;
	struct kvmi_event ev;
	unsigned int size;

	for (size = 0; size < sizeof(msg.vcpu); size++) {
		start(f, &ev);
		kvmi_build_reply(&msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
		msg.hdr.size = size;
		kvmi_send_raw(&f->kvmi, &msg, sizeof(msg.hdr) + size);
		finish(f);
	}

	/* The bytes that there are name no vCPU. */
	for (size = 1; size < sizeof(msg.vcpu); size++) {
		start(f, &ev);
		kvmi_build_reply(&msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
		memset(&msg.vcpu, 0xff, sizeof(msg.vcpu));
		msg.hdr.size = size;
		kvmi_send_raw(&f->kvmi, &msg, sizeof(msg.hdr) + size);
		finish(f);
	}

	/* Nobody waits for one. */
	kvmi_start(&f->runner, f->vcpu);
	msg = (struct kvmi_reply_msg) { .hdr.id = KVMI_VCPU_EVENT };
	kvmi_send_raw(&f->kvmi, &msg, sizeof(msg.hdr));
	finish(f);
}

/*
 * A bad vCPU header is answered like that of a command, and the vCPU waits
 * on.
 */
KVMI_TEST(kvmi_reply, bad_vcpu_header)
{
	struct kvmi_reply_msg msg;
	struct kvmi_event ev;
	unsigned int i;

	start(f, &ev);
	for (i = 0; i < sizeof(struct kvmi_vcpu_hdr); i++) {
		kvmi_build_reply(&msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
		/* In the index: far beyond the two there are. */
		((u8 *)&msg.vcpu)[i] = 0x80;
		kvmi_send_raw(&f->kvmi, &msg, sizeof(msg));
		kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_VCPU_EVENT,
						ev.seq, NULL, 0),
				-KVMI_EINVAL);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_ping(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_reply, twice)
{
	struct kvmi_reply_msg msg[2];
	struct kvmi_event ev;

	start(f, &ev);
	kvmi_build_reply(&msg[0], &ev, KVMI_EVENT_ACTION_CONTINUE);
	msg[1] = msg[0];
	kvmi_send_raw(&f->kvmi, msg, sizeof(msg));
	finish(f);

	start(f, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	finish(f);
}

KVMI_TEST(kvmi_reply, before_any_event)
{
	struct kvmi_event ev = {
		.seq = 1,
		.event = KVMI_VCPU_EVENT_PAUSE,
	};

	kvmi_start(&f->runner, f->vcpu);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	finish(f);

	/* Nor does an accepted request make it an event yet. */
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_start(&f->runner, f->vcpu);
	finish(f);
}

/* What comes behind an invalid reply is not looked at. */
KVMI_TEST(kvmi_reply, valid_after_invalid)
{
	struct kvmi_reply_msg msg[2];
	struct kvmi_event ev;

	start(f, &ev);
	kvmi_build_reply(&msg[0], &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_build_reply(&msg[1], &ev, KVMI_EVENT_ACTION_CRASH);
	msg[0].hdr.seq += 7;
	kvmi_send_raw(&f->kvmi, msg, sizeof(msg));
	finish(f);
}

KVMI_TEST_MAIN
