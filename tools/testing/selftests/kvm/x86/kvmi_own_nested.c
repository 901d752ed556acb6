// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM reads and writes what a hypervisor that is a guest (L1) names in VMRUN and
 * its like, or in VMX instructions: the tool is asked for it first.  What it let
 * L2 be entered with is open until L2 is left; what is restricted meanwhile is
 * dropped and counted.
 */
#include "kvmi_own.h"
#include "svm_util.h"
#include "vmx.h"

enum { ENTER = 1, VMLOAD, VMSAVE };

static u64 spin, l2_runs;
static gva_t nested;
static u64 is_on;

static void do_one(u64 it)
{
}

/* It is left with RIP at the call, and begins with that again. */
static void l2(void)
{
	for (;;) {
		do {
			WRITE_ONCE(l2_runs, l2_runs + 1);
		} while (READ_ONCE(spin));
		if (host_cpu_is_amd)
			asm volatile("1: vmmcall; cmpq $0, %0; je 1b" : : "m"(spin));
		else
			asm volatile("1: vmcall; cmpq $0, %0; je 1b" : : "m"(spin));
	}
}

static void wait_for_tool(void)
{
	WRITE_ONCE(what, NOTHING);
	WRITE_ONCE(done, done + 1);
	while (READ_ONCE(what) == NOTHING)
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
}

/* Without stores to the VMCB, which would be events of their own. */
static void svm_instruction(u64 which, gpa_t vmcb)
{
	switch (which) {
	case VMLOAD:
		asm volatile("vmload %%rax" : : "a"(vmcb) : "memory");
		break;
	case VMSAVE:
		asm volatile("vmsave %%rax" : : "a"(vmcb) : "memory");
		break;
	default:
		/* L2 leaves its registers behind. */
		asm volatile("push %%rbp; vmrun %%rax; pop %%rbp"
			     : "+a"(vmcb) : : "rbx", "rcx", "rdx", "rsi", "rdi",
			     "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			     "r15", "cc", "memory");
	}
}

static void l1(void)
{
	struct svm_test_data *svm = (void *)nested;
	struct vmx_pages *vmx = (void *)nested;

	if (host_cpu_is_amd) {
		generic_svm_setup(svm, l2);
		for (;;) {
			wait_for_tool();
			svm_instruction(READ_ONCE(what), svm->vmcb_gpa);
		}
	}

	wait_for_tool();
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	wait_for_tool();
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
		CPU_BASED_USE_MSR_BITMAPS);
	vmwrite(VM_EXIT_MSR_STORE_ADDR, PAGE);
	vmwrite(VM_EXIT_MSR_STORE_COUNT, 1);
	for (;;) {
		wait_for_tool();
		GUEST_ASSERT(is_on ? !vmresume() : !vmlaunch());
		is_on = true;
	}
}

static void prepare(struct kvmi_fixture *f)
{
	gva_t gva;

	if (host_cpu_is_amd)
		vcpu_alloc_svm(f->vm, &gva);
	else
		vcpu_alloc_vmx(f->vm, &gva);
	*ON_HOST(f, nested) = gva;
	kvmi_hook(&f->kvmi, f->vm);
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, 1, 0);
	*(u32 *)page(f) = MSR_KERNEL_GS_BASE;
	kvmi_start(&f->runner, f->vcpu);
	wait_done(f, 1);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
}

KVMI_SUITE_OF(kvmi_own_nested, vm_create_with_vcpus(1, l1, f->vcpus), prepare(f));

static void *on_host(struct kvmi_fixture *f)
{
	return addr_gva2hva(f->vm, *ON_HOST(f, nested));
}

static u64 vmcb_gpa(struct kvmi_fixture *f)
{
	return ((struct svm_test_data *)on_host(f))->vmcb_gpa;
}

static struct vmcb *vmcb(struct kvmi_fixture *f)
{
	return addr_gpa2hva(f->vm, vmcb_gpa(f));
}

/* A store by L1 itself, whose address it knows. */
static void expect_store(struct kvmi_fixture *f, u64 gpa)
{
	struct kvmi_event ev;

	kvmi_recv_pf(&f->kvmi, &ev, gpa, W);
	proceed(f, &ev);
}

#define ONLY_ON(which, name)						\
	do {								\
		if (!host_cpu_is_##which)				\
			SKIP(return, "the processor has no " name);	\
	} while (0)

KVMI_TEST(kvmi_own_nested, vmrun)
{
	u64 before, i;

	ONLY_ON(amd, "SVM");
	restrict_page(f, vmcb_gpa(f), R | X);
	before = refused(f);
	for (i = 1; i <= 5; i++) {
		vmcb(f)->control.exit_code = 0x5555;
		run(f, ENTER);
		expect_asked(f, vmcb_gpa(f), W);
		wait_done(f, i + 1);
		TEST_ASSERT_EQ(vmcb(f)->control.exit_code, SVM_EXIT_VMMCALL);
	}
	TEST_ASSERT_EQ(refused(f), before);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* The processor's own in some: then its address is known. */
KVMI_TEST(kvmi_own_nested, vmload_and_vmsave)
{
	struct kvmi_event ev;
	u64 before;

	ONLY_ON(amd, "SVM");
	before = refused(f);
	restrict_page(f, vmcb_gpa(f), R | X);
	run(f, VMLOAD);
	wait_done(f, 2);
	kvmi_expect_quiet(&f->kvmi);
	run(f, VMSAVE);
	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
	proceed(f, &ev);
	wait_done(f, 3);

	restrict_page(f, vmcb_gpa(f), 0);
	run(f, VMLOAD);
	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
	proceed(f, &ev);
	wait_done(f, 4);
	TEST_ASSERT_EQ(refused(f), before);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* Where L1 keeps its permission map for MSRs. */
KVMI_TEST(kvmi_own_nested, vmrun_reads_its_map)
{
	struct svm_test_data *svm;
	u64 before;

	ONLY_ON(amd, "SVM");
	svm = on_host(f);
	vmcb(f)->control.intercept |= BIT_ULL(INTERCEPT_MSR_PROT);
	vmcb(f)->control.msrpm_base_pa = svm->msr_gpa;
	restrict_page(f, svm->msr_gpa, 0);
	before = refused(f);
	run(f, ENTER);
	expect_asked(f, svm->msr_gpa, R);
	wait_done(f, 2);
	TEST_ASSERT_EQ(vmcb(f)->control.exit_code, SVM_EXIT_VMMCALL);
	TEST_ASSERT_EQ(refused(f), before);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* L2 runs, and is left when the tool says so. */
static void enter_and_spin(struct kvmi_fixture *f)
{
	u64 seen = *ON_HOST(f, l2_runs);

	WRITE_ONCE(*ON_HOST(f, spin), 1);
	run(f, ENTER);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, l2_runs)) > seen + 2);
}

/* The VM lives, and L1 does not learn how L2 was left. */
KVMI_TEST(kvmi_own_nested, vmexit_is_dropped)
{
	u64 before;

	ONLY_ON(amd, "SVM");
	enter_and_spin(f);
	vmcb(f)->control.exit_code = 0x5555;
	restrict_page(f, vmcb_gpa(f), R | X);
	before = refused(f);
	WRITE_ONCE(*ON_HOST(f, spin), 0);
	wait_done(f, 2);
	TEST_ASSERT_EQ(refused(f), before + 1);
	TEST_ASSERT_EQ(vmcb(f)->control.exit_code, 0x5555);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_own_nested, vmx_instructions)
{
	struct vmx_pages *vmx;
	u64 before;

	ONLY_ON(intel, "VMX");
	vmx = on_host(f);
	before = refused(f);

	/* The guest itself writes the revision there: that is allowed. */
	restrict_page(f, vmx->vmxon_gpa, 0);
	run(f, ENTER);
	expect_store(f, vmx->vmxon_gpa);
	expect_asked(f, vmx->vmxon_gpa, R);
	wait_done(f, 2);

	restrict_page(f, vmx->vmcs_gpa, 0);
	run(f, ENTER);
	expect_store(f, vmx->vmcs_gpa);
	expect_asked(f, vmx->vmcs_gpa, W);
	expect_asked(f, vmx->vmcs_gpa, R);
	wait_done(f, 3);

	restrict_page(f, vmx->msr_gpa, 0);
	restrict_page(f, PAGE, R | X);
	run(f, ENTER);
	expect_asked(f, vmx->msr_gpa, R);
	expect_asked(f, PAGE, W);
	wait_done(f, 4);
	TEST_ASSERT_EQ(refused(f), before);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* A list of MSRs to store that is closed while L2 runs is no abort. */
KVMI_TEST(kvmi_own_nested, msr_store_is_dropped)
{
	u64 before, *value = (u64 *)(page(f) + 8);

	ONLY_ON(intel, "VMX");
	run(f, ENTER);
	wait_done(f, 2);
	run(f, ENTER);
	wait_done(f, 3);
	*value = 0x5555;
	enter_and_spin(f);
	restrict_page(f, PAGE, R | X);
	before = refused(f);
	WRITE_ONCE(*ON_HOST(f, spin), 0);
	wait_done(f, 4);
	TEST_ASSERT_EQ(refused(f), before + 1);
	TEST_ASSERT_EQ(*value, 0x5555);
	restrict_page(f, PAGE, R | W | X);
	run(f, ENTER);
	wait_done(f, 5);
	TEST_ASSERT(*value != 0x5555, "Not stored any more");
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvm_cpu_has(host_cpu_is_amd ? X86_FEATURE_SVM :
				   X86_FEATURE_VMX),
		       "guests cannot have guests of their own");
	return test_harness_run(argc, argv);
}
