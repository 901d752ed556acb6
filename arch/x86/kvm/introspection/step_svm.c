// SPDX-License-Identifier: GPL-2.0
/*
 * One instruction of a guest on SVM, which has no trap flag but the guest's.
 *
 * TF is set for one entry and taken away behind it, so that nobody in KVM sees
 * it.  Nor may the guest: what would push TF or copy it exits instead, and is
 * done by KVM (PUSHF, POPF, INT n, every exception; SYSCALL and SYSRET by being
 * undefined).  IRET is left to the processor, which looks at TF before it: TF
 * is the guest's afterwards.  DR6 is emptied meanwhile, so accesses to debug
 * registers exit too.  APM volume 2, sections 13.1 and 15.
 *
 * An event that is injected pushes flags too.  It is injected without TF, and
 * an interrupt of the host that is waiting ends the entry at the handler's
 * first instruction, as KVM does when it looks for the end of an NMI.
 */
#include <linux/kvm_host.h>
#include <linux/smp.h>

#include <trace/events/ipi.h>

#include "x86.h"
#include "regs.h"
#include "svm/svm.h"

#include "hooks.h"

/* Every exception that an instruction can raise. */
#define STEP_EXCEPTIONS						\
	(BIT(DE_VECTOR) | BIT(DB_VECTOR) | BIT(BP_VECTOR) |	\
	 BIT(OF_VECTOR) | BIT(BR_VECTOR) | BIT(UD_VECTOR) |	\
	 BIT(NM_VECTOR) | BIT(DF_VECTOR) | BIT(TS_VECTOR) |	\
	 BIT(NP_VECTOR) | BIT(SS_VECTOR) | BIT(GP_VECTOR) |	\
	 BIT(PF_VECTOR) | BIT(MF_VECTOR) | BIT(AC_VECTOR) |	\
	 BIT(XM_VECTOR) | BIT(CP_VECTOR))

/* What the processor would inject by itself, into the guest's own guest too. */
#define HELD_EVENTS	(V_NMI_PENDING_MASK | V_IRQ_MASK)

static void set_step_intercepts(struct vmcb_control_area *control, bool iret)
{
	/* DR0 to DR7, read and written. */
	control->intercepts[INTERCEPT_DR] |= 0x00ff00ff;
	control->intercepts[INTERCEPT_EXCEPTION] |= STEP_EXCEPTIONS;
	vmcb_set_intercept(control, INTERCEPT_PUSHF);
	vmcb_set_intercept(control, INTERCEPT_POPF);
	vmcb_set_intercept(control, INTERCEPT_INTn);
	if (iret)
		vmcb_set_intercept(control, INTERCEPT_IRET);
}

/* Interrupts are off, and the guest is entered at once. */
void kvmi_svm_arm(struct kvm_vcpu *vcpu)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	struct vmcb *vmcb = to_svm(vcpu)->vmcb;

	step->armed = kvmi_is_stepped(vcpu);
	step->entered = step->armed;
	if (!step->armed)
		return;

	step->iret = step->iret && step->iret_rip == kvm_rip_read(vcpu);
	step->delivering = vmcb->control.event_inj & SVM_EVTINJ_VALID;
	step->rflags = vmcb->save.rflags;
	step->efer = vmcb->save.efer;
	step->dr6 = vmcb->save.dr6;
	step->int_ctl = vmcb->control.int_ctl;
	memcpy(step->intercepts, vmcb->control.intercepts,
	       sizeof(step->intercepts));

	set_step_intercepts(&vmcb->control, !step->iret);
	vmcb->save.efer &= ~EFER_SCE;
	vmcb->save.dr6 = DR6_ACTIVE_LOW;
	vmcb->control.int_ctl &= ~HELD_EVENTS;

	if (step->delivering)
		smp_send_reschedule(vcpu->cpu);
	else
		vmcb->save.rflags |= X86_EFLAGS_TF;
	vmcb_mark_all_dirty(vmcb);
}

/*
 * The guest was left.  Behind what KVM marks clean: what is given back here is
 * not what the processor knows.
 */
void kvmi_svm_disarm(struct kvm_vcpu *vcpu)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	struct vcpu_svm *svm = to_svm(vcpu);
	struct vmcb *vmcb = svm->vmcb;
	u64 own = svm->nmi_singlestep ? svm->nmi_singlestep_guest_rflags :
					step->rflags;

	if (!step->armed)
		return;

	step->armed = false;
	step->payload = vmcb->save.dr6 ^ DR6_ACTIVE_LOW;
	step->trapped = step->payload & DR6_BS;

	/* After an IRET, TF is what the guest popped. */
	if (step->iret && (step->trapped || vcpu->arch.rip != step->iret_rip))
		step->iret = false;
	else if (!step->delivering)
		vmcb->save.rflags = (vmcb->save.rflags & ~X86_EFLAGS_TF) |
				    (step->rflags & X86_EFLAGS_TF);

	if (!(own & X86_EFLAGS_TF))
		step->payload &= ~DR6_BS;

	/* These stay set until the guest clears them. */
	vmcb->save.dr6 = step->dr6 | (step->payload & (DR_TRAP_BITS | DR6_BS));
	vmcb->save.efer = step->efer;
	vmcb->control.int_ctl |= step->int_ctl & HELD_EVENTS;
	memcpy(vmcb->control.intercepts, step->intercepts,
	       sizeof(step->intercepts));
	vmcb_mark_all_dirty(vmcb);
}

/* #DB: ours, the guest's, or both. */
static int handle_db(struct kvm_vcpu *vcpu)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	struct vcpu_svm *svm = to_svm(vcpu);

	if (svm->nmi_singlestep) {
		disable_nmi_singlestep(svm);
		kvm_make_request(KVM_REQ_EVENT, vcpu);
	}
	if (step->payload)
		kvm_queue_exception_p(vcpu, DB_VECTOR, step->payload);
	if (step->trapped)
		kvmi_insn_done(vcpu);
	return 1;
}

/* An exception that KVM does not look at: the guest gets it, without TF. */
static int requeue(struct kvm_vcpu *vcpu, u8 vector)
{
	struct vmcb_control_area *control = &to_svm(vcpu)->vmcb->control;

	/* One that INT n raised stands in its place. */
	if (vcpu->arch.interrupt.injected && vcpu->arch.interrupt.soft)
		kvm_clear_interrupt_queue(vcpu);

	if (vector == PF_VECTOR)
		vcpu->arch.cr2 = control->exit_info_2;
	if (kvmi_has_error_code(vector))
		kvm_queue_exception_e(vcpu, vector, control->exit_info_1);
	else
		kvm_queue_exception(vcpu, vector);
	return 1;
}

static bool is_for_kvm(struct kvm_vcpu *vcpu, u8 vector)
{
	/* KVM intercepts #PF for its host's asynchronous page faults too. */
	if (vector == PF_VECTOR && npt_enabled)
		return vcpu->arch.apf.host_apf_flags;

	return vmcb_is_intercept(&to_svm(vcpu)->vmcb->control,
				 INTERCEPT_EXCEPTION_OFFSET + vector);
}

static int handle_exception(struct kvm_vcpu *vcpu, u8 vector)
{
	if (vector == DB_VECTOR)
		return handle_db(vcpu);
	if (vector == UD_VECTOR && kvmi_step_syscall(vcpu))
		return 1;
	if (!is_for_kvm(vcpu, vector))
		return requeue(vcpu, vector);

	return svm_invoke_exit_handler(vcpu, SVM_EXIT_EXCP_BASE + vector);
}

int kvmi_svm_handle_exit(struct kvm_vcpu *vcpu)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;
	struct vcpu_svm *svm = to_svm(vcpu);
	struct vmcb_control_area *control = &svm->vmcb->control;
	u64 code = control->exit_code;

	/* The handler of what was injected is next, unless it was an interrupt. */
	if (step->delivering && !(control->exit_int_info & SVM_EXITINTINFO_VALID)) {
		if (!step->delivers)
			kvmi_insn_done(vcpu);
		kvmi_pass_over(vcpu);
	}

	switch (code) {
	case SVM_EXIT_EXCP_BASE ... SVM_EXIT_LAST_EXCP:
		return handle_exception(vcpu, code - SVM_EXIT_EXCP_BASE);
	case SVM_EXIT_READ_DR0 ... SVM_EXIT_WRITE_DR7:
	case SVM_EXIT_PUSHF:
	case SVM_EXIT_POPF:
		return kvm_emulate_instruction(vcpu, 0);
	case SVM_EXIT_SWINT:
		/*
		 * Stock QEMU's emulation (10.0, Debian 13) has it that INT3 is
		 * one of these, whatever is intercepted of exceptions.
		 */
		if (is_for_kvm(vcpu, BP_VECTOR) && kvmi_int3_len(vcpu))
			return svm_invoke_exit_handler(vcpu, SVM_EXIT_EXCP_BASE +
						       BP_VECTOR);
		return kvmi_step_soft_interrupt(vcpu);
	case SVM_EXIT_IRET:
		step->iret = true;
		step->iret_rip = kvm_rip_read(vcpu);
		if (!vmcb_is_intercept(control, INTERCEPT_IRET))
			return 1;
		break;
	}

	return svm_invoke_exit_handler(vcpu, code);
}
