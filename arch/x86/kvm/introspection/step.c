// SPDX-License-Identifier: GPL-2.0
/*
 * Stepping through a guest, one instruction at a time.
 *
 * An instruction ends in hardware (VMX: the monitor trap flag; SVM: #DB, see
 * step_svm.c), in KVM, which emulates or skips it, or with the delivery of the
 * exception that it raised.  Whoever sees it end notes so, with interrupts off
 * perhaps; the tool is told at the top of the run loop.
 *
 * Where there is only TF to step with, some instructions are not left to the
 * processor: those behind which it does not look at TF, and those that would
 * show TF to the guest.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>

#include "kvm_emulate.h"
#include "x86.h"
#include "lapic.h"
#include "msrs.h"
#include "regs.h"

#include "hooks.h"

#define LONGEST_INSN	15

/* Interrupts are injected by KVM alone while one of the vCPUs may be stepped. */
void kvmi_update_apicv_inhibit(struct kvm *kvm)
{
	bool set = kvmi_is_restricted(kvm);
	struct kvm_vcpu *vcpu;
	unsigned long i;

	if (!enable_apicv)
		return;

	down_write(&kvm->arch.apicv_update_lock);
	kvm_for_each_vcpu(i, vcpu, kvm) {
		struct kvmi_wishes *wishes = READ_ONCE(vcpu->arch.kvmi);

		set |= wishes && READ_ONCE(wishes->step.on);
	}
	__kvm_set_or_clear_apicv_inhibit(kvm, APICV_INHIBIT_REASON_INTROSPECTION,
					 set);
	up_write(&kvm->arch.apicv_update_lock);
}

bool kvmi_has_singlestep(void)
{
	return kvm_caps.has_introspection_step;
}

/* Start or end stepping. */
void kvmi_set_step(struct kvm_vcpu *vcpu, bool on)
{
	struct kvmi_step *step = &vcpu->arch.kvmi->step;

	if (step->on == on)
		return;

	step->done = false;
	WRITE_ONCE(step->on, on);
	kvmi_update_apicv_inhibit(vcpu->kvm);
	/* What was held back meanwhile. */
	kvm_make_request(KVM_REQ_EVENT, vcpu);
}

/* Is an instruction done that the tool has not been told of?  Asked once. */
bool kvmi_vcpu_take_step(struct kvm_vcpu *vcpu)
{
	bool done = kvmi_is_stepped(vcpu) && vcpu->arch.kvmi->step.on &&
		    vcpu->arch.kvmi->step.done;

	if (done)
		vcpu->arch.kvmi->step.done = false;
	return done;
}

/* What lies at RIP, as far as it can be read. */
struct insn {
	u8 bytes[LONGEST_INSN];
	int len;
	/* Behind the prefixes. */
	int opcode;
	bool wide;
};

static bool is_legacy_prefix(u8 byte)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e:	/* ES, CS, SS, DS */
	case 0x64: case 0x65:				/* FS, GS */
	case 0x66: case 0x67:				/* sizes */
	case 0xf0: case 0xf2: case 0xf3:		/* LOCK, REP */
		return true;
	default:
		return false;
	}
}

/*
 * APM volume 3, section 1.2: legacy prefixes, then REX in 64-bit mode, which
 * counts for nothing if another prefix follows.  Fetched as an instruction is:
 * some code cannot be read.  No page of the host is waited for: if one is absent
 * the guest fetches it first, and is looked at again.
 */
static void kvmi_read_insn(struct kvm_vcpu *vcpu, struct insn *insn)
{
	unsigned long rip = kvm_get_linear_rip(vcpu);
	int here = min_t(int, LONGEST_INSN, PAGE_SIZE - offset_in_page(rip));
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;
	bool long_mode = is_64_bit_mode(vcpu);
	struct x86_exception ignored;

	memset(insn, 0, sizeof(*insn));
	kvmi_begin_insn(vcpu);
	pagefault_disable();
	if (!ctxt->ops->fetch(ctxt, rip, insn->bytes, here, &ignored))
		insn->len = here;
	if (insn->len && here < LONGEST_INSN &&
	    !ctxt->ops->fetch(ctxt, rip + here, insn->bytes + here,
			      LONGEST_INSN - here, &ignored))
		insn->len = LONGEST_INSN;
	pagefault_enable();

	for (; insn->opcode < insn->len; insn->opcode++) {
		u8 byte = insn->bytes[insn->opcode];

		if (is_legacy_prefix(byte))
			insn->wide = false;
		else if (long_mode && (byte & 0xf0) == 0x40)
			insn->wide = byte & 8;
		else
			break;
	}
}

/* A byte from the opcode on; -1: there is none. */
static int byte_at(const struct insn *insn, int i)
{
	i += insn->opcode;
	return i < insn->len ? insn->bytes[i] : -1;
}

/* STI as KVM's emulator knows it: not that of VME and PVI. */
static bool kvmi_may_sti(struct kvm_vcpu *vcpu)
{
	unsigned long rflags = kvm_get_rflags(vcpu);

	return !(rflags & X86_EFLAGS_VM) &&
	       kvm_x86_call(get_cpl)(vcpu) <=
	       (rflags & X86_EFLAGS_IOPL) >> X86_EFLAGS_IOPL_BIT;
}

/*
 * Is the next instruction one that KVM has to carry out, because no #DB for TF
 * comes between it and the one behind it?  MOV to SS, POP SS and STI.
 */
static bool kvmi_hides_trap(struct kvm_vcpu *vcpu)
{
	struct insn insn;

	kvmi_read_insn(vcpu, &insn);
	switch (byte_at(&insn, 0)) {
	case 0x8e:
		return byte_at(&insn, 1) >= 0 &&
		       ((byte_at(&insn, 1) >> 3) & 7) == VCPU_SREG_SS;
	case 0x17:
		return !is_64_bit_mode(vcpu);
	case 0xfb:
		return kvmi_may_sti(vcpu);
	default:
		return false;
	}
}

/*
 * Before the guest is entered: what run loop and hooks return, 0 to leave
 * KVM_RUN.
 */
int kvmi_vcpu_step_over(struct kvm_vcpu *vcpu)
{
	if (kvm_caps.has_monitor_trap || !kvmi_is_stepped(vcpu) ||
	    kvmi_is_done(vcpu) ||
	    vcpu->arch.mp_state != KVM_MP_STATE_RUNNABLE ||
	    vcpu->arch.apf.halted || kvmi_vcpu_has_init(vcpu) ||
	    kvm_is_exception_pending(vcpu) || kvm_event_needs_reinjection(vcpu) ||
	    kvm_test_request(KVM_REQ_TRIPLE_FAULT, vcpu) ||
	    !kvmi_hides_trap(vcpu))
		return 1;

	return kvm_emulate_instruction(vcpu, 0);
}

/* With interrupts off. */
void __kvmi_entering(struct kvm_vcpu *vcpu)
{
	if (kvmi_is_stepped(vcpu))
		vcpu->arch.kvmi->step.delivers =
			!vcpu->arch.exception.injected &&
			(vcpu->arch.nmi_injected ||
			 (vcpu->arch.interrupt.injected &&
			  !vcpu->arch.interrupt.soft));
}

bool __kvmi_holds_interrupts(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.kvmi->hold || kvmi_is_stepped(vcpu);
}

/*
 * What leaves the guest's own guest waits for the end of an instruction of it.
 * Exceptions belong to that, and INIT waits for nobody.
 */
bool __kvmi_holds_nested_events(struct kvm_vcpu *vcpu)
{
	return __kvmi_holds_interrupts(vcpu) && is_guest_mode(vcpu) &&
	       !kvm_is_exception_pending(vcpu) &&
	       !kvm_apic_has_pending_init_or_sipi(vcpu);
}

/* INT n, INT3 or INTO, with RIP at it: have it delivered by KVM, without TF. */
int kvmi_step_soft_interrupt(struct kvm_vcpu *vcpu)
{
	struct insn insn;

	kvmi_read_insn(vcpu, &insn);
	switch (byte_at(&insn, 0)) {
	case 0xcc:
		kvm_queue_exception(vcpu, BP_VECTOR);
		break;
	case 0xcd:
		if (byte_at(&insn, 1) < 0)
			break;
		kvm_queue_interrupt(vcpu, byte_at(&insn, 1), true);
		kvm_make_request(KVM_REQ_EVENT, vcpu);
		break;
	case 0xce:
		kvm_queue_exception(vcpu, OF_VECTOR);
		break;
	}

	/* Anything else: somebody changed it, and the guest does the new one. */
	return 1;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_step_soft_interrupt);

/* The length of the INT3 at RIP, prefixes included; 0: another instruction. */
u8 kvmi_int3_len(struct kvm_vcpu *vcpu)
{
	struct insn insn;

	kvmi_read_insn(vcpu, &insn);
	return byte_at(&insn, 0) == 0xcc ? insn.opcode + 1 : 0;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_int3_len);

static u64 get_msr(struct kvm_vcpu *vcpu, u32 msr)
{
	u64 data;

	return kvm_msr_read(vcpu, msr, &data) ? 0 : data;
}

static bool has_shadow_stack(struct kvm_vcpu *vcpu, u32 msr)
{
	return kvm_is_cr4_bit_set(vcpu, X86_CR4_CET) &&
	       get_msr(vcpu, msr) & CET_SHSTK_EN;
}

/* Flat segments of a privilege level. */
static void set_flat_segments(struct kvm_vcpu *vcpu, u16 cs, u16 ss, u8 dpl,
			      bool wide)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = cs, .type = 0xb, .present = 1,
		.dpl = dpl, .db = !wide, .s = 1, .l = wide, .g = 1,
	}, stack = {
		.limit = 0xffffffff, .selector = ss, .type = 0x3, .present = 1,
		.dpl = dpl, .db = 1, .s = 1, .g = 1,
	};

	kvm_set_segment(vcpu, &code, VCPU_SREG_CS);
	kvm_set_segment(vcpu, &stack, VCPU_SREG_SS);
}

/* Both look at TF when they are done, APM volume 3. */
static void finish_syscall(struct kvm_vcpu *vcpu, u64 rip, u64 rflags)
{
	kvm_x86_call(set_interrupt_shadow)(vcpu, 0);
	kvm_rip_write(vcpu, rip);
	kvm_set_rflags(vcpu, rflags & ~X86_EFLAGS_RF);
	if (rflags & X86_EFLAGS_TF)
		kvm_queue_exception_p(vcpu, DB_VECTOR, DR6_BS);
	kvmi_insn_done(vcpu);
}

static void kvmi_syscall(struct kvm_vcpu *vcpu, u64 next)
{
	u64 star = get_msr(vcpu, MSR_STAR), rflags = kvm_get_rflags(vcpu), rip;
	u16 cs = (star >> 32) & ~3;
	bool wide = is_long_mode(vcpu);

	if (wide) {
		bool from_64 = is_64_bit_mode(vcpu);

		kvm_rcx_write_raw(vcpu, from_64 ? next : (u32)next);
		kvm_r11_write_raw(vcpu, rflags & ~X86_EFLAGS_RF);
		rip = get_msr(vcpu, from_64 ? MSR_LSTAR : MSR_CSTAR);
		rflags &= ~get_msr(vcpu, MSR_SYSCALL_MASK);
	} else {
		kvm_rcx_write_raw(vcpu, (u32)next);
		rip = (u32)star;
		rflags &= ~(X86_EFLAGS_VM | X86_EFLAGS_IF);
	}

	if (has_shadow_stack(vcpu, MSR_IA32_U_CET))
		kvm_msr_write(vcpu, MSR_IA32_PL3_SSP,
			      get_msr(vcpu, MSR_KVM_INTERNAL_GUEST_SSP));
	if (has_shadow_stack(vcpu, MSR_IA32_S_CET))
		kvm_msr_write(vcpu, MSR_KVM_INTERNAL_GUEST_SSP, 0);

	set_flat_segments(vcpu, cs, cs + 8, 0, wide);
	finish_syscall(vcpu, rip, rflags | X86_EFLAGS_FIXED);
}

static void kvmi_sysret(struct kvm_vcpu *vcpu, bool wide)
{
	u64 rip = kvm_rcx_read_raw(vcpu), rflags = kvm_get_rflags(vcpu);
	u16 cs = get_msr(vcpu, MSR_STAR) >> 48;

	if (kvm_x86_call(get_cpl)(vcpu)) {
		kvm_queue_exception_e(vcpu, GP_VECTOR, 0);
		return;
	}

	if (is_64_bit_mode(vcpu))
		rflags = kvm_r11_read_raw(vcpu) & ~X86_EFLAGS_VM;
	else
		rflags |= X86_EFLAGS_IF;

	if (has_shadow_stack(vcpu, MSR_IA32_U_CET))
		kvm_msr_write(vcpu, MSR_KVM_INTERNAL_GUEST_SSP,
			      get_msr(vcpu, MSR_IA32_PL3_SSP));

	set_flat_segments(vcpu, (wide ? cs + 16 : cs) | 3, (cs + 8) | 3, 3, wide);
	finish_syscall(vcpu, wide ? rip : (u32)rip, rflags | X86_EFLAGS_FIXED);
}

/*
 * #UD of a guest that has SYSCALL and SYSRET, but not for this step: they are
 * carried out here, APM volume 3.  False: it is another instruction.
 */
bool kvmi_step_syscall(struct kvm_vcpu *vcpu)
{
	struct insn insn;

	if (!(vcpu->arch.efer & EFER_SCE) || !is_protmode(vcpu))
		return false;

	kvmi_read_insn(vcpu, &insn);
	if (byte_at(&insn, 0) != 0x0f ||
	    memchr(insn.bytes, 0xf0, insn.opcode))
		return false;

	switch (byte_at(&insn, 1)) {
	case 0x05:
		kvmi_syscall(vcpu, kvm_rip_read(vcpu) + insn.opcode + 2);
		return true;
	case 0x07:
		kvmi_sysret(vcpu, insn.wide);
		return true;
	default:
		return false;
	}
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_step_syscall);

/* KVM's own list is that of its nested VMX and has no #CP. */
bool kvmi_has_error_code(unsigned int vector)
{
	return x86_exception_has_error_code(vector) || vector == CP_VECTOR;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_has_error_code);
