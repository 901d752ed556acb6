// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's own guest (L2) meets restricted pages: each access is an event with
 * L2's registers and L1's guest physical address, and is let through once.
 *
 * L2 has L1's page tables, or, where L1 uses nested paging for it, finds the
 * pages at other guest physical addresses than L1 does.
 */
#include "kvmi_test.h"
#include "apic.h"
#include "svm_util.h"
#include "vmx.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define SLOT	10
#define PAGES	0xc0000000ull
#define ALIAS	0xc0010000ull
#define TIMES	20
#define VECTOR	0x40

#define VMMCALL_LEN	3

/* What is done, by whom, and how often. */
enum { NOTHING, WRITE, READ, CALL, LOCKED, CROSS, COPY, BY_L1 };

static u64 what, todo, done, sum, interrupts;
/* Where L2 sees the pages. */
static u64 pages;

static void do_one(u64 at)
{
	volatile u64 *word = (void *)(at + 64);

	switch (what) {
	case WRITE:
	case BY_L1:
		*word += 1;
		break;
	case READ:
		sum += *word;
		break;
	case CALL:
		((void (*)(void))at)();
		break;
	case LOCKED:
		asm volatile("lock incq %0" : "+m"(*word));
		break;
	case CROSS:
		*(volatile u64 *)(at + 4092) = 0x1122334455667788;
		break;
	case COPY: {
		u64 from = at + 64, to = at + 4096 + 64;

		asm volatile("movsq" : "+S"(from), "+D"(to) : : "memory");
		break;
	}
	}
}

static void do_all(u64 at)
{
	while (READ_ONCE(todo)) {
		do_one(at);
		WRITE_ONCE(todo, todo - 1);
	}
	WRITE_ONCE(what, NOTHING);
	WRITE_ONCE(done, done + 1);
}

static void l2(void)
{
	for (;;) {
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		switch (READ_ONCE(what)) {
		case NOTHING:
			break;
		case BY_L1:
			if (host_cpu_is_amd)
				vmmcall();
			else
				vmcall();
			break;
		default:
			do_all(pages);
		}
	}
}

static void on_interrupt(struct ex_regs *regs)
{
	interrupts++;
	wrmsr(APIC_BASE_MSR + (APIC_EOI >> 4), 0);
}

/* L2 was left: for L1 to do something itself, or for an interrupt. */
static void after_exit(void)
{
	if (READ_ONCE(what) == BY_L1)
		do_all(PAGES);
}

static void l1_svm(struct svm_test_data *svm)
{
	struct vmcb_control_area *ctrl = &svm->vmcb->control;

	generic_svm_setup(svm, l2);
	ctrl->intercept |= BIT_ULL(INTERCEPT_INTR);
	ctrl->int_ctl |= V_INTR_MASKING_MASK;
	for (;;) {
		/* IF counts for L2, and from STGI on for L1. */
		asm volatile("clgi; sti");
		run_guest(svm->vmcb, svm->vmcb_gpa);
		asm volatile("stgi; nop; cli");
		if (ctrl->exit_code == SVM_EXIT_VMMCALL)
			svm->vmcb->save.rip += VMMCALL_LEN;
		else
			GUEST_ASSERT_EQ(ctrl->exit_code, SVM_EXIT_INTR);
		after_exit();
	}
}

static void l1_vmx(struct vmx_pages *vmx)
{
	u64 reason;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2);
	vmwrite(PIN_BASED_VM_EXEC_CONTROL,
		vmreadz(PIN_BASED_VM_EXEC_CONTROL) | PIN_BASED_EXT_INTR_MASK);
	GUEST_ASSERT(!vmlaunch());
	for (;;) {
		reason = vmreadz(VM_EXIT_REASON);
		if (reason == EXIT_REASON_VMCALL)
			vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) +
					   vmreadz(VM_EXIT_INSTRUCTION_LEN));
		else
			GUEST_ASSERT_EQ(reason, EXIT_REASON_EXTERNAL_INTERRUPT);
		asm volatile("sti; nop; cli");
		after_exit();
		GUEST_ASSERT(!vmresume());
	}
}

static void l1(void *nested)
{
	x2apic_enable();
	if (host_cpu_is_amd)
		l1_svm(nested);
	else
		l1_vmx(nested);
}

static struct kvm_vm *create(struct kvmi_fixture *f)
{
	return vm_create_with_vcpus(1, l1, f->vcpus);
}

KVMI_SUITE_OF(kvmi_page_nested, create(f), (void)0);

#define ON_HOST(f, variable) \
	((u64 *)addr_gva2hva((f)->vm, (gva_t)&(variable)))

static u64 *word(struct kvmi_fixture *f)
{
	return addr_gpa2hva(f->vm, PAGES + 64);
}

/* L2 runs, and the first page is restricted. */
static void start(struct kvmi_fixture *f, bool own_tables, u8 access)
{
	u64 seen = own_tables ? ALIAS : PAGES;
	gva_t nested;

	if (own_tables)
		vm_enable_tdp(f->vm);
	if (host_cpu_is_amd)
		vcpu_alloc_svm(f->vm, &nested);
	else
		vcpu_alloc_vmx(f->vm, &nested);
	vcpu_args_set(f->vcpu, 1, nested);
	vm_install_exception_handler(f->vm, VECTOR, on_interrupt);

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGES, SLOT, 2, 0);
	virt_map(f->vm, PAGES, PAGES, 2);
	*(u8 *)addr_gpa2hva(f->vm, PAGES) = 0xc3;
	*ON_HOST(f, pages) = seen;
	if (own_tables) {
		virt_map(f->vm, ALIAS, ALIAS, 2);
		tdp_identity_map_default_memslots(f->vm);
		tdp_map(f->vm, ALIAS, PAGES, 2 * PAGE_SIZE);
	}

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, PAGES, access), 0);
}

static void run(struct kvmi_fixture *f, u64 it, u64 times)
{
	WRITE_ONCE(*ON_HOST(f, todo), times);
	WRITE_ONCE(*ON_HOST(f, what), it);
}

static void wait_done(struct kvmi_fixture *f, u64 rounds)
{
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, done)) == rounds);
}

/* The event is one of L2: of its stack, or L1's. */
static void expect(struct kvmi_fixture *f, struct kvmi_event *ev, u64 gpa,
		 u8 access, u64 at)
{
	const struct kvmi_vcpu_event_pf *pf = (const void *)ev->specific;

	kvmi_recv_pf(&f->kvmi, ev, gpa, access);
	if (host_cpu_is_intel && kvm_is_tdp_enabled())
		TEST_ASSERT_EQ(pf->gva, at + gpa - PAGES);
}

/* Each of TIMES accesses of L2 is one event. */
static void each(struct kvmi_fixture *f, bool own_tables, u8 allowed, u64 it,
		 u64 gpa, u8 access)
{
	u64 rip = 0, i;
	struct kvmi_event ev;

	start(f, own_tables, allowed);
	run(f, it, TIMES);
	for (i = 0; i < TIMES; i++) {
		expect(f, &ev, gpa, access, *ON_HOST(f, pages));
		if (i)
			TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, rip);
		rip = ev.vcpu.arch.regs.rip;
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	wait_done(f, 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static void writes(struct kvmi_fixture *f, bool own_tables)
{
	each(f, own_tables, R | X, WRITE, PAGES + 64, W);
	TEST_ASSERT_EQ(*word(f), TIMES);
}

static void reads(struct kvmi_fixture *f, bool own_tables)
{
	*(u64 *)addr_gva2hva(f->vm, (gva_t)&sum) = 0;
	each(f, own_tables, 0, READ, PAGES + 64, R);
	TEST_ASSERT_EQ(*ON_HOST(f, sum), 0);
}

static void calls(struct kvmi_fixture *f, bool own_tables)
{
	each(f, own_tables, R | W, CALL, PAGES, X);
}

static void locked(struct kvmi_fixture *f, bool own_tables)
{
	each(f, own_tables, R | X, LOCKED, PAGES + 64, W);
	TEST_ASSERT_EQ(*word(f), TIMES);
}

/* Both pages are restricted, and both are asked for before anything is done. */
static void two_pages(struct kvmi_fixture *f, bool own_tables, u64 it,
		      u64 first, u8 first_access, u64 second)
{
	struct kvmi_event ev;
	u64 i;

	start(f, own_tables, first_access == R ? 0 : R | X);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, PAGES + PAGE_SIZE, R | X), 0);
	*word(f) = 0x55;
	run(f, it, TIMES);
	for (i = 0; i < TIMES; i++) {
		expect(f, &ev, first, first_access, *ON_HOST(f, pages));
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		expect(f, &ev, second, W, *ON_HOST(f, pages));
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	wait_done(f, 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static void crosses(struct kvmi_fixture *f, bool own_tables)
{
	two_pages(f, own_tables, CROSS, PAGES + 4092, W, PAGES + PAGE_SIZE);
	TEST_ASSERT_EQ(*(u32 *)addr_gpa2hva(f->vm, PAGES + 4092), 0x55667788);
	TEST_ASSERT_EQ(*(u32 *)addr_gpa2hva(f->vm, PAGES + 4096), 0x11223344);
}

static void copies(struct kvmi_fixture *f, bool own_tables)
{
	two_pages(f, own_tables, COPY, PAGES + 64, R, PAGES + PAGE_SIZE + 64);
	TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(f->vm, PAGES + PAGE_SIZE + 64), 0x55);
}

/* L1 and L2 by turns. */
static void by_turns(struct kvmi_fixture *f, bool own_tables)
{
	struct kvmi_event ev;
	u64 i;

	start(f, own_tables, R | X);
	for (i = 1; i <= TIMES; i++) {
		run(f, i % 2 ? WRITE : BY_L1, 1);
		expect(f, &ev, PAGES + 64, W, i % 2 ? *ON_HOST(f, pages) : PAGES);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		wait_done(f, i);
	}
	TEST_ASSERT_EQ(*word(f), TIMES);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* What is allowed is no event, and a tool that goes leaves nothing behind. */
static void dies(struct kvmi_fixture *f, bool own_tables)
{
	struct kvmi_event ev;

	start(f, own_tables, R | X);
	run(f, READ, TIMES);
	wait_done(f, 1);
	run(f, CALL, TIMES);
	wait_done(f, 2);
	kvmi_expect_quiet(&f->kvmi);
	run(f, WRITE, TIMES);
	expect(f, &ev, PAGES + 64, W, *ON_HOST(f, pages));
	kvmi_close(&f->kvmi);
	wait_done(f, 3);
	TEST_ASSERT_EQ(*word(f), TIMES);
	kvmi_stop(&f->runner);
}

/* RETRY enters L2 again; RIP is moved behind the CALL's target by the tool. */
static void answered(struct kvmi_fixture *f, bool own_tables)
{
	struct kvmi_event ev;
	struct kvm_regs regs;
	u64 i;

	start(f, own_tables, R | W);
	run(f, CALL, 1);
	for (i = 0; i < 5; i++) {
		expect(f, &ev, PAGES, X, *ON_HOST(f, pages));
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	}
	expect(f, &ev, PAGES, X, *ON_HOST(f, pages));
	regs = ev.vcpu.arch.regs;
	TEST_ASSERT_EQ(regs.rip, *ON_HOST(f, pages));
	/* What RET would do; in L2 the stack is where it is in L1. */
	regs.rip = *(u64 *)addr_gva2hva(f->vm, regs.rsp);
	regs.rsp += 8;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* KVM_RUN is left while the tool is asked; the event is the same one. */
static void left(struct kvmi_fixture *f, bool own_tables)
{
	struct kvmi_event ev;

	start(f, own_tables, R | X);
	run(f, WRITE, 1);
	expect(f, &ev, PAGES + 64, W, *ON_HOST(f, pages));
	kvmi_stop(&f->runner);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_done(f, 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* An interrupt that leaves L2 waits for the instruction that is let through. */
static void interrupted(struct kvmi_fixture *f, bool own_tables)
{
	struct kvm_msi msi = {
		.address_lo = APIC_DEFAULT_GPA,
		.data = VECTOR,
	};
	struct kvmi_event ev;
	u64 i;

	start(f, own_tables, R | X);
	run(f, WRITE, TIMES);
	for (i = 0; i < TIMES; i++) {
		expect(f, &ev, PAGES + 64, W, *ON_HOST(f, pages));
		TEST_ASSERT_EQ(*ON_HOST(f, interrupts), i);
		TEST_ASSERT_EQ(__vm_ioctl(f->vm, KVM_SIGNAL_MSI, &msi), 1);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	wait_done(f, 1);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, interrupts)) == TIMES);
	TEST_ASSERT_EQ(*word(f), TIMES);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* The same with L1's page tables for L2, and with its own. */
#define CASE(name)							\
KVMI_TEST(kvmi_page_nested, name)					\
{									\
	name(f, false);							\
}									\
									\
KVMI_TEST(kvmi_page_nested, name##_own_tables)				\
{									\
	if (!kvm_cpu_has_tdp())						\
		SKIP(return, "a guest has no nested paging for its own"); \
	name(f, true);							\
}

CASE(writes)
CASE(reads)
CASE(calls)
CASE(locked)
CASE(crosses)
CASE(copies)
CASE(by_turns)
CASE(dies)
CASE(answered)
CASE(left)
CASE(interrupted)

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvm_cpu_has(host_cpu_is_amd ? X86_FEATURE_SVM :
				   X86_FEATURE_VMX),
		       "guests cannot have guests of their own");
	return test_harness_run(argc, argv);
}
