/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_KVMI_PAGES_H
#define __KVM_X86_KVMI_PAGES_H

/*
 * Guest pages that a tool restricts, as the MMU asks for them.
 *
 * What a frame allows is looked up where its SPTE is made, under mmu_lock, and
 * changed by a store that is followed by a zap.  It has nothing to do with
 * memory slots.
 *
 * Included behind regs.h and kvm_emulate.h.
 */

#include <linux/wait.h>
#include <linux/xarray.h>

#include "hooks.h"

#define KVMI_ALL_ACCESS	(KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W | KVMI_PAGE_ACCESS_X)

#ifdef CONFIG_KVM_INTROSPECTION

/*
 * The restrictions of a VM: made with the first one, freed with the VM.  Only
 * one task at a time changes "access".
 */
struct kvmi_pages {
	/* What some frame denies, or denied in this session: bits of access. */
	unsigned int denied;
	/* What frames allow that do not allow everything. */
	struct xarray access;
	unsigned long views_in_use;
	/* Counts how often all of them were lifted. */
	unsigned int lifted;
	/* Waited on: for a view, and for that. */
	wait_queue_head_t queue;
};

unsigned int kvmi_store_allows(struct kvm *kvm, gfn_t gfn);
unsigned int __kvmi_allowed(struct kvm_vcpu *vcpu, gfn_t gfn, bool granted);
void kvmi_grant(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int access);
bool __kvmi_restricts(struct kvm *kvm, gfn_t gfn, u64 nr);
bool __kvmi_page_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 error_code);

bool kvmi_copy_table(struct kvm_vcpu *vcpu, gfn_t gfn);
void kvmi_compare_tables(struct kvm_vcpu *vcpu);
void kvmi_forget_tables(struct kvm_vcpu *vcpu);

/* What this vCPU may do with a frame, in a view with what was granted to it. */
static inline unsigned int kvmi_allowed(struct kvm_vcpu *vcpu, gfn_t gfn,
					bool granted)
{
	return kvmi_has_pages(vcpu->kvm) ? __kvmi_allowed(vcpu, gfn, granted) :
					   KVMI_ALL_ACCESS;
}

/* The access of an SPTE that is being made. */
static inline unsigned int kvmi_restrict(struct kvm_vcpu *vcpu,
					 unsigned int view, gfn_t gfn,
					 unsigned int access)
{
	unsigned int allowed = kvmi_allowed(vcpu, gfn, view);

	if (!(allowed & KVMI_PAGE_ACCESS_W))
		access &= ~ACC_WRITE_MASK;
	if (!(allowed & KVMI_PAGE_ACCESS_R))
		access &= ~(ACC_READ_MASK | ACC_WRITE_MASK);
	if (!(allowed & KVMI_PAGE_ACCESS_X))
		access &= ~(ACC_EXEC_MASK |
			    (shadow_xu_mask ? ACC_USER_EXEC_MASK : 0));

	return access;
}

/* A frame that allows nothing is not mapped. */
static inline bool kvmi_hides(struct kvm_vcpu *vcpu, unsigned int view, gfn_t gfn)
{
	return !kvmi_allowed(vcpu, gfn, view);
}

/* Is any of these frames restricted, so that no large page may cover them? */
static inline bool kvmi_restricts(struct kvm *kvm, gfn_t gfn, u64 nr)
{
	return kvmi_has_pages(kvm) && __kvmi_restricts(kvm, gfn, nr);
}

/*
 * With the accessed and dirty bits of EPT a walk of the guest's page tables
 * counts as a write to them.  NPT cannot do without.
 */
static inline bool kvmi_takes_ad_bits(struct kvm *kvm)
{
	return shadow_xs_mask && kvmi_has_pages(kvm) && kvmi_is_restricted(kvm);
}

/* Must the tool, or the next step, see to this fault?  The guest is entered. */
static inline bool kvmi_page_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 error_code)
{
	return kvmi_has_pages(vcpu->kvm) &&
	       __kvmi_page_fault(vcpu, gpa, error_code);
}

/*
 * The same where KVM shadows page tables: the guest's, of whose accesses it
 * knows both addresses, or those that a guest has for its own guest.
 */
static inline bool kvmi_shadow_page_fault(struct kvm_vcpu *vcpu, gva_t addr,
					  gpa_t gpa, u64 error_code)
{
	if (!mmu_is_nested(vcpu))
		kvmi_note_access(vcpu, false, addr);
	return kvmi_page_fault(vcpu, gpa, error_code);
}

#else

static inline unsigned int kvmi_restrict(struct kvm_vcpu *vcpu,
					 unsigned int view, gfn_t gfn,
					 unsigned int access)
{
	return access;
}

static inline bool kvmi_hides(struct kvm_vcpu *vcpu, unsigned int view, gfn_t gfn)
{
	return false;
}

static inline bool kvmi_restricts(struct kvm *kvm, gfn_t gfn, u64 nr) { return false; }
static inline bool kvmi_takes_ad_bits(struct kvm *kvm) { return false; }

static inline bool kvmi_page_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 error_code)
{
	return false;
}

static inline bool kvmi_shadow_page_fault(struct kvm_vcpu *vcpu, gva_t gva,
					  gpa_t gpa, u64 error_code)
{
	return false;
}

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVM_X86_KVMI_PAGES_H */
