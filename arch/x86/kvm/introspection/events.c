// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest does that a tool hears of: the hook sites' way in, behind the
 * tests of hooks.h.  What is no event for any tool ends here, before Rust is
 * entered: a value that does not change, a call that is not for the tool.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>

#include "x86.h"
#include "msrs.h"
#include "regs.h"

#include "hooks.h"

/* Number and sub-function of the call for the tool, in either calling convention. */
static bool kvmi_is_request_hypercall(struct kvm_vcpu *vcpu)
{
	if ((u32)kvm_rax_read(vcpu) != KVM_HC_XEN_HVM_OP)
		return false;

	if (is_64_bit_hypercall(vcpu))
		return kvm_rdi_read(vcpu) == KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT &&
		       !kvm_rsi_read(vcpu);

	return (u32)kvm_rbx_read(vcpu) == KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT &&
	       !(u32)kvm_rcx_read(vcpu);
}

enum kvmi_verdict __kvmi_hypercall(struct kvm_vcpu *vcpu)
{
	if (!kvmi_is_request_hypercall(vcpu))
		return KVMI_UNASKED;

	return kvmi_rs_hypercall(vcpu);
}

bool __kvmi_owns_breakpoints(struct kvm_vcpu *vcpu)
{
	return kvmi_rs_hears(vcpu, KVMI_VCPU_EVENT_BREAKPOINT);
}

bool __kvmi_is_alive(struct kvm_vcpu *vcpu)
{
	return kvmi_rs_lives(vcpu);
}

enum kvmi_verdict __kvmi_breakpoint(struct kvm_vcpu *vcpu, u8 insn_len)
{
	return kvmi_rs_breakpoint(vcpu, insn_len);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_breakpoint);

/*
 * The guest gets its #BP wherever the tool put RIP, and will go on behind as many
 * bytes as its INT3 had.
 */
void kvmi_queue_breakpoint(struct kvm_vcpu *vcpu, u8 len)
{
	vcpu->arch.kvmi->moved = false;
	vcpu->arch.event_exit_inst_len = len;
	kvm_queue_exception(vcpu, BP_VECTOR);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_queue_breakpoint);

/* The bit of CR3 that asks for no flush is no part of its value. */
#define KVMI_CR3_NOFLUSH	BIT_ULL(63)

enum kvmi_verdict __kvmi_cr(struct kvm_vcpu *vcpu, int cr, unsigned long *val)
{
	u64 old, new = *val, asked;
	enum kvmi_verdict verdict;

	switch (cr) {
	case 0:
		old = kvm_read_cr0(vcpu);
		break;
	case 3:
		old = kvm_read_cr3(vcpu);
		new &= ~KVMI_CR3_NOFLUSH;
		break;
	case 4:
		old = kvm_read_cr4(vcpu);
		break;
	default:
		return KVMI_PROCEED;
	}
	if (old == new)
		return KVMI_PROCEED;

	asked = new;
	verdict = kvmi_rs_cr(vcpu, cr, old, &new);
	if (new != asked)
		*val = new;
	return verdict;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_cr);

enum kvmi_verdict __kvmi_xsetbv(struct kvm_vcpu *vcpu, u64 val)
{
	return kvmi_rs_xsetbv(vcpu, vcpu->arch.xcr0, val);
}

enum kvmi_verdict __kvmi_descriptor(struct kvm_vcpu *vcpu, u8 which, bool write)
{
	return kvmi_rs_descriptor(vcpu, which, write);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_descriptor);

enum kvmi_verdict __kvmi_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *val)
{
	u64 old;

	/* The VMM's filter comes first: what it takes is none of ours. */
	if (!kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE) ||
	    kvmi_vcpu_get_msr(vcpu, msr, &old) || old == *val)
		return KVMI_PROCEED;

	return kvmi_rs_msr(vcpu, msr, old, val);
}

enum kvmi_verdict __kvmi_cpuid(struct kvm_vcpu *vcpu, u8 insn_len)
{
	return kvmi_rs_cpuid(vcpu, kvm_eax_read(vcpu), kvm_ecx_read(vcpu),
			     insn_len);
}

/* An access that a tool took from a page, from the guest or from its own guest. */
enum kvmi_verdict kvmi_pf(struct kvm_vcpu *vcpu, u64 gva, u64 gpa, u8 access)
{
	if (!(vcpu->arch.kvmi->events & BIT(KVMI_VCPU_EVENT_PF)))
		return KVMI_UNASKED;

	return kvmi_rs_pf(vcpu, gva, gpa, access);
}
