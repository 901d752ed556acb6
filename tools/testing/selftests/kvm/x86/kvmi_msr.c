// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_CONTROL_MSR and the MSR event. */
#include "kvmi_insn.h"

/* The MSR that the guest writes, and the bits that it changes. */
static u64 which = MSR_LSTAR;
static const u64 bits = 0x1000;

/* The base of the first variable MTRR: KVM sees every write to it. */
#define MTRR_PHYS_BASE_0	0x200

static const u32 watched[] = {
	MSR_LSTAR, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP, MSR_CSTAR,
	MSR_KERNEL_GS_BASE, MSR_FS_BASE, MTRR_PHYS_BASE_0,
};

static void execute(struct kvmi_insn_seen *seen)
{
	u64 value;

	seen->before = rdmsr(which);
	value = kvmi_insn_same ? seen->before : seen->before ^ bits;
	asm volatile(KVMI_INSN_ASM("wrmsr")
		     : KVMI_INSN_OUTPUTS(seen)
		     : "a"((u32)value), "d"((u32)(value >> 32)), "c"((u32)which)
		     : KVMI_INSN_CLOBBERS);
	seen->after = rdmsr(which);
}

static void control(struct kvmi *k, bool enable)
{
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_LSTAR, enable), 0);
}

static const struct kvmi_vcpu_event_msr *msr_of(const struct kvmi_event *ev)
{
	return (const void *)ev->specific;
}

static void check(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	const struct kvmi_vcpu_event_msr *msr = msr_of(ev);
	const struct kvm_regs *regs = &ev->vcpu.arch.regs;

	TEST_ASSERT_EQ(msr->padding, 0);
	TEST_ASSERT_EQ(msr->msr, regs->rcx);
	TEST_ASSERT_EQ(msr->old_value, kvmi_insn_host(f)->before);
	TEST_ASSERT_EQ(msr->new_value, (u32)regs->rax | regs->rdx << 32);
	TEST_ASSERT_EQ(msr->new_value, msr->old_value ^ bits);
}

static bool is(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate)
{
	return kvmi_insn_is_write(seen, fate,
				  seen->after == (seen->before ^ bits),
				  seen->after == seen->before);
}

static const struct kvmi_insn kvmi_insn = {
	.event = KVMI_VCPU_EVENT_MSR,
	.size = sizeof(struct kvmi_vcpu_event_msr),
	.value_offset = offsetof(struct kvmi_vcpu_event_msr, new_value),
	.done_if_moved = true,
	.refused = KVMI_INSN_REFUSED,
	.control = control,
	.execute = execute,
	.check = check,
	.is = is,
};

KVMI_INSN_SUITE(kvmi_msr);
KVMI_INSN_TESTS(kvmi_msr)
KVMI_INSN_VALUE_TESTS(kvmi_msr)

static void choose(struct kvmi_fixture *f, u64 msr)
{
	which = msr;
	sync_global_to_guest(f->vm, which);
}

/* One MSR at a time: of all that the guest writes this one is seen. */
KVMI_TEST(kvmi_msr, each_msr)
{
	struct kvmi_event ev;
	unsigned int i, j;
	u64 runs = 0;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_MSR, 1),
			0);
	for (i = 0; i < ARRAY_SIZE(watched); i++) {
		kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, watched[i], 1), 0);
		for (j = 0; j < ARRAY_SIZE(watched); j++) {
			choose(f, watched[j]);
			kvmi_insn_run(f, 1);
			if (i == j) {
				kvmi_insn_recv(f, &ev);
				TEST_ASSERT_EQ(msr_of(&ev)->msr, watched[i]);
				kvmi_insn_reply(f, &ev,
						KVMI_EVENT_ACTION_CONTINUE);
			}
			kvmi_insn_expect(f, ++runs, KVMI_INSN_DONE);
		}
		kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, watched[i], 0), 0);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_msr, other_value)
{
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
			 0xffff800012345678);
	kvmi_insn_wait(f, 1);
	TEST_ASSERT_EQ(seen->vector, 0);
	TEST_ASSERT_EQ(seen->after, 0xffff800012345678);

	/* The old value: nothing happens, and the guest does not know. */
	kvmi_insn_run(f, 1);
	kvmi_insn_recv(f, &ev);
	kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
			 msr_of(&ev)->old_value);
	kvmi_insn_expect(f, 2, KVMI_INSN_SKIPPED);

	/* One that no guest could write: not canonical. */
	kvmi_insn_run(f, 1);
	kvmi_insn_recv(f, &ev);
	kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
			 0x1234567812345678);
	kvmi_insn_expect(f, 3, KVMI_INSN_REFUSED);
	kvmi_insn_once_more(f, 4, 4);
}

KVMI_TEST(kvmi_msr, control_errors)
{
	static const u32 good[] = { 0, 0x1fff, 0xc0000000, 0xc0001fff };
	static const u32 bad[] = { 0x2000, 0xbfffffff, 0xc0002000, 0xffffffff };
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, good[i], 1), 0);
		kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, good[i], 0), 0);
		kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, good[i], 2),
				-KVMI_EINVAL);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, bad[i], 1),
				-KVMI_EINVAL);
		kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, bad[i], 0),
				-KVMI_EINVAL);
	}
	kvmi_stop(&f->runner);
}

/* An MSR whose writes the VMM filters is the VMM's. */
KVMI_TEST(kvmi_msr, filtered)
{
	u8 bitmap = 0;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges[0] = {
			.flags = KVM_MSR_FILTER_WRITE,
			.base = MSR_LSTAR,
			.nmsrs = 1,
			.bitmap = &bitmap,
		},
	};

	vm_ioctl(f->vm, KVM_X86_SET_MSR_FILTER, &filter);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, MSR_LSTAR, 1),
			-KVMI_EPERM);
	kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, MSR_LSTAR, 0), 0);
	kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, MSR_CSTAR, 1), 0);
	kvmi_stop(&f->runner);
}

/* What the VMM writes is no event. */
KVMI_TEST(kvmi_msr, the_vmm_writes)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_wait(f, 1);
	kvmi_stop(&f->runner);
	vcpu_set_msr(f->vcpu, MSR_LSTAR, 0x5000);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn_once_more(f, 2, 2);
}

KVMI_TEST_MAIN
