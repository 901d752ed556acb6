// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tool that sends many commands at once and reads the replies late, or in
 * small pieces: each reply comes, once, and in order per vCPU.
 */
#include <linux/sockios.h>

#include "kvmi_test.h"

#define VCPUS		2
#define COMMANDS	400
#define ROUNDS		40

KVMI_SUITE(kvmi_backpressure, VCPUS);

struct command {
	struct kvmi_msg_hdr hdr;
	struct kvmi_vcpu_hdr vcpu;
	struct kvmi_vcpu_get_registers req;
} __packed;

struct answer {
	struct kvmi_msg_hdr hdr;
	struct kvmi_error_code ec;
	struct kvmi_vcpu_get_registers_reply reply;
} __packed;

static struct command commands[VCPUS * COMMANDS];
static struct answer answers[VCPUS * COMMANDS];

/* seq = VCPUS * number + vCPU. */
static void send_all(struct kvmi *k)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		commands[i] = (struct command) {
			.hdr.id = KVMI_VCPU_GET_REGISTERS,
			.hdr.size = sizeof(commands[i]) - sizeof(commands[i].hdr),
			.hdr.seq = i,
			.vcpu.vcpu = i % VCPUS,
		};
	}
	kvmi_send_raw(k, commands, sizeof(commands));
}

static int queued(struct kvmi *k)
{
	int bytes;

	TEST_ASSERT(!ioctl(k->fd, SIOCINQ, &bytes), "SIOCINQ failed");
	return bytes;
}

/* The replies fill the socket: both guests have run on, and no more came. */
static void wait_until_stuck(struct kvmi_fixture *f)
{
	unsigned int unchanged = 0;
	int before = 0, now;

	while (unchanged < 5) {
		kvmi_wait_progress(f->vm, 0);
		kvmi_wait_progress(f->vm, 1);
		now = queued(&f->kvmi);
		unchanged = now && now == before ? unchanged + 1 : 0;
		before = now;
	}
	TEST_ASSERT(before < sizeof(answers), "All fits the socket: %d bytes",
		    before);
}

static void receive(struct kvmi_fixture *f, size_t piece, bool pausing)
{
	u8 *to = (u8 *)answers;
	size_t left = sizeof(answers), now;
	unsigned int n = 0;

	while (left) {
		now = min(left, piece);
		kvmi_recv_raw(&f->kvmi, to, now);
		to += now;
		left -= now;
		/* Let the kernel fill up what was read. */
		if (pausing && !(++n % 32))
			kvmi_wait_progress(f->vm, n / 32 % VCPUS);
	}
}

static void check(void)
{
	unsigned int i, vcpu, next[VCPUS] = {};

	for (i = 0; i < ARRAY_SIZE(answers); i++) {
		const struct answer *a = &answers[i];

		TEST_ASSERT_EQ(a->hdr.id, KVMI_VCPU_GET_REGISTERS);
		TEST_ASSERT_EQ(a->hdr.size, sizeof(*a) - sizeof(a->hdr));
		TEST_ASSERT_EQ(a->ec.err, 0);
		vcpu = a->hdr.seq % VCPUS;
		TEST_ASSERT_EQ(a->hdr.seq, VCPUS * next[vcpu] + vcpu);
		next[vcpu]++;
	}
	for (i = 0; i < VCPUS; i++)
		TEST_ASSERT_EQ(next[i], COMMANDS);
}

static void rounds(struct kvmi_fixture *f, bool late)
{
	static const size_t pieces[] = { 65536, 61, 5000, 488, 1009 };
	struct kvmi_runner runners[VCPUS];
	unsigned int i;

	for (i = 0; i < VCPUS; i++)
		kvmi_start(&runners[i], f->vcpus[i]);
	for (i = 0; i < ROUNDS; i++) {
		send_all(&f->kvmi);
		if (late)
			wait_until_stuck(f);
		receive(f, pieces[i % ARRAY_SIZE(pieces)], i & 1);
		check();
		f->kvmi.seq = ARRAY_SIZE(commands);
		kvmi_expect_quiet(&f->kvmi);
	}
	for (i = 0; i < VCPUS; i++) {
		kvmi_wait_progress(f->vm, i);
		kvmi_stop(&runners[i]);
	}
}

KVMI_TEST(kvmi_backpressure, in_pieces)
{
	rounds(f, false);
}

KVMI_TEST(kvmi_backpressure, late_and_in_pieces)
{
	rounds(f, true);
}

/* The same inside an event: the vCPU reads, answers and waits by itself. */
KVMI_TEST(kvmi_backpressure, inside_events)
{
	static const size_t pieces[] = { 65536, 488, 5000 };
	struct kvmi_runner runners[VCPUS];
	struct kvmi_event ev[VCPUS];
	unsigned int i;

	for (i = 0; i < VCPUS; i++) {
		kvmi_start(&runners[i], f->vcpus[i]);
		kvmi_stop_vcpu(&f->kvmi, i, &ev[i]);
	}
	for (i = 0; i < ROUNDS; i++) {
		send_all(&f->kvmi);
		receive(f, pieces[i % ARRAY_SIZE(pieces)], false);
		check();
		f->kvmi.seq = ARRAY_SIZE(commands);
		kvmi_expect_quiet(&f->kvmi);
	}
	for (i = 0; i < VCPUS; i++) {
		kvmi_reply(&f->kvmi, &ev[i], KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_progress(f->vm, i);
		kvmi_stop(&runners[i]);
	}
}

KVMI_TEST_MAIN
