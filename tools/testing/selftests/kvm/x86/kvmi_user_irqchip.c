// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VMM with an interrupt controller of its own: no interrupt gets between an
 * event and its recurrence, none is lost, and no answer is.
 */
#include "kvmi_test.h"

#define VECTOR	0x20
#define CODE	0x1000
#define HANDLER	0x1800
#define STACK	0x5000
/* What guest and host tell each other. */
#define GO	0x2000
#define DONE	0x2002
#define IRQS	0x2004
#define IRQ_IP	0x2006
#define EAX	0x2008

/*
 * sti
 * 1: inc word [0x200e]; cmp word [GO], 0; je 1b; mov word [GO], 0
 * xor eax, eax; xor ecx, ecx; cpuid
 * mov [EAX], eax; inc word [DONE]; jmp 1b
 */
static const u8 code[] = {
	0xfb,
	0xff, 0x06, 0x0e, 0x20, 0x83, 0x3e, 0x00, 0x20, 0x00, 0x74, 0xf5,
	0xc7, 0x06, 0x00, 0x20, 0x00, 0x00,
	0x66, 0x31, 0xc0, 0x66, 0x31, 0xc9, 0x0f, 0xa2,
	0x66, 0xa3, 0x08, 0x20, 0xff, 0x06, 0x02, 0x20, 0xeb, 0xdd,
};

#define AFTER_CPUID	(CODE + 26)

/*
 * inc word [IRQS]; push bp; mov bp, sp; push ax; mov ax, [bp + 2]
 * mov [IRQ_IP], ax; pop ax; pop bp; iret
 */
static const u8 handler[] = {
	0xff, 0x06, 0x04, 0x20, 0x55, 0x89, 0xe5, 0x50, 0x8b, 0x46, 0x02,
	0xa3, 0x06, 0x20, 0x58, 0x5d, 0xcf,
};

static void flat(struct kvm_segment *segment)
{
	segment->selector = 0;
	segment->base = 0;
}

static struct kvm_vm *create(struct kvm_vcpu **vcpus)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	u16 *vector;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, 0, 0, 16, 0);
	vcpus[0] = __vm_vcpu_add(vm, 0);
	vcpu_sregs_get(vcpus[0], &sregs);
	flat(&sregs.cs);
	vcpu_sregs_set(vcpus[0], &sregs);
	vcpu_regs_get(vcpus[0], &regs);
	regs.rip = CODE;
	regs.rsp = STACK;
	regs.rflags = 2;
	vcpu_regs_set(vcpus[0], &regs);
	memcpy(addr_gpa2hva(vm, CODE), code, sizeof(code));
	memcpy(addr_gpa2hva(vm, HANDLER), handler, sizeof(handler));
	vector = addr_gpa2hva(vm, VECTOR * 4);
	vector[0] = HANDLER;
	return vm;
}

KVMI_SUITE_OF(kvmi_user_irqchip, create(f->vcpus), kvmi_hook(&f->kvmi, f->vm));

static u16 word(struct kvmi_fixture *f, u64 gpa)
{
	return READ_ONCE(*(u16 *)addr_gpa2hva(f->vm, gpa));
}

static void start(struct kvmi_fixture *f)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_until(word(f, 0x200e));
}

static void go(struct kvmi_fixture *f)
{
	WRITE_ONCE(*(u16 *)addr_gpa2hva(f->vm, GO), 1);
}

static int interrupt(struct kvmi_fixture *f)
{
	struct kvm_interrupt irq = { .irq = VECTOR };

	return __vcpu_ioctl(f->vcpu, KVM_INTERRUPT, &irq) ? -errno : 0;
}

static void recv_cpuid(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_recv_event(&f->kvmi, ev);
	TEST_ASSERT_EQ(ev->event, KVMI_VCPU_EVENT_CPUID);
	TEST_ASSERT_EQ(word(f, IRQS), 0);
}

/* The first answer is the one that counts, and the interrupt comes behind it. */
static void finish(struct kvmi_fixture *f, u16 irqs)
{
	kvmi_wait_until(word(f, DONE) == 1 && word(f, IRQS) == irqs);
	if (irqs)
		TEST_ASSERT_EQ(word(f, IRQ_IP), AFTER_CPUID);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(word(f, DONE), 1);
}

static void stop_in_event(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	start(f);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CPUID, 1), 0);
	go(f);
	recv_cpuid(f, ev);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(f->vcpu->run->ready_for_interrupt_injection, 0);
}

KVMI_TEST(kvmi_user_irqchip, queued_before_the_answer)
{
	struct kvm_vcpu_events events;
	struct kvmi_event ev;

	stop_in_event(f, &ev);
	TEST_ASSERT_EQ(interrupt(f), 0);
	TEST_ASSERT_EQ(interrupt(f), -EEXIST);
	vcpu_events_get(f->vcpu, &events);
	TEST_ASSERT_EQ(events.interrupt.injected, 1);
	TEST_ASSERT_EQ(events.interrupt.nr, VECTOR);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(word(f, IRQS), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	finish(f, 1);
}

KVMI_TEST(kvmi_user_irqchip, queued_behind_the_answer)
{
	struct kvmi_event ev;

	stop_in_event(f, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(interrupt(f), 0);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, 1);
}

/* The window is closed until the event is over. */
KVMI_TEST(kvmi_user_irqchip, window)
{
	struct kvmi_event ev;

	stop_in_event(f, &ev);
	f->vcpu->run->request_interrupt_window = 1;
	kvmi_start(&f->runner, f->vcpu);
	kvmi_ping(&f->kvmi);
	TEST_ASSERT(!f->runner.done, "%s", exit_reason_str(f->runner.exit_reason));
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
	TEST_ASSERT_EQ(f->vcpu->run->ready_for_interrupt_injection, 1);
	f->vcpu->run->request_interrupt_window = 0;
	TEST_ASSERT_EQ(interrupt(f), 0);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, 1);
}

/* The VMM writes state: the event is over, and the interrupt comes before the next. */
KVMI_TEST(kvmi_user_irqchip, state_written)
{
	struct kvmi_event ev, next;
	struct kvm_regs regs;

	stop_in_event(f, &ev);
	TEST_ASSERT_EQ(interrupt(f), 0);
	vcpu_regs_get(f->vcpu, &regs);
	vcpu_regs_set(f->vcpu, &regs);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_event(&f->kvmi, &next);
	TEST_ASSERT_EQ(next.event, KVMI_VCPU_EVENT_CPUID);
	TEST_ASSERT_EQ(next.seq, ev.seq + 1);
	TEST_ASSERT_EQ(word(f, IRQS), 1);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_until(word(f, DONE) == 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(word(f, IRQS), 1);
}

/*
 * An interrupt whose delivery touches a restricted page is delivered when the
 * tool has answered, once; KVM_RUN may be left meanwhile.
 */
KVMI_TEST(kvmi_user_irqchip, in_delivery)
{
	struct kvmi_event ev;

	start(f);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, STACK - 0x1000,
					     KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_X), 0);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(interrupt(f), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(f->vcpu->run->ready_for_interrupt_injection, 0);
	TEST_ASSERT_EQ(word(f, IRQS), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, STACK - 0x1000, 7), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_until(word(f, IRQS) == 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(word(f, IRQS), 1);
}

KVMI_TEST_MAIN
