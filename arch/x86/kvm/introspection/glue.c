// SPDX-License-Identifier: GPL-2.0
/*
 * The x86 half of the glue: a vCPU seen from its own thread, inside KVM_RUN
 * and with its state loaded.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/nospec.h>

#include "x86.h"
#include "cpuid.h"
#include "lapic.h"
#include "mmu.h"
#include "msrs.h"
#include "regs.h"

#include "../../../../virt/kvm/introspection/glue.h"

bool kvmi_vm_is_protected(struct kvm *kvm)
{
	return kvm->arch.vm_type != KVM_X86_DEFAULT_VM ||
	       kvm->arch.has_protected_state || kvm_arch_has_private_mem(kvm);
}

/* The index was checked against the number of vCPUs, which never shrinks. */
void kvmi_vm_kick(struct kvm *kvm, __u32 index, bool wait)
{
	u32 online = atomic_read(&kvm->online_vcpus);
	struct kvm_vcpu *vcpu;

	if (index >= online)
		return;

	vcpu = kvm_get_vcpu(kvm, array_index_nospec(index, online));
	if (!vcpu)
		return;

	/* UNBLOCK wakes the thread of a halted vCPU without ending its HLT. */
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
	kvm_make_request(KVM_REQ_UNBLOCK, vcpu);
	__kvm_vcpu_kick(vcpu, wait);
}

struct kvm *kvmi_vcpu_vm(struct kvm_vcpu *vcpu)
{
	return vcpu->kvm;
}

__u32 kvmi_vcpu_index(struct kvm_vcpu *vcpu)
{
	return vcpu->vcpu_idx;
}

void kvmi_vcpu_request(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
}

bool kvmi_vcpu_take_request(struct kvm_vcpu *vcpu)
{
	return kvm_check_request(KVM_REQ_INTROSPECTION, vcpu);
}

/* Has the vCPU got INIT, and is it about to act on it? */
bool kvmi_vcpu_has_init(struct kvm_vcpu *vcpu)
{
	return lapic_in_kernel(vcpu) &&
	       test_bit(KVM_APIC_INIT, &vcpu->arch.apic->pending_events) &&
	       kvm_apic_init_sipi_allowed(vcpu);
}

/* The VMM's ioctls after which the registers that a tool saw are stale. */
bool kvmi_ioctl_writes_state(unsigned int ioctl)
{
	switch (ioctl) {
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
	case KVM_SET_SREGS2:
	case KVM_SET_MSRS:
	case KVM_SET_VCPU_EVENTS:
	case KVM_SET_MP_STATE:
	case KVM_SET_NESTED_STATE:
	case KVM_SET_XSAVE:
	case KVM_SET_FPU:
	case KVM_SET_XCRS:
	case KVM_SET_DEBUGREGS:
		return true;
	default:
		return false;
	}
}

void kvmi_vcpu_exit_shutdown(struct kvm_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
}

void kvmi_vcpu_exit_intr(struct kvm_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_INTR;
	++vcpu->stat.signal_exits;
}

__u64 kvmi_vcpu_tsc_hz(struct kvm_vcpu *vcpu)
{
	if (!kvm_caps.has_tsc_control)
		return 0;

	return 1000ull * vcpu->arch.virtual_tsc_khz;
}

void kvmi_vcpu_get_regs(struct kvm_vcpu *vcpu, struct kvm_regs *regs)
{
	kvm_vcpu_get_regs(vcpu, regs);
}

/* Unlike KVM_SET_REGS this leaves pending exceptions alone. */
void kvmi_vcpu_set_regs(struct kvm_vcpu *vcpu, const struct kvm_regs *regs)
{
	kvm_vcpu_set_regs(vcpu, regs);
}

void kvmi_vcpu_get_sregs(struct kvm_vcpu *vcpu, struct kvm_sregs *sregs)
{
	memset(sregs, 0, sizeof(*sregs));
	kvm_vcpu_get_sregs(vcpu, sregs);
}

/* The size of an address in the current code segment, in bytes. */
__u8 kvmi_vcpu_mode(struct kvm_vcpu *vcpu)
{
	struct kvm_segment cs;

	kvm_get_segment(vcpu, &cs, VCPU_SREG_CS);
	if (is_long_mode(vcpu) && cs.l)
		return 8;

	return cs.db ? 4 : 2;
}

int kvmi_vcpu_get_msr(struct kvm_vcpu *vcpu, __u32 index, __u64 *data)
{
	/*
	 * SVM warns of a read by the host inside KVM_RUN: what it would give
	 * is L1's PAT, and that is here.
	 */
	if (index == MSR_IA32_CR_PAT) {
		*data = vcpu->arch.pat;
		return 0;
	}

	return kvm_msr_read(vcpu, index, data) ? -EINVAL : 0;
}

static __u64 kvmi_read_msr_or_0(struct kvm_vcpu *vcpu, __u32 index)
{
	__u64 data;

	return kvmi_vcpu_get_msr(vcpu, index, &data) ? 0 : data;
}

void kvmi_vcpu_get_event_msrs(struct kvm_vcpu *vcpu,
			      struct kvmi_vcpu_event_arch_msrs *msrs)
{
	msrs->sysenter_cs = kvmi_read_msr_or_0(vcpu, MSR_IA32_SYSENTER_CS);
	msrs->sysenter_esp = kvmi_read_msr_or_0(vcpu, MSR_IA32_SYSENTER_ESP);
	msrs->sysenter_eip = kvmi_read_msr_or_0(vcpu, MSR_IA32_SYSENTER_EIP);
	msrs->efer = kvmi_read_msr_or_0(vcpu, MSR_EFER);
	msrs->star = kvmi_read_msr_or_0(vcpu, MSR_STAR);
	msrs->lstar = kvmi_read_msr_or_0(vcpu, MSR_LSTAR);
	msrs->cstar = kvmi_read_msr_or_0(vcpu, MSR_CSTAR);
	msrs->pat = kvmi_read_msr_or_0(vcpu, MSR_IA32_CR_PAT);
	msrs->shadow_gs = kvmi_read_msr_or_0(vcpu, MSR_KERNEL_GS_BASE);
}

bool kvmi_vcpu_get_cpuid(struct kvm_vcpu *vcpu, __u32 function, __u32 index,
			 struct kvmi_vcpu_get_cpuid_reply *reply)
{
	struct kvm_cpuid_entry2 *e;

	e = kvm_find_cpuid_entry_index(vcpu, function, index);
	if (!e)
		return false;

	reply->eax = e->eax;
	reply->ebx = e->ebx;
	reply->ecx = e->ecx;
	reply->edx = e->edx;
	return true;
}

__u64 kvmi_vcpu_xcr0(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.xcr0;
}

__u64 kvmi_vcpu_translate(struct kvm_vcpu *vcpu, __u64 gva)
{
	return kvm_mmu_gva_to_gpa_system(vcpu, gva, NULL);
}
