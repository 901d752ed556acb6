// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tool dies, and has chosen that the VM is to crash: one vCPU that meets
 * what is denied leaves KVM_RUN by a shutdown, once, and then all is open.
 */
#include "kvmi_on_exit.h"

KVMI_SUITE(kvmi_page_on_crash, NR);

static void begin(struct kvmi_fixture *f)
{
	start(f);
	restrict_pages(f);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, CRASH), 0);
}

/* The VMM runs it again, as if nothing had been. */
static void expect_shutdown(struct kvmi_fixture *f, unsigned int i)
{
	kvmi_join(&runners[i]);
	TEST_ASSERT_EQ(runners[i].err, 0);
	TEST_ASSERT_EQ(runners[i].exit_reason, KVM_EXIT_SHUTDOWN);
	expect_nothing_stored(f, i);
}

static void expect_released(struct kvmi_fixture *f)
{
	unsigned int i;

	kvmi_wait_until(!restricted_frames(f));
	for (i = 0; i < NR; i++) {
		order(f, i);
		expect_stored(f, i);
	}
	stop();
}

static void run_again(struct kvmi_fixture *f, unsigned int i)
{
	kvmi_start(&runners[i], f->vcpus[i]);
	expect_stored(f, i);
	expect_released(f);
}

/* Whoever waits when the tool dies has met it. */
KVMI_TEST(kvmi_page_on_crash, waiting)
{
	struct kvmi_event ev;

	begin(f);
	order(f, 0);
	expect_pf(f, &ev, 0);
	kvmi_close(&f->kvmi);
	expect_shutdown(f, 0);
	run_again(f, 0);
}

/* Nothing happens until somebody meets it. */
KVMI_TEST(kvmi_page_on_crash, later)
{
	begin(f);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) != KVMI_ACTIVE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_wait_progress(f->vm, 1);
	TEST_ASSERT_EQ(restricted_frames(f), NR);
	order(f, 1);
	expect_shutdown(f, 1);
	kvmi_wait_progress(f->vm, 0);
	run_again(f, 1);
}

/* Two at once: one shutdown, and the other is free. */
KVMI_TEST(kvmi_page_on_crash, once)
{
	struct kvmi_event ev[NR];
	unsigned int i, first;

	begin(f);
	for (i = 0; i < NR; i++) {
		order(f, i);
		expect_pf(f, &ev[i], i);
	}
	kvmi_close(&f->kvmi);
	kvmi_wait_until(__atomic_load_n(&runners[0].done, __ATOMIC_SEQ_CST) ||
			__atomic_load_n(&runners[1].done, __ATOMIC_SEQ_CST));
	first = !__atomic_load_n(&runners[0].done, __ATOMIC_SEQ_CST);
	expect_shutdown(f, first);
	expect_stored(f, !first);
	run_again(f, first);
}

/* UNHOOK releases: nobody crashes any more. */
KVMI_TEST(kvmi_page_on_crash, unhooked_in_time)
{
	begin(f);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) != KVMI_ACTIVE);
	kvmi_unhook(f->vm);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
	expect_released(f);
}

/* A tool that lives and says no crashes nothing by its choice. */
KVMI_TEST(kvmi_page_on_crash, while_it_lives)
{
	struct kvmi_event ev;

	begin(f);
	order(f, 0);
	expect_pf(f, &ev, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	expect_pf(f, &ev, 0);
	proceed(f, &ev);
	expect_stored(f, 0);
	kvmi_unhook(f->vm);
	expect_released(f);
}

/* What was frozen crashes, if the heir wants that. */
KVMI_TEST(kvmi_page_on_crash, after_a_freeze)
{
	begin(f);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, FREEZE), 0);
	die(f, KVMI_FROZEN);
	order(f, 0);
	expect_frozen(f, 0);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, CRASH), 0);
	expect_frozen(f, 0);
	kvmi_close(&f->kvmi);
	expect_shutdown(f, 0);
	run_again(f, 0);
}

KVMI_TEST_MAIN
