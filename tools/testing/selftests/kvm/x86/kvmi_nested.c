// SPDX-License-Identifier: GPL-2.0-only
/*
 * While the guest (L1) runs a guest of its own (L2), nothing that L2 does is an
 * event, and what is intercepted for a tool does not show there; when L2 was
 * left, L1's events are as before.
 */
#include "kvmi_test.h"
#include "svm_util.h"
#include "vmx.h"

#define VMMCALL_LEN	3
#define CR3_PWT		BIT_ULL(3)

enum order {
	NOTHING,
	ALL_IN_L1,
	ALL_IN_L2,
};

/* What the host wants, whether L2 may begin, and what has been done. */
static u64 order, begin, in_l2, rounds;
static u64 breakpoints;

static void on_breakpoint(struct ex_regs *regs)
{
	breakpoints++;
}

/* One of each, in the order of the events in all_events(). */
static void do_all(void)
{
	u64 was = get_cr0(), hits = READ_ONCE(breakpoints);
	u32 eax, ebx, ecx, edx;

	set_cr0(was ^ X86_CR0_WP);
	GUEST_ASSERT_EQ((get_cr0() ^ was) & X86_CR0_WP, X86_CR0_WP);
	was = get_cr3();
	set_cr3(was ^ CR3_PWT);
	GUEST_ASSERT_EQ(get_cr3() ^ was, CR3_PWT);
	was = get_cr4();
	set_cr4(was ^ X86_CR4_TSD);
	GUEST_ASSERT_EQ((get_cr4() ^ was) & X86_CR4_TSD, X86_CR4_TSD);
	was = rdmsr(MSR_LSTAR);
	wrmsr(MSR_LSTAR, was ^ 0x1000);
	GUEST_ASSERT_EQ(rdmsr(MSR_LSTAR) ^ was, 0x1000);
	GUEST_ASSERT(get_gdt().address);
	cpuid(0, &eax, &ebx, &ecx, &edx);
	asm volatile("int3");
	GUEST_ASSERT_EQ(READ_ONCE(breakpoints), hits + 1);
}

static void l2(void)
{
	for (;;) {
		WRITE_ONCE(in_l2, 1);
		while (!READ_ONCE(begin))
			WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		WRITE_ONCE(in_l2, 0);
		WRITE_ONCE(begin, 0);
		do_all();
		if (host_cpu_is_amd)
			vmmcall();
		else
			vmcall();
	}
}

static void run_l2_svm(struct svm_test_data *svm)
{
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
	svm->vmcb->save.rip += VMMCALL_LEN;
}

/* CPUID of L2 always leaves for L1, which has no answer. */
static void run_l2_vmx(bool first)
{
	u64 reason;

	do {
		GUEST_ASSERT(!(first ? vmlaunch() : vmresume()));
		first = false;
		reason = vmreadz(VM_EXIT_REASON);
		GUEST_ASSERT(reason == EXIT_REASON_CPUID ||
			     reason == EXIT_REASON_VMCALL);
		vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) +
				   vmreadz(VM_EXIT_INSTRUCTION_LEN));
	} while (reason == EXIT_REASON_CPUID);
}

static void set_up(void *nested)
{
	if (host_cpu_is_amd) {
		generic_svm_setup(nested, l2);
		return;
	}
	GUEST_ASSERT(prepare_for_vmx_operation(nested));
	GUEST_ASSERT(load_vmcs(nested));
	prepare_vmcs(nested, l2);
	/* Its bitmap lets every MSR through. */
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
					   CPU_BASED_USE_MSR_BITMAPS);
}

static void l1(void *nested)
{
	bool first = true;
	u64 what;

	set_up(nested);
	for (;;) {
		while (!(what = READ_ONCE(order)))
			WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		WRITE_ONCE(order, NOTHING);
		if (what == ALL_IN_L1) {
			do_all();
		} else if (host_cpu_is_amd) {
			run_l2_svm(nested);
		} else {
			run_l2_vmx(first);
			first = false;
		}
		WRITE_ONCE(rounds, rounds + 1);
	}
}

static bool bp_exits, descriptor_exits;

static void prepare(struct kvmi_fixture *f)
{
	gva_t nested;

	vm_install_exception_handler(f->vm, BP_VECTOR, on_breakpoint);
	if (host_cpu_is_amd)
		vcpu_alloc_svm(f->vm, &nested);
	else
		vcpu_alloc_vmx(f->vm, &nested);
	vcpu_args_set(f->vcpu, 1, nested);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_start(&f->runner, f->vcpu);
	/* What L1 does to begin is no part of the test. */
	kvmi_wait_progress(f->vm, 0);
}

KVMI_SUITE_OF(kvmi_nested, vm_create_with_vcpus(1, l1, f->vcpus), prepare(f));

#define ON_HOST(f, variable) \
	((u64 *)addr_gva2hva((f)->vm, (gva_t)&(variable)))

static void want_all(struct kvmi_fixture *f, bool want)
{
	kvmi_want_all(&f->kvmi, 0, want, descriptor_exits);
}

static void expect(struct kvmi *k, u16 event, u8 cr)
{
	struct kvmi_event ev;

	kvmi_recv_event(k, &ev);
	TEST_ASSERT_EQ(ev.event, event);
	if (event == KVMI_VCPU_EVENT_CR)
		TEST_ASSERT_EQ(ev.specific[0], cr);
	kvmi_continue(k, &ev);
}

/* Those of do_all(), each once. */
static void expect_all(struct kvmi *k)
{
	expect(k, KVMI_VCPU_EVENT_CR, 0);
	expect(k, KVMI_VCPU_EVENT_CR, 3);
	expect(k, KVMI_VCPU_EVENT_CR, 4);
	expect(k, KVMI_VCPU_EVENT_MSR, 0);
	if (descriptor_exits)
		expect(k, KVMI_VCPU_EVENT_DESCRIPTOR, 0);
	expect(k, KVMI_VCPU_EVENT_CPUID, 0);
	if (bp_exits)
		expect(k, KVMI_VCPU_EVENT_BREAKPOINT, 0);
}

static void round_in_l1(struct kvmi_fixture *f, bool events)
{
	u64 before = READ_ONCE(*ON_HOST(f, rounds));

	WRITE_ONCE(*ON_HOST(f, order), ALL_IN_L1);
	if (events)
		expect_all(&f->kvmi);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, rounds)) == before + 1);
	if (f->kvmi.fd >= 0)
		kvmi_expect_quiet(&f->kvmi);
}

/* L2 runs and waits. */
static void enter_l2(struct kvmi_fixture *f)
{
	WRITE_ONCE(*ON_HOST(f, order), ALL_IN_L2);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, in_l2)));
}

/* It goes on, and nothing of it is an event. */
static void finish_l2(struct kvmi_fixture *f)
{
	u64 before = READ_ONCE(*ON_HOST(f, rounds));

	WRITE_ONCE(*ON_HOST(f, begin), 1);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, rounds)) == before + 1);
	if (f->kvmi.fd >= 0)
		kvmi_expect_quiet(&f->kvmi);
}

KVMI_TEST(kvmi_nested, quiet_in_l2)
{
	unsigned int i;

	want_all(f, true);
	for (i = 0; i < 3; i++) {
		enter_l2(f);
		finish_l2(f);
		round_in_l1(f, true);
	}
	kvmi_stop(&f->runner);
}

/* Wanted while L2 runs: from L1's next on. */
KVMI_TEST(kvmi_nested, wanted_in_l2)
{
	enter_l2(f);
	want_all(f, true);
	finish_l2(f);
	round_in_l1(f, true);
	enter_l2(f);
	finish_l2(f);
	round_in_l1(f, true);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_nested, not_wanted_any_more)
{
	want_all(f, true);
	round_in_l1(f, true);
	enter_l2(f);
	want_all(f, false);
	finish_l2(f);
	round_in_l1(f, false);
	enter_l2(f);
	finish_l2(f);
	kvmi_stop(&f->runner);
}

/* The tool dies while L2 runs. */
KVMI_TEST(kvmi_nested, tool_dies)
{
	want_all(f, true);
	enter_l2(f);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	finish_l2(f);
	round_in_l1(f, false);
	enter_l2(f);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_wait_progress(f->vm, 0);
	finish_l2(f);
	round_in_l1(f, false);
	want_all(f, true);
	round_in_l1(f, true);
	enter_l2(f);
	finish_l2(f);
	kvmi_stop(&f->runner);
}

/* A pause finds the vCPU wherever it is. */
KVMI_TEST(kvmi_nested, pause)
{
	struct kvmi_event ev;

	want_all(f, true);
	enter_l2(f);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	TEST_ASSERT(ev.vcpu.arch.sregs.efer & EFER_LMA, "L2 is 64-bit code");
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	finish_l2(f);
	round_in_l1(f, true);
	kvmi_stop(&f->runner);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvm_cpu_has(host_cpu_is_amd ? X86_FEATURE_SVM :
				   X86_FEATURE_VMX),
		       "guests cannot have guests of their own");
	bp_exits = kvmi_has_bp_exits();
	descriptor_exits = kvmi_has_descriptor_exits();
	return test_harness_run(argc, argv);
}
