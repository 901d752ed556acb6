// SPDX-License-Identifier: GPL-2.0-only
/* The queue of a vCPU: 1024 commands, in order, however long they wait. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_queue, 2);

static void fill(struct kvmi *k, u16 vcpu, u32 *seq)
{
	unsigned int i;

	for (i = 0; i < KVMI_MAX_QUEUED; i++)
		seq[i] = kvmi_send_vcpu(k, vcpu, KVMI_VCPU_GET_INFO, NULL, 0);
}

/* All of them, in their order, and nothing else. */
static void drain(struct kvmi *k, const u32 *seq)
{
	struct kvmi_error_code ec;
	struct kvmi_msg *msg;
	unsigned int i;

	for (i = 0; i < KVMI_MAX_QUEUED; i++) {
		msg = kvmi_recv(k);
		TEST_ASSERT(msg, "The session ended");
		TEST_ASSERT_EQ(msg->hdr.id, KVMI_VCPU_GET_INFO);
		TEST_ASSERT_EQ(msg->hdr.seq, seq[i]);
		memcpy(&ec, msg->data, sizeof(ec));
		TEST_ASSERT_EQ(ec.err, 0);
		free(msg);
	}
}

static int one_more(struct kvmi *k, u16 vcpu)
{
	return kvmi_vcpu_command(k, vcpu, KVMI_VCPU_GET_INFO, NULL, 0, NULL, 0);
}

KVMI_TEST(kvmi_queue, limit)
{
	struct kvmi_vcpu_get_info_reply info;
	u32 seq[KVMI_MAX_QUEUED];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		fill(&f->kvmi, 0, seq);
		kvmi_expect_quiet(&f->kvmi);
		kvmi_assert_err(one_more(&f->kvmi, 0), -KVMI_EBUSY);
		kvmi_assert_err(one_more(&f->kvmi, 0), -KVMI_EBUSY);

		kvmi_start(&f->runner, f->vcpu);
		drain(&f->kvmi, seq);
		kvmi_expect_quiet(&f->kvmi);
		/* There is room again. */
		kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0,
						  KVMI_VCPU_GET_INFO, NULL, 0,
						  &info, sizeof(info)), 0);
		kvmi_stop(&f->runner);
	}
}

/* One vCPU's full queue is its own. */
KVMI_TEST(kvmi_queue, per_vcpu)
{
	u32 seq[2][KVMI_MAX_QUEUED];

	fill(&f->kvmi, 0, seq[0]);
	kvmi_assert_err(one_more(&f->kvmi, 0), -KVMI_EBUSY);
	fill(&f->kvmi, 1, seq[1]);
	kvmi_assert_err(one_more(&f->kvmi, 1), -KVMI_EBUSY);
	TEST_ASSERT_EQ(kvmi_vcpu_count(&f->kvmi), 2);

	kvmi_start(&f->runner, f->vcpus[1]);
	drain(&f->kvmi, seq[1]);
	kvmi_stop(&f->runner);
	kvmi_assert_err(one_more(&f->kvmi, 0), -KVMI_EBUSY);
	kvmi_start(&f->runner, f->vcpus[0]);
	drain(&f->kvmi, seq[0]);
	kvmi_stop(&f->runner);
}

/* What is refused at the door takes no place. */
KVMI_TEST(kvmi_queue, refused_take_no_place)
{
	struct kvmi_vcpu_hdr bad = { .padding2 = 1 };
	u32 seq[KVMI_MAX_QUEUED];
	unsigned int i;

	for (i = 0; i < 100; i++) {
		kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VCPU_GET_INFO, &bad,
					     sizeof(bad), NULL, 0),
				-KVMI_EINVAL);
		kvmi_assert_err(one_more(&f->kvmi, 2), -KVMI_EINVAL);
	}
	fill(&f->kvmi, 0, seq);
	kvmi_assert_err(one_more(&f->kvmi, 0), -KVMI_EBUSY);
	kvmi_start(&f->runner, f->vcpu);
	drain(&f->kvmi, seq);
	kvmi_stop(&f->runner);
}

/* Nor do PAUSE requests: they are counted apart. */
KVMI_TEST(kvmi_queue, pauses_are_counted_apart)
{
	u32 seq[KVMI_MAX_QUEUED];
	struct kvmi_event ev;
	unsigned int i;

	for (i = 0; i < KVMI_MAX_PAUSES; i++)
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	fill(&f->kvmi, 0, seq);
	kvmi_assert_err(one_more(&f->kvmi, 0), -KVMI_EBUSY);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), -KVMI_EBUSY);

	/* The commands run inside the first event. */
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	drain(&f->kvmi, seq);
	/* A reply to an event needs no place, in a full queue either. */
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	for (i = 1; i < KVMI_MAX_PAUSES; i++) {
		kvmi_recv_pause(&f->kvmi, 0, &ev);
		TEST_ASSERT_EQ(ev.seq, i + 1);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

/* An event's reply passes a full queue. */
KVMI_TEST(kvmi_queue, reply_passes_a_full_queue)
{
	u32 seq[KVMI_MAX_QUEUED];
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_stop(&f->runner);
	fill(&f->kvmi, 0, seq);
	kvmi_assert_err(one_more(&f->kvmi, 0), -KVMI_EBUSY);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_start(&f->runner, f->vcpu);
	drain(&f->kvmi, seq);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
}

/* Commands that wait are dropped with their session, not kept for the next. */
KVMI_TEST(kvmi_queue, dropped_with_the_session)
{
	u32 seq[KVMI_MAX_QUEUED];

	fill(&f->kvmi, 0, seq);
	kvmi_ping(&f->kvmi);
	kvmi_unhook(f->vm);
	kvmi_expect_closed(&f->kvmi);
	kvmi_close(&f->kvmi);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	fill(&f->kvmi, 1, seq);
	kvmi_assert_err(one_more(&f->kvmi, 1), -KVMI_EBUSY);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
