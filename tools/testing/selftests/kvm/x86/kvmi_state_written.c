// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMM writes state of a vCPU that waits for an answer: the event is over, the
 * late answer counts for nothing, and the guest asks anew.
 */
#include "kvmi_page.h"

KVMI_SUITE(kvmi_state_written, 1);

enum { STORE = 1 };

static void do_one(u64 it)
{
	*(volatile u64 *)(PAGE + 64) = it;
}

static void write_regs(struct kvm_vcpu *vcpu)
{
	struct kvm_regs regs;

	vcpu_regs_get(vcpu, &regs);
	vcpu_regs_set(vcpu, &regs);
}

static void write_sregs(struct kvm_vcpu *vcpu)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vcpu, &sregs);
	vcpu_sregs_set(vcpu, &sregs);
}

static void write_msr(struct kvm_vcpu *vcpu)
{
	vcpu_set_msr(vcpu, MSR_LSTAR, vcpu_get_msr(vcpu, MSR_LSTAR));
}

static void write_events(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_events events;

	vcpu_events_get(vcpu, &events);
	vcpu_events_set(vcpu, &events);
}

static void write_mp_state(struct kvm_vcpu *vcpu)
{
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };

	vcpu_mp_state_set(vcpu, &state);
}

static void write_lapic(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic_state lapic;

	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &lapic);
	vcpu_ioctl(vcpu, KVM_SET_LAPIC, &lapic);
}

static void write_cpuid(struct kvm_vcpu *vcpu)
{
	vcpu_set_cpuid(vcpu);
}

static void write_debugregs(struct kvm_vcpu *vcpu)
{
	struct kvm_debugregs debugregs;

	vcpu_debugregs_get(vcpu, &debugregs);
	vcpu_debugregs_set(vcpu, &debugregs);
}

static void write_fpu(struct kvm_vcpu *vcpu)
{
	struct kvm_fpu fpu;

	vcpu_fpu_get(vcpu, &fpu);
	vcpu_fpu_set(vcpu, &fpu);
}

static void write_one_reg(struct kvm_vcpu *vcpu)
{
	u64 value, id = KVM_X86_REG_MSR(MSR_LSTAR);

	if (kvm_has_cap(KVM_CAP_ONE_REG)) {
		value = vcpu_get_reg(vcpu, id);
		vcpu_set_reg(vcpu, id, value);
	} else {
		write_msr(vcpu);
	}
}

/* By the next KVM_RUN. */
static void write_synced(struct kvm_vcpu *vcpu)
{
	vcpu_regs_get(vcpu, &vcpu->run->s.regs.regs);
	vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
}

static void (*const writers[])(struct kvm_vcpu *vcpu) = {
	write_regs, write_sregs, write_msr, write_events, write_mp_state,
	write_lapic, write_cpuid, write_debugregs, write_fpu, write_one_reg,
	write_synced,
};

KVMI_TEST(kvmi_state_written, event)
{
	struct kvmi_event ev, next;
	unsigned int i;

	start(f);
	restrict_page(f, PAGE, R | X);
	run(f, STORE);
	kvmi_recv_pf(&f->kvmi, &ev, PAGE + 64, W);
	for (i = 0; i < ARRAY_SIZE(writers); i++) {
		kvmi_stop(&f->runner);
		/* Before the VMM writes, and behind that. */
		if (i & 1)
			proceed(f, &ev);
		kvmi_ping(&f->kvmi);
		writers[i](f->vcpu);
		if (!(i & 1) && writers[i] != write_synced)
			proceed(f, &ev);
		kvmi_start(&f->runner, f->vcpu);
		kvmi_recv_pf(&f->kvmi, &next, PAGE + 64, W);
		TEST_ASSERT_EQ(next.seq, ev.seq + 1);
		TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(f->vm, PAGE + 64), 0);
		if (writers[i] == write_synced)
			proceed(f, &ev);
		ev = next;
	}
	proceed(f, &ev);
	finish(f, 1);
	TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(f->vm, PAGE + 64), STORE);
}

/* What only reads leaves the event as it is. */
KVMI_TEST(kvmi_state_written, read)
{
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvmi_event ev;

	start(f);
	restrict_page(f, PAGE, R | X);
	run(f, STORE);
	kvmi_recv_pf(&f->kvmi, &ev, PAGE + 64, W);
	kvmi_stop(&f->runner);
	vcpu_regs_get(f->vcpu, &regs);
	vcpu_sregs_get(f->vcpu, &sregs);
	vcpu_events_get(f->vcpu, &events);
	kvmi_start(&f->runner, f->vcpu);
	proceed(f, &ev);
	finish(f, 1);
}

/* An exception that waits for the next entry is not injected any more. */
KVMI_TEST(kvmi_state_written, injection)
{
	struct kvmi_vcpu_inject_exception req = { .nr = UD_VECTOR };
	struct kvmi_event ev;

	start(f);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_INJECT_EXCEPTION,
					  &req, sizeof(req), NULL, 0), 0);
	kvmi_stop(&f->runner);
	write_regs(f->vcpu);
	proceed(f, &ev);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	/* Another one can be. */
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_INJECT_EXCEPTION,
					  &req, sizeof(req), NULL, 0), 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
