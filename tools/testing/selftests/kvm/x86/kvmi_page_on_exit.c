// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tool dies while pages are restricted: they are released, or stay until
 * the next tool.  In whichever way it dies.
 */
#include "kvmi_on_exit.h"

KVMI_SUITE(kvmi_page_on_exit, NR);

enum way {
	CLOSES,
	BREAKS_THE_PROTOCOL,
	IS_KILLED,
};

/* A process that has the socket, and nothing of the VM. */
static pid_t start_holder(struct kvmi_fixture *f)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		kvm_close(f->vm->fd);
		for (;;)
			pause();
	}
	kvmi_close(&f->kvmi);
	return pid;
}

static void die_by(struct kvmi_fixture *f, enum way way, enum kvmi_state state)
{
	struct kvmi_msg_hdr hdr = {
		.id = KVMI_GET_VERSION,
		.size = KVMI_MAX_MSG_SIZE + 1,
	};
	pid_t pid;

	switch (way) {
	case CLOSES:
		kvmi_close(&f->kvmi);
		break;
	case BREAKS_THE_PROTOCOL:
		kvmi_send_raw(&f->kvmi, &hdr, sizeof(hdr));
		kvmi_expect_closed(&f->kvmi);
		break;
	case IS_KILLED:
		pid = start_holder(f);
		kill(pid, SIGKILL);
		TEST_ASSERT(waitpid(pid, NULL, 0) == pid, "waitpid() failed");
		break;
	}
	kvmi_wait_until(kvmi_state(f->vm->fd) == state);
	if (way == BREAKS_THE_PROTOCOL)
		kvmi_close(&f->kvmi);
}

/* vCPU 0 waits for the answer to its store, and vCPU 1 has not come to it. */
static void begin(struct kvmi_fixture *f, int action)
{
	struct kvmi_event ev;

	start(f);
	restrict_pages(f);
	if (action >= 0)
		kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, action), 0);
	order(f, 0);
	expect_pf(f, &ev, 0);
}

static void released(struct kvmi_fixture *f, int action, enum way way)
{
	begin(f, action);
	die_by(f, way, KVMI_DEAD);
	expect_stored(f, 0);
	expect_state(f, KVMI_DEAD, 0);
	order(f, 1);
	expect_stored(f, 1);
	stop();
}

KVMI_TEST(kvmi_page_on_exit, release_by_default)
{
	released(f, -1, CLOSES);
}

KVMI_TEST(kvmi_page_on_exit, release_closed)
{
	released(f, RELEASE, CLOSES);
}

KVMI_TEST(kvmi_page_on_exit, release_protocol)
{
	released(f, RELEASE, BREAKS_THE_PROTOCOL);
}

KVMI_TEST(kvmi_page_on_exit, release_killed)
{
	released(f, RELEASE, IS_KILLED);
}

/* Hook again, and only then have the events of vCPU @i. */
static void take_over(struct kvmi_fixture *f, unsigned int i)
{
	struct kvmi_event ev;

	kvmi_hook(&f->kvmi, f->vm);
	expect_state(f, KVMI_ACTIVE, NR);
	kvmi_ping(&f->kvmi);
	kvmi_expect_quiet(&f->kvmi);
	expect_frozen(f, i);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, i, KVMI_VCPU_EVENT_PF, 1), 0);
	expect_pf(f, &ev, i);
	proceed(f, &ev);
	expect_stored(f, i);
	kvmi_expect_quiet(&f->kvmi);
	expect_state(f, KVMI_ACTIVE, NR);
}

/* Whoever waits at the death, and whoever comes later. */
static void frozen(struct kvmi_fixture *f, enum way way)
{
	begin(f, FREEZE);
	die_by(f, way, KVMI_FROZEN);
	expect_state(f, KVMI_FROZEN, NR);
	expect_frozen(f, 0);
	kvmi_wait_progress(f->vm, 1);
	order(f, 1);
	expect_frozen(f, 1);
	expect_frozen(f, 0);
	expect_state(f, KVMI_FROZEN, NR);

	take_over(f, 0);
	expect_frozen(f, 1);
	kvmi_unhook(f->vm);
	expect_stored(f, 1);
	expect_state(f, KVMI_NONE, 0);
	stop();
}

KVMI_TEST(kvmi_page_on_exit, freeze_closed)
{
	frozen(f, CLOSES);
}

KVMI_TEST(kvmi_page_on_exit, freeze_protocol)
{
	frozen(f, BREAKS_THE_PROTOCOL);
}

KVMI_TEST(kvmi_page_on_exit, freeze_killed)
{
	frozen(f, IS_KILLED);
}

static void freeze(struct kvmi_fixture *f)
{
	begin(f, FREEZE);
	die(f, KVMI_FROZEN);
	expect_frozen(f, 0);
}

/* The next tool gets it anew, each time, and may answer in any way. */
KVMI_TEST(kvmi_page_on_exit, retry_asks_again)
{
	struct kvmi_event ev;

	freeze(f);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	expect_pf(f, &ev, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	expect_pf(f, &ev, 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, PAGE(0), RWX), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	expect_stored(f, 0);
	kvmi_expect_quiet(&f->kvmi);
	expect_state(f, KVMI_ACTIVE, NR - 1);
	stop();
}

/* Without the event, allowing the frame ends the wait. */
KVMI_TEST(kvmi_page_on_exit, an_allowed_frame_is_thawed)
{
	freeze(f);
	order(f, 1);
	expect_frozen(f, 1);
	kvmi_hook(&f->kvmi, f->vm);
	expect_frozen(f, 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, PAGE(0), RWX), 0);
	expect_stored(f, 0);
	expect_frozen(f, 1);
	kvmi_expect_quiet(&f->kvmi);
	expect_state(f, KVMI_ACTIVE, NR - 1);
	stop();
}

/* Each vCPU by itself: the event is turned on by vCPU. */
KVMI_TEST(kvmi_page_on_exit, two_vcpus)
{
	struct kvmi_event ev;

	freeze(f);
	order(f, 1);
	expect_frozen(f, 1);
	take_over(f, 1);
	expect_frozen(f, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	expect_pf(f, &ev, 0);
	proceed(f, &ev);
	expect_stored(f, 0);
	kvmi_expect_quiet(&f->kvmi);
	stop();
}

/* A frozen vCPU answers the next tool, before any event. */
KVMI_TEST(kvmi_page_on_exit, a_frozen_vcpu_answers)
{
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvmi_event ev;

	freeze(f);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
	TEST_ASSERT_EQ(reply.regs.rip, (u64)kvmi_on_exit_store);
	/* And can be paused: behind that it is frozen as before. */
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, (u64)kvmi_on_exit_store);
	proceed(f, &ev);
	expect_frozen(f, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	stop();
}

/* The next tool dies too: that its choice is its own is all that counts. */
KVMI_TEST(kvmi_page_on_exit, the_heir_releases)
{
	freeze(f);
	kvmi_hook(&f->kvmi, f->vm);
	expect_frozen(f, 0);
	die(f, KVMI_DEAD);
	expect_stored(f, 0);
	expect_state(f, KVMI_DEAD, 0);
	stop();
}

KVMI_TEST(kvmi_page_on_exit, the_heir_freezes)
{
	unsigned int i;

	freeze(f);
	for (i = 0; i < 5; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, FREEZE), 0);
		die(f, KVMI_FROZEN);
		expect_state(f, KVMI_FROZEN, NR);
		expect_frozen(f, 0);
	}
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	stop();
}

/* While the tool lives, a vCPU without the event is let through, as ever. */
KVMI_TEST(kvmi_page_on_exit, only_what_is_inherited_is_frozen)
{
	start(f);
	restrict_pages(f);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, FREEZE), 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 1, KVMI_VCPU_EVENT_PF, 0), 0);
	order(f, 1);
	expect_stored(f, 1);
	kvmi_expect_quiet(&f->kvmi);
	die(f, KVMI_FROZEN);
	order(f, 1);
	expect_frozen(f, 1);
	kvmi_unhook(f->vm);
	expect_stored(f, 1);
	stop();
}

/* It is about pages: any other event that waits ends as ever. */
KVMI_TEST(kvmi_page_on_exit, other_events_end)
{
	struct kvmi_event ev;

	start(f);
	restrict_pages(f);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, FREEZE), 0);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	die(f, KVMI_FROZEN);
	kvmi_wait_progress(f->vm, 0);
	kvmi_wait_progress(f->vm, 1);
	order(f, 0);
	expect_frozen(f, 0);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	stop();
}

KVMI_TEST_MAIN
