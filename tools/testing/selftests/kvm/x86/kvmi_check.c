// SPDX-License-Identifier: GPL-2.0-only
/* VM_CHECK_COMMAND and VM_CHECK_EVENT: what exists and what is allowed. */
#include "kvmi_test.h"

#define MAX_ID 64

KVMI_SUITE(kvmi_check, 1);

static int check_command(struct kvmi *k, u16 id)
{
	struct kvmi_vm_check_command req = { .id = id };

	return kvmi_command(k, KVMI_VM_CHECK_COMMAND, &req, sizeof(req), NULL,
			    0);
}

static int check_event(struct kvmi *k, u16 id)
{
	struct kvmi_vm_check_event req = { .id = id };

	return kvmi_command(k, KVMI_VM_CHECK_EVENT, &req, sizeof(req), NULL, 0);
}

/* What CHECK_COMMAND owes for @id if only @allowed (and no other) is. */
static int command_answer(u16 id, int allowed)
{
	const struct kvmi_message *m = kvmi_find_message(id);

	if (!m)
		return -KVMI_ENOENT;
	return m->always_allowed || id == allowed ? 0 : -KVMI_EPERM;
}

KVMI_TEST(kvmi_check, every_command)
{
	unsigned int id;

	for (id = 0; id <= MAX_ID; id++)
		kvmi_assert_err(check_command(&f->kvmi, id),
				kvmi_find_message(id) ? 0 : -KVMI_ENOENT);
	kvmi_assert_err(check_command(&f->kvmi, 0xffff), -KVMI_ENOENT);
	kvmi_assert_err(check_command(&f->kvmi, 0x8002), -KVMI_ENOENT);
}

KVMI_TEST(kvmi_check, every_event)
{
	unsigned int id;

	for (id = 0; id <= MAX_ID; id++)
		kvmi_assert_err(check_event(&f->kvmi, id),
				kvmi_known_event(id) ? 0 : -KVMI_ENOENT);
	kvmi_assert_err(check_event(&f->kvmi, 0xffff), -KVMI_ENOENT);
	kvmi_assert_err(check_event(&f->kvmi, 0x8001), -KVMI_ENOENT);
}

/* After HOOK: the three commands that are always allowed and no event. */
KVMI_TEST(kvmi_check, initial_masks)
{
	struct kvmi k;
	unsigned int id;
	int sv[2];

	kvmi_unhook(f->vm);
	kvmi_socketpair(sv);
	kvmi_attach(&k, f->vm, sv[0], sv[1]);

	for (id = 0; id <= MAX_ID; id++) {
		kvmi_assert_err(check_command(&k, id), command_answer(id, -1));
		kvmi_assert_err(check_event(&k, id), kvmi_known_event(id) ?
				-KVMI_EPERM : -KVMI_ENOENT);
	}
	kvmi_close(&k);
}

/* One bit of the mask at a time: it stands for its command and no other. */
KVMI_TEST(kvmi_check, command_masks)
{
	const struct kvmi_message *m;
	unsigned int id;

	kvmi_for_each_message(m) {
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), 0);
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, m->id, 1), 0);
		for (id = 0; id <= MAX_ID; id++)
			kvmi_assert_err(check_command(&f->kvmi, id),
					command_answer(id, m->id));
	}

	kvmi_for_each_message(m) {
		if (m->always_allowed)
			continue;
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 1), 0);
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, m->id, 0), 0);
		for (id = 0; id <= MAX_ID; id++) {
			int want = !kvmi_find_message(id) ? -KVMI_ENOENT :
				   id == m->id ? -KVMI_EPERM : 0;

			kvmi_assert_err(check_command(&f->kvmi, id), want);
		}
	}
}

KVMI_TEST(kvmi_check, event_masks)
{
	unsigned int bit, id;

	for (bit = 0; bit <= MAX_ID; bit++) {
		if (!kvmi_known_event(bit))
			continue;
		kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), 0);
		kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, bit, 1), 0);
		for (id = 0; id <= MAX_ID; id++) {
			int want = !kvmi_known_event(id) ? -KVMI_ENOENT :
				   id == bit ? 0 : -KVMI_EPERM;

			kvmi_assert_err(check_event(&f->kvmi, id), want);
		}
	}
}

/* Padding comes first, also for an id that does not exist. */
KVMI_TEST(kvmi_check, padding_before_id)
{
	struct kvmi_vm_check_command command = { .id = 0xffff, .padding1 = 1 };
	struct kvmi_vm_check_event event = { .id = 0xffff, .padding2 = 1 };

	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CHECK_COMMAND, &command,
				     sizeof(command), NULL, 0), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CHECK_EVENT, &event,
				     sizeof(event), NULL, 0), -KVMI_EINVAL);
}

KVMI_TEST_MAIN
