// SPDX-License-Identifier: GPL-2.0-only
/*
 * A header that announces more than any message may have ends the session,
 * without one byte of the payload, whoever reads it and whatever came before.
 */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_oversize, 1);

static const u16 sizes[] = { KVMI_MAX_MSG_SIZE + 1, 0x2000, 0xffff };
static const u16 ids[] = { KVMI_GET_VERSION, KVMI_VCPU_EVENT,
			   KVMI_VCPU_GET_INFO, 0xffff };

enum where {
	NOBODY_RUNS,
	GUEST_RUNS,
	EVENT_WAITS,
};

static void start(struct kvmi_fixture *f, enum where where,
		  struct kvmi_event *ev)
{
	if (where == NOBODY_RUNS)
		return;
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	if (where == EVENT_WAITS)
		kvmi_stop_vcpu(&f->kvmi, 0, ev);
}

/* The session is over, whatever it answered; the guest is not impressed. */
static void finish(struct kvmi_fixture *f, enum where where)
{
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	if (where != NOBODY_RUNS) {
		kvmi_wait_progress(f->vm, 0);
		kvmi_stop(&f->runner);
	}
	kvmi_hook(&f->kvmi, f->vm);
}

static void alone(struct kvmi_fixture *f, enum where where)
{
	struct kvmi_msg_hdr hdr = { .seq = 1 };
	struct kvmi_event ev;
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(ids); j++) {
			hdr.size = sizes[i];
			hdr.id = ids[j];
			start(f, where, &ev);
			kvmi_send_raw(&f->kvmi, &hdr, sizeof(hdr));
			kvmi_expect_closed(&f->kvmi);
			finish(f, where);
		}
	}
}

KVMI_TEST(kvmi_oversize, alone)
{
	alone(f, NOBODY_RUNS);
	alone(f, GUEST_RUNS);
}

KVMI_TEST(kvmi_oversize, alone_while_an_event_waits)
{
	alone(f, EVENT_WAITS);
}

/* The largest that may be, announced alone, only lets the kernel wait. */
KVMI_TEST(kvmi_oversize, largest)
{
	struct kvmi_get_version_reply reply;
	struct {
		struct kvmi_msg_hdr hdr;
		u8 payload[KVMI_MAX_MSG_SIZE];
	} msg = {
		.hdr.id = KVMI_GET_VERSION,
		.hdr.size = KVMI_MAX_MSG_SIZE,
	};

	kvmi_send_raw(&f->kvmi, &msg.hdr, sizeof(msg.hdr));
	kvmi_send_raw(&f->kvmi, msg.payload, sizeof(msg.payload));
	kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_GET_VERSION, 0, &reply,
					sizeof(reply)), 0);
	kvmi_ping(&f->kvmi);
}

/* Something good, and the header right behind it in the same send. */
struct batch {
	u8 bytes[512];
	size_t size;
	unsigned int answers;
};

static void append(struct batch *b, const void *data, size_t size)
{
	TEST_ASSERT(b->size + size <= sizeof(b->bytes), "Batch too long");
	memcpy(b->bytes + b->size, data, size);
	b->size += size;
}

static void append_command(struct batch *b, u16 id)
{
	struct kvmi_msg_hdr hdr = { .id = id, .seq = 100 + b->answers };
	struct kvmi_vcpu_hdr vcpu = {};

	if (kvmi_is_vcpu_message(id))
		hdr.size = sizeof(vcpu);
	append(b, &hdr, sizeof(hdr));
	append(b, &vcpu, hdr.size);
	b->answers++;
}

/* At least @min, at most all of its commands are answered. */
static void assert_ends(struct kvmi_fixture *f, enum where where,
			struct batch *b, unsigned int min)
{
	struct kvmi_msg_hdr hdr = { .id = KVMI_GET_VERSION, .size = 0xffff };
	unsigned int n;

	append(b, &hdr, sizeof(hdr));
	kvmi_send_raw(&f->kvmi, b->bytes, b->size);
	n = kvmi_drain_until_closed(&f->kvmi);
	TEST_ASSERT(n >= min && n <= b->answers,
		    "%u answers to %u commands, wanted at least %u", n,
		    b->answers, min);
	finish(f, where);
}

/* Of up to four commands all are @answered, or what the end leaves. */
static void behind_commands(struct kvmi_fixture *f, enum where where, u16 id,
			    bool answered)
{
	struct kvmi_event ev;
	unsigned int n, i;

	for (n = 1; n <= 4; n++) {
		struct batch b = {};

		start(f, where, &ev);
		for (i = 0; i < n; i++)
			append_command(&b, id);
		assert_ends(f, where, &b, answered ? n : 0);
	}
}

/* Commands of the VM are answered by who reads them: before the end. */
KVMI_TEST(kvmi_oversize, behind_vm_commands)
{
	behind_commands(f, NOBODY_RUNS, KVMI_GET_VERSION, true);
	behind_commands(f, GUEST_RUNS, KVMI_GET_VERSION, true);
	behind_commands(f, EVENT_WAITS, KVMI_GET_VERSION, true);
}

/* Those of a vCPU may find the session over. */
KVMI_TEST(kvmi_oversize, behind_vcpu_commands)
{
	behind_commands(f, NOBODY_RUNS, KVMI_VCPU_GET_INFO, false);
	behind_commands(f, GUEST_RUNS, KVMI_VCPU_GET_INFO, false);
	behind_commands(f, EVENT_WAITS, KVMI_VCPU_GET_INFO, false);
}

/* The vCPU that reads its reply goes on; somebody must still read the rest. */
KVMI_TEST(kvmi_oversize, behind_an_event_reply)
{
	struct kvmi_reply_msg msg;
	struct kvmi_event ev;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		struct batch b = {};

		start(f, EVENT_WAITS, &ev);
		if (i & 1)
			append_command(&b, KVMI_VCPU_GET_INFO);
		kvmi_build_reply(&msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
		append(&b, &msg, sizeof(msg));
		assert_ends(f, EVENT_WAITS, &b, 0);
	}
}

KVMI_TEST_MAIN
