// SPDX-License-Identifier: GPL-2.0
/*
 * The x86 half of the glue: a vCPU seen from its own thread, inside KVM_RUN
 * and with its state loaded.  What it is and has is here; what a tool wants of
 * it is in wishes.c, what it does that a tool hears of in events.c.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/nospec.h>

#include "x86.h"
#include "cpuid.h"
#include "lapic.h"
#include "mmu.h"
#include "msrs.h"
#include "fpu.h"
#include "regs.h"

#include "hooks.h"

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
	case KVM_SET_ONE_REG:
	case KVM_SET_LAPIC:
	case KVM_SET_CPUID:
	case KVM_SET_CPUID2:
	case KVM_SET_GUEST_DEBUG:
	case KVM_X86_SETUP_MCE:
	case KVM_X86_SET_MCE:
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
	/* VMX enters no guest whose TF disagrees with what STI or MOV SS held back. */
	if ((kvm_get_rflags(vcpu) ^ regs->rflags) & X86_EFLAGS_TF)
		kvm_x86_call(set_interrupt_shadow)(vcpu, 0);

	kvm_vcpu_set_regs(vcpu, regs);

	/* The VMM steps and does not know of this: KVM keeps TF only there. */
	if (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP) {
		vcpu->arch.singlestep_rip = kvm_get_linear_rip(vcpu);
		kvm_set_rflags(vcpu, kvm_get_rflags(vcpu));
	}
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

/*
 * What CPUID would give the guest now: KVM keeps some bits of its table up to
 * date only when somebody asks, and changes others as it answers.
 */
bool kvmi_vcpu_get_cpuid(struct kvm_vcpu *vcpu, __u32 function, __u32 index,
			 struct kvmi_vcpu_get_cpuid_reply *reply)
{
	u32 eax = function, ebx, ecx = index, edx;

	if (!kvm_cpuid(vcpu, &eax, &ebx, &ecx, &edx, true))
		return false;

	reply->eax = eax;
	reply->ebx = ebx;
	reply->ecx = ecx;
	reply->edx = edx;
	return true;
}

__u64 kvmi_vcpu_xcr0(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.xcr0;
}

/*
 * As its kernel reads and, where SMAP forbids that, as its programs do.  No page
 * of the host is waited for; -EAGAIN: a page table is absent.
 */
int kvmi_vcpu_translate(struct kvm_vcpu *vcpu, __u64 gva, __u64 *gpa)
{
	struct kvm_pagewalk *walk = &vcpu->arch.gva_walk;

	vcpu->arch.kvmi_absent = false;
	pagefault_disable();
	*gpa = kvm_mmu_gva_to_gpa_system(vcpu, gva, NULL);
	if (*gpa == INVALID_GPA && !vcpu->arch.kvmi_absent)
		*gpa = walk->gva_to_gpa(vcpu, walk, gva, PFERR_USER_MASK, NULL);
	pagefault_enable();

	return *gpa == INVALID_GPA && vcpu->arch.kvmi_absent ? -EAGAIN : 0;
}

int kvmi_vcpu_get_xsave(struct kvm_vcpu *vcpu, void *area)
{
	int r;

	if (vcpu->arch.guest_fpu.uabi_size > sizeof(struct kvm_xsave))
		return -EOPNOTSUPP;

	/* The guest's state is in the registers while KVM_RUN runs. */
	kvm_put_guest_fpu(vcpu);
	r = kvm_vcpu_ioctl_x86_get_xsave(vcpu, area);
	kvm_load_guest_fpu(vcpu);

	return r;
}

/* -EINVAL: not a state that KVM would load; -ENOMEM; -EOPNOTSUPP: too large. */
int kvmi_vcpu_set_xsave(struct kvm_vcpu *vcpu, const void *area)
{
	struct kvm_xsave *copy;
	int r;

	if (vcpu->arch.guest_fpu.uabi_size > sizeof(*copy))
		return -EOPNOTSUPP;

	/* KVM changes what it is given. */
	copy = kmemdup(area, sizeof(*copy), GFP_KERNEL_ACCOUNT);
	if (!copy)
		return -ENOMEM;

	kvm_put_guest_fpu(vcpu);
	r = kvm_vcpu_ioctl_x86_set_xsave(vcpu, copy);
	kvm_load_guest_fpu(vcpu);

	kfree(copy);
	return r;
}

void kvmi_vcpu_get_mtrrs(struct kvm_vcpu *vcpu, struct kvmi_mtrrs *mtrrs)
{
	struct kvm_mtrr *state = &vcpu->arch.mtrr_state;

	BUILD_BUG_ON(sizeof(mtrrs->variable) != sizeof(state->var));
	BUILD_BUG_ON(sizeof(mtrrs->fixed) != sizeof(state->fixed_64k) +
		     sizeof(state->fixed_16k) + sizeof(state->fixed_4k));

	memcpy(mtrrs->variable, state->var, sizeof(mtrrs->variable));
	mtrrs->fixed[0] = state->fixed_64k;
	memcpy(&mtrrs->fixed[1], state->fixed_16k, sizeof(state->fixed_16k));
	memcpy(&mtrrs->fixed[3], state->fixed_4k, sizeof(state->fixed_4k));
	mtrrs->deftype = state->deftype;
	mtrrs->present = guest_cpu_cap_has(vcpu, X86_FEATURE_MTRR);
}

__u64 kvmi_vcpu_rip(struct kvm_vcpu *vcpu)
{
	return kvm_rip_read(vcpu);
}

__u64 kvmi_vcpu_linear_rip(struct kvm_vcpu *vcpu)
{
	return kvm_get_linear_rip(vcpu);
}

__u64 kvmi_vcpu_cr3(struct kvm_vcpu *vcpu)
{
	return kvm_read_cr3(vcpu);
}
