// SPDX-License-Identifier: GPL-2.0-only
/*
 * PREUNHOOK to a tool that does not read: what waits for it is bounded, what
 * was accepted arrives, and what was refused does not.
 */
#include "kvmi_test.h"

/* Beyond so many unsent bytes nothing more is accepted. */
#define FULL		65536
#define EVENT_SIZE	(sizeof(struct kvmi_msg_hdr) + sizeof(struct kvmi_event_hdr))

KVMI_UNHOOKED_SUITE(kvmi_preunhook, 1);

/* Returns how many events there can be: in the socket, and waiting for it. */
static unsigned int start(struct kvmi_fixture *f)
{
	struct kvmi_vm_control_events req = {
		.event_id = KVMI_VM_EVENT_UNHOOK,
		.enable = 1,
	};
	socklen_t len = sizeof(int);
	int sv[2], buffer;

	kvmi_socketpair(sv);
	TEST_ASSERT(!getsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &buffer, &len),
		    "getsockopt() failed");
	kvmi_attach(&f->kvmi, f->vm, sv[0], sv[1]);
	kvmi_allow_all(f->vm);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CONTROL_EVENTS, &req,
				     sizeof(req), NULL, 0), 0);
	return (buffer + FULL) / EVENT_SIZE + 1;
}

/* Returns how many were accepted before the first that was not. */
static unsigned int flood(struct kvmi_fixture *f, unsigned int max)
{
	unsigned int n, i;
	int err;

	for (n = 0; !(err = kvmi_ioctl_preunhook(f->vm->fd)); n++)
		TEST_ASSERT(n < max, "PREUNHOOK without end: %u events", n);
	kvmi_assert_err(err, -EBUSY);
	TEST_ASSERT(n > FULL / EVENT_SIZE, "Full after %u events", n);
	for (i = 0; i < 100; i++)
		kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -EBUSY);
	return n;
}

KVMI_TEST(kvmi_preunhook, flood)
{
	unsigned int max = start(f), round, n, i;
	u32 seq = 0;

	kvmi_start(&f->runner, f->vcpu);
	for (round = 0; round < 3; round++) {
		n = flood(f, max);
		/* Nobody waits for the tool. */
		kvmi_wait_progress(f->vm, 0);
		for (i = 0; i < n; i++)
			kvmi_recv_unhook_event(&f->kvmi, ++seq);
		/* None of those that were refused. */
		kvmi_expect_quiet(&f->kvmi);
		kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
		kvmi_recv_unhook_event(&f->kvmi, ++seq);
	}
	kvmi_stop(&f->runner);
}

/* The tool asks in between: answered when it has read what came before. */
KVMI_TEST(kvmi_preunhook, commands_wait)
{
	unsigned int max = start(f), n, i;
	struct kvmi_get_version_reply reply;
	u32 seq;

	n = flood(f, max);
	seq = kvmi_send(&f->kvmi, KVMI_GET_VERSION, NULL, 0);
	for (i = 0; i < n; i++)
		kvmi_recv_unhook_event(&f->kvmi, i + 1);
	kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_GET_VERSION, seq, &reply,
					sizeof(reply)), 0);
	kvmi_expect_quiet(&f->kvmi);
}

/* UNHOOK, and the tool's death, throw away what waits. */
KVMI_TEST(kvmi_preunhook, flood_and_over)
{
	unsigned int n, max = start(f);

	n = flood(f, max);
	kvmi_unhook(f->vm);
	/* Only what the socket had taken. */
	TEST_ASSERT(kvmi_drain_until_closed(&f->kvmi) < n,
		    "All events were in the socket");
	kvmi_close(&f->kvmi);

	max = start(f);
	flood(f, max);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -ENOENT);
	start(f);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
	kvmi_recv_unhook_event(&f->kvmi, 1);
}

KVMI_TEST_MAIN
