// SPDX-License-Identifier: GPL-2.0-only
/*
 * VM_SET_ON_EXIT as a command: what is taken and what is refused.  What comes
 * of it is in kvmi_page_on_exit, kvmi_page_frozen and kvmi_page_on_crash.
 */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_on_exit, 1);

KVMI_TEST(kvmi_on_exit, every_action)
{
	unsigned int action;

	for (action = 0; action <= 0xff; action++)
		kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, action),
				action <= KVMI_ON_EXIT_CRASH ? 0 : -KVMI_EINVAL);
	kvmi_ping(&f->kvmi);
}

KVMI_TEST(kvmi_on_exit, padding)
{
	struct kvmi_vm_set_on_exit req;
	unsigned int i;

	for (i = 0; i < sizeof(req.padding); i++) {
		memset(&req, 0, sizeof(req));
		req.padding[i] = 1;
		kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_SET_ON_EXIT, &req,
					     sizeof(req), NULL, 0),
				-KVMI_EINVAL);
	}
	kvmi_ping(&f->kvmi);
}

KVMI_TEST(kvmi_on_exit, permission)
{
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, KVMI_VM_SET_ON_EXIT, 0), 0);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_RELEASE),
			-KVMI_EPERM);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_FREEZE),
			-KVMI_EPERM);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);

	/* It is asked when the command comes, not when the tool dies. */
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, 0, KVMI_PAGE_ACCESS_R), 0);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_FREEZE), 0);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, KVMI_VM_SET_ON_EXIT, 0), 0);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_FROZEN);
}

static u64 restricted_frames(struct kvmi_fixture *f)
{
	return vm_get_stat(f->vm, kvmi_restricted_frames);
}

/* Page 0, which nobody touches, and then the tool is gone. */
static void die_as(struct kvmi_fixture *f, int action, enum kvmi_state state)
{
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, 0, KVMI_PAGE_ACCESS_R), 0);
	if (action >= 0)
		kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, action), 0);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == state);
	TEST_ASSERT_EQ(restricted_frames(f), state == KVMI_FROZEN);
}

KVMI_TEST(kvmi_on_exit, release_is_the_default)
{
	die_as(f, -1, KVMI_DEAD);
}

KVMI_TEST(kvmi_on_exit, release)
{
	die_as(f, KVMI_ON_EXIT_RELEASE, KVMI_DEAD);
}

KVMI_TEST(kvmi_on_exit, freeze)
{
	die_as(f, KVMI_ON_EXIT_FREEZE, KVMI_FROZEN);
}

/* Where nothing is restricted nothing freezes. */
KVMI_TEST(kvmi_on_exit, nothing_to_freeze)
{
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_FREEZE), 0);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
}

/* Nor where it was, and is no more. */
KVMI_TEST(kvmi_on_exit, nothing_left_to_freeze)
{
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_FREEZE), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, 0, KVMI_PAGE_ACCESS_R), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, 0, 7), 0);
	TEST_ASSERT_EQ(restricted_frames(f), 0);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
}

/* The last one counts, and one that is refused is none. */
KVMI_TEST(kvmi_on_exit, the_last_one_counts)
{
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_FREEZE), 0);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_CRASH), 0);
	die_as(f, KVMI_ON_EXIT_RELEASE, KVMI_DEAD);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_FREEZE), 0);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, 3), -KVMI_EINVAL);
	die_as(f, -1, KVMI_FROZEN);
}

/* Another session's choice is not this one's. */
KVMI_TEST(kvmi_on_exit, is_the_sessions)
{
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, KVMI_ON_EXIT_FREEZE), 0);
	kvmi_unhook(f->vm);
	kvmi_close(&f->kvmi);
	kvmi_hook(&f->kvmi, f->vm);
	die_as(f, -1, KVMI_DEAD);
}

/* UNHOOK releases, whatever was chosen. */
KVMI_TEST(kvmi_on_exit, unhook_releases)
{
	int action;

	for (action = KVMI_ON_EXIT_RELEASE; action <= KVMI_ON_EXIT_CRASH; action++) {
		kvmi_assert_err(kvmi_set_page_access(&f->kvmi, 0,
						     KVMI_PAGE_ACCESS_R), 0);
		kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, action), 0);
		TEST_ASSERT_EQ(restricted_frames(f), 1);
		kvmi_unhook(f->vm);
		TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
		TEST_ASSERT_EQ(restricted_frames(f), 0);
		kvmi_close(&f->kvmi);
		kvmi_hook(&f->kvmi, f->vm);
	}
}

/* It says who it was, as of any session that is dead. */
KVMI_TEST(kvmi_on_exit, fdinfo_names_the_dead)
{
	char *before = kvmi_fdinfo(f->vm->fd, "kvmi-uuid"), *after;

	die_as(f, KVMI_ON_EXIT_FREEZE, KVMI_FROZEN);
	after = kvmi_fdinfo(f->vm->fd, "kvmi-uuid");
	TEST_ASSERT(before && after && !strcmp(before, after), "The uuid is %s",
		    after);
	free(before);
	free(after);
	kvmi_unhook(f->vm);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
	TEST_ASSERT_EQ(restricted_frames(f), 0);
}

KVMI_TEST_MAIN
