/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_KVMI_HOOKS_H
#define __KVM_X86_KVMI_HOOKS_H

/*
 * What x86 KVM calls of its introspection subsystem when a vCPU does something
 * that a tool may want to know, and what it asks before it stops intercepting.
 *
 * A hook site asks in the vCPU's own thread, where sleeping is allowed.  Of
 * what a guest's own guest does only accesses to restricted pages are events.
 *
 * Included behind regs.h.
 */

#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>

#include "../../../../virt/kvm/introspection/glue.h"

/* MSRs from 0 on and from 0xc0000000 on that hardware can watch. */
#define KVMI_MSRS		0x2000
#define KVMI_HIGH_MSR		0xc0000000

/* Frames that one instruction is let through to. */
#define KVMI_MAX_GRANTS		32

struct kvmi_grant {
	gfn_t gfn;
	u8 access;
};

/* Stepping.  The vCPU's own as the wishes are; others read "on". */
struct kvmi_step {
	/* A tool wants to hear of each instruction. */
	bool on;
	/* An instruction is done, and the tool does not know. */
	bool done;
	/* The guest is entered with an interrupt, which is no instruction. */
	bool delivers;

	/* One instruction is let through to what was granted; it is over. */
	bool passing;
	bool over;
	/* Where it executes; 0: it has to wait. */
	u8 view;
	u8 nr_grants;
	u8 next_grant;
	struct kvmi_grant grants[KVMI_MAX_GRANTS];

	/* SVM: one entry, what it changed, and how it ended. */
	bool entered;
	bool armed;
	bool delivering;
	bool trapped;
	/* The guest is at an IRET, here. */
	bool iret;
	u64 iret_rip;
	u64 rflags;
	u64 efer;
	u64 dr6;
	u32 payload;
	u32 int_ctl;
	u32 intercepts[6];
};

/*
 * What is wanted of a vCPU.  Read and written by its own thread, and when it
 * is created and destroyed.
 */
struct kvmi_wishes {
	/* Events, by id. */
	unsigned long events;
	/* Control registers, by number. */
	unsigned long crs;
	/* MSRs: those from 0 on, then those from 0xc0000000 on. */
	DECLARE_BITMAP(msrs, 2 * KVMI_MSRS);

	/* KVM does what no guest could do again: nothing is asked. */
	bool mute;
	/* The tool moved RIP in the event that was just answered. */
	bool moved;
	/* The emulator was kept from the registers of a done instruction. */
	bool emulated;
	/* KVM_RUN ends with KVM_EXIT_SHUTDOWN. */
	bool crash;
	/* No interrupts until an answered event recurs, counted in exits. */
	bool hold;
	u64 hold_exits;
	/* An exception was queued, counted in exits; the tool is not told yet. */
	bool injected;
	u64 injected_exits;
	struct kvmi_step step;
	/* EPT: the last violation was a read too, and of this address. */
	bool reads;
	u64 gva;
	/* NPT: page tables that this instruction's walks may write. */
	struct kvmi_walks *walks;
	/* Hardware is to be programmed when the guest's own guest is left. */
	bool stale;
	/* The session that wants this; 0: nothing is wanted. */
	u64 owner;
};

#ifdef CONFIG_KVM_INTROSPECTION

enum kvmi_verdict __kvmi_hypercall(struct kvm_vcpu *vcpu);
enum kvmi_verdict __kvmi_breakpoint(struct kvm_vcpu *vcpu, u8 insn_len);
enum kvmi_verdict __kvmi_cr(struct kvm_vcpu *vcpu, int cr, unsigned long *val);
enum kvmi_verdict __kvmi_xsetbv(struct kvm_vcpu *vcpu, u64 val);
enum kvmi_verdict __kvmi_descriptor(struct kvm_vcpu *vcpu, u8 which, bool write);
enum kvmi_verdict __kvmi_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *val);
enum kvmi_verdict __kvmi_cpuid(struct kvm_vcpu *vcpu, u8 insn_len);
bool __kvmi_owns_breakpoints(struct kvm_vcpu *vcpu);
enum kvmi_verdict kvmi_pf(struct kvm_vcpu *vcpu, u64 gva, u64 gpa, u8 access,
			  bool in_place);
struct kvmi_wishes *kvmi_make_wishes(struct kvm_vcpu *vcpu);
void kvmi_update_apicv_inhibit(struct kvm *kvm);
bool kvmi_is_restricted(struct kvm *kvm);
void kvmi_set_step(struct kvm_vcpu *vcpu, bool on);
void kvmi_end_pass(struct kvm_vcpu *vcpu);
void kvmi_free_walks(struct kvmi_wishes *wishes);
void kvmi_forget_written(struct kvmi_wishes *wishes);
void __kvmi_park(struct kvm_vcpu *vcpu);
void __kvmi_destroy_pages(struct kvm *kvm);
bool __kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva, unsigned int bytes,
		     u64 access);
bool __kvmi_is_alive(struct kvm_vcpu *vcpu);
int kvmi_step_soft_interrupt(struct kvm_vcpu *vcpu);
bool kvmi_step_at_int3(struct kvm_vcpu *vcpu);
void __kvmi_entering(struct kvm_vcpu *vcpu);
bool __kvmi_holds_interrupts(struct kvm_vcpu *vcpu);
bool __kvmi_holds_nested_events(struct kvm_vcpu *vcpu);
bool kvmi_step_syscall(struct kvm_vcpu *vcpu);
bool kvmi_has_error_code(unsigned int vector);
void kvmi_svm_arm(struct kvm_vcpu *vcpu);
void kvmi_svm_disarm(struct kvm_vcpu *vcpu);
int kvmi_svm_handle_exit(struct kvm_vcpu *vcpu);
void __kvmi_vcpu_destroy(struct kvm_vcpu *vcpu);

/* Is this event intercepted for a tool?  For those who program hardware. */
static inline bool kvmi_intercepts(struct kvm_vcpu *vcpu, unsigned int event)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       (vcpu->arch.kvmi->events & BIT(event));
}

/* The same for writes to a control register. */
static inline bool kvmi_intercepts_cr(struct kvm_vcpu *vcpu, unsigned int cr)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       (vcpu->arch.kvmi->crs & BIT(cr));
}

/* Has a tool wanted anything of this vCPU, now or before? */
static inline bool kvmi_has_wishes(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi;
}

/* The MSR of a bit. */
static inline u32 kvmi_bit_msr(unsigned int bit)
{
	return bit < KVMI_MSRS ? bit : bit - KVMI_MSRS + KVMI_HIGH_MSR;
}

/* The bit of an MSR; negative: it cannot be watched. */
static inline int kvmi_msr_bit(u32 msr)
{
	if (msr < KVMI_MSRS)
		return msr;
	if (msr >= KVMI_HIGH_MSR && msr < KVMI_HIGH_MSR + KVMI_MSRS)
		return msr - KVMI_HIGH_MSR + KVMI_MSRS;

	return -1;
}

/* The same for writes to an MSR. */
static inline bool kvmi_intercepts_msr(struct kvm_vcpu *vcpu, u32 msr)
{
	int bit;

	if (!static_branch_unlikely(&kvmi_in_use.key) || !vcpu->arch.kvmi)
		return false;

	bit = kvmi_msr_bit(msr);
	return bit >= 0 && test_bit(bit, vcpu->arch.kvmi->msrs);
}

/* Does a session want to hear of this? */
static inline bool kvmi_wants(struct kvm_vcpu *vcpu, unsigned int event)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       (vcpu->arch.kvmi->events & BIT(event)) &&
	       !vcpu->arch.kvmi->mute && !is_guest_mode(vcpu);
}

/* The hypercall that a guest makes to speak to the tool. */
static inline enum kvmi_verdict kvmi_hypercall(struct kvm_vcpu *vcpu)
{
	if (kvmi_wants(vcpu, KVMI_VCPU_EVENT_HYPERCALL))
		return __kvmi_hypercall(vcpu);

	return KVMI_UNASKED;
}

/* INT3, with RIP at it. */
static inline enum kvmi_verdict kvmi_breakpoint(struct kvm_vcpu *vcpu, u8 insn_len)
{
	if (kvmi_wants(vcpu, KVMI_VCPU_EVENT_BREAKPOINT))
		return __kvmi_breakpoint(vcpu, insn_len);

	return KVMI_PROCEED;
}

/* A write to CR0, CR3 or CR4, before KVM has looked at the value. */
static inline enum kvmi_verdict kvmi_cr(struct kvm_vcpu *vcpu, int cr,
					unsigned long *val)
{
	if (kvmi_wants(vcpu, KVMI_VCPU_EVENT_CR) &&
	    kvmi_intercepts_cr(vcpu, cr))
		return __kvmi_cr(vcpu, cr, val);

	return KVMI_PROCEED;
}

/* A valid write to XCR0, before it is done. */
static inline enum kvmi_verdict kvmi_xsetbv(struct kvm_vcpu *vcpu, u64 val)
{
	if (kvmi_wants(vcpu, KVMI_VCPU_EVENT_XSETBV) && val != vcpu->arch.xcr0)
		return __kvmi_xsetbv(vcpu, val);

	return KVMI_PROCEED;
}

/* An access to a descriptor-table register. */
static inline enum kvmi_verdict kvmi_descriptor(struct kvm_vcpu *vcpu, u8 which,
						bool write)
{
	if (kvmi_wants(vcpu, KVMI_VCPU_EVENT_DESCRIPTOR))
		return __kvmi_descriptor(vcpu, which, write);

	return KVMI_PROCEED;
}

/* A write to an MSR by the guest. */
static inline enum kvmi_verdict kvmi_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *val)
{
	if (kvmi_wants(vcpu, KVMI_VCPU_EVENT_MSR) &&
	    kvmi_intercepts_msr(vcpu, msr))
		return __kvmi_msr(vcpu, msr, val);

	return KVMI_PROCEED;
}

/* CPUID, with RIP at it. */
static inline enum kvmi_verdict kvmi_cpuid(struct kvm_vcpu *vcpu, u8 insn_len)
{
	if (kvmi_wants(vcpu, KVMI_VCPU_EVENT_CPUID))
		return __kvmi_cpuid(vcpu, insn_len);

	return KVMI_PROCEED;
}

/* Nothing is asked while KVM does what no guest could do again. */
static inline void kvmi_mute(struct kvm_vcpu *vcpu, bool mute)
{
	if (static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi)
		vcpu->arch.kvmi->mute = mute;
}

/* Are breakpoints a tool's, and not the VMM's to debug with? */
static inline bool kvmi_owns_breakpoints(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) &&
	       kvmi_intercepts(vcpu, KVMI_VCPU_EVENT_BREAKPOINT) &&
	       __kvmi_owns_breakpoints(vcpu);
}

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

/* The view of guest memory that a vCPU executes in. */
static inline unsigned int kvmi_view(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi ?
	       vcpu->arch.kvmi->step.view : 0;
}

/* KVM_RUN is left. */
static inline void kvmi_park(struct kvm_vcpu *vcpu)
{
	if (kvmi_view(vcpu))
		__kvmi_park(vcpu);
}

/* EPT tells more of a violation than an error code does. */
static inline void kvmi_note_access(struct kvm_vcpu *vcpu, bool reads, u64 gva)
{
	if (static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi) {
		vcpu->arch.kvmi->reads = reads;
		vcpu->arch.kvmi->gva = gva;
	}
}

/*
 * The emulator has done an instruction whose registers are the tool's.  Asked
 * once whether the one that it gave up was of that kind.
 */
static inline void kvmi_note_emulated(struct kvm_vcpu *vcpu)
{
	vcpu->arch.kvmi->emulated = true;
	kvmi_insn_done(vcpu);
}

static inline bool kvmi_take_emulated(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvmi_in_use.key) || !vcpu->arch.kvmi ||
	    !vcpu->arch.kvmi->emulated)
		return false;

	vcpu->arch.kvmi->emulated = false;
	return true;
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

/* Did the tool move RIP in the event that was just answered?  Asked once. */
static inline bool kvmi_take_moved(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvmi_in_use.key) || !vcpu->arch.kvmi ||
	    !vcpu->arch.kvmi->moved)
		return false;

	vcpu->arch.kvmi->moved = false;
	kvmi_insn_done(vcpu);
	return true;
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

/* Does this VM have restrictions, or has it had some? */
static inline bool kvmi_has_pages(struct kvm *kvm)
{
	return static_branch_unlikely(&kvmi_in_use.key) &&
	       READ_ONCE(kvm->arch.kvmi_pages);
}

/*
 * May KVM do this for the guest now?  Otherwise the instruction comes again.
 * What it does is told by the bits of a page fault's error code.
 */
static inline bool kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva,
				 unsigned int bytes, u64 access)
{
	return !kvmi_has_pages(vcpu->kvm) ||
	       __kvmi_emulates(vcpu, gva, bytes, access);
}

static inline void kvmi_destroy_pages(struct kvm *kvm)
{
	if (static_branch_unlikely(&kvmi_enabled))
		__kvmi_destroy_pages(kvm);
}

static inline void kvmi_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvmi_enabled))
		__kvmi_vcpu_destroy(vcpu);
}

#else /* !CONFIG_KVM_INTROSPECTION */

static inline bool kvmi_intercepts(struct kvm_vcpu *vcpu, unsigned int event) { return false; }
static inline bool kvmi_intercepts_cr(struct kvm_vcpu *vcpu, unsigned int cr) { return false; }
static inline bool kvmi_intercepts_msr(struct kvm_vcpu *vcpu, u32 msr) { return false; }

static inline enum kvmi_verdict kvmi_hypercall(struct kvm_vcpu *vcpu)
{
	return KVMI_UNASKED;
}

static inline enum kvmi_verdict kvmi_breakpoint(struct kvm_vcpu *vcpu, u8 insn_len)
{
	return KVMI_PROCEED;
}

static inline enum kvmi_verdict kvmi_cr(struct kvm_vcpu *vcpu, int cr,
					unsigned long *val)
{
	return KVMI_PROCEED;
}

static inline enum kvmi_verdict kvmi_xsetbv(struct kvm_vcpu *vcpu, u64 val)
{
	return KVMI_PROCEED;
}

static inline enum kvmi_verdict kvmi_descriptor(struct kvm_vcpu *vcpu, u8 which,
						bool write)
{
	return KVMI_PROCEED;
}

static inline enum kvmi_verdict kvmi_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *val)
{
	return KVMI_PROCEED;
}

static inline enum kvmi_verdict kvmi_cpuid(struct kvm_vcpu *vcpu, u8 insn_len)
{
	return KVMI_PROCEED;
}

static inline bool kvmi_has_wishes(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_mute(struct kvm_vcpu *vcpu, bool mute) { }
static inline bool kvmi_owns_breakpoints(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_take_moved(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_note_emulated(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_take_emulated(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_holds_interrupts(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_owns_steps(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_is_stepped(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_svm_trapped(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_holds_nested_events(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_pass_over(struct kvm_vcpu *vcpu) { }
static inline unsigned int kvmi_view(struct kvm_vcpu *vcpu) { return 0; }
static inline void kvmi_park(struct kvm_vcpu *vcpu) { }
static inline void kvmi_note_access(struct kvm_vcpu *vcpu, bool reads, u64 gva) { }
static inline void kvmi_destroy_pages(struct kvm *kvm) { }

static inline bool kvmi_has_pages(struct kvm *kvm) { return false; }

static inline bool kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva,
				 unsigned int bytes, u64 access)
{
	return true;
}

static inline bool kvmi_was_stepped(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_left_guest(struct kvm_vcpu *vcpu) { }
static inline void kvmi_insn_done(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_is_done(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_entering(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_delivers(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_svm_arm(struct kvm_vcpu *vcpu) { }
static inline void kvmi_svm_disarm(struct kvm_vcpu *vcpu) { }
static inline int kvmi_svm_handle_exit(struct kvm_vcpu *vcpu) { return 1; }
static inline void kvmi_vcpu_destroy(struct kvm_vcpu *vcpu) { }

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVM_X86_KVMI_HOOKS_H */
