// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that a guest names to KVM's Hyper-V emulation are written because the
 * guest says so: the tool is asked, or the write is refused and counted.
 */
#include "hyperv.h"
#include "kvmi_own.h"

enum { HYPERCALL = 1, REFERENCE_TSC, VP_ASSIST, SIMP, SIEFP, SEND_IPI, NR_WHAT };

static const struct {
	u32 msr;
	u8 access;
} msrs[NR_WHAT] = {
	[HYPERCALL] = { HV_X64_MSR_HYPERCALL, W },
	[REFERENCE_TSC] = { HV_X64_MSR_REFERENCE_TSC, R | W },
	[VP_ASSIST] = { HV_X64_MSR_VP_ASSIST_PAGE, R | W },
	[SIMP] = { HV_X64_MSR_SIMP, R | W },
	[SIEFP] = { HV_X64_MSR_SIEFP, R | W },
};

static u64 result;

static void do_one(u64 it)
{
	if (it == SEND_IPI) {
		__hyperv_hypercall(HVCALL_SEND_IPI, PAGE, 0, &result);
		return;
	}
	wrmsr(HV_X64_MSR_GUEST_OS_ID, HYPERV_LINUX_OS_ID);
	wrmsr(msrs[it].msr, PAGE | 1);
}

static void prepare(struct kvmi_fixture *f)
{
	vcpu_set_hv_cpuid(f->vcpu);
	vcpu_enable_cap(f->vcpu, KVM_CAP_HYPERV_SYNIC2, 0);
	kvmi_hook(&f->kvmi, f->vm);
}

KVMI_SUITE_OF(kvmi_own_hyperv, kvmi_create_vm(1, f->vcpus), prepare(f));

/* Whoever writes it leaves KVM_RUN for the VMM to know. */
static void return_to_vmm(struct kvmi_fixture *f, u64 it)
{
	if (it != SIMP && it != SIEFP)
		return;

	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_HYPERV);
	kvmi_start(&f->runner, f->vcpu);
}

static void asked(struct kvmi_fixture *f, u64 it, u8 allowed)
{
	u64 before;

	start(f);
	fill(f);
	restrict_page(f, PAGE, allowed);
	before = refused(f);
	run(f, it);
	expect_asked(f, PAGE, msrs[it].access & ~allowed);
	return_to_vmm(f, it);
	wait_done(f, 1);
	if (it != SIMP && it != SIEFP)
		TEST_ASSERT(!is_untouched(f), "Allowed, but not written");
	TEST_ASSERT_EQ(refused(f), before);
	finish(f, 1);
}

static void denied(struct kvmi_fixture *f, u64 it)
{
	struct kvmi_event ev;
	struct kvm_regs regs;

	start(f);
	fill(f);
	restrict_page(f, PAGE, R | X);
	run(f, it);
	expect(f, &ev, PAGE, W, NO_GVA);
	TEST_ASSERT(is_untouched(f), "Written before the answer");
	regs = ev.vcpu.arch.regs;
	regs.rip += 2;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	proceed(f, &ev);
	wait_done(f, 1);
	leave_and_enter(f);
	TEST_ASSERT(is_untouched(f), "Written although it was denied");
	finish(f, 1);
}

#define CASES(name, it)							\
KVMI_TEST(kvmi_own_hyperv, name) { asked(f, it, R | X); }		\
KVMI_TEST(kvmi_own_hyperv, name##_of_nothing) { asked(f, it, 0); }	\
KVMI_TEST(kvmi_own_hyperv, name##_denied) { denied(f, it); }

CASES(hypercall_page, HYPERCALL)
CASES(reference_tsc, REFERENCE_TSC)
CASES(vp_assist_page, VP_ASSIST)
CASES(message_page, SIMP)
CASES(event_page, SIEFP)

/* The input of a hypercall that is not in registers. */
KVMI_TEST(kvmi_own_hyperv, slow_hypercall)
{
	struct kvmi_event ev;

	start(f);
	/* To vector 0x40 of no processor. */
	*(u64 *)page(f) = 0x40;
	*(u64 *)(page(f) + 8) = 0;
	run(f, HYPERCALL);
	/* The guest's code calls by itself; what the page is for is nothing here. */
	wait_done(f, 1);
	*(u64 *)page(f) = 0x40;
	*(u64 *)(page(f) + 8) = 0;
	restrict_page(f, PAGE, 0);
	run(f, SEND_IPI);
	expect(f, &ev, PAGE, R, NO_GVA);
	proceed(f, &ev);
	wait_done(f, 2);
	TEST_ASSERT_EQ(*ON_HOST(f, result), HV_STATUS_SUCCESS);
	finish(f, 2);
}

/* What the VMM writes is its own choice, but not to restricted memory. */
KVMI_TEST(kvmi_own_hyperv, vmm_is_refused)
{
	u64 before;

	start(f);
	fill(f);
	kvmi_stop(&f->runner);
	vcpu_set_msr(f->vcpu, HV_X64_MSR_GUEST_OS_ID, HYPERV_LINUX_OS_ID);
	restrict_page(f, PAGE, R | X);
	before = refused(f);
	TEST_ASSERT_EQ(_vcpu_set_msr(f->vcpu, HV_X64_MSR_HYPERCALL, PAGE | 1), 0);
	TEST_ASSERT(is_untouched(f), "Written");
	TEST_ASSERT_EQ(refused(f), before + 1);
	kvmi_expect_quiet(&f->kvmi);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvm_has_cap(KVM_CAP_HYPERV_CPUID), "KVM has no Hyper-V");
	return test_harness_run(argc, argv);
}
