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
	gfn_t gfns[KVMI_MAX_GRANTS];
	unsigned int view = step->view, i;

	if (!view)
		return;

	for (i = 0; i < step->nr_grants; i++)
		gfns[i] = step->grants[i].gfn;

	step->view = 0;
	kvm_mmu_reset_context(vcpu);
	kvm_mmu_zap_in_view(vcpu->kvm, view, gfns, step->nr_grants);

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
	step->nr_grants = 0;
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

/* Let this vCPU do that to a frame until its instruction is done. */
void kvmi_grant(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int access)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	unsigned int i;

	/* Hardware cannot write what it cannot read, nor NPT execute it. */
	access |= KVMI_PAGE_ACCESS_R;

	for (i = 0; i < step->nr_grants; i++)
		if (step->grants[i].gfn == gfn)
			break;
	if (i == step->nr_grants) {
		if (i == KVMI_MAX_GRANTS) {
			/* What is replaced must not stay open in the view. */
			kvmi_leave_view(vcpu);
			i = step->next_grant++ % KVMI_MAX_GRANTS;
		} else {
			step->nr_grants++;
		}
		step->grants[i].gfn = gfn;
		step->grants[i].access = 0;
	}
	step->grants[i].access |= access;

	step->passing = true;
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
}
