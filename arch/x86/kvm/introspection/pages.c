// SPDX-License-Identifier: GPL-2.0
/*
 * Guest pages that a tool restricts: who is asked about an access that is
 * denied.  What frames allow is in store.c, how an access is let through in
 * views.c.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>

#include "x86.h"
#include "kvm_emulate.h"
#include "regs.h"
#include "mmu.h"
#include "mmu/mmu_internal.h"
#include "mmu/spte.h"

#include "own_access.h"
#include "pages.h"

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

/*
 * An access that no tool is asked about, to a frame that a session left
 * restricted.  The wait is over when the frame may have been opened, when there
 * is something for the vCPU to do, and at any signal; the guest then tries again.
 */
static void kvmi_wait_frozen(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int denied)
{
	struct kvmi_pages *pages = vcpu->kvm->arch.kvmi_pages;
	struct rcuwait *wake = kvm_arch_vcpu_get_wait(vcpu);
	DEFINE_WAIT(entry);

	kvm_vcpu_srcu_read_unlock(vcpu);
	prepare_to_rcuwait(wake);
	for (;;) {
		prepare_to_wait(&pages->queue, &entry, TASK_INTERRUPTIBLE);
		if (READ_ONCE(pages->left) != KVMI_LEFT_FROZEN ||
		    !(denied & ~kvmi_store_allows(vcpu->kvm, gfn)) ||
		    kvm_request_pending(vcpu) || kvmi_vcpu_has_init(vcpu) ||
		    signal_pending(current))
			break;
		schedule();
	}
	finish_rcuwait(wake);
	finish_wait(&pages->queue, &entry);
	kvm_vcpu_srcu_read_lock(vcpu);
}

/*
 * No living session hears of a denied access.  A session that has died is ended
 * here, if nobody has done so yet.  True: the access is not to be let through.
 */
static bool kvmi_meet_left(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int denied)
{
	bool lives = kvmi_rs_end_if_dead(vcpu);

	switch (READ_ONCE(vcpu->kvm->arch.kvmi_pages->left)) {
	case KVMI_LEFT_FROZEN:
		kvmi_wait_frozen(vcpu, gfn, denied);
		return true;
	case KVMI_LEFT_CRASH:
		if (kvmi_take_store(vcpu->kvm, KVMI_LEFT_CRASH))
			kvmi_vcpu_note_crash(vcpu);
		return true;
	default:
		return !lives;
	}
}

/* Ask a tool, if one wants to be asked, and grant what it says. */
static enum kvmi_verdict kvmi_ask_for_page(struct kvm_vcpu *vcpu, gva_t gva,
					   gpa_t gpa, unsigned int denied)
{
	enum kvmi_verdict verdict;

	/* Others may have the view meanwhile. */
	__kvmi_park(vcpu);

	verdict = kvmi_pf(vcpu, gva, gpa, denied);
	switch (verdict) {
	case KVMI_UNASKED:
		if (kvmi_meet_left(vcpu, gpa_to_gfn(gpa), denied))
			return KVMI_RETRY;
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

	return kvmi_grant(vcpu, gpa_to_gfn(gpa), denied) ? verdict : KVMI_RETRY;
}

bool __kvmi_page_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 error_code)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	gfn_t gfn = gpa_to_gfn(gpa);
	unsigned int allowed, denied;
	gva_t gva;

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

	allowed = kvmi_allowed(vcpu, gfn, wishes->step.view);
	denied = kvmi_attempted(vcpu, error_code) & ~allowed;
	if (!denied)
		return false;

	/*
	 * A walk of the guest's page tables is nobody's access, as long as it
	 * can be told from what the same instruction reads and stores there.
	 */
	gva = wishes->gva;
	if (error_code & PFERR_GUEST_PAGE_MASK) {
		if (!(allowed & KVMI_PAGE_ACCESS_R) &&
		    kvmi_may_read_frame(vcpu, gfn, &gva, &gpa)) {
			denied = KVMI_PAGE_ACCESS_R;
		} else if (!(denied & KVMI_PAGE_ACCESS_W) ||
			   kvmi_copy_table(vcpu, gfn)) {
			kvmi_grant(vcpu, gfn, denied);
			return true;
		}
	}

	kvmi_ask_for_page(vcpu, gva, gpa, denied);
	return true;
}

/*
 * KVM does something that it cannot take back, whatever the tool says: a device
 * was accessed for it, or it is no instruction.
 */
static bool kvmi_is_past_recall(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	return wishes->mute || (wishes->insn.emulating &&
				vcpu->arch.emulate_ctxt->device_touched);
}

/* False: it is refused, or to be taken back (kvmi_insn::refused says which). */
bool kvmi_emulates_in_page(struct kvm_vcpu *vcpu, gva_t gva, gpa_t gpa,
			   unsigned int wanted)
{
	unsigned int denied = wanted & ~kvmi_allowed(vcpu, gpa_to_gfn(gpa), true);

	if (!denied)
		return true;
	if (!kvmi_make_wishes(vcpu))
		return false;

	if (kvmi_is_past_recall(vcpu)) {
		if (!kvmi_vm_is_frozen(vcpu->kvm) &&
		    !kvmi_rs_hears(vcpu, KVMI_VCPU_EVENT_PF)) {
			/* Else KVM's accessors would refuse it. */
			kvmi_grant(vcpu, gpa_to_gfn(gpa), denied);
			return true;
		}
		kvmi_count_refusal(vcpu->kvm);
		vcpu->arch.kvmi->insn.refused = true;
		return false;
	}

	/* What the tool sees, and what is left to do again, is not half done. */
	vcpu->arch.emulate_regs_need_sync_to_vcpu = false;
	return kvmi_ask_for_page(vcpu, gva, gpa, denied) == KVMI_PROCEED;
}

/*
 * An access by KVM on the guest's behalf, before anything of it is done.  False:
 * it is to be taken back, for the instruction to be executed again; or, where it
 * cannot be, it is refused.
 */
bool __kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva, unsigned int bytes,
		     u64 access)
{
	unsigned int in_page, wanted = KVMI_PAGE_ACCESS_R, now;
	gpa_t gpa;

	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->insn.refused = false;

	if (access & PFERR_FETCH_MASK)
		wanted = KVMI_PAGE_ACCESS_X;
	else if (access & PFERR_WRITE_MASK)
		wanted = KVMI_PAGE_ACCESS_W;
	else if (kvmi_modifies(vcpu, gva))
		wanted |= KVMI_PAGE_ACCESS_W;
	if (kvmi_all_allow(vcpu->kvm, wanted))
		return true;

	if (!(access & PFERR_IMPLICIT_ACCESS) &&
	    kvm_x86_call(get_cpl)(vcpu) == 3)
		access |= PFERR_USER_MASK;

	for (; bytes; bytes -= in_page, gva += in_page) {
		in_page = min_t(unsigned int, bytes,
				PAGE_SIZE - offset_in_page(gva));
		/* What cannot be translated is a fault, and the emulator's. */
		gpa = __kvmi_gva_to_gpa(vcpu, gva, access, NULL);
		if (gpa == INVALID_GPA)
			continue;
		now = wanted;
		if (now == (KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W) &&
		    !kvmi_translates_for_write(vcpu, gva, access))
			now = KVMI_PAGE_ACCESS_R;
		if (!kvmi_emulates_in_page(vcpu, gva, gpa, now))
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
	unsigned int in_page;

	if (!kvmi_has_pages(vcpu->kvm) || kvmi_all_allow(vcpu->kvm, wanted))
		return true;

	for (; bytes; bytes -= in_page, gpa += in_page) {
		in_page = min_t(unsigned int, bytes,
				PAGE_SIZE - offset_in_page(gpa));
		if (!kvmi_emulates_in_page(vcpu, INVALID_GPA, gpa, wanted))
			return false;
	}
	return true;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_may_access_gpa);
