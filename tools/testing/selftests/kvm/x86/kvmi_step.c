// SPDX-License-Identifier: GPL-2.0-only
/* Single-stepping: one event for one instruction, whoever executes it. */
#include "kvmi_step.h"

KVMI_SUITE(kvmi_step, 1);

/* Named in assembly. */
u8 source[16] __aligned(16) = { 1, 2, 3, 4, 5, 6, 7, 8 }, target[16];
u64 counter;

static void step(struct kvmi_fixture *f, struct kvmi_stepper *s,
		 const char *code, const u64 *steps, const u64 *end)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_step_from(s, code);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	kvmi_step_through(s, steps, end);
}

static void finish(struct kvmi_fixture *f, struct kvmi_stepper *s)
{
	kvmi_step_end(s);
	kvmi_stop(&f->runner);
}

/* A case that steps through @name and looks no further. */
#define STEPS(name, body)						\
SNIPPET(name, body);							\
KVMI_TEST(kvmi_step, name##_)						\
{									\
	struct kvmi_stepper s = KVMI_STEPPER(f);			\
									\
	step(f, &s, name, name##_steps, name##_end);			\
	finish(f, &s);							\
}

STEPS(plain,
      STEP("mov $1, %eax") STEP("add $2, %eax") STEP("nop")
      STEP("movaps source(%rip), %xmm0") STEP("movups %xmm0, target(%rip)")
      STEP("lock incq counter(%rip)"))

STEPS(branches,
      STEP("jmp 1f\n\tud2\n1:")
      STEP_TO("call 2f", "2f") ENDS_AT("3f")
      "3:\n\t" STEP("jmp 4f\n2:\n\tret\n4:")
      STEP("xor %eax, %eax") STEP("jnz 3b"))

STEPS(exits,
      STEP("xor %eax, %eax") STEP("cpuid") STEP("mov $0xc0000080, %ecx")
      STEP("rdmsr") STEP("wrmsr") STEP("in $0x21, %al") STEP("out %al, $0x21")
      STEP("mov %cr3, %rax") STEP("mov %rax, %cr3")
      STEP("mov %dr7, %rax") STEP("mov %rax, %dr7") STEP("pause"))

/* MOV SS and STI hold the trap of TF back as they do interrupts. */
STEPS(shadows,
      STEP("cli") STEP("mov %ss, %eax") STEP("mov %eax, %ss") STEP("nop")
      STEP("sti") STEP("nop") STEP("cli") STEP("sti") STEP("mov %eax, %ss")
      STEP("mov %ss, %eax") STEP("mov %ax, %ss") STEP("mov %eax, %ss")
      STEP("sti") STEP("cpuid") STEP("sti") STEP("pushfq") STEP("pop %rax"))

SNIPPET(string,
	"cld\n\tlea source(%rip), %rsi\n\tlea target(%rip), %rdi\n\t"
	"mov $5, %ecx\n\t"
	STEP("cld") "string_insn:\n\t" STEP("rep movsb")
	STEP("xor %ecx, %ecx") STEP("rep movsb"));
extern const char string_insn[];

/*
 * One step for each iteration.  Processors differ in whether they see that
 * nothing is left with the last one or behind it.
 */
KVMI_TEST(kvmi_step, string_)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvm_regs *regs = &s.ev.vcpu.arch.regs;
	u64 left;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_step_from(&s, string);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	do {
		kvmi_step_on(&s);
		kvmi_recv_singlestep(&f->kvmi, &s.ev);
	} while (regs->rip != (u64)string_insn);

	for (left = 4; left; left--) {
		kvmi_step_on(&s);
		kvmi_step_to(&s, (u64)string_insn, left);
		TEST_ASSERT_EQ(regs->rcx, left);
	}
	kvmi_step_on(&s);
	kvmi_recv_singlestep(&f->kvmi, &s.ev);
	TEST_ASSERT_EQ(regs->rcx, 0);
	if (regs->rip == (u64)string_insn) {
		kvmi_step_on(&s);
		kvmi_recv_singlestep(&f->kvmi, &s.ev);
	}
	TEST_ASSERT_EQ(regs->rip, string_steps[1]);
	/* With nothing to do it is an instruction like any other. */
	kvmi_step_through(&s, string_steps + 2, string_end);
	kvmi_step_end(&s);
	kvmi_stop(&f->runner);
}

/* POP SS, which 64-bit code has not. */
SNIPPET(pop_ss, ".code32\n\t"
	STEP("push %ss") STEP("pop %ss") STEP("nop") STEP("push %ss")
	STEP("pop %ss") STEP("sti") STEP("push %ss") STEP("pop %ss")
	STEP("pushf") STEP("pop %eax") ".code64\n\t");

KVMI_TEST(kvmi_step, pop_ss_)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvm_sregs sregs;
	u64 *gdt;

	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.cs.l = 0;
	sregs.cs.db = 1;
	sregs.ss = sregs.ds;
	sregs.ss.db = 1;
	vcpu_sregs_set(f->vcpu, &sregs);
	/* Its stack is one of 32 bits, also when SS is loaded again. */
	gdt = addr_gva2hva(f->vm, sregs.gdt.base);
	gdt[sregs.ss.selector / sizeof(*gdt)] |= BIT_ULL(54);
	/* Before its first instruction, which is none in this mode. */
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &s.ev);
	s.before = s.ev.vcpu.arch.regs;
	s.before.rip = (u64)pop_ss;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &s.before), 0);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	kvmi_step_through(&s, pop_ss_steps, pop_ss_end);
	TEST_ASSERT(!(s.ev.vcpu.arch.regs.rax & BIT(8)), "The guest saw TF");
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
