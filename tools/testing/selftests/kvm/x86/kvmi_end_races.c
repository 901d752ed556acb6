// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session ends while commands are under way, wherever that is: after its end
 * nothing of them comes to pass any more.
 *
 * Each round hooks, sends commands without end, and ends the session after a
 * random moment.  Who deals with the commands depends on what the vCPU does.
 */
#include <time.h>

#include "kvmi_test.h"

#define SLOT		10
#define PAGE		(4ull << 30)
#define PAGES		511
#define ROUNDS		300
#define MAX_DELAY_US	3000

/* What the host writes once a session is over, and no tool ever does. */
#define MARK		0xfeedull
#define VCPU		0
#define TOUCHER		1

enum place {
	/* vCPU 0 waits in an event, and reads the socket. */
	VCPU_THREAD,
	/* vCPU 0 runs: the VM's task reads the socket. */
	TASK,
	/* vCPU 0 is not run: its commands are queued. */
	QUEUE,
};

static u64 r15, xmm15, word;
static u64 round_nr, touched;

/* It shows its registers, and never changes them by itself. */
static void show(u64 index)
{
	asm volatile("xor %%r15d, %%r15d\n\t"
		     "pxor %%xmm15, %%xmm15\n"
		     "1:\n\t"
		     "mov %%r15, %0\n\t"
		     "movq %%xmm15, %1\n\t"
		     "incq %2\n\t"
		     "jmp 1b"
		     : "+m"(r15), "+m"(xmm15), "+m"(kvmi_progress[0])
		     : : "r15", "memory");
}

static void touch(u64 index)
{
	u64 i, now;

	for (;;) {
		WRITE_ONCE(kvmi_progress[TOUCHER], kvmi_progress[TOUCHER] + 1);
		now = READ_ONCE(round_nr);
		if (now == touched)
			continue;
		for (i = 0; i < PAGES; i++)
			*(volatile u64 *)(PAGE + i * PAGE_SIZE) = now;
		WRITE_ONCE(touched, now);
	}
}

static void prepare(struct kvmi_fixture *f)
{
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, PAGES, 0);
	virt_map(f->vm, PAGE, PAGE, PAGES);
	vcpu_arch_set_entry_point(f->vcpus[VCPU], show);
	vcpu_arch_set_entry_point(f->vcpus[TOUCHER], touch);
}

KVMI_SUITE_OF(kvmi_end_races, kvmi_create_vm(2, f->vcpus), prepare(f));

#define ON_HOST(f, variable) \
	((u64 *)addr_gva2hva((f)->vm, (gva_t)&(variable)))

/* All that changes something, over and over, until the session is over. */
struct sender {
	struct kvmi *k;
	/* To set, with another value of r15 or of xmm15 each time. */
	struct kvm_regs regs;
	struct kvm_xsave xsave;
	bool registers;
	u64 word_gpa;
	pthread_t thread;
};

static bool send_one(struct kvmi *k, u16 id, const void *head, size_t head_size,
		     const void *body, size_t size)
{
	struct kvmi_msg_hdr hdr = {
		.id = id,
		.size = head_size + size,
		.seq = ++k->seq,
	};
	u8 buf[sizeof(hdr) + KVMI_MAX_MSG_SIZE];

	memcpy(buf, &hdr, sizeof(hdr));
	memcpy(buf + sizeof(hdr), head, head_size);
	memcpy(buf + sizeof(hdr) + head_size, body, size);
	return __kvmi_send_raw(k, buf, sizeof(hdr) + head_size + size);
}

static void *send_for_ever(void *arg)
{
	struct {
		struct kvmi_vm_set_page_access head;
		struct kvmi_page_access_entry entries[PAGES];
	} req = { .head.count = PAGES };
	struct sender *s = arg;
	struct kvmi_vm_write_physical write = { .gpa = s->word_gpa, .size = 8 };
	struct kvmi_vcpu_hdr vcpu = { .vcpu = VCPU };
	u8 sink[4096];
	u64 value = 0;
	unsigned int i;
	bool sent = true;

	for (i = 0; i < PAGES; i++)
		req.entries[i].gpa = PAGE + i * PAGE_SIZE;
	while (sent) {
		value = (value + 1) & 0xff;
		s->regs.r15 = value;
		/* XMM15's lower half. */
		*(u64 *)((u8 *)&s->xsave + 160 + 16 * 15) = value;
		sent = send_one(s->k, KVMI_VM_SET_PAGE_ACCESS, &req, sizeof(req), NULL, 0) &&
		       send_one(s->k, KVMI_VM_WRITE_PHYSICAL, &write, sizeof(write),
				&value, sizeof(value));
		if (sent && s->registers)
			sent = send_one(s->k, KVMI_VCPU_SET_REGISTERS, &vcpu, sizeof(vcpu),
					&s->regs, sizeof(s->regs)) &&
			       send_one(s->k, KVMI_VCPU_SET_XSAVE, &vcpu, sizeof(vcpu),
					&s->xsave, sizeof(s->xsave));
		while (recv(s->k->fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
	return NULL;
}

static void check(struct kvmi_fixture *f, struct kvmi_runner *toucher, u64 round,
		  bool runs)
{
	u64 seen_r15, seen_xmm15;

	/* Whatever is to come, comes within these turns of the guest. */
	WRITE_ONCE(*ON_HOST(f, word), MARK);
	WRITE_ONCE(*ON_HOST(f, round_nr), round);
	if (runs) {
		kvmi_wait_progress(f->vm, VCPU);
		kvmi_wait_progress(f->vm, VCPU);
		seen_r15 = READ_ONCE(*ON_HOST(f, r15));
		seen_xmm15 = READ_ONCE(*ON_HOST(f, xmm15));
	}
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, touched)) == round ||
			__atomic_load_n(&toucher->done, __ATOMIC_SEQ_CST));
	TEST_ASSERT(READ_ONCE(*ON_HOST(f, touched)) == round,
		    "Round %lu: the vCPU has left: exit %u (%s), errno %d, ucall %lu",
		    round, toucher->exit_reason,
		    exit_reason_str(toucher->exit_reason), toucher->err,
		    toucher->ucall);
	if (runs) {
		kvmi_wait_progress(f->vm, VCPU);
		TEST_ASSERT_EQ(READ_ONCE(*ON_HOST(f, r15)), seen_r15);
		TEST_ASSERT_EQ(READ_ONCE(*ON_HOST(f, xmm15)), seen_xmm15);
	}
	TEST_ASSERT_EQ(READ_ONCE(*ON_HOST(f, word)), MARK);
}

static void get_state(struct kvmi_fixture *f, struct sender *s)
{
	struct kvmi_vcpu_get_registers_reply reply;

	kvmi_assert_err(kvmi_get_regs(&f->kvmi, VCPU, &reply), 0);
	s->regs = reply.regs;
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, VCPU, KVMI_VCPU_GET_XSAVE, NULL, 0,
					  &s->xsave, sizeof(s->xsave)), 0);
	/* The SSE state is there. */
	*(u64 *)((u8 *)&s->xsave + 512) |= 2;
}

static void one_round(struct kvmi_fixture *f, struct sender *s, enum place place,
		      bool unhook)
{
	u64 word_before = READ_ONCE(*ON_HOST(f, word));
	struct timespec delay = { .tv_nsec = random() % (MAX_DELAY_US * 1000) };
	struct kvmi_event ev;

	/* What the session before left has had all the time since. */
	TEST_ASSERT(word_before == MARK || !word_before, "The word is %#lx",
		    word_before);
	kvmi_hook(&f->kvmi, f->vm);
	if (place == VCPU_THREAD) {
		kvmi_stop_vcpu(&f->kvmi, VCPU, &ev);
		get_state(f, s);
	}
	s->k = &f->kvmi;
	s->registers = place != TASK;
	kvm_pthread_create(&s->thread, NULL, send_for_ever, s);
	nanosleep(&delay, NULL);
	if (!unhook) {
		/* What a tool's death does, with its thread still sending. */
		shutdown(f->kvmi.fd, SHUT_RDWR);
		kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	}
	/* Whoever ended it, when this is back nothing of it goes on. */
	kvmi_unhook(f->vm);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
}

static void rounds(struct kvmi_fixture *f, enum place place, bool unhook)
{
	static struct sender s;
	struct kvmi_runner toucher;
	u64 seed = time(NULL), i;

	ksft_print_msg("Seed %lu\n", seed);
	srandom(seed);
	s.word_gpa = addr_gva2gpa(f->vm, (gva_t)&word);
	if (place == QUEUE) {
		vcpu_regs_get(f->vcpu, &s.regs);
		memset(&s.xsave, 0, sizeof(s.xsave));
	} else {
		kvmi_start(&f->runner, f->vcpu);
	}
	kvmi_start(&toucher, f->vcpus[TOUCHER]);
	for (i = 1; i <= ROUNDS; i++) {
		one_round(f, &s, place, unhook);
		check(f, &toucher, i, place != QUEUE);
		kvm_pthread_join(s.thread, NULL);
		kvmi_close(&f->kvmi);
	}
	if (place == QUEUE)
		kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, VCPU);
	kvmi_stop(&f->runner);
	kvmi_stop(&toucher);
}

KVMI_TEST(kvmi_end_races, unhook_vcpu_thread)
{
	rounds(f, VCPU_THREAD, true);
}

KVMI_TEST(kvmi_end_races, close_vcpu_thread)
{
	rounds(f, VCPU_THREAD, false);
}

KVMI_TEST(kvmi_end_races, unhook_task)
{
	rounds(f, TASK, true);
}

KVMI_TEST(kvmi_end_races, close_task)
{
	rounds(f, TASK, false);
}

KVMI_TEST(kvmi_end_races, unhook_queue)
{
	rounds(f, QUEUE, true);
}

KVMI_TEST(kvmi_end_races, close_queue)
{
	rounds(f, QUEUE, false);
}

KVMI_TEST_MAIN
