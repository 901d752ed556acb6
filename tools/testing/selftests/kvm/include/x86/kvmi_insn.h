/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events of an instruction: what holds for each of them.
 *
 * The guest executes the instruction of the test, once for each time that it
 * is told to.  A test includes this file once, defines kvmi_insn, and names
 * the cases, which are in kvmi_insn_cases.h, with KVMI_INSN_TESTS().
 */
#ifndef SELFTEST_KVM_KVMI_INSN_H
#define SELFTEST_KVM_KVMI_INSN_H

#include "kvmi_test.h"

/* Who answers "does the register marker get through?" puts this there. */
#define KVMI_INSN_MARK		0x6b766d69ull
/* What the guest sees as a vector when the tool moved RIP. */
#define KVMI_INSN_MOVED		0x77

/* What has become of the instruction. */
enum kvmi_insn_fate {
	/* It did what it does. */
	KVMI_INSN_DONE,
	/* It faulted, or whatever a refusal is. */
	KVMI_INSN_REFUSED,
	/* It did nothing. */
	KVMI_INSN_SKIPPED,
};

/* What the guest saw of it. */
struct kvmi_insn_seen {
	u64 runs;
	union {
		u64 full_vector;
		u8 vector;
	};
	u64 error_code;
	u64 marker;
	/* Of the test's own choice. */
	u64 before;
	u64 after;
};

static struct kvmi_insn_seen kvmi_insn_seen;
static u64 kvmi_insn_go;
/* An instruction that writes writes what is there already. */
static u64 kvmi_insn_same;

struct kvmi_insn {
	u16 event;
	size_t size;
	/* The reply carries a value, which is taken from the event. */
	size_t value_offset;
	/* The tool may answer RETRY. */
	bool retry;
	/* It is done even if the tool moved RIP. */
	bool done_if_moved;
	/* It raises an exception that is delivered behind so many bytes from RIP. */
	u8 trap_len;
	/* It is not done if the tool set registers, wherever RIP is. */
	bool skipped_if_set;
	enum kvmi_insn_fate refused;
	/* And without a session. */
	enum kvmi_insn_fate unasked;

	/* The command that the event needs besides CONTROL_EVENTS. */
	void (*control)(struct kvmi *k, bool enable);
	/* In the guest. */
	void (*execute)(struct kvmi_insn_seen *seen);
	/* The event is that of the instruction. */
	void (*check)(struct kvmi_fixture *f, const struct kvmi_event *ev);
	bool (*is)(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate);
	/* Before the vCPU runs. */
	void (*prepare)(struct kvmi_fixture *f);
};

static const struct kvmi_insn kvmi_insn;

/*
 * What @is says of a write: it was done, it was refused with #GP and the old
 * value stands, or the old value stands.
 */
static inline bool kvmi_insn_is_write(const struct kvmi_insn_seen *seen,
				      enum kvmi_insn_fate fate, bool done,
				      bool same)
{
	switch (fate) {
	case KVMI_INSN_DONE:
		return !seen->vector && done;
	case KVMI_INSN_REFUSED:
		return seen->vector == GP_VECTOR && same;
	case KVMI_INSN_SKIPPED:
		return !seen->vector && same;
	}
	return false;
}

/*
 * One instruction, in the guest: in the event r10 is its address and r11 that
 * of the next, and r8 comes back as the marker.  kvmi_insn_seen is cleared
 * before it is executed.
 */
#define KVMI_INSN_ASM(insn)						\
	"xor %%r8d, %%r8d\n\t"						\
	KVM_ASM_SAFE(insn)						\
	"mov %%r8, %[marker]\n\t"
#define KVMI_INSN_OUTPUTS(seen)						\
	[marker] "=m"((seen)->marker), [vector] "=m"((seen)->vector),	\
	[error_code] "=m"((seen)->error_code)
#define KVMI_INSN_CLOBBERS	"r8", KVM_ASM_SAFE_CLOBBERS, "memory"

static void kvmi_insn_guest(void)
{
	u64 go;

	for (;;) {
		while (!(go = READ_ONCE(kvmi_insn_go)))
			WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		WRITE_ONCE(kvmi_insn_go, go - 1);
		/* The host may have changed what execute() reads. */
		barrier();
		kvmi_insn_seen.full_vector = 0;
		kvmi_insn.execute(&kvmi_insn_seen);
		WRITE_ONCE(kvmi_insn_seen.runs, kvmi_insn_seen.runs + 1);
	}
}

/* Have the guest execute it @times more. */
static void kvmi_insn_run(struct kvmi_fixture *f, u64 times)
{
	u64 *go = addr_gva2hva(f->vm, (gva_t)&kvmi_insn_go);

	WRITE_ONCE(*go, times);
}

static struct kvmi_insn_seen *kvmi_insn_host(struct kvmi_fixture *f)
{
	return addr_gva2hva(f->vm, (gva_t)&kvmi_insn_seen);
}

static void kvmi_insn_wait(struct kvmi_fixture *f, u64 runs)
{
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);

	kvmi_wait_until(READ_ONCE(seen->runs) == runs);
	kvmi_wait_progress(f->vm, 0);
}

static void kvmi_insn_expect(struct kvmi_fixture *f, u64 runs,
			     enum kvmi_insn_fate fate)
{
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);

	kvmi_insn_wait(f, runs);
	TEST_ASSERT(kvmi_insn.is(seen, fate),
		    "Run %lu: vector %#lx, marker %#lx, %#lx became %#lx; fate %u was wanted",
		    (unsigned long)runs, (unsigned long)seen->full_vector,
		    (unsigned long)seen->marker, (unsigned long)seen->before,
		    (unsigned long)seen->after, fate);
}

static void kvmi_insn_enable(struct kvmi *k, bool enable)
{
	kvmi_assert_err(kvmi_control_event(k, 0, kvmi_insn.event, enable), 0);
	if (kvmi_insn.control)
		kvmi_insn.control(k, enable);
}

static void kvmi_insn_recv(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_recv_this(&f->kvmi, ev, kvmi_insn.event, kvmi_insn.size);
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rip, ev->vcpu.arch.regs.r10);
	kvmi_insn.check(f, ev);
}

/* A reply with the guest's own value, if it has one, and room for more. */
struct kvmi_insn_reply {
	struct kvmi_reply_msg msg;
	u64 value;
	u64 more;
} __packed;

static void kvmi_insn_build(struct kvmi_insn_reply *reply,
			    const struct kvmi_event *ev, u8 action)
{
	memset(reply, 0, sizeof(*reply));
	kvmi_build_reply(&reply->msg, ev, action);
	if (!kvmi_insn.value_offset)
		return;
	reply->msg.hdr.size += sizeof(reply->value);
	memcpy(&reply->value, ev->specific + kvmi_insn.value_offset,
	       sizeof(reply->value));
}

static void kvmi_insn_send(struct kvmi_fixture *f,
			   const struct kvmi_insn_reply *reply)
{
	kvmi_send_raw(&f->kvmi, reply,
		      sizeof(reply->msg.hdr) + reply->msg.hdr.size);
}

static void kvmi_insn_reply(struct kvmi_fixture *f, const struct kvmi_event *ev,
			    u8 action)
{
	struct kvmi_insn_reply reply;

	kvmi_insn_build(&reply, ev, action);
	kvmi_insn_send(f, &reply);
}

/* Up to the first event. */
static void kvmi_insn_start(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_enable(&f->kvmi, true);
	kvmi_insn_run(f, 1);
	kvmi_insn_recv(f, ev);
	TEST_ASSERT_EQ(ev->seq, 1);
	TEST_ASSERT_EQ(READ_ONCE(kvmi_insn_host(f)->runs), 0);
}

/* The same, and the tool has stored registers: those of the event but r8. */
static void kvmi_insn_start_marked(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	struct kvm_regs regs;

	kvmi_insn_start(f, ev);
	regs = ev->vcpu.arch.regs;
	regs.r8 = KVMI_INSN_MARK;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
}

/* The first reply counted, registers included, and the next event is the next. */
static void kvmi_insn_expect_marked(struct kvmi_fixture *f)
{
	kvmi_insn_expect(f, 1, kvmi_insn.skipped_if_set ? KVMI_INSN_SKIPPED :
			       KVMI_INSN_DONE);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->marker, KVMI_INSN_MARK);
	TEST_ASSERT_EQ(kvmi_insn_host(f)->vector, 0);
}

/* The first reply ended the session, and the instruction this way. */
static void kvmi_insn_expect_closed(struct kvmi_fixture *f,
				    enum kvmi_insn_fate fate)
{
	kvmi_expect_closed(&f->kvmi);
	kvmi_insn_expect(f, 1, fate);
	kvmi_stop(&f->runner);
}

/* The next is event number @seq, and nothing hinders it. */
static void kvmi_insn_once_more(struct kvmi_fixture *f, u64 runs, u32 seq)
{
	struct kvmi_event ev;

	kvmi_insn_run(f, 1);
	kvmi_insn_recv(f, &ev);
	TEST_ASSERT_EQ(ev.seq, seq);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, runs, KVMI_INSN_DONE);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static void kvmi_insn_kick(struct kvmi_fixture *f)
{
	struct kvmi_runner *r = &f->runner;
	unsigned int before = __atomic_load_n(&r->eintr, __ATOMIC_SEQ_CST);

	kvmi_wait_until((kvmi_kick(r),
			 __atomic_load_n(&r->eintr, __ATOMIC_SEQ_CST) != before));
}

static void kvmi_insn_prepare(struct kvmi_fixture *f)
{
	if (kvmi_insn.prepare)
		kvmi_insn.prepare(f);
	kvmi_hook(&f->kvmi, f->vm);
}

#define KVMI_INSN_SUITE(name)						\
	KVMI_SUITE_OF(name, vm_create_with_vcpus(1, kvmi_insn_guest,	\
						 f->vcpus),		\
		      kvmi_insn_prepare(f))

#include "kvmi_insn_cases.h"

#endif /* SELFTEST_KVM_KVMI_INSN_H */
