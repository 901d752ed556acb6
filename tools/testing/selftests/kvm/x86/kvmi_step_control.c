// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_CONTROL_SINGLESTEP and the SINGLESTEP event: on, off, and beside others. */
#include "kvmi_step.h"

KVMI_SUITE(kvmi_step_control, 2);

SNIPPET(some, STEP("nop") STEP("nop") STEP("nop") STEP("nop") STEP("nop"));

static void start(struct kvmi_fixture *f, struct kvmi_stepper *s)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_step_from(s, some);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	kvmi_step_on(s);
	kvmi_step_to(s, some_steps[0], 0);
}

static void finish(struct kvmi_fixture *f, struct kvmi_stepper *s)
{
	kvmi_step_end(s);
	kvmi_stop(&f->runner);
}

static int debug(struct kvmi_fixture *f, u32 control)
{
	struct kvm_guest_debug guest_debug = { .control = control };

	return __vcpu_ioctl(f->vcpu, KVM_SET_GUEST_DEBUG, &guest_debug) ?
	       -errno : 0;
}

KVMI_TEST(kvmi_step_control, is_announced)
{
	struct kvmi_get_version_reply reply;

	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_GET_VERSION, NULL, 0,
				     &reply, sizeof(reply)), 0);
	TEST_ASSERT_EQ(reply.features.singlestep, 1);
}

KVMI_TEST(kvmi_step_control, no_flag)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);

	start(f, &s);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 2), -KVM_EINVAL);
	finish(f, &s);
}

KVMI_TEST(kvmi_step_control, event_disallowed)
{
	struct kvmi_event ev;

	TEST_ASSERT_EQ(kvmi_ioctl_event(f->vm->fd, KVMI_VCPU_EVENT_SINGLESTEP, 0),
		       0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	/* Whatever the rest looks like. */
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), -KVM_EPERM);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 2), -KVM_EPERM);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* Twice on is on, twice off is off. */
KVMI_TEST(kvmi_step_control, again)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);

	start(f, &s);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	kvmi_step_on(&s);
	kvmi_step_to(&s, some_steps[1], 1);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 0), 0);
	finish(f, &s);
}

KVMI_TEST(kvmi_step_control, the_vmm_debugs)
{
	struct kvmi_event ev;

	TEST_ASSERT_EQ(debug(f, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), -KVMI_EBUSY);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 0), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(debug(f, 0), 0);
}

/* A VMM cannot debug what is stepped, until it no longer is. */
KVMI_TEST(kvmi_step_control, the_vmm_would_debug)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	u32 control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;

	start(f, &s);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(debug(f, control), -EBUSY);
	TEST_ASSERT_EQ(debug(f, 0), -EBUSY);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, &s);
	TEST_ASSERT_EQ(debug(f, control), 0);
}

KVMI_TEST(kvmi_step_control, crash)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);

	start(f, &s);
	kvmi_reply(&f->kvmi, &s.ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
	/* The instruction is done: the next KVM_RUN does the one behind it. */
	kvmi_start(&f->runner, f->vcpu);
	kvmi_step_to(&s, some_steps[1], 1);
	finish(f, &s);
}

/* It ends the session, and with it the stepping. */
KVMI_TEST(kvmi_step_control, unsupported_action)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);

	start(f, &s);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &s.before), 0);
	kvmi_reply(&f->kvmi, &s.ev, KVMI_EVENT_ACTION_RETRY);
	kvmi_expect_closed(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_step_control, moved)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvm_regs regs;

	start(f, &s);
	regs = s.ev.vcpu.arch.regs;
	regs.rip = some_steps[2];
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_step_on(&s);
	kvmi_step_to(&s, some_steps[3], 3);
	finish(f, &s);
}

/* KVM_RUN is left for the VMM; the event is the same one. */
KVMI_TEST(kvmi_step_control, signal)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);

	start(f, &s);
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_step_on(&s);
	kvmi_step_to(&s, some_steps[1], 1);
	TEST_ASSERT_EQ(s.ev.seq, 3);
	finish(f, &s);
}

/* The guest of a dead tool is not stepped, and no TF is left in it. */
KVMI_TEST(kvmi_step_control, tool_dies)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvm_regs regs;

	start(f, &s);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &s.before), 0);
	kvmi_step_on(&s);
	kvmi_recv_singlestep(&f->kvmi, &s.ev);
	kvmi_close(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	vcpu_regs_get(f->vcpu, &regs);
	TEST_ASSERT(!(regs.rflags & BIT(8)), "TF is left: %#llx", regs.rflags);
	TEST_ASSERT_EQ(debug(f, KVM_GUESTDBG_ENABLE), 0);
}

/* Nor is it if the wishes of the session are to stay. */
KVMI_TEST(kvmi_step_control, no_cleanup)
{
	struct kvmi_vm_control_cleanup req = { .enable = 0 };
	struct kvmi_stepper s = KVMI_STEPPER(f);

	start(f, &s);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CONTROL_CLEANUP, &req,
				     sizeof(req), NULL, 0), 0);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &s.before), 0);
	kvmi_step_on(&s);
	kvmi_recv_singlestep(&f->kvmi, &s.ev);
	kvmi_unhook(f->vm);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(debug(f, KVM_GUESTDBG_ENABLE), 0);
}

/* The event of the instruction comes first, then that of its end. */
SNIPPET(cpuids, STEP("xor %eax, %eax") STEP("cpuid") STEP("nop"));

KVMI_TEST(kvmi_step_control, beside_cpuid)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvm_regs regs;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_step_from(&s, cpuids);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CPUID, 1),
			0);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	kvmi_step_on(&s);
	kvmi_step_to(&s, cpuids_steps[0], 0);
	kvmi_step_on(&s);
	kvmi_recv_this(&f->kvmi, &s.ev, KVMI_VCPU_EVENT_CPUID,
		       sizeof(struct kvmi_vcpu_event_cpuid));
	/* Answered by the tool, it is done no less. */
	regs = s.ev.vcpu.arch.regs;
	regs.rax = 0x1234;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_step_on(&s);
	kvmi_step_to(&s, cpuids_steps[1], 1);
	TEST_ASSERT_EQ(s.ev.vcpu.arch.regs.rax, 0x1234);
	kvmi_step_on(&s);
	kvmi_step_to(&s, cpuids_steps[2], 2);
	finish(f, &s);
}

/* TRAP comes before the step that the injection is. */
KVMI_TEST(kvmi_step_control, beside_injection)
{
	struct kvmi_vcpu_inject_exception req = { .nr = UD_VECTOR };
	struct kvmi_stepper s = KVMI_STEPPER(f);

	start(f, &s);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_INJECT_EXCEPTION,
					  &req, sizeof(req), NULL, 0), 0);
	kvmi_step_on(&s);
	kvmi_recv_this(&f->kvmi, &s.ev, KVMI_VCPU_EVENT_TRAP,
		       sizeof(struct kvmi_vcpu_event_trap));
	TEST_ASSERT_EQ(s.ev.vcpu.arch.regs.rip, kvmi_handler(f, UD_VECTOR));
	kvmi_step_on(&s);
	kvmi_step_to(&s, UD_VECTOR, 1);
	finish(f, &s);
}

/* Each vCPU for itself. */
KVMI_TEST(kvmi_step_control, two_vcpus)
{
	struct kvmi_stepper s[2] = { KVMI_STEPPER(f), { .f = f, .vcpu = 1 } };
	struct kvmi_runner other;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpus[0]);
	kvmi_start(&other, f->vcpus[1]);
	for (i = 0; i < 2; i++) {
		kvmi_step_from(&s[i], some);
		kvmi_assert_err(kvmi_control_step(&f->kvmi, i, 1), 0);
	}
	for (i = 0; i < some_end - some_steps; i++) {
		kvmi_step_on(&s[i & 1]);
		kvmi_step_to(&s[i & 1], some_steps[i], i);
		kvmi_step_on(&s[!(i & 1)]);
		kvmi_step_to(&s[!(i & 1)], some_steps[i], i);
	}
	kvmi_step_end(&s[0]);
	kvmi_step_end(&s[1]);
	kvmi_stop(&f->runner);
	kvmi_stop(&other);
}

KVMI_TEST_MAIN
