// SPDX-License-Identifier: GPL-2.0
/*
 * How one access to a restricted page is let through.
 *
 * Its instruction is executed once in a view: a root of its own, in which the
 * frames that the tool granted are open and all others are as restricted as
 * ever.  A view is used by one vCPU at a time, from the run loop to the end of
 * the step, but not while a tool is asked and not outside of KVM_RUN, so
 * waiting for one comes to an end.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "x86.h"
#include "kvm_emulate.h"
#include "regs.h"
#include "mmu.h"
#include "mmu/mmu_internal.h"
#include "mmu/spte.h"

#include "pages.h"

/*
 * kvm_mmu_page_role::view, 0 being the restricted one.  Each doubles the shadow
 * pages that a frame of the guest's page tables may have, and those are counted
 * in 16 bits, of which KVM uses 14.
 */
#define VIEWS		8
#define SHADOW_VIEWS	2

/* Leave the view; what was granted in it is closed again. */
static void kvmi_leave_view(struct kvm_vcpu *vcpu)
{
	struct kvmi_pages *pages = vcpu->kvm->arch.kvmi_pages;
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	unsigned int view = step->view;

	if (!view)
		return;

	step->view = 0;
	kvm_mmu_reset_context(vcpu);
	kvm_mmu_zap_in_view(vcpu->kvm, view, step->grants->gfns,
			    step->grants->nr);

	smp_mb__before_atomic();
	clear_bit(view, &pages->views_in_use);
	smp_mb__after_atomic();
	wake_up(&pages->queue);
}

/* KVM_RUN is left, or a tool is asked: others may have the view meanwhile. */
void __kvmi_park(struct kvm_vcpu *vcpu)
{
	kvmi_leave_view(vcpu);
}

/*
 * A fault in a view, where the host may have no page: others may have the view
 * while it brings one in.  Returns whether it was waited for; the guest faults
 * again then.  Some pages are never to be got without sleeping, and each may be
 * taken away again: so this is done once for a frame, and for some of them.
 */

bool __kvmi_waits_without_view(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	unsigned long hva = __gfn_to_hva_memslot(fault->slot, fault->gfn);
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	unsigned int flags = fault->write ? FOLL_WRITE : 0;
	struct page *page;
	unsigned int i;
	long r;

	for (i = 0; i < step->nr_waited; i++)
		if (step->waited[i] == fault->gfn)
			return false;
	if (i == KVMI_MAX_WAITED)
		return false;
	if (get_user_page_fast_only(hva, flags, &page)) {
		put_page(page);
		return false;
	}

	__kvmi_park(vcpu);
	r = get_user_pages_unlocked(hva, 1, &page, flags | FOLL_INTERRUPTIBLE);
	if (r == 1)
		put_page(page);
	if (r == 1 || !signal_pending(current))
		step->waited[step->nr_waited++] = fault->gfn;
	return true;
}

/* The last one first: who shadows page tables can have no other than the first. */
static bool kvmi_take_view(struct kvm_vcpu *vcpu)
{
	struct kvmi_pages *pages = vcpu->kvm->arch.kvmi_pages;
	unsigned int view = tdp_enabled && !mmu_is_nested(vcpu) ? VIEWS : SHADOW_VIEWS;

	while (--view) {
		if (!test_and_set_bit(view, &pages->views_in_use)) {
			vcpu->arch.kvmi->step.view = view;
			return true;
		}
	}
	return false;
}

/* -EINTR: there is none yet, and a signal. */
static int kvmi_enter_view(struct kvm_vcpu *vcpu)
{
	struct kvmi_pages *pages = vcpu->kvm->arch.kvmi_pages;
	int r;

	if (!kvmi_take_view(vcpu)) {
		kvm_vcpu_srcu_read_unlock(vcpu);
		r = wait_event_interruptible(pages->queue, kvmi_take_view(vcpu));
		kvm_vcpu_srcu_read_lock(vcpu);
		if (r)
			return -EINTR;
	}
	kvm_mmu_reset_context(vcpu);
	return 0;
}

/* The instruction is done, or the session is. */
void kvmi_end_pass(struct kvm_vcpu *vcpu)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;

	if (!step->passing)
		return;

	kvmi_leave_view(vcpu);
	kvmi_forget_tables(vcpu);
	step->grants->nr = 0;
	step->nr_waited = 0;
	step->over = false;
	step->passing = false;
	kvm_make_request(KVM_REQ_EVENT, vcpu);
}

void kvmi_vcpu_settle_pass(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.kvmi && vcpu->arch.kvmi->step.over) {
		kvmi_compare_tables(vcpu);
		kvmi_end_pass(vcpu);
	}
}

/* Before the guest is entered; what run loop and hooks return. */
int kvmi_vcpu_prepare_pass(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	/* The guest's own guest may have other roots; what comes behind it is new. */
	if (shadow_xs_mask && !mmu_is_nested(vcpu) &&
	    vcpu->arch.root_mmu.root_role.ad_disabled !=
	    (!kvm_ad_enabled || kvmi_takes_ad_bits(vcpu->kvm)))
		kvm_mmu_reset_context(vcpu);

	if (wishes && wishes->step.passing && !wishes->step.view &&
	    kvmi_enter_view(vcpu)) {
		kvmi_vcpu_exit_intr(vcpu);
		return -EINTR;
	}
	return 1;
}

/* Where a frame's grant is, or is to be. */
static unsigned int kvmi_grant_of(const struct kvmi_grants *grants, gfn_t gfn)
{
	unsigned int i;

	for (i = 0; i < grants->nr; i++)
		if (grants->gfns[i] == gfn)
			break;
	return i;
}

/* What was granted of a frame to the instruction that is under way. */
unsigned int kvmi_granted(struct kvm_vcpu *vcpu, gfn_t gfn)
{
	struct kvmi_grants *grants = vcpu->arch.kvmi ? vcpu->arch.kvmi->step.grants : NULL;
	unsigned int i;

	if (!grants)
		return 0;

	i = kvmi_grant_of(grants, gfn);
	return i < grants->nr ? grants->access[i] : 0;
}

/*
 * Let this vCPU do that to a frame until its instruction is done.  False: there
 * is no memory to note it, or no instruction needs so many frames.  This one gets
 * #GP then: it would never end.
 */
bool kvmi_grant(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int access)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	struct kvmi_grants *grants = step->grants;
	unsigned int i;

	if (!grants) {
		grants = kzalloc_obj(*grants, GFP_KERNEL_ACCOUNT);
		if (!grants)
			return false;
		step->grants = grants;
	}

	i = kvmi_grant_of(grants, gfn);
	if (i == KVMI_MAX_GRANTS) {
		kvmi_count_refusal(vcpu->kvm);
		kvmi_end_pass(vcpu);
		kvm_inject_gp(vcpu, 0);
		return false;
	}
	if (i == grants->nr) {
		grants->gfns[i] = gfn;
		grants->access[i] = 0;
		grants->nr++;
	}
	/* Hardware cannot write what it cannot read, nor NPT execute it. */
	grants->access[i] |= access | KVMI_PAGE_ACCESS_R;

	step->passing = true;
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
	return true;
}
