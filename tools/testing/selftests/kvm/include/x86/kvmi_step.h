/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stepping through code of a test's own: where each step must end is noted in
 * the code itself.
 */
#ifndef SELFTEST_KVM_KVMI_STEP_H
#define SELFTEST_KVM_KVMI_STEP_H

#include "kvmi_test.h"

/* Below this an end of a step is the handler of that vector, as it stands. */
#define KVMI_STEP_VECTORS	256

/* The end of a step: the next address, or that of a symbol. */
#define ENDS_AT(where)							\
	".pushsection .kvmi_steps, \"a\"\n\t.quad " where "\n\t.popsection\n\t"
#define STEP(insn)		insn "\n771:\n\t" ENDS_AT("771b")
#define STEP_TO(insn, where)	insn "\n\t" ENDS_AT(where)
/* One that ends where it began. */
#define STEP_AGAIN		ENDS_AT("772f")
#define REPEATED		"772:\n\t"

/* Code to step through, which ends where its last step does. */
#define SNIPPET(name, body)						\
	extern const char name[];					\
	extern const u64 name##_steps[], name##_end[];			\
	asm(".pushsection .kvmi_steps, \"a\"\n" #name "_steps:\n"	\
	    ".popsection\n.pushsection .text\n" #name ":\n\t"		\
	    body "\n\tud2\n\t.popsection\n"				\
	    ".pushsection .kvmi_steps, \"a\"\n" #name "_end:\n.popsection\n")

struct kvmi_stepper {
	struct kvmi_fixture *f;
	u16 vcpu;
	/* Where the guest was, and is again in the end. */
	struct kvm_regs before;
	struct kvmi_event ev;
};

static int kvmi_control_step(struct kvmi *k, u16 vcpu, u8 enable)
{
	struct kvmi_vcpu_control_singlestep req = { .enable = enable };

	return kvmi_vcpu_command(k, vcpu, KVMI_VCPU_CONTROL_SINGLESTEP, &req,
				 sizeof(req), NULL, 0);
}

static void kvmi_recv_singlestep(struct kvmi *k, struct kvmi_event *ev)
{
	static const u8 zero[sizeof(struct kvmi_vcpu_event_singlestep)];

	kvmi_recv_event(k, ev);
	TEST_ASSERT(ev->event == KVMI_VCPU_EVENT_SINGLESTEP,
		    "Event %u at %#llx", ev->event, ev->vcpu.arch.regs.rip);
	TEST_ASSERT_EQ(ev->specific_size, sizeof(zero));
	TEST_ASSERT(!memcmp(ev->specific, zero, sizeof(zero)), "It failed");
}

/* Have the guest begin at @code, which it does when this is answered. */
static void kvmi_step_from(struct kvmi_stepper *s, const void *code)
{
	struct kvmi *k = &s->f->kvmi;
	struct kvm_regs regs;

	kvmi_stop_vcpu(k, s->vcpu, &s->ev);
	s->before = s->ev.vcpu.arch.regs;
	regs = s->before;
	regs.rip = (u64)code;
	/* Out of the way of what may lie below the stack's end. */
	regs.rsp = (regs.rsp - 512) & ~0xfull;
	kvmi_assert_err(kvmi_set_regs(k, s->vcpu, &regs), 0);
}

static void kvmi_step_on(struct kvmi_stepper *s)
{
	kvmi_reply(&s->f->kvmi, &s->ev, KVMI_EVENT_ACTION_CONTINUE);
}

/* The address that a handler was given in the IDT. */
static u64 kvmi_handler(struct kvmi_fixture *f, u8 vector)
{
	struct idt_entry *idt = addr_gva2hva(f->vm, f->vm->arch.idt);

	return idt[vector].offset0 | (u64)idt[vector].offset1 << 16 |
	       (u64)idt[vector].offset2 << 32;
}

static inline void kvmi_set_handler(struct kvmi_fixture *f, u8 vector, const void *to)
{
	struct idt_entry *idt = addr_gva2hva(f->vm, f->vm->arch.idt);

	idt[vector].offset0 = (u64)to;
	idt[vector].offset1 = (u64)to >> 16;
	idt[vector].offset2 = (u64)to >> 32;
}

/* One step, which must end there; TF is none that the guest has. */
static void kvmi_step_to(struct kvmi_stepper *s, u64 where, unsigned int nr)
{
	struct kvm_regs *regs = &s->ev.vcpu.arch.regs;

	kvmi_recv_singlestep(&s->f->kvmi, &s->ev);
	TEST_ASSERT_EQ(s->ev.vcpu.vcpu, s->vcpu);
	if (where < KVMI_STEP_VECTORS)
		where = kvmi_handler(s->f, where);
	TEST_ASSERT(regs->rip == where, "Step %u ends at %#llx, not at %#lx",
		    nr, regs->rip, (unsigned long)where);
}

/* All steps of a snippet; the last one is not answered. */
static inline void kvmi_step_through(struct kvmi_stepper *s, const u64 *steps,
			      const u64 *end)
{
	const u64 *step;

	for (step = steps; step < end; step++) {
		kvmi_step_on(s);
		kvmi_step_to(s, *step, step - steps);
	}
}

/* No more steps, and the guest goes on as if it had never been away. */
static void kvmi_step_end(struct kvmi_stepper *s)
{
	struct kvmi *k = &s->f->kvmi;

	kvmi_assert_err(kvmi_control_step(k, s->vcpu, 0), 0);
	kvmi_assert_err(kvmi_set_regs(k, s->vcpu, &s->before), 0);
	kvmi_step_on(s);
	kvmi_wait_progress(s->f->vm, s->vcpu);
	kvmi_expect_quiet(k);
}

#define KVMI_STEPPER(fixture)	{ .f = (fixture), }

/* From a running guest and back to it; leaves the event behind the last step. */
#define kvmi_step_snippet(s, name)					\
do {									\
	kvmi_step_from(s, name);					\
	kvmi_assert_err(kvmi_control_step(&(s)->f->kvmi, (s)->vcpu, 1), 0);\
	kvmi_step_through(s, name##_steps, name##_end);			\
} while (0)

#endif /* SELFTEST_KVM_KVMI_STEP_H */
