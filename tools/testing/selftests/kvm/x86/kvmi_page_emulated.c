// SPDX-License-Identifier: GPL-2.0-only
/*
 * What KVM does for a guest meets restricted pages as the processor would: where
 * it fetches, and where it reads and writes descriptors and operands.
 */
#include "kvmi_page.h"
#include "kvmi_step.h"
#include "vmx.h"

/* A place in the GDT that the guest does not use. */
#define SELECTOR	0x80

KVMI_SUITE(kvmi_page_emulated, 1);

enum { LLDT = 1, LTR, VMPTRLD };

static gva_t nested;

static void load_vmcs_from_page(void)
{
	u64 *operand = (void *)(PAGE + 8);
	u8 failed;

	GUEST_ASSERT(prepare_for_vmx_operation((void *)nested));
	asm volatile("vmptrld %1; setna %0" : "=qm"(failed) : "m"(*operand) : "cc");
	GUEST_ASSERT(!failed);
}

static void do_one(u64 it)
{
	switch (it) {
	case LLDT:
		asm volatile("lldt %w0" : : "r"(SELECTOR));
		break;
	case LTR:
		asm volatile("ltr %w0" : : "r"(SELECTOR));
		break;
	case VMPTRLD:
		load_vmcs_from_page();
		break;
	}
}

static u64 gdt_entry(struct kvmi_fixture *f)
{
	return addr_gva2gpa(f->vm, f->vm->arch.gdt) + SELECTOR;
}

/* A system segment of 64-bit mode. */
static void make_segment(struct kvmi_fixture *f, u8 type)
{
	u8 descriptor[16] = { 0xff, 0xf, [5] = 0x80 | type };

	memcpy(addr_gpa2hva(f->vm, gdt_entry(f)), descriptor, sizeof(descriptor));
}

/* LLDT and LTR are KVM's to do while their event is on. */
static bool descriptors(struct kvmi_fixture *f, u8 type)
{
	start(f);
	make_segment(f, type);
	if (!kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_DESCRIPTOR, 1))
		return true;
	kvmi_stop(&f->runner);
	return false;
}

static void expect_descriptor(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_DESCRIPTOR);
	proceed(f, &ev);
}

KVMI_TEST(kvmi_page_emulated, descriptor_is_read)
{
	u64 gva = f->vm->arch.gdt + SELECTOR;
	struct kvm_sregs sregs;
	struct kvmi_event ev;

	if (!descriptors(f, 2))
		SKIP(return, "the processor does not intercept LLDT");
	restrict_page(f, gdt_entry(f), 0);
	run(f, LLDT);
	expect_descriptor(f);
	expect(f, &ev, gdt_entry(f), R, gva);
	proceed(f, &ev);
	finish(f, 1);
	vcpu_sregs_get(f->vcpu, &sregs);
	TEST_ASSERT_EQ(sregs.ldt.selector, SELECTOR);
	TEST_ASSERT_EQ(sregs.ldt.limit, 0xfff);
}

/* A task state segment that is loaded is marked busy. */
KVMI_TEST(kvmi_page_emulated, descriptor_is_written)
{
	u64 gva = f->vm->arch.gdt + SELECTOR;
	struct kvmi_event ev;

	if (!descriptors(f, 9))
		SKIP(return, "the processor does not intercept LTR");
	restrict_page(f, gdt_entry(f), R | X);
	run(f, LTR);
	expect_descriptor(f);
	expect(f, &ev, gdt_entry(f), W, gva);
	TEST_ASSERT_EQ(*(u8 *)addr_gpa2hva(f->vm, gdt_entry(f) + 5), 0x89);
	proceed(f, &ev);
	finish(f, 1);
	TEST_ASSERT_EQ(*(u8 *)addr_gpa2hva(f->vm, gdt_entry(f) + 5), 0x8b);
}

/* The operand of an instruction that KVM carries out for a guest with VMX. */
KVMI_TEST(kvmi_page_emulated, operand)
{
	struct vmx_pages *vmx;
	struct kvmi_event ev;
	gva_t gva;

	if (!host_cpu_is_intel || !kvm_cpu_has(X86_FEATURE_VMX))
		SKIP(return, "the guest has no VMX");
	vmx = vcpu_alloc_vmx(f->vm, &gva);
	*ON_HOST(f, nested) = gva;
	start(f);
	*(u64 *)addr_gpa2hva(f->vm, PAGE + 8) = vmx->vmcs_gpa;
	*(u32 *)addr_gpa2hva(f->vm, vmx->vmcs_gpa) =
		kvm_get_feature_msr(MSR_IA32_VMX_BASIC);
	restrict_page(f, PAGE, 0);
	run(f, VMPTRLD);
	expect(f, &ev, PAGE + 8, R, PAGE + 8);
	proceed(f, &ev);
	finish(f, 1);
}

SNIPPET(shadows, ".balign 4096\nshadows_code:\n\t"
	STEP("sti") STEP("nop") STEP("cli") ".balign 4096\n");
extern const char shadows_code[];

/*
 * Without a trap flag of its own a step over STI is KVM's: it fetches as the
 * processor does.
 */
KVMI_TEST(kvmi_page_emulated, fetch)
{
	u64 gpa = addr_gva2gpa(f->vm, (gva_t)shadows_code), gva = (u64)shadows_code;
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvmi_event ev;
	const u64 *to;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	restrict_page(f, gpa, R | W);
	kvmi_step_from(&s, shadows_code);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
	for (to = shadows_steps; to < shadows_end; to++) {
		kvmi_step_on(&s);
		kvmi_recv_pf(&f->kvmi, &ev, gpa, X);
		TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, gva);
		proceed(f, &ev);
		kvmi_recv_singlestep(&f->kvmi, &s.ev);
		TEST_ASSERT_EQ(s.ev.vcpu.arch.regs.rip, *to);
		gpa += *to - gva;
		gva = *to;
	}
	kvmi_step_end(&s);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
