// SPDX-License-Identifier: GPL-2.0-only
/*
 * What events cost a guest, seen from inside it, and commands their tool; next
 * to messages of the same sizes between two threads.  See kvmi_bench.h.
 */
#include "kvmi_bench.h"

#define SLOT	10
#define GPA	(4ull << 30)

#define ALL	(KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W | KVMI_PAGE_ACCESS_X)
#define NO_W	(KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_X)

/* A bit of CR3 that changes nothing here: PWT. */
#define CR3_BIT	BIT(3)

#define EVENT_SIZE(specific)	(sizeof(struct kvmi_msg_hdr) +		\
				 sizeof(struct kvmi_event_hdr) +	\
				 sizeof(struct kvmi_vcpu_event) + (specific))
#define REPLY_SIZE(size)	(sizeof(struct kvmi_msg_hdr) +		\
				 sizeof(struct kvmi_error_code) + (size))

static u64 cr3;

BENCH_GUEST(guest_cpuid, bench_cpuid())
BENCH_GUEST(guest_cr3, set_cr3(i & 1 ? cr3 : cr3 | CR3_BIT))
BENCH_GUEST(guest_write, *(volatile u64 *)GPA = i)
BENCH_GUEST(guest_write_pages, *(volatile u64 *)(GPA + i * PAGE_SIZE) = i)

struct bench {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct kvmi k;
	struct kvmi_runner runner;
	u64 exits, flushes;
};

static u64 flushes(struct bench *b)
{
	return vm_get_stat(b->vm, remote_tlb_flush_requests);
}

static void start(struct bench *b, void *guest)
{
	struct kvm_sregs sregs;

	b->vm = vm_create_with_one_vcpu(&b->vcpu, guest);
	vm_userspace_mem_region_add(b->vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT,
				    BENCH_ITEMS, 0);
	memset(addr_gpa2hva(b->vm, GPA), 0, BENCH_ITEMS * PAGE_SIZE);
	virt_map(b->vm, GPA, GPA, BENCH_ITEMS);
	vcpu_sregs_get(b->vcpu, &sregs);
	*(u64 *)addr_gva2hva(b->vm, (gva_t)&cr3) = sregs.cr3;
	kvmi_hook(&b->k, b->vm);
}

/* The guest runs once all is prepared that needs a vCPU. */
static void enable(struct bench *b, u16 event)
{
	u32 seq;
	struct kvmi_vcpu_control_events req = { .event_id = event, .enable = 1 };
	struct kvmi_vcpu_control_cr cr = { .cr = 3, .enable = 1 };

	/* Queued in this order, and done before the guest is entered. */
	kvmi_send_vcpu(&b->k, 0, KVMI_VCPU_CONTROL_CR, &cr, sizeof(cr));
	seq = kvmi_send_vcpu(&b->k, 0, KVMI_VCPU_CONTROL_EVENTS, &req, sizeof(req));
	b->exits = vcpu_get_stat(b->vcpu, exits);
	b->flushes = flushes(b);
	kvmi_start(&b->runner, b->vcpu);
	kvmi_recv_reply(&b->k, KVMI_VCPU_CONTROL_CR, seq - 1, NULL, 0);
	kvmi_assert_err(kvmi_recv_reply(&b->k, KVMI_VCPU_CONTROL_EVENTS, seq,
					NULL, 0), 0);
}

static void finish(struct bench *b, const char *key)
{
	char name[64];

	kvm_pthread_join(b->runner.thread, NULL);
	TEST_ASSERT_EQ(b->runner.ucall, UCALL_DONE);
	bench_print_guest(b->vm, key);
	snprintf(name, sizeof(name), "%s.exits", key);
	bench_print(name, vcpu_get_stat(b->vcpu, exits) - b->exits, BENCH_ITEMS);
	snprintf(name, sizeof(name), "%s.flushes", key);
	bench_print(name, flushes(b) - b->flushes, BENCH_ITEMS);
	kvmi_close(&b->k);
	kvm_vm_free(b->vm);
}

/*
 * A tool that does nothing but answer, with one system call to receive and one
 * to send; before it answers it may lift what the event was about.
 */
static void answer(struct kvmi *k, u16 event, size_t specific, size_t value,
		   u8 action, bool lift)
{
	struct {
		struct kvmi_msg_hdr hdr;
		struct kvmi_event_hdr event;
		struct kvmi_vcpu_event vcpu;
		union {
			struct kvmi_vcpu_event_cr cr;
			struct kvmi_vcpu_event_pf pf;
			u8 bytes[64];
		};
	} __packed ev;
	struct {
		struct kvmi_reply_msg msg;
		u64 value;
	} __packed reply = {
		.msg.hdr.id = KVMI_VCPU_EVENT,
		.msg.hdr.size = sizeof(reply.msg) - sizeof(reply.msg.hdr) + value,
		.msg.reply.action = action,
		.msg.reply.event = event,
	};
	const size_t size = sizeof(reply.msg) + value;
	unsigned int i;

	for (i = 0; i < BENCH_ITEMS; i++) {
		TEST_ASSERT(read(k->fd, &ev, sizeof(ev)) == EVENT_SIZE(specific),
			    "An event of another size");
		TEST_ASSERT_EQ(ev.event.event, event);
		if (lift)
			kvmi_assert_err(kvmi_set_page_access(k, ev.pf.gpa, ALL), 0);
		reply.msg.hdr.seq = ev.hdr.seq;
		reply.value = ev.cr.new_value;
		TEST_ASSERT(write(k->fd, &reply, size) == size, "write()");
	}
}

static void measure_cpuid(void)
{
	struct bench b;

	start(&b, guest_cpuid);
	enable(&b, KVMI_VCPU_EVENT_CPUID);
	answer(&b.k, KVMI_VCPU_EVENT_CPUID, sizeof(struct kvmi_vcpu_event_cpuid),
	       0, KVMI_EVENT_ACTION_CONTINUE, false);
	finish(&b, "event.cpuid");
}

static void measure_cr3(void)
{
	struct bench b;

	start(&b, guest_cr3);
	enable(&b, KVMI_VCPU_EVENT_CR);
	answer(&b.k, KVMI_VCPU_EVENT_CR, sizeof(struct kvmi_vcpu_event_cr),
	       sizeof(u64), KVMI_EVENT_ACTION_CONTINUE, false);
	finish(&b, "event.cr3");
}

static void measure_pf(const char *key, void *guest, u64 pages, u8 action, bool lift)
{
	struct bench b;
	u64 i;

	start(&b, guest);
	for (i = 0; i < pages; i++)
		kvmi_assert_err(kvmi_set_page_access(&b.k, GPA + i * PAGE_SIZE,
						     NO_W), 0);
	enable(&b, KVMI_VCPU_EVENT_PF);
	answer(&b.k, KVMI_VCPU_EVENT_PF, sizeof(struct kvmi_vcpu_event_pf), 0,
	       action, lift);
	finish(&b, key);
}

/* Round trips of one command, at the tool. */
static void measure_command(struct kvmi *k, const char *key, u16 id,
			    const void *payload, size_t size, size_t reply)
{
	static u8 out[KVMI_MAX_MSG_SIZE], in[KVMI_MAX_MSG_SIZE + 8];
	struct kvmi_msg_hdr *hdr = (void *)out;
	unsigned int i;
	u64 now;

	hdr->id = id;
	hdr->size = size;
	memcpy(hdr + 1, payload, size);
	size += sizeof(*hdr);
	for (i = 0; i < BENCH_ITEMS; i++) {
		hdr->seq = ++k->seq;
		now = bench_now();
		TEST_ASSERT(write(k->fd, out, size) == size, "write()");
		TEST_ASSERT(read(k->fd, in, sizeof(in)) == reply,
			    "A reply of another size");
		bench_note(i, now);
	}
	bench_print_samples(key, bench_samples, BENCH_ITEMS);
}

static void measure_commands(void)
{
	struct {
		struct kvmi_vcpu_hdr vcpu;
		struct kvmi_vcpu_get_registers get;
	} regs = {};
	struct kvmi_vm_read_physical read = { .gpa = GPA, .size = PAGE_SIZE };
	const size_t regs_reply = REPLY_SIZE(sizeof(struct kvmi_vcpu_get_registers_reply));
	const size_t read_reply = REPLY_SIZE(PAGE_SIZE);
	struct kvmi_event ev;
	struct bench b;

	start(&b, kvmi_guest_count);
	vcpu_args_set(b.vcpu, 1, 0);
	/* No vCPU is there to read the socket. */
	measure_command(&b.k, "command.version", KVMI_GET_VERSION, NULL, 0,
			REPLY_SIZE(sizeof(struct kvmi_get_version_reply)));
	measure_command(&b.k, "command.read", KVMI_VM_READ_PHYSICAL, &read,
			sizeof(read), read_reply);
	kvmi_start(&b.runner, b.vcpu);
	kvmi_stop_vcpu(&b.k, 0, &ev);
	measure_command(&b.k, "command.paused.registers", KVMI_VCPU_GET_REGISTERS,
			&regs, sizeof(regs), regs_reply);
	measure_command(&b.k, "command.paused.read", KVMI_VM_READ_PHYSICAL, &read,
			sizeof(read), read_reply);
	kvmi_reply(&b.k, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&b.runner);
	kvmi_close(&b.k);
	kvm_vm_free(b.vm);
	bench_ping_pong("pingpong.version", sizeof(struct kvmi_msg_hdr),
			REPLY_SIZE(sizeof(struct kvmi_get_version_reply)));
	bench_ping_pong("pingpong.registers", sizeof(struct kvmi_msg_hdr) + sizeof(regs),
			regs_reply);
	bench_ping_pong("pingpong.read", sizeof(struct kvmi_msg_hdr) + sizeof(read),
			read_reply);
}

int main(void)
{
	const size_t reply = sizeof(struct kvmi_reply_msg);

	kvmi_require();
	bench_ping_pong("pingpong.cpuid",
			EVENT_SIZE(sizeof(struct kvmi_vcpu_event_cpuid)), reply);
	measure_cpuid();
	bench_ping_pong("pingpong.cr3",
			EVENT_SIZE(sizeof(struct kvmi_vcpu_event_cr)),
			reply + sizeof(u64));
	measure_cr3();
	bench_ping_pong("pingpong.pf",
			EVENT_SIZE(sizeof(struct kvmi_vcpu_event_pf)), reply);
	measure_pf("event.pf.continue", guest_write, 1,
		   KVMI_EVENT_ACTION_CONTINUE, false);
	measure_pf("event.pf.retry", guest_write_pages, BENCH_ITEMS,
		   KVMI_EVENT_ACTION_RETRY, true);
	measure_commands();
	return 0;
}
