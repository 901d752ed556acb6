// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages that are not as they should be, generated from the table of
 * messages.  All run inside a PAUSE event of vCPU 0, where every command is
 * answered and the vCPU's state stands still.
 */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_malformed, 1);

static void start(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
}

/* The tool is gone, in whatever state: guest and VM are not impressed. */
static void finish(struct kvmi_fixture *f)
{
	kvmi_close(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
}

static void again(struct kvmi_fixture *f)
{
	finish(f);
	start(f);
}

/* Send a request and receive its whole reply; NULL: the session ended. */
static struct kvmi_msg *exchange(struct kvmi *k, u16 id, const void *data,
				 size_t size)
{
	return __kvmi_recv_reply(k, kvmi_send(k, id, data, size));
}

static int error_of(struct kvmi *k, u16 id, const void *data, size_t size)
{
	struct kvmi_msg *msg = exchange(k, id, data, size);
	struct kvmi_error_code ec;

	TEST_ASSERT(msg, "Command %u of %zu bytes ended the session", id, size);
	TEST_ASSERT_EQ(msg->hdr.id, id);
	memcpy(&ec, msg->data, sizeof(ec));
	free(msg);
	return ec.err;
}

static void assert_same(struct kvmi *k, const struct kvmi_message *m,
			const void *a, size_t a_size, const void *b,
			size_t b_size)
{
	struct kvmi_msg *x, *y;

	/* Refused alike, then. */
	if (m->once)
		free(exchange(k, m->id, m->sample, m->request));

	x = exchange(k, m->id, a, a_size);
	y = exchange(k, m->id, b, b_size);
	TEST_ASSERT(x && y, "%s of %zu or %zu bytes ended the session",
		    m->name, a_size, b_size);
	TEST_ASSERT(x->hdr.id == m->id && x->hdr.size == y->hdr.size &&
		    !memcmp(x->data, y->data, x->hdr.size),
		    "%s: the answers to %zu and %zu bytes differ", m->name,
		    a_size, b_size);
	free(x);
	free(y);
}

/* The samples of the table are good, and their replies have its sizes. */
KVMI_TEST(kvmi_malformed, well_formed)
{
	const struct kvmi_message *m;
	struct kvmi_msg *msg;
	struct kvmi_error_code ec;

	start(f);
	kvmi_for_each_message(m) {
		msg = exchange(&f->kvmi, m->id, m->sample, m->request);
		TEST_ASSERT(msg, "%s ended the session", m->name);
		memcpy(&ec, msg->data, sizeof(ec));
		TEST_ASSERT(!ec.err || (m->id == KVMI_VCPU_GET_CPUID &&
					ec.err == -KVMI_ENOENT),
			    "%s: %d", m->name, ec.err);
		TEST_ASSERT(ec.err || msg->hdr.size == m->reply,
			    "%s: reply of %u bytes, wanted %u", m->name,
			    msg->hdr.size, m->reply);
		free(msg);
	}
	finish(f);
}

/* Too short: as if zeros followed, but where the table says otherwise. */
KVMI_TEST(kvmi_malformed, too_short)
{
	const struct kvmi_message *m;
	u8 full[sizeof(m->sample)];
	unsigned int size;

	start(f);
	kvmi_for_each_message(m) {
		for (size = 0; size < m->request; size++) {
			if (kvmi_is_vcpu_message(m->id) &&
			    size < sizeof(struct kvmi_vcpu_hdr)) {
				kvmi_assert_err(error_of(&f->kvmi, m->id,
							 m->sample, size),
						-KVMI_EINVAL);
				continue;
			}

			switch (m->shorter) {
			case KVMI_SHORT_EINVAL:
				kvmi_assert_err(error_of(&f->kvmi, m->id,
							 m->sample, size),
						-KVMI_EINVAL);
				break;
			case KVMI_SHORT_CLOSES:
				kvmi_send(&f->kvmi, m->id, m->sample, size);
				kvmi_expect_closed(&f->kvmi);
				again(f);
				break;
			case KVMI_SHORT_EXTENDED:
				memset(full, 0, sizeof(full));
				memcpy(full, m->sample, size);
				assert_same(&f->kvmi, m, m->sample, size, full,
					    m->request);
				break;
			}
		}
	}
	finish(f);
}

/* Too long: the rest is ignored, up to the largest message there is. */
KVMI_TEST(kvmi_malformed, too_long)
{
	const struct kvmi_message *m;
	u8 full[KVMI_MAX_MSG_SIZE];

	start(f);
	kvmi_for_each_message(m) {
		memset(full, 0xff, sizeof(full));
		memcpy(full, m->sample, m->request);
		assert_same(&f->kvmi, m, m->sample, m->request, full,
			    m->request + 1);
		assert_same(&f->kvmi, m, m->sample, m->request, full,
			    m->request + 100);
		assert_same(&f->kvmi, m, m->sample, m->request, full,
			    sizeof(full));
	}
	finish(f);
}

static void assert_padding(struct kvmi *k, const struct kvmi_message *m,
			   unsigned int offset)
{
	u8 full[sizeof(m->sample)];

	memcpy(full, m->sample, sizeof(full));
	full[offset] = 1;
	kvmi_assert_err(error_of(k, m->id, full, m->request), -KVMI_EINVAL);
	full[offset] = 0x80;
	kvmi_assert_err(error_of(k, m->id, full, m->request), -KVMI_EINVAL);
}

/* Each byte of padding, one at a time. */
KVMI_TEST(kvmi_malformed, padding)
{
	const struct kvmi_message *m;
	unsigned int i, offset;

	start(f);
	kvmi_for_each_message(m) {
		if (kvmi_is_vcpu_message(m->id))
			for (i = offsetof(struct kvmi_vcpu_hdr, padding1);
			     i < sizeof(struct kvmi_vcpu_hdr); i++)
				assert_padding(&f->kvmi, m, i);

		for (i = 0; i < ARRAY_SIZE(m->padding); i++)
			for (offset = 0; offset < m->padding[i].size; offset++)
				assert_padding(&f->kvmi, m, offset +
					       m->padding[i].offset);
	}
	finish(f);
}

KVMI_TEST(kvmi_malformed, wrong_vcpu)
{
	static const u16 wrong[] = { 1, 2, 0x100, 0x7fff, 0x8000, 0xffff };
	const struct kvmi_message *m;
	u8 full[sizeof(m->sample)];
	unsigned int i;

	start(f);
	kvmi_for_each_message(m) {
		if (!kvmi_is_vcpu_message(m->id) &&
		    m->id != KVMI_VM_PAUSE_VCPU)
			continue;
		for (i = 0; i < ARRAY_SIZE(wrong); i++) {
			memcpy(full, m->sample, sizeof(full));
			memcpy(full, &wrong[i], sizeof(wrong[i]));
			kvmi_assert_err(error_of(&f->kvmi, m->id, full,
						 m->request), -KVMI_EINVAL);
			/* Known without looking at the rest. */
			if (kvmi_is_vcpu_message(m->id))
				kvmi_assert_err(error_of(&f->kvmi, m->id, full,
							 8), -KVMI_EINVAL);
		}
	}
	finish(f);
}

KVMI_TEST(kvmi_malformed, unknown_id)
{
	u8 garbage[KVMI_MAX_MSG_SIZE];
	unsigned int id;

	memset(garbage, 0xff, sizeof(garbage));
	start(f);
	for (id = 0; id <= 0xffff; id += id < 0x200 ? 1 : 0xff) {
		if (id == KVMI_VCPU_EVENT || kvmi_find_message(id))
			continue;
		kvmi_assert_err(error_of(&f->kvmi, id, NULL, 0), -KVMI_ENOSYS);
		kvmi_assert_err(error_of(&f->kvmi, id, garbage, 8),
				-KVMI_ENOSYS);
	}
	kvmi_assert_err(error_of(&f->kvmi, 0xffff, garbage, sizeof(garbage)),
			-KVMI_ENOSYS);
	kvmi_assert_err(error_of(&f->kvmi, 0, garbage, sizeof(garbage)),
			-KVMI_ENOSYS);
	finish(f);
}

/* Part of a message, and then nobody: at each byte of each message. */
KVMI_TEST(kvmi_malformed, half_a_message)
{
	struct kvmi_msg_hdr hdr;
	const struct kvmi_message *m;
	u8 buf[sizeof(hdr) + sizeof(m->sample)];
	unsigned int size, step;

	start(f);
	kvmi_for_each_message(m) {
		hdr.id = m->id;
		hdr.size = m->request;
		hdr.seq = 1;
		memcpy(buf, &hdr, sizeof(hdr));
		memcpy(buf + sizeof(hdr), m->sample, m->request);
		/* Long tails of data are all alike. */
		step = m->request > 32 ? 13 + m->request / 16 : 1;
		for (size = 1; size < sizeof(hdr) + m->request;
		     size += size < 16 ? 1 : step) {
			kvmi_send_raw(&f->kvmi, buf, size);
			again(f);
		}
	}
	finish(f);
}

/* No more bytes to come, but the tool still reads: that is an end too. */
KVMI_TEST(kvmi_malformed, half_closed)
{
	struct kvmi_msg_hdr hdr = { .id = KVMI_GET_VERSION, .seq = 1 };
	struct kvmi_get_version_reply reply;

	start(f);
	kvmi_send_raw(&f->kvmi, &hdr, sizeof(hdr));
	kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_GET_VERSION, 1, &reply,
					sizeof(reply)), 0);
	kvmi_send_raw(&f->kvmi, &hdr, 3);
	TEST_ASSERT(!shutdown(f->kvmi.fd, SHUT_WR), "shutdown() failed");
	kvmi_expect_closed(&f->kvmi);
	finish(f);
}

/* A stream has no messages: bytes may come one at a time ... */
KVMI_TEST(kvmi_malformed, bytes_one_at_a_time)
{
	struct kvmi_msg_hdr hdr;
	const struct kvmi_message *m;
	u8 buf[sizeof(hdr) + sizeof(m->sample)];
	struct kvmi_error_code ec;
	struct kvmi_msg *msg;
	unsigned int i;

	start(f);
	kvmi_for_each_message(m) {
		hdr.id = m->id;
		hdr.size = m->request;
		hdr.seq = ++f->kvmi.seq;
		memcpy(buf, &hdr, sizeof(hdr));
		memcpy(buf + sizeof(hdr), m->sample, m->request);
		for (i = 0; i < sizeof(hdr) + m->request; i++)
			kvmi_send_raw(&f->kvmi, buf + i, 1);
		msg = __kvmi_recv_reply(&f->kvmi, hdr.seq);
		TEST_ASSERT(msg, "%s ended the session", m->name);
		TEST_ASSERT_EQ(msg->hdr.id, m->id);
		memcpy(&ec, msg->data, sizeof(ec));
		TEST_ASSERT(ec.err || msg->hdr.size == m->reply,
			    "%s: %u bytes", m->name, msg->hdr.size);
		free(msg);
	}
	finish(f);
}

/* Nobody reads the replies to a hundred of each before all are sent. */
#define MANY_SIZE 512

static bool is_one_of_many(const struct kvmi_message *m)
{
	/* The sample of PAUSE would leave events behind. */
	return m->id != KVMI_VM_PAUSE_VCPU && m->request <= MANY_SIZE &&
	       m->reply <= MANY_SIZE;
}

/* ... or many messages at once. */
KVMI_TEST(kvmi_malformed, messages_in_one_write)
{
	const unsigned int n = 100;
	struct kvmi_msg_hdr hdr;
	const struct kvmi_message *m;
	u8 *buf, *p;
	struct kvmi_msg *msg;
	unsigned int i;

	buf = malloc(n * kvmi_nr_messages * (sizeof(hdr) + MANY_SIZE));
	TEST_ASSERT(buf, "No memory");
	p = buf;
	start(f);
	for (i = 0; i < n; i++) {
		kvmi_for_each_message(m) {
			if (!is_one_of_many(m))
				continue;
			hdr.id = m->id;
			hdr.size = m->request;
			hdr.seq = 1000 + i * 0x100 + m->id;
			memcpy(p, &hdr, sizeof(hdr));
			memcpy(p + sizeof(hdr), m->sample, m->request);
			p += sizeof(hdr) + m->request;
		}
	}
	kvmi_send_raw(&f->kvmi, buf, p - buf);
	for (i = 0; i < n; i++) {
		kvmi_for_each_message(m) {
			if (!is_one_of_many(m))
				continue;
			msg = __kvmi_recv_reply(&f->kvmi,
						1000 + i * 0x100 + m->id);
			TEST_ASSERT(msg, "The session ended");
			TEST_ASSERT_EQ(msg->hdr.id, m->id);
			free(msg);
		}
	}
	kvmi_expect_quiet(&f->kvmi);
	free(buf);
	finish(f);
}

KVMI_TEST_MAIN
