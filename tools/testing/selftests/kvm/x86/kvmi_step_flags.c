// SPDX-License-Identifier: GPL-2.0-only
/*
 * Single-stepping is not seen by the guest: no TF that it did not set, not on
 * a stack and not in a register, and no #DB.
 */
#include "kvmi_step.h"

#define TF	BIT(8)
#define IF	BIT(9)
#define BS	BIT(14)

KVMI_SUITE(kvmi_step_flags, 1);

/*
 * Handlers.  The flags that they find on the stack are gathered in r12, DR6 in
 * r13.  A fault is of an instruction of two bytes, and done with.
 */
extern const char soft[], fault[], fault_code[], debug[];
asm(".pushsection .text\n"
    "soft:	or 16(%rsp), %r12\n"
    "soft_2:	iretq\n"
    "fault:	or 16(%rsp), %r12\n"
    "fault_2:	addq $2, (%rsp)\n"
    "fault_3:	iretq\n"
    "fault_code:	add $8, %rsp\n"
    "fault_code_2:	or 16(%rsp), %r12\n"
    "fault_code_3:	addq $2, (%rsp)\n"
    "fault_code_4:	iretq\n"
    "debug:	mov %dr6, %r13\n"
    "debug_2:	or 16(%rsp), %r12\n"
    "debug_3:	andl $~0x100, 16(%rsp)\n"
    "debug_4:	iretq\n"
    ".popsection\n");

#define SOFT(insn)	ENDS_AT("soft") ENDS_AT("soft_2") STEP(insn)
#define FAULT(insn)	ENDS_AT("fault") ENDS_AT("fault_2")		\
			ENDS_AT("fault_3") STEP(insn)
#define FAULT_CODE(insn) ENDS_AT("fault_code") ENDS_AT("fault_code_2")	\
			ENDS_AT("fault_code_3") ENDS_AT("fault_code_4") STEP(insn)
#define DEBUG		ENDS_AT("debug") ENDS_AT("debug_2")		\
			ENDS_AT("debug_3") ENDS_AT("debug_4")
#define BEGIN		STEP("xor %r12d, %r12d") STEP("xor %r13d, %r13d")

/* Steps through it and leaves the guest's registers. */
static struct kvm_regs through(struct kvmi_fixture *f, const char *code,
			       const u64 *steps, const u64 *end)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvm_regs regs;

	kvmi_set_handler(f, DB_VECTOR, debug);
	kvmi_set_handler(f, BP_VECTOR, soft);
	kvmi_set_handler(f, 0x40, soft);
	kvmi_set_handler(f, DE_VECTOR, fault);
	kvmi_set_handler(f, UD_VECTOR, fault);
	kvmi_set_handler(f, GP_VECTOR, fault_code);
	kvmi_set_handler(f, PF_VECTOR, fault_code);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_step_from(&s, code);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	kvmi_step_through(&s, steps, end);
	regs = s.ev.vcpu.arch.regs;
	TEST_ASSERT(!(regs.rflags & TF), "TF at the end: %#llx", regs.rflags);
	kvmi_step_end(&s);
	kvmi_stop(&f->runner);
	return regs;
}

#define FLAGS_TEST(name, body)						\
SNIPPET(name, BEGIN body);						\
static void check_##name(struct kvmi_fixture *f, const struct kvm_regs *regs);\
KVMI_TEST(kvmi_step_flags, name##_)					\
{									\
	struct kvm_regs regs = through(f, name, name##_steps, name##_end);\
									\
	check_##name(f, &regs);						\
}									\
static void check_##name(struct kvmi_fixture *f, const struct kvm_regs *regs)

static void expect_hidden(u64 flags)
{
	TEST_ASSERT(flags & X86_EFLAGS_FIXED, "No flags: %#lx",
		    (unsigned long)flags);
	TEST_ASSERT(!(flags & TF), "The guest saw TF: %#lx",
		    (unsigned long)flags);
}

FLAGS_TEST(pushed, STEP("pushfq") STEP("pop %r12"))
{
	expect_hidden(regs->r12);
}

FLAGS_TEST(popped, STEP("pushfq") STEP("popfq") STEP("pushfq") STEP("pop %r12"))
{
	expect_hidden(regs->r12);
}

FLAGS_TEST(interrupts_of_software, SOFT("int $0x40") SOFT("int3"))
{
	expect_hidden(regs->r12);
}

FLAGS_TEST(faults,
	   FAULT("ud2") STEP("xor %ecx, %ecx") FAULT("div %cl")
	   STEP("mov $0x7eadbeef000, %rbx") FAULT_CODE("mov (%rbx), %al")
	   STEP("movabs $0x8000000000000000, %rbx") FAULT_CODE("mov (%rbx), %al"))
{
	expect_hidden(regs->r12);
}

/* INT1 is a #DB without a cause in DR6. */
FLAGS_TEST(int1, STEP("mov $0xffff0ff0, %eax") STEP("mov %rax, %dr6")
	   DEBUG STEP(".byte 0xf1"))
{
	expect_hidden(regs->r12);
	TEST_ASSERT_EQ(regs->r13 & (BS | 0xf), 0);
}

/* The trap of the guest's own TF comes behind the instruction, as ever. */
FLAGS_TEST(own_tf, STEP("mov $0xffff0ff0, %eax") STEP("mov %rax, %dr6")
	   STEP("pushfq") STEP("orl $0x100, (%rsp)") STEP("popfq")
	   STEP("nop") DEBUG ENDS_AT("771b")
	   STEP("nop"))
{
	TEST_ASSERT(regs->r12 & TF, "Its own TF is gone: %#llx", regs->r12);
	TEST_ASSERT(regs->r13 & BS, "DR6 is %#llx", regs->r13);
}

/* DR6 is the guest's, and is not what stepping makes of it. */
FLAGS_TEST(dr6, STEP("mov $0xffff0ff0, %eax") STEP("mov %rax, %dr6")
	   STEP("nop") STEP("mov %dr6, %r13") STEP("or $0x4000, %eax")
	   STEP("mov %rax, %dr6") STEP("nop") STEP("mov %dr6, %r12"))
{
	TEST_ASSERT_EQ(regs->r13, 0xffff0ff0);
	TEST_ASSERT_EQ(regs->r12, 0xffff4ff0);
}

/* SYSCALL keeps the flags in r11, SYSRET takes them from there. */
extern const char entry[];
asm(".pushsection .text\nentry: jmp *%rbx\n.popsection\n");

SNIPPET(syscalls,
	STEP("lea 1f(%rip), %rbx") STEP_TO("syscall", "entry")
	ENDS_AT("1f") "1:\n\t" STEP("mov %r11, %r12") STEP("lea 2f(%rip), %rcx")
	STEP("lea 3f(%rip), %rbx") STEP_TO("sysretq", "2f")
	"2:\n\t" STEP("mov %r11, %r13") STEP_TO("syscall", "entry")
	ENDS_AT("3f") "3:\n\t" STEP("mov %r11, %r14"));

KVMI_TEST(kvmi_step_flags, syscalls_)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	kvmi_map_for_users(f->vm);
	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.efer |= EFER_SCE;
	vcpu_sregs_set(f->vcpu, &sregs);
	vcpu_set_msr(f->vcpu, MSR_STAR,
		     (u64)sregs.cs.selector << 32 | 0x23ull << 48);
	vcpu_set_msr(f->vcpu, MSR_LSTAR, (u64)entry);
	vcpu_set_msr(f->vcpu, MSR_SYSCALL_MASK, TF | IF);

	regs = through(f, syscalls, syscalls_steps, syscalls_end);
	expect_hidden(regs.r12);
	expect_hidden(regs.r13);
	expect_hidden(regs.r14);
}

KVMI_TEST_MAIN
