// SPDX-License-Identifier: GPL-2.0-only
/*
 * Disallowed commands: -KVM_EPERM, whatever the payload looks like.  The
 * vCPU never runs here: a refusal does not need it.
 */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_permissions, 1);

static int send_and_recv(struct kvmi *k, u16 id, const void *data, size_t size)
{
	struct kvmi_error_code ec;
	struct kvmi_msg *msg;

	msg = __kvmi_recv_reply(k, kvmi_send(k, id, data, size));
	TEST_ASSERT(msg, "The session ended after command %u", id);
	TEST_ASSERT_EQ(msg->hdr.id, id);
	memcpy(&ec, msg->data, sizeof(ec));
	free(msg);
	return ec.err;
}

KVMI_TEST(kvmi_permissions, whatever_the_payload)
{
	const struct kvmi_message *m;
	u8 garbage[KVMI_MAX_MSG_SIZE];
	unsigned int size;

	memset(garbage, 0xff, sizeof(garbage));
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), 0);

	kvmi_for_each_message(m) {
		if (m->always_allowed)
			continue;
		kvmi_assert_err(send_and_recv(&f->kvmi, m->id, m->sample,
					      m->request), -KVMI_EPERM);
		for (size = 0; size <= m->request + 1u; size++)
			kvmi_assert_err(send_and_recv(&f->kvmi, m->id, garbage,
						      size), -KVMI_EPERM);
		kvmi_assert_err(send_and_recv(&f->kvmi, m->id, garbage,
					      sizeof(garbage)), -KVMI_EPERM);
	}
	kvmi_expect_quiet(&f->kvmi);
}

KVMI_TEST(kvmi_permissions, always_allowed)
{
	const struct kvmi_message *m;

	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), 0);
	kvmi_for_each_message(m) {
		if (!m->always_allowed)
			continue;
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, m->id, 0),
				-EPERM);
		/* CHECK_EVENT may say that its event is not. */
		kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 1), 0);
		kvmi_assert_err(send_and_recv(&f->kvmi, m->id, m->sample,
					      m->request), 0);
	}
}

/* Unknown comes before disallowed. */
KVMI_TEST(kvmi_permissions, unknown_first)
{
	unsigned int id;

	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), 0);
	for (id = 0; id <= 64; id++)
		if (id != KVMI_VCPU_EVENT && !kvmi_find_message(id))
			kvmi_assert_err(send_and_recv(&f->kvmi, id, NULL, 0),
					-KVMI_ENOSYS);
}

/* At any time: the mask of the moment at which the command is read. */
KVMI_TEST(kvmi_permissions, during_the_session)
{
	unsigned int i;
	u8 byte;

	for (i = 0; i < 10; i++) {
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd,
						   KVMI_VM_READ_PHYSICAL,
						   i & 1), 0);
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, 0, 1, &byte),
				i & 1 ? 0 : -KVMI_EPERM);
	}
}

/* No permission is needed to answer an event. */
KVMI_TEST(kvmi_permissions, event_reply)
{
	struct kvmi_event ev;

	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), 0);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_ping(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
