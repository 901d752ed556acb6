// SPDX-License-Identifier: GPL-2.0-only
/* VM_PAUSE_VCPU and the PAUSE event. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_pause, 1);

static struct kvmi_vcpu_event_arch expected(struct kvm_vcpu *vcpu)
{
	struct kvmi_vcpu_event_arch arch = { .mode = 8 };

	vcpu_regs_get(vcpu, &arch.regs);
	vcpu_sregs_get(vcpu, &arch.sregs);
	arch.msrs.sysenter_cs = vcpu_get_msr(vcpu, MSR_IA32_SYSENTER_CS);
	arch.msrs.sysenter_esp = vcpu_get_msr(vcpu, MSR_IA32_SYSENTER_ESP);
	arch.msrs.sysenter_eip = vcpu_get_msr(vcpu, MSR_IA32_SYSENTER_EIP);
	arch.msrs.efer = vcpu_get_msr(vcpu, MSR_EFER);
	arch.msrs.star = vcpu_get_msr(vcpu, MSR_STAR);
	arch.msrs.lstar = vcpu_get_msr(vcpu, MSR_LSTAR);
	arch.msrs.cstar = vcpu_get_msr(vcpu, MSR_CSTAR);
	arch.msrs.pat = vcpu_get_msr(vcpu, MSR_IA32_CR_PAT);
	arch.msrs.shadow_gs = vcpu_get_msr(vcpu, MSR_KERNEL_GS_BASE);
	return arch;
}

static void assert_arch(const struct kvmi_event *ev,
			const struct kvmi_vcpu_event_arch *want)
{
	const struct kvmi_vcpu_event_arch *got = &ev->vcpu.arch;

	TEST_ASSERT_EQ(got->mode, want->mode);
	TEST_ASSERT(!memcmp(&got->regs, &want->regs, sizeof(want->regs)),
		    "regs are not those of KVM_GET_REGS");
	TEST_ASSERT(!memcmp(&got->sregs, &want->sregs, sizeof(want->sregs)),
		    "sregs are not those of KVM_GET_SREGS");
	TEST_ASSERT_EQ(got->msrs.sysenter_cs, want->msrs.sysenter_cs);
	TEST_ASSERT_EQ(got->msrs.sysenter_esp, want->msrs.sysenter_esp);
	TEST_ASSERT_EQ(got->msrs.sysenter_eip, want->msrs.sysenter_eip);
	TEST_ASSERT_EQ(got->msrs.efer, want->msrs.efer);
	TEST_ASSERT_EQ(got->msrs.star, want->msrs.star);
	TEST_ASSERT_EQ(got->msrs.lstar, want->msrs.lstar);
	TEST_ASSERT_EQ(got->msrs.cstar, want->msrs.cstar);
	TEST_ASSERT_EQ(got->msrs.pat, want->msrs.pat);
	TEST_ASSERT_EQ(got->msrs.shadow_gs, want->msrs.shadow_gs);
}

/* Before its first entry the vCPU is exactly what userspace made it. */
KVMI_TEST(kvmi_pause, contents)
{
	struct kvmi_vcpu_event_arch want;
	struct kvmi_event ev;

	vcpu_set_msr(f->vcpu, MSR_IA32_SYSENTER_CS, 0x11);
	vcpu_set_msr(f->vcpu, MSR_IA32_SYSENTER_ESP, 0x22220000);
	vcpu_set_msr(f->vcpu, MSR_IA32_SYSENTER_EIP, 0x33330000);
	vcpu_set_msr(f->vcpu, MSR_STAR, 0x4444000000000000);
	vcpu_set_msr(f->vcpu, MSR_LSTAR, 0x555500000000);
	vcpu_set_msr(f->vcpu, MSR_CSTAR, 0x666600000000);
	vcpu_set_msr(f->vcpu, MSR_IA32_CR_PAT, 0x0606060606060606);
	vcpu_set_msr(f->vcpu, MSR_KERNEL_GS_BASE, 0x777700000000);
	want = expected(f->vcpu);
	TEST_ASSERT_EQ(want.msrs.lstar, 0x555500000000);

	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.seq, 1);
	assert_arch(&ev, &want);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

/* And later it is what KVM_GET_REGS says when KVM_RUN is left in the event. */
KVMI_TEST(kvmi_pause, contents_in_the_middle)
{
	struct kvmi_vcpu_event_arch want;
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_stop(&f->runner);
	want = expected(f->vcpu);
	assert_arch(&ev, &want);
}

/* The guest stands still between event and reply. */
KVMI_TEST(kvmi_pause, guest_stands_still)
{
	struct kvmi_event ev;
	u64 before;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	before = kvmi_read_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_read_progress(f->vm, 0), before);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
}

/* wait = 1 returns whatever the vCPU is doing. */
KVMI_TEST(kvmi_pause, wait)
{
	struct kvmi_event ev;
	unsigned int i;

	/* Not in KVM_RUN. */
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 1), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	/* In an event. */
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 1), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	/* In the guest. */
	for (i = 0; i < 100; i++) {
		kvmi_wait_progress(f->vm, 0);
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 1), 0);
		kvmi_recv_pause(&f->kvmi, 0, &ev);
		TEST_ASSERT_EQ(ev.seq, 3 + i);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_stop(&f->runner);
}

/* wait and padding, the permission, the vCPU. */
KVMI_TEST(kvmi_pause, errors)
{
	struct kvmi_vm_pause_vcpu padding = { .vcpu = 1, .padding2 = 1 };

	kvmi_assert_err(kvmi_pause(&f->kvmi, 1, 0), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0xffff, 0), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 2), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0xff), -KVMI_EINVAL);

	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, KVMI_VCPU_EVENT_PAUSE, 0),
			0);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 2), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_PAUSE_VCPU, &padding,
				     sizeof(padding), NULL, 0), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 1, 0), -KVMI_EPERM);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), -KVMI_EPERM);

	/* None of them left an event behind. */
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* One event per accepted request, 1002 of them and no more. */
KVMI_TEST(kvmi_pause, pending_limit)
{
	struct kvmi_event ev;
	unsigned int i;

	for (i = 0; i < KVMI_MAX_PAUSES; i++)
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	for (i = 0; i < 3; i++)
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, i & 1), -KVMI_EBUSY);

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < KVMI_MAX_PAUSES; i++) {
		kvmi_recv_pause(&f->kvmi, 0, &ev);
		TEST_ASSERT_EQ(ev.seq, i + 1);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);

	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.seq, KVMI_MAX_PAUSES + 1);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/* The vCPU shuts down, as userspace sees it, with nothing changed. */
KVMI_TEST(kvmi_pause, crash)
{
	struct kvm_regs regs;
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
	vcpu_regs_get(f->vcpu, &regs);
	TEST_ASSERT(!memcmp(&regs, &ev.vcpu.arch.regs, sizeof(regs)),
		    "CRASH changed the registers");
	kvmi_ping(&f->kvmi);

	kvmi_unhook(f->vm);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

static u32 send_set_regs(struct kvmi_fixture *f)
{
	struct kvm_regs regs;

	vcpu_regs_get(f->vcpu, &regs);
	return kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_SET_REGISTERS, &regs,
			      sizeof(regs));
}

static int recv_set_regs(struct kvmi_fixture *f, u32 seq)
{
	return kvmi_recv_reply(&f->kvmi, KVMI_VCPU_SET_REGISTERS, seq, NULL, 0);
}

/*
 * PAUSE is an entry of the vCPU's queue: what comes before runs outside the
 * event, what comes behind runs inside.  SET_REGISTERS knows the difference.
 */
KVMI_TEST(kvmi_pause, is_a_queue_entry)
{
	u32 before = send_set_regs(f), inside, second;
	struct kvmi_event ev;

	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	inside = send_set_regs(f);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	second = send_set_regs(f);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(recv_set_regs(f, before), -KVMI_EOPNOTSUPP);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	kvmi_assert_err(recv_set_regs(f, inside), 0);
	/* The second PAUSE is passed over while the first is in flight. */
	kvmi_assert_err(recv_set_regs(f, second), 0);
	kvmi_expect_quiet(&f->kvmi);

	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.seq, 2);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
}

/* Taking the permission away does not take back what was accepted. */
KVMI_TEST(kvmi_pause, accepted_before_disallowed)
{
	struct kvmi_event ev;

	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

static u64 woken;
extern char after_hlt[];

static void guest_halt(void)
{
	asm volatile("cli; hlt\n"
		     ".global after_hlt\n"
		     "after_hlt:\n" ::: "memory");
	for (;;)
		WRITE_ONCE(woken, woken + 1);
}

static u64 guest_woken(struct kvm_vm *vm)
{
	return READ_ONCE(*(u64 *)addr_gva2hva(vm, (gva_t)&woken));
}

/* A command wakes the thread of a halted vCPU, not its guest. */
KVMI_TEST(kvmi_pause, halted)
{
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvm_mp_state mp_state;
	struct kvmi_event ev;
	unsigned int i;

	vcpu_arch_set_entry_point(f->vcpu, guest_halt);
	kvmi_start(&f->runner, f->vcpu);
	do {
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
	} while (reply.regs.rip != (u64)after_hlt);

	for (i = 0; i < 10; i++) {
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
		TEST_ASSERT_EQ(reply.regs.rip, (u64)after_hlt);
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, (u64)after_hlt);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 1), 0);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);

	kvmi_stop(&f->runner);
	vcpu_mp_state_get(f->vcpu, &mp_state);
	TEST_ASSERT_EQ(mp_state.mp_state, KVM_MP_STATE_HALTED);
	TEST_ASSERT_EQ(guest_woken(f->vm), 0);
}

/* An AP that waits for its SIPI answers where it waits. */
KVMI_TEST(kvmi_pause, not_started)
{
	struct kvm_vcpu *ap = vm_vcpu_add(f->vm, 1, kvmi_guest_count);
	struct kvm_mp_state mp_state = {
		.mp_state = KVM_MP_STATE_UNINITIALIZED,
	};
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvmi_event ev;
	unsigned int i;

	vcpu_args_set(ap, 1, 1);
	vcpu_mp_state_set(ap, &mp_state);

	kvmi_assert_err(kvmi_pause(&f->kvmi, 1, 0), 0);
	kvmi_start(&f->runner, ap);
	kvmi_recv_pause(&f->kvmi, 1, &ev);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 1, &reply), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	for (i = 0; i < 10; i++) {
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 1, &reply), 0);
		kvmi_stop_vcpu(&f->kvmi, 1, &ev);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_stop(&f->runner);

	vcpu_mp_state_get(ap, &mp_state);
	TEST_ASSERT_EQ(mp_state.mp_state, KVM_MP_STATE_UNINITIALIZED);
	TEST_ASSERT_EQ(kvmi_read_progress(f->vm, 1), 0);
}

/* CRASH of one that never ran. */
KVMI_TEST(kvmi_pause, crash_not_started)
{
	struct kvm_vcpu *ap = vm_vcpu_add(f->vm, 1, kvmi_guest_count);
	struct kvm_mp_state mp_state = {
		.mp_state = KVM_MP_STATE_UNINITIALIZED,
	};
	struct kvmi_event ev;

	vcpu_mp_state_set(ap, &mp_state);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 1, 0), 0);
	kvmi_start(&f->runner, ap);
	kvmi_recv_pause(&f->kvmi, 1, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
}

KVMI_TEST_MAIN
