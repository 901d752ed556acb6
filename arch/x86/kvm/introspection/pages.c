// SPDX-License-Identifier: GPL-2.0
/*
 * Guest pages that a tool restricts: what frames allow, and who is asked about
 * an access that is denied.  How it is let through is in views.c.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/xarray.h>

#include "x86.h"
#include "kvm_emulate.h"
#include "regs.h"
#include "mmu.h"
#include "mmu/mmu_internal.h"
#include "mmu/spte.h"

#include "own_access.h"
#include "pages.h"

/* Returns what a frame allows to whom nothing was granted. */
unsigned int kvmi_store_allows(struct kvm *kvm, gfn_t gfn)
{
	void *entry = xa_load(&kvm->arch.kvmi_pages->access, gfn);

	return entry ? xa_to_value(entry) : KVMI_ALL_ACCESS;
}

unsigned int __kvmi_allowed(struct kvm_vcpu *vcpu, gfn_t gfn, bool granted)
{
	unsigned int allowed = kvmi_store_allows(vcpu->kvm, gfn);
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	unsigned int i;

	if (allowed == KVMI_ALL_ACCESS || !granted || !wishes)
		return allowed;

	for (i = 0; i < wishes->step.nr_grants; i++)
		if (wishes->step.grants[i].gfn == gfn)
			allowed |= wishes->step.grants[i].access;

	return allowed;
}

bool __kvmi_restricts(struct kvm *kvm, gfn_t gfn, u64 nr)
{
	unsigned long first = gfn;

	return xa_find(&kvm->arch.kvmi_pages->access, &first, gfn + nr - 1,
		       XA_PRESENT);
}

bool kvmi_is_restricted(struct kvm *kvm)
{
	struct kvmi_pages *pages = READ_ONCE(kvm->arch.kvmi_pages);

	return pages && READ_ONCE(pages->denied);
}

/* Does no frame deny any of this? */
static bool kvmi_all_allow(struct kvm *kvm, unsigned int access)
{
	return !(READ_ONCE(kvm->arch.kvmi_pages->denied) & access);
}

/* Make room for a frame that denies so much. */
static struct kvmi_pages *kvmi_make_pages(struct kvm *kvm, unsigned int denied)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;
	bool first;

	if (!pages) {
		pages = kzalloc_obj(*pages, GFP_KERNEL_ACCOUNT);
		if (!pages)
			return NULL;

		xa_init(&pages->access);
		init_waitqueue_head(&pages->queue);
		__set_bit(0, &pages->views_in_use);
		smp_store_release(&kvm->arch.kvmi_pages, pages);
	}
	first = !pages->denied;
	WRITE_ONCE(pages->denied, pages->denied | denied);
	if (first) {
		kvmi_update_apicv_inhibit(kvm);
		/* Each looks at its role before it enters the guest again. */
		kvm_make_all_cpus_request(kvm, KVM_REQ_INTROSPECTION);
	}
	return pages;
}

/*
 * Can hardware express it?  -EINVAL: nothing can; -EOPNOTSUPP: not this.
 */
static int kvmi_check_access(unsigned int access)
{
	if (access & KVMI_PAGE_ACCESS_W && !(access & KVMI_PAGE_ACCESS_R))
		return -EINVAL;
	if (access == KVMI_PAGE_ACCESS_X && !kvm_caps.has_execute_only)
		return -EOPNOTSUPP;

	return 0;
}

/* Note what a frame allows; it counts from kvmi_vm_apply_access() on. */
int kvmi_vm_set_access(struct kvm *kvm, __u64 gfn, __u8 access)
{
	struct kvmi_pages *pages;
	void *old;
	int r;

	if (access == KVMI_ALL_ACCESS) {
		pages = kvm->arch.kvmi_pages;
		if (pages)
			xa_erase(&pages->access, gfn);
		return 0;
	}

	scoped_guard(srcu, &kvm->srcu) {
		if (!kvm_is_visible_gfn(kvm, gfn))
			return -EINVAL;
	}
	r = kvmi_check_access(access);
	if (r)
		return r;

	pages = kvmi_make_pages(kvm, KVMI_ALL_ACCESS & ~access);
	if (!pages)
		return -ENOMEM;

	old = xa_store(&pages->access, gfn, xa_mk_value(access),
		       GFP_KERNEL_ACCOUNT);
	return xa_err(old);
}

void kvmi_vm_apply_access(struct kvm *kvm, const __u64 *gfns, __u32 nr)
{
	if (nr && kvm->arch.kvmi_pages) {
		kvm_mmu_zap_gfns(kvm, gfns, nr);
		kvmi_access_changed(kvm, gfns, nr);
	}
}

#define LIFTED_AT_ONCE	64

/* A session is over: nothing is restricted any more. */
void kvmi_vm_lift_access(struct kvm *kvm)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;
	gfn_t gfns[LIFTED_AT_ONCE];
	unsigned long gfn;
	unsigned int nr;
	void *entry;

	if (!pages)
		return;

	do {
		nr = 0;
		xa_for_each(&pages->access, gfn, entry) {
			gfns[nr++] = gfn;
			if (nr == LIFTED_AT_ONCE)
				break;
		}
		for (unsigned int i = 0; i < nr; i++)
			xa_erase(&pages->access, gfns[i]);
		kvmi_vm_apply_access(kvm, gfns, nr);
		cond_resched();
	} while (nr == LIFTED_AT_ONCE);

	if (pages->denied) {
		WRITE_ONCE(pages->denied, 0);
		kvmi_update_apicv_inhibit(kvm);
		kvm_make_all_cpus_request(kvm, KVM_REQ_INTROSPECTION);
	}
	WRITE_ONCE(pages->lifted, pages->lifted + 1);
	wake_up_all(&pages->queue);
}

/* The VM is destroyed, its MMU first. */
void __kvmi_destroy_pages(struct kvm *kvm)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;

	if (!pages)
		return;

	kvm->arch.kvmi_pages = NULL;
	xa_destroy(&pages->access);
	kfree(pages);
}

/* The bits that a violation of EPT, or a nested page fault, was about. */
static unsigned int kvmi_attempted(struct kvm_vcpu *vcpu, u64 error_code)
{
	if (error_code & PFERR_FETCH_MASK)
		return KVMI_PAGE_ACCESS_X;
	if (error_code & PFERR_WRITE_MASK)
		return KVMI_PAGE_ACCESS_W |
		       (vcpu->arch.kvmi->reads ? KVMI_PAGE_ACCESS_R : 0);

	return KVMI_PAGE_ACCESS_R;
}

/* Wait until the restrictions of a dead session are gone. */
static void kvmi_await_lifting(struct kvm_vcpu *vcpu, unsigned int lifted)
{
	struct kvmi_pages *pages = vcpu->kvm->arch.kvmi_pages;

	kvm_vcpu_srcu_read_unlock(vcpu);
	wait_event_killable(pages->queue, xa_empty(&pages->access) ||
			    READ_ONCE(pages->lifted) != lifted);
	kvm_vcpu_srcu_read_lock(vcpu);
}

/* Ask a tool, if one wants to be asked, and grant what it says. */
static enum kvmi_verdict kvmi_ask_for_page(struct kvm_vcpu *vcpu, gva_t gva,
					   gpa_t gpa, unsigned int denied)
{
	enum kvmi_verdict verdict;

	/* Others may have the view meanwhile. */
	__kvmi_park(vcpu);

	verdict = kvmi_pf(vcpu, gva, gpa, denied, false);
	switch (verdict) {
	case KVMI_UNASKED:
		if (!kvmi_rs_lives(vcpu))
			return verdict;
		verdict = KVMI_PROCEED;
		break;
	case KVMI_REWRITTEN:
		if (kvmi_take_moved(vcpu))
			return verdict;
		break;
	case KVMI_PROCEED:
		break;
	default:
		return verdict;
	}

	kvmi_grant(vcpu, gpa_to_gfn(gpa), denied);
	return verdict;
}

bool __kvmi_page_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 error_code)
{
	unsigned int lifted = READ_ONCE(vcpu->kvm->arch.kvmi_pages->lifted);
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	gfn_t gfn = gpa_to_gfn(gpa);
	unsigned int denied;

	if (error_code & PFERR_RSVD_MASK)
		return false;
	/* It waits for its view. */
	if (wishes && wishes->step.passing && !wishes->step.view)
		return true;
	if (kvmi_allowed(vcpu, gfn, kvmi_view(vcpu)) == KVMI_ALL_ACCESS)
		return false;
	/* The first time: have it again, with all that is to be known of it. */
	if (!wishes)
		return kvmi_make_wishes(vcpu);

	denied = kvmi_attempted(vcpu, error_code) &
		 ~kvmi_allowed(vcpu, gfn, wishes->step.view);
	if (!denied)
		return false;

	/*
	 * A walk of the guest's page tables is nobody's access, as long as it
	 * can be told from a store by the same instruction.
	 */
	if (error_code & PFERR_GUEST_PAGE_MASK &&
	    (!(denied & KVMI_PAGE_ACCESS_W) || kvmi_copy_table(vcpu, gfn))) {
		kvmi_grant(vcpu, gfn, denied);
		return true;
	}

	if (kvmi_ask_for_page(vcpu, wishes->gva, gpa, denied) == KVMI_UNASKED &&
	    !kvmi_rs_lives(vcpu))
		kvmi_await_lifting(vcpu, lifted);
	return true;
}

/*
 * KVM does something that it cannot take back, whatever the tool says: a device
 * gave data for it that it would not give again, or it is no instruction.
 */
static bool kvmi_is_past_recall(struct kvm_vcpu *vcpu)
{
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;

	return vcpu->arch.kvmi->mute || ctxt->device_read || ctxt->io_read.end ||
	       vcpu->arch.pio.count;
}

static bool kvmi_emulates_in_page(struct kvm_vcpu *vcpu, gva_t gva, gpa_t gpa,
				  unsigned int wanted)
{
	unsigned int denied = wanted & ~kvmi_allowed(vcpu, gpa_to_gfn(gpa), true);

	if (!denied)
		return true;
	if (!kvmi_make_wishes(vcpu))
		return false;
	/* What the tool sees, and what is left to do again, is not half done. */
	vcpu->arch.emulate_regs_need_sync_to_vcpu = false;
	if (!kvmi_is_past_recall(vcpu))
		return kvmi_ask_for_page(vcpu, gva, gpa, denied) == KVMI_PROCEED;

	__kvmi_park(vcpu);
	switch (kvmi_pf(vcpu, gva, gpa, denied, true)) {
	case KVMI_RETRY:
	case KVMI_REWRITTEN:
		return false;
	default:
		/* Else KVM's accessors would refuse it. */
		kvmi_grant(vcpu, gpa_to_gfn(gpa), denied);
		return true;
	}
}

/*
 * An access by KVM on the guest's behalf, before anything of it is done.  False:
 * it is to be taken back, for the instruction to be executed again.  Where it
 * cannot be, the tool is asked in place, and the access follows its answer.
 */
bool __kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva, unsigned int bytes,
		     u64 access)
{
	struct kvm_pagewalk *walk = &vcpu->arch.gva_walk;
	unsigned int in_page, wanted = KVMI_PAGE_ACCESS_R;
	gpa_t gpa;

	if (access & PFERR_FETCH_MASK)
		wanted = KVMI_PAGE_ACCESS_X;
	else if (access & PFERR_WRITE_MASK)
		wanted = KVMI_PAGE_ACCESS_W;
	if (kvmi_all_allow(vcpu->kvm, wanted))
		return true;

	if (!(access & PFERR_IMPLICIT_ACCESS) &&
	    kvm_x86_call(get_cpl)(vcpu) == 3)
		access |= PFERR_USER_MASK;

	for (; bytes; bytes -= in_page, gva += in_page) {
		in_page = min_t(unsigned int, bytes,
				PAGE_SIZE - offset_in_page(gva));
		/* What cannot be translated is a fault, and the emulator's. */
		gpa = walk->gva_to_gpa(vcpu, walk, gva, access, NULL);
		if (gpa != INVALID_GPA &&
		    !kvmi_emulates_in_page(vcpu, gva, gpa, wanted))
			return false;
	}
	return true;
}

/*
 * Asks about an access by KVM to guest-physical memory, for an instruction of
 * which nothing is done yet.  False: the instruction is to be executed again.
 */
bool kvmi_may_access_gpa(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int bytes,
			 unsigned int wanted)
{
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;
	unsigned int in_page;

	if (!kvmi_has_pages(vcpu->kvm) || kvmi_all_allow(vcpu->kvm, wanted))
		return true;

	/* What the emulator noted is of another instruction. */
	ctxt->device_read = false;
	ctxt->io_read.pos = 0;
	ctxt->io_read.end = 0;

	for (; bytes; bytes -= in_page, gpa += in_page) {
		in_page = min_t(unsigned int, bytes,
				PAGE_SIZE - offset_in_page(gpa));
		if (!kvmi_emulates_in_page(vcpu, INVALID_GPA, gpa, wanted))
			return false;
	}
	return true;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_may_access_gpa);
