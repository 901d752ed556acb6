// SPDX-License-Identifier: GPL-2.0
/*
 * What a tool wants of a vCPU: events, control registers and MSRs that are
 * intercepted for it, an answered event that is to recur, an exception that
 * the guest is to get.
 *
 * struct kvmi_wishes is the vCPU's own: its thread makes, reads and writes it,
 * without a lock, until the vCPU is destroyed.  Hardware is programmed by KVM,
 * which is asked to compute its intercepts anew.
 */
#include <linux/bitmap.h>
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/nospec.h>
#include <linux/slab.h>

#include "x86.h"
#include "msrs.h"
#include "regs.h"

#include "hooks.h"

/*
 * Made at the first wish, by the vCPU's thread.  As long as they exist the hook
 * sites look at them: what a session wanted is undone after its end.
 */
struct kvmi_wishes *kvmi_make_wishes(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (wishes)
		return wishes;

	wishes = kvzalloc_obj(*wishes, GFP_KERNEL_ACCOUNT);
	if (!wishes)
		return NULL;

	wishes->gva = INVALID_GPA;
	kvmi_in_use_inc();
	vcpu->arch.kvmi = wishes;
	return wishes;
}

static void kvmi_reprogram(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_RECALC_INTERCEPTS, vcpu);
	kvm_x86_call(update_exception_bitmap)(vcpu);
}

int kvmi_vcpu_want_event(struct kvm_vcpu *vcpu, __u16 event, bool want)
{
	struct kvmi_wishes *wishes = kvmi_make_wishes(vcpu);

	if (!wishes)
		return -ENOMEM;

	switch (event) {
	case KVMI_VCPU_EVENT_BREAKPOINT:
		if (vcpu->guest_debug & KVM_GUESTDBG_USE_SW_BP)
			return -EBUSY;
		if (want == !!(wishes->events & BIT(event)))
			return -EBUSY;
		break;
	case KVMI_VCPU_EVENT_DESCRIPTOR:
		if (!kvm_caps.has_descriptor_intercepts)
			return -EOPNOTSUPP;
		break;
	}

	__assign_bit(event, &wishes->events, want);
	kvmi_reprogram(vcpu);
	return 0;
}

int kvmi_vcpu_want_cr(struct kvm_vcpu *vcpu, __u8 cr, bool want)
{
	struct kvmi_wishes *wishes = kvmi_make_wishes(vcpu);

	if (!wishes)
		return -ENOMEM;

	__assign_bit(cr, &wishes->crs, want);
	kvmi_reprogram(vcpu);
	return 0;
}

int kvmi_vcpu_want_msr(struct kvm_vcpu *vcpu, __u32 msr, bool want)
{
	struct kvmi_wishes *wishes;
	int bit = kvmi_msr_bit(msr);

	if (bit < 0)
		return -EINVAL;
	if (want && !kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE))
		return -EPERM;

	wishes = kvmi_make_wishes(vcpu);
	if (!wishes)
		return -ENOMEM;

	__assign_bit(array_index_nospec(bit, 2 * KVMI_MSRS), wishes->msrs, want);
	kvmi_reprogram(vcpu);
	return 0;
}

int kvmi_vcpu_want_step(struct kvm_vcpu *vcpu, bool want)
{
	if (!kvmi_has_singlestep())
		return -EOPNOTSUPP;
	if (want && vcpu->guest_debug & KVM_GUESTDBG_ENABLE)
		return -EBUSY;
	if (!kvmi_make_wishes(vcpu))
		return -ENOMEM;

	kvmi_set_step(vcpu, want);
	return 0;
}

/*
 * An event for which KVM_RUN was left waits until the guest does the same again.
 * It does so at once, unless somebody changed the instruction: a guest that has
 * run and is elsewhere, or that has left so often without it, will not.
 */
#define KVMI_HOLD_EXITS	1000

void kvmi_vcpu_hold(struct kvm_vcpu *vcpu, bool hold)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes || wishes->hold == hold)
		return;

	wishes->hold = hold;
	wishes->hold_exits = vcpu->stat.exits;
	if (!hold)
		kvm_make_request(KVM_REQ_EVENT, vcpu);
}

/*
 * KVM_INTERRUPT while interrupts are held back: the VMM ignored that KVM is not
 * ready.  -EEXIST: one waits already.
 */
int kvmi_hold_interrupt(struct kvm_vcpu *vcpu, u8 vector)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (wishes->has_interrupt)
		return -EEXIST;

	wishes->interrupt = vector;
	wishes->has_interrupt = true;
	kvm_make_request(KVM_REQ_EVENT, vcpu);
	return 0;
}

void kvmi_vcpu_forget_interrupt(struct kvm_vcpu *vcpu)
{
	kvmi_drop_interrupt(vcpu);
}

/*
 * The vCPU is not what it was: INIT came, or the VMM wrote its state.  What was
 * granted, held and not yet done for the tool is forgotten, and an exception of
 * its that waits for the next entry.  False: the guest has got that one.
 */
bool kvmi_vcpu_forget(struct kvm_vcpu *vcpu)
{
	struct kvm_queued_exception *ex = &vcpu->arch.exception;
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes)
		return true;

	wishes->moved = false;
	wishes->emulated = false;
	wishes->insn.nr = 0;
	kvmi_vcpu_hold(vcpu, false);
	kvmi_end_pass(vcpu);

	if (wishes->injected && !ex->pending &&
	    vcpu->stat.exits != wishes->injected_exits)
		return false;

	if (wishes->injected && wishes->own_exception && ex->pending)
		kvm_clear_exception_queue(vcpu);
	wishes->injected = false;
	return true;
}

enum kvmi_hold kvmi_vcpu_held(struct kvm_vcpu *vcpu, __u64 rip)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	u64 exits;

	if (!wishes || !wishes->hold)
		return KVMI_HOLD_NONE;

	exits = vcpu->stat.exits - wishes->hold_exits;
	if ((exits && kvm_rip_read(vcpu) != rip) || exits > KVMI_HOLD_EXITS)
		return KVMI_HOLD_MISSED;

	return KVMI_HOLD_ON;
}

/*
 * A session is over.  What it wanted of this vCPU is given back, or kept; what
 * was under way is forgotten in any case.
 */
void kvmi_vcpu_release(struct kvm_vcpu *vcpu, bool keep)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes)
		return;

	wishes->moved = false;
	wishes->crash = false;
	wishes->injected = false;
	kvmi_vcpu_hold(vcpu, false);
	kvmi_set_step(vcpu, false);
	kvmi_end_pass(vcpu);
	kvmi_forget_written(wishes);
	wishes->nr_kept = 0;
	if (keep || !wishes->owner)
		return;

	wishes->events = 0;
	wishes->crs = 0;
	bitmap_zero(wishes->msrs, 2 * KVMI_MSRS);
	wishes->owner = 0;
	kvmi_reprogram(vcpu);
}

void kvmi_vcpu_note_moved(struct kvm_vcpu *vcpu, bool moved)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->moved = moved;
}

/* The run loop is told at its next turn. */
void kvmi_vcpu_note_crash(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->crash = true;
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
}

bool kvmi_vcpu_take_crash(struct kvm_vcpu *vcpu)
{
	bool crash = vcpu->arch.kvmi && vcpu->arch.kvmi->crash;

	if (crash)
		vcpu->arch.kvmi->crash = false;
	return crash;
}

/*
 * Queue an exception for the next entry, unless another event must be injected
 * first: then that one is told of.
 */
bool kvmi_vcpu_inject(struct kvm_vcpu *vcpu, const struct kvmi_injection *wanted,
		      struct kvmi_injection *done)
{
	struct kvm_queued_exception *ex = &vcpu->arch.exception;

	/* The tool is told when the guest has been entered with it. */
	vcpu->arch.kvmi->injected = true;
	vcpu->arch.kvmi->injected_exits = vcpu->stat.exits;
	kvm_make_request(KVM_REQ_EVENT, vcpu);

	*done = *wanted;
	vcpu->arch.kvmi->own_exception = false;
	if (ex->injected || ex->pending) {
		done->nr = ex->vector;
		done->error_code = ex->has_error_code ? ex->error_code : 0;
		return false;
	}
	if (vcpu->arch.nmi_injected) {
		done->nr = NMI_VECTOR;
		done->error_code = 0;
		return false;
	}
	if (vcpu->arch.interrupt.injected) {
		done->nr = vcpu->arch.interrupt.nr;
		done->error_code = 0;
		return false;
	}

	/* As if INT3 or INTO of one byte were at RIP. */
	if (wanted->nr == BP_VECTOR || wanted->nr == OF_VECTOR)
		vcpu->arch.event_exit_inst_len = 1;

	if (wanted->nr == PF_VECTOR)
		kvm_queue_exception_e_p(vcpu, PF_VECTOR, wanted->error_code,
					wanted->address);
	else if (kvmi_has_error_code(wanted->nr))
		kvm_queue_exception_e(vcpu, wanted->nr, wanted->error_code);
	else
		kvm_queue_exception(vcpu, wanted->nr);

	if (!kvmi_has_error_code(wanted->nr))
		done->error_code = 0;
	vcpu->arch.kvmi->own_exception = true;
	return true;
}

/*
 * Has the guest got what kvmi_vcpu_inject() queued?  It may have been left in
 * the middle of the delivery, which then begins anew.
 */
bool kvmi_vcpu_was_injected(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	return wishes && wishes->injected &&
	       vcpu->stat.exits != wishes->injected_exits &&
	       !vcpu->arch.exception.pending && !vcpu->arch.exception.injected;
}

void kvmi_vcpu_told(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->injected = false;
}

/* Must the run loop come to us although nobody asked? */
bool kvmi_vcpu_is_due(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes)
		return false;

	/* Whoever asked in the last turn has done with the answer. */
	wishes->moved = false;
	wishes->emulated = false;

	if (wishes->stale && !is_guest_mode(vcpu)) {
		wishes->stale = false;
		kvmi_reprogram(vcpu);
	}

	if (!is_guest_mode(vcpu))
		wishes->nr_kept = 0;

	/* Whoever steps with TF looks at each instruction before it. */
	return wishes->hold || kvmi_vcpu_was_injected(vcpu) || kvmi_is_done(vcpu) ||
	       (wishes->step.passing && !wishes->step.view) ||
	       (kvmi_is_stepped(vcpu) && !kvm_caps.has_monitor_trap);
}

/* What an earlier session wanted is not what this one wants. */
void kvmi_vcpu_adopt(struct kvm_vcpu *vcpu, __u64 owner)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (wishes && wishes->owner && wishes->owner != owner)
		kvmi_vcpu_release(vcpu, false);
}

/* A command of this session ran: what is wanted now is what it wants. */
void kvmi_vcpu_claim(struct kvm_vcpu *vcpu, __u64 owner)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->owner = owner;
}

void __kvmi_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes)
		return;

	vcpu->arch.kvmi = NULL;
	kvmi_in_use_dec();
	kvmi_free_walks(wishes);
	kfree(wishes->step.grants);
	kvfree(wishes);
}
