/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_KVMI_STEP_H
#define __KVM_X86_KVMI_STEP_H

/*
 * What KVM tells of the steps of a vCPU, one instruction each, and what it has
 * to hold back meanwhile.
 */

#include "wishes.h"

#ifdef CONFIG_KVM_INTROSPECTION

void kvmi_set_step(struct kvm_vcpu *vcpu, bool on);
bool __kvmi_is_alive(struct kvm_vcpu *vcpu);
int kvmi_step_soft_interrupt(struct kvm_vcpu *vcpu);
u8 kvmi_int3_len(struct kvm_vcpu *vcpu);
void __kvmi_entering(struct kvm_vcpu *vcpu);
bool __kvmi_holds_interrupts(struct kvm_vcpu *vcpu);
bool __kvmi_holds_nested_events(struct kvm_vcpu *vcpu);
bool kvmi_step_syscall(struct kvm_vcpu *vcpu);
void kvmi_svm_arm(struct kvm_vcpu *vcpu);
void kvmi_svm_disarm(struct kvm_vcpu *vcpu);
int kvmi_svm_handle_exit(struct kvm_vcpu *vcpu);

/* Was the guest left from an entry of one instruction? */
static inline bool kvmi_was_stepped(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       vcpu->arch.kvmi->step.entered;
}

/* Are the steps of the vCPU a tool's, and not the VMM's to debug with? */
static inline bool kvmi_owns_steps(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       vcpu->arch.kvmi->step.on && __kvmi_is_alive(vcpu);
}

/* Does the tool hear of each instruction?  The guest's own guest is one. */
static inline bool kvmi_tells_steps(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.kvmi->step.on && !is_guest_mode(vcpu);
}

/* Is one instruction executed at a time, to tell of it or to let it through? */
static inline bool kvmi_is_stepped(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       (vcpu->arch.kvmi->step.passing || kvmi_tells_steps(vcpu));
}

/* Did the step of an instruction end in the #DB that it ends in on SVM? */
static inline bool kvmi_svm_trapped(struct kvm_vcpu *vcpu)
{
	return kvmi_was_stepped(vcpu) && vcpu->arch.kvmi->step.trapped;
}

/* What was let through is over. */
static inline void kvmi_pass_over(struct kvm_vcpu *vcpu)
{
	if (kvmi_is_stepped(vcpu) && vcpu->arch.kvmi->step.passing) {
		vcpu->arch.kvmi->step.over = true;
		kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
	}
}

/* An instruction has ended.  Interrupts may be off. */
static inline void kvmi_insn_done(struct kvm_vcpu *vcpu)
{
	if (kvmi_is_stepped(vcpu)) {
		vcpu->arch.kvmi->step.done = kvmi_tells_steps(vcpu);
		kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
		kvmi_pass_over(vcpu);
	}
}

/* The guest's own guest was left: that was an instruction, too. */
static inline void kvmi_left_guest(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvmi_in_use.key) || !vcpu->arch.kvmi)
		return;

	if (vcpu->arch.kvmi->stale)
		kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
	kvmi_insn_done(vcpu);
}

/* Is one done that must be seen to before the next? */
static inline bool kvmi_is_done(struct kvm_vcpu *vcpu)
{
	return kvmi_is_stepped(vcpu) &&
	       (vcpu->arch.kvmi->step.done || vcpu->arch.kvmi->step.over);
}

/* The guest is about to be entered. */
static inline void kvmi_entering(struct kvm_vcpu *vcpu)
{
	if (kvmi_has_wishes(vcpu))
		__kvmi_entering(vcpu);
}

/* Was it entered with an interrupt to deliver? */
static inline bool kvmi_delivers(struct kvm_vcpu *vcpu)
{
	return kvmi_is_stepped(vcpu) && vcpu->arch.kvmi->step.delivers;
}

/* Are interrupts held back: until an answered event recurs, or for a step? */
static inline bool kvmi_holds_interrupts(struct kvm_vcpu *vcpu)
{
	return kvmi_has_wishes(vcpu) && __kvmi_holds_interrupts(vcpu);
}

/* The same for what leaves the guest's own guest. */
static inline bool kvmi_holds_nested_events(struct kvm_vcpu *vcpu)
{
	return kvmi_has_wishes(vcpu) && __kvmi_holds_nested_events(vcpu);
}

#else

static inline bool kvmi_holds_interrupts(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_owns_steps(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_is_stepped(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_svm_trapped(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_holds_nested_events(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_pass_over(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_was_stepped(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_left_guest(struct kvm_vcpu *vcpu) { }
static inline void kvmi_insn_done(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_is_done(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_entering(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_delivers(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_svm_arm(struct kvm_vcpu *vcpu) { }
static inline void kvmi_svm_disarm(struct kvm_vcpu *vcpu) { }
static inline int kvmi_svm_handle_exit(struct kvm_vcpu *vcpu) { return 1; }

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVM_X86_KVMI_STEP_H */
