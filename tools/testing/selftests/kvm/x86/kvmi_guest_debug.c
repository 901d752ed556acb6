// SPDX-License-Identifier: GPL-2.0-only
/* The VMM debugs a vCPU while a tool introspects it. */
#include "kvmi_test.h"

/* Instructions between step_first and step_end. */
#define STEPS		9

extern u8 step_first, step_cpuid, step_wrmsr, step_cr3, step_end;

static void __attribute__((__used__)) guest(void)
{
	asm volatile("step_first: nop\n\t"
		     "step_cpuid: cpuid\n\t"
		     "mov %[lstar], %%ecx\n\t"
		     "xor %%edx, %%edx\n\t"
		     "mov $0x5000, %%eax\n\t"
		     "step_wrmsr: wrmsr\n\t"
		     "mov %%cr3, %%rax\n\t"
		     "xor $8, %%rax\n\t"
		     "step_cr3: mov %%rax, %%cr3\n\t"
		     "step_end: nop\n\t"
		     : : [lstar] "i"(MSR_LSTAR)
		     : "rax", "rbx", "rcx", "rdx", "memory");
	kvmi_guest_count(0);
}

static void prepare(struct kvmi_fixture *f)
{
	vcpu_args_set(f->vcpu, 1, 0);
	kvmi_hook(&f->kvmi, f->vm);
}

KVMI_SUITE_OF(kvmi_guest_debug, vm_create_with_vcpus(1, kvmi_guest_count,
						     f->vcpus), prepare(f));

static int set_debug(struct kvmi_fixture *f, u32 control, u64 dr0)
{
	struct kvm_guest_debug debug = {
		.control = control,
		.arch.debugreg = { [0] = dr0, [7] = dr0 ? 0x402 : 0x400 },
	};

	return __vcpu_ioctl(f->vcpu, KVM_SET_GUEST_DEBUG, &debug) ? -errno : 0;
}

static int want_breakpoints(struct kvmi_fixture *f, bool want)
{
	int err;

	kvmi_start(&f->runner, f->vcpu);
	err = kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_BREAKPOINT, want);
	kvmi_stop(&f->runner);
	return err;
}

#define SW_BP	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP)
#define HW_BP	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP)
#define STEP	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP)

/* While breakpoints are the tool's, the VMM changes nothing. */
KVMI_TEST(kvmi_guest_debug, tool_owns_breakpoints)
{
	kvmi_assert_err(want_breakpoints(f, true), 0);
	kvmi_assert_err(set_debug(f, SW_BP, 0), -EBUSY);
	kvmi_assert_err(set_debug(f, 0, 0), -EBUSY);
	kvmi_assert_err(want_breakpoints(f, true), -KVMI_EBUSY);
	kvmi_assert_err(want_breakpoints(f, false), 0);
	kvmi_assert_err(set_debug(f, SW_BP, 0), 0);
}

/* What is no software breakpoint is in nobody's way. */
KVMI_TEST(kvmi_guest_debug, vmm_owns_breakpoints)
{
	kvmi_assert_err(set_debug(f, SW_BP, 0), 0);
	kvmi_assert_err(want_breakpoints(f, true), -KVMI_EBUSY);
	kvmi_assert_err(want_breakpoints(f, false), -KVMI_EBUSY);
	kvmi_assert_err(set_debug(f, HW_BP, (u64)&step_first), 0);
	kvmi_assert_err(want_breakpoints(f, true), 0);
	kvmi_assert_err(want_breakpoints(f, false), 0);
	kvmi_assert_err(set_debug(f, 0, 0), 0);
	kvmi_assert_err(want_breakpoints(f, true), 0);
}

/* The end of a session frees them, whichever end. */
KVMI_TEST(kvmi_guest_debug, session_ends)
{
	kvmi_assert_err(want_breakpoints(f, true), 0);
	kvmi_unhook(f->vm);
	kvmi_assert_err(set_debug(f, SW_BP, 0), 0);
	kvmi_assert_err(set_debug(f, 0, 0), 0);
	kvmi_close(&f->kvmi);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(want_breakpoints(f, true), 0);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_assert_err(set_debug(f, SW_BP, 0), 0);
}

/* What the guest does from now on are the events of three instructions. */
static void want_events(struct kvmi_fixture *f)
{
	struct kvmi *k = &f->kvmi;
	struct kvm_regs regs;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_cr(k, 0, 3, 1), 0);
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_LSTAR, 1), 0);
	kvmi_assert_err(kvmi_control_event(k, 0, KVMI_VCPU_EVENT_CR, 1), 0);
	kvmi_assert_err(kvmi_control_event(k, 0, KVMI_VCPU_EVENT_MSR, 1), 0);
	kvmi_assert_err(kvmi_control_event(k, 0, KVMI_VCPU_EVENT_CPUID, 1), 0);
	kvmi_stop(&f->runner);
	/* From here on the guest is in guest(), not in its prologue. */
	vcpu_regs_get(f->vcpu, &regs);
	regs.rip = (u64)&step_first;
	vcpu_regs_set(f->vcpu, &regs);
}

/* The event that the instruction at @rip is, or 0. */
static u16 event_at(u64 rip)
{
	return rip == (u64)&step_cpuid ? KVMI_VCPU_EVENT_CPUID :
	       rip == (u64)&step_wrmsr ? KVMI_VCPU_EVENT_MSR :
	       rip == (u64)&step_cr3 ? KVMI_VCPU_EVENT_CR : 0;
}

static void recv_at(struct kvmi_fixture *f, struct kvmi_event *ev, u64 rip)
{
	kvmi_recv_event(&f->kvmi, ev);
	TEST_ASSERT_EQ(ev->event, event_at(rip));
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rip, rip);
}

/* KVM_RUN ended with KVM_EXIT_DEBUG; the address. */
static u64 join_debug(struct kvmi_fixture *f)
{
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_DEBUG);
	return f->vcpu->run->debug.arch.pc;
}

/* The VMM steps: each instruction once, and of three the event before it. */
static void step(struct kvmi_fixture *f, bool set_registers)
{
	u64 rip = (u64)&step_first, next;
	struct kvmi_event ev;
	struct kvm_regs regs;
	unsigned int i;

	want_events(f);
	kvmi_assert_err(set_debug(f, STEP, 0), 0);
	for (i = 0; i < STEPS; i++) {
		kvmi_start(&f->runner, f->vcpu);
		if (event_at(rip)) {
			recv_at(f, &ev, rip);
			regs = ev.vcpu.arch.regs;
			TEST_ASSERT(!(regs.rflags & X86_EFLAGS_TF),
				    "The VMM's TF shows");
			regs.r15 = rip;
			if (set_registers)
				kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0,
							      &regs), 0);
			kvmi_continue(&f->kvmi, &ev);
		}
		next = join_debug(f);
		TEST_ASSERT(next > rip, "From %#lx to %#lx", (unsigned long)rip,
			    (unsigned long)next);
		vcpu_regs_get(f->vcpu, &regs);
		TEST_ASSERT_EQ(regs.rip, next);
		if (set_registers && rip == (u64)&step_wrmsr)
			TEST_ASSERT_EQ(regs.r15, rip);
		kvmi_expect_quiet(&f->kvmi);
		rip = next;
	}
	TEST_ASSERT_EQ(rip, (u64)&step_end);
	TEST_ASSERT_EQ(ev.seq, 3);
	TEST_ASSERT_EQ(vcpu_get_msr(f->vcpu, MSR_LSTAR), 0x5000);

	kvmi_assert_err(set_debug(f, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_guest_debug, vmm_steps)
{
	step(f, false);
}

KVMI_TEST(kvmi_guest_debug, vmm_steps_and_tool_sets_registers)
{
	step(f, true);
}

/* A breakpoint of hardware comes before the event of its instruction. */
KVMI_TEST(kvmi_guest_debug, vmm_breaks)
{
	u8 *where[] = { &step_cpuid, &step_wrmsr, &step_cr3 };
	struct kvmi_event ev;
	unsigned int i;

	want_events(f);
	for (i = 0; i < ARRAY_SIZE(where); i++) {
		kvmi_assert_err(set_debug(f, HW_BP, (u64)where[i]), 0);
		kvmi_start(&f->runner, f->vcpu);
		if (i)
			kvmi_continue(&f->kvmi, &ev);
		TEST_ASSERT_EQ(join_debug(f), (u64)where[i]);
		kvmi_expect_quiet(&f->kvmi);
		kvmi_assert_err(set_debug(f, 0, 0), 0);
		kvmi_start(&f->runner, f->vcpu);
		recv_at(f, &ev, (u64)where[i]);
		TEST_ASSERT_EQ(ev.seq, i + 1);
		/* The VMM debugs again from the middle of the event on. */
		kvmi_stop(&f->runner);
	}
	kvmi_start(&f->runner, f->vcpu);
	kvmi_continue(&f->kvmi, &ev);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
