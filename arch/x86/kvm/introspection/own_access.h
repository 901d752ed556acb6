/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_KVMI_OWN_ACCESS_H
#define __KVM_X86_KVMI_OWN_ACCESS_H

/*
 * What KVM accesses for a guest by guest-physical address: the tool is asked
 * for it before the instruction that it belongs to has done anything.  Where
 * nobody can be asked, kvmi_refuses() of kvmi_host.h stands in the way.
 *
 * Included behind regs.h.
 */

#include "hooks.h"

#define KVMI_ACCESS_RW	(KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W)

#ifdef CONFIG_KVM_INTROSPECTION

bool kvmi_may_access_gpa(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int bytes,
			 unsigned int wanted);
bool __kvmi_may_write_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data);
bool __kvmi_may_hypercall(struct kvm_vcpu *vcpu);
bool __kvmi_is_range_refused(struct kvm *kvm, gpa_t gpa, unsigned int bytes,
			     unsigned int access);
void __kvmi_keep_until_exit(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int bytes);
void kvmi_access_changed(struct kvm *kvm, const gfn_t *gfns, unsigned int nr);

/*
 * Returns whether KVM may access this memory for the instruction now.  If not,
 * the instruction is to be executed again.
 */
static inline bool kvmi_may_access(struct kvm_vcpu *vcpu, gpa_t gpa,
				   unsigned int bytes, unsigned int wanted)
{
	return !kvmi_has_pages(vcpu->kvm) ||
	       kvmi_may_access_gpa(vcpu, gpa, bytes, wanted);
}

/* The same for what follows from a write to an MSR by the guest. */
static inline bool kvmi_may_write_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	return !kvmi_has_pages(vcpu->kvm) ||
	       __kvmi_may_write_msr(vcpu, msr, data);
}

/* The same for a hypercall that is KVM's own. */
static inline bool kvmi_may_hypercall(struct kvm_vcpu *vcpu)
{
	return !kvmi_has_pages(vcpu->kvm) || __kvmi_may_hypercall(vcpu);
}

/* Returns whether the instruction was granted anything. */
static inline bool kvmi_has_grants(struct kvm_vcpu *vcpu)
{
	return kvmi_has_wishes(vcpu) && vcpu->arch.kvmi->step.grants &&
	       vcpu->arch.kvmi->step.grants->nr;
}

/* Returns whether some of this memory was refused. */
static inline bool kvmi_is_range_refused(struct kvm *kvm, gpa_t gpa,
					 unsigned int bytes, unsigned int access)
{
	return kvmi_has_pages(kvm) &&
	       __kvmi_is_range_refused(kvm, gpa, bytes, access);
}

/* Keeps what was granted for this memory until the guest's own guest is left. */
static inline void kvmi_keep_until_exit(struct kvm_vcpu *vcpu, gpa_t gpa,
					unsigned int bytes)
{
	if (kvmi_has_pages(vcpu->kvm))
		__kvmi_keep_until_exit(vcpu, gpa, bytes);
}

#else

static inline bool kvmi_may_access(struct kvm_vcpu *vcpu, gpa_t gpa,
				   unsigned int bytes, unsigned int wanted)
{
	return true;
}

static inline bool kvmi_may_write_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	return true;
}

static inline bool kvmi_may_hypercall(struct kvm_vcpu *vcpu) { return true; }
static inline bool kvmi_has_grants(struct kvm_vcpu *vcpu) { return false; }

static inline bool kvmi_is_range_refused(struct kvm *kvm, gpa_t gpa,
					 unsigned int bytes, unsigned int access)
{
	return false;
}

static inline void kvmi_keep_until_exit(struct kvm_vcpu *vcpu, gpa_t gpa,
					unsigned int bytes) { }

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVM_X86_KVMI_OWN_ACCESS_H */
