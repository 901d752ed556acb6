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
 * What frames allow that do not allow everything.  It is found by RCU, changed
 * by one task at a time, and taken away as a whole: who still reads it then
 * reads what held a moment ago.  Freed by a work item.
 */
struct kvmi_store {
	struct xarray access;
	/* What some frame denies, or has denied: bits of access. */
	unsigned int denied;
	/* How many frames are in it. */
	unsigned int frames;
	struct rcu_work free;
};

/* What is left of a session that died: see kvmi_vm_set_on_exit(). */
enum kvmi_left {
	KVMI_LEFT_NOTHING,
	/* An access that no tool hears of waits. */
	KVMI_LEFT_FROZEN,
	/* The first denied access ends KVM_RUN; nothing is restricted behind it. */
	KVMI_LEFT_CRASH,
};

/* The restrictions of a VM: made with the first one, freed with the VM. */
struct kvmi_pages {
	struct kvmi_store __rcu *store;
	/* Held where the store is put in place or taken away, and where "left" changes. */
	spinlock_t lock;
	enum kvmi_left left;
	unsigned long views_in_use;
	/* Waited on: for a view, and by whoever met a frozen frame. */
	wait_queue_head_t queue;
};

unsigned int kvmi_denied(struct kvm *kvm);
unsigned int kvmi_store_allows(struct kvm *kvm, gfn_t gfn);
unsigned int __kvmi_allowed(struct kvm_vcpu *vcpu, gfn_t gfn, bool granted);
bool kvmi_grant(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int access);
unsigned int kvmi_granted(struct kvm_vcpu *vcpu, gfn_t gfn);
bool __kvmi_restricts(struct kvm *kvm, gfn_t gfn, u64 nr);
bool __kvmi_page_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 error_code);

bool kvmi_emulates_in_page(struct kvm_vcpu *vcpu, gva_t gva, gpa_t gpa,
			   unsigned int wanted);
bool kvmi_modifies(struct kvm_vcpu *vcpu, gva_t gva);
bool kvmi_translates_for_write(struct kvm_vcpu *vcpu, gva_t gva, u64 access);
void kvmi_count_refusal(struct kvm *kvm);
bool kvmi_may_read_frame(struct kvm_vcpu *vcpu, gfn_t gfn, gva_t *gva,
			 gpa_t *gpa);

bool __kvmi_waits_without_view(struct kvm_vcpu *vcpu,
			       struct kvm_page_fault *fault);

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

/*
 * The access of an SPTE that is being made, of which nothing may be left: then
 * false, and the frame is not mapped.  What is allowed may change at any time, so
 * it is loaded once.
 */
static inline bool kvmi_limit(struct kvm_vcpu *vcpu, unsigned int view,
			      gfn_t gfn, unsigned int *access)
{
	unsigned int allowed = kvmi_allowed(vcpu, gfn, view);

	if (allowed == KVMI_ALL_ACCESS)
		return true;
	if (!(allowed & KVMI_PAGE_ACCESS_W))
		*access &= ~ACC_WRITE_MASK;
	if (!(allowed & KVMI_PAGE_ACCESS_R))
		*access &= ~(ACC_READ_MASK | ACC_WRITE_MASK);
	if (!(allowed & KVMI_PAGE_ACCESS_X))
		*access &= ~(ACC_EXEC_MASK |
			     (shadow_xu_mask ? ACC_USER_EXEC_MASK : 0));

	return allowed &&
	       (*access | shadow_present_mask) != SHADOW_NONPRESENT_VALUE;
}

/* A frame that allows nothing is not mapped. */
static inline bool kvmi_hides(struct kvm_vcpu *vcpu, unsigned int view, gfn_t gfn)
{
	return !kvmi_allowed(vcpu, gfn, view);
}

/* With page faults disabled: the host has no page here for a page table. */
static inline void kvmi_note_absent(struct kvm_vcpu *vcpu)
{
	vcpu->arch.kvmi_absent = true;
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

/* Was a page of the host waited for, so that the guest is to fault again? */
static inline bool kvmi_waits_without_view(struct kvm_vcpu *vcpu,
					   struct kvm_page_fault *fault)
{
	return kvmi_view(vcpu) && __kvmi_waits_without_view(vcpu, fault);
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

static inline bool kvmi_limit(struct kvm_vcpu *vcpu, unsigned int view,
			      gfn_t gfn, unsigned int *access)
{
	return true;
}

static inline bool kvmi_hides(struct kvm_vcpu *vcpu, unsigned int view, gfn_t gfn)
{
	return false;
}

static inline void kvmi_note_absent(struct kvm_vcpu *vcpu) { }

static inline bool kvmi_waits_without_view(struct kvm_vcpu *vcpu,
					   struct kvm_page_fault *fault)
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
