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

#include "step.h"
#include "wishes.h"

#ifdef CONFIG_KVM_INTROSPECTION

enum kvmi_verdict __kvmi_hypercall(struct kvm_vcpu *vcpu);
enum kvmi_verdict __kvmi_breakpoint(struct kvm_vcpu *vcpu, u8 insn_len);
enum kvmi_verdict __kvmi_cr(struct kvm_vcpu *vcpu, int cr, unsigned long *val);
enum kvmi_verdict __kvmi_xsetbv(struct kvm_vcpu *vcpu, u64 val);
enum kvmi_verdict __kvmi_descriptor(struct kvm_vcpu *vcpu, u8 which, bool write);
enum kvmi_verdict __kvmi_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *val);
enum kvmi_verdict __kvmi_cpuid(struct kvm_vcpu *vcpu, u8 insn_len);
void kvmi_queue_breakpoint(struct kvm_vcpu *vcpu, u8 len);
bool __kvmi_owns_breakpoints(struct kvm_vcpu *vcpu);
enum kvmi_verdict kvmi_pf(struct kvm_vcpu *vcpu, u64 gva, u64 gpa, u8 access);
int kvmi_hold_interrupt(struct kvm_vcpu *vcpu, u8 vector);
void kvmi_update_apicv_inhibit(struct kvm *kvm);
bool kvmi_is_restricted(struct kvm *kvm);
void kvmi_end_pass(struct kvm_vcpu *vcpu);
void __kvmi_park(struct kvm_vcpu *vcpu);
void __kvmi_destroy_pages(struct kvm *kvm);
bool __kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva, unsigned int bytes,
		     u64 access);
int kvmi_not_done(struct kvm_vcpu *vcpu, void *val, unsigned int bytes);
void __kvmi_begin_insn(struct kvm_vcpu *vcpu);
void __kvmi_emulating(struct kvm_vcpu *vcpu);
void __kvmi_give_up(struct kvm_vcpu *vcpu);
bool __kvmi_may_touch_device(struct kvm_vcpu *vcpu);
bool __kvmi_ends_iteration(struct kvm_vcpu *vcpu);
gpa_t __kvmi_gva_to_gpa(struct kvm_vcpu *vcpu, gva_t gva, u64 access,
			struct x86_exception *exception);
bool kvmi_has_error_code(unsigned int vector);
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

/* An interrupt of the VMM's that came while they were held back. */
static inline bool kvmi_has_interrupt(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       vcpu->arch.kvmi->has_interrupt;
}

static inline u8 kvmi_interrupt(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.kvmi->interrupt;
}

static inline u8 kvmi_take_interrupt(struct kvm_vcpu *vcpu)
{
	vcpu->arch.kvmi->has_interrupt = false;
	return vcpu->arch.kvmi->interrupt;
}

static inline void kvmi_drop_interrupt(struct kvm_vcpu *vcpu)
{
	if (kvmi_has_interrupt(vcpu))
		kvmi_take_interrupt(vcpu);
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

/*
 * SVM: the length of the instruction that a queued #BP or #OF stands for; 0: it
 * has to be decoded.  There is no #OF in 64-bit code.
 */
static inline u8 kvmi_soft_exception_len(struct kvm_vcpu *vcpu, u8 vector)
{
	if (!kvmi_has_wishes(vcpu) ||
	    !(vector == BP_VECTOR ||
	      (vector == OF_VECTOR && !is_64_bit_mode(vcpu))))
		return 0;

	return vcpu->arch.event_exit_inst_len;
}

/* Does this VM have restrictions, or has it had some? */
static inline bool kvmi_has_pages(struct kvm *kvm)
{
	return static_branch_unlikely(&kvmi_in_use.key) &&
	       READ_ONCE(kvm->arch.kvmi_pages);
}

/*
 * May KVM do this for the guest now?  Otherwise kvmi_not_done() says what comes
 * of it.  What it does is told by the bits of a page fault's error code.
 */
static inline bool kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva,
				 unsigned int bytes, u64 access)
{
	return !kvmi_has_pages(vcpu->kvm) ||
	       __kvmi_emulates(vcpu, gva, bytes, access);
}

/* An instruction begins: what it uses of page tables is what they say now. */
static inline void kvmi_begin_insn(struct kvm_vcpu *vcpu)
{
	if (kvmi_has_pages(vcpu->kvm))
		__kvmi_begin_insn(vcpu);
}

/* The emulator executes a decoded instruction, from here on or up to here. */
static inline void kvmi_emulating(struct kvm_vcpu *vcpu, bool on)
{
	if (on && kvmi_has_pages(vcpu->kvm))
		__kvmi_emulating(vcpu);
	else if (kvmi_has_wishes(vcpu))
		vcpu->arch.kvmi->insn.emulating = false;
}

/* It was given up, and nothing of it is to be done later. */
static inline void kvmi_give_up(struct kvm_vcpu *vcpu)
{
	if (kvmi_has_wishes(vcpu))
		__kvmi_give_up(vcpu);
}

/*
 * May it access a device now?  Behind that nothing is asked, so it is asked for
 * its memory before.
 */
static inline bool kvmi_may_touch_device(struct kvm_vcpu *vcpu)
{
	return !kvmi_has_pages(vcpu->kvm) || __kvmi_may_touch_device(vcpu);
}

/* Does the guest go on with the rest of a string, instead of the emulator? */
static inline bool kvmi_ends_iteration(struct kvm_vcpu *vcpu, bool completes)
{
	return completes && kvmi_has_pages(vcpu->kvm) &&
	       __kvmi_ends_iteration(vcpu);
}

/* Where the current instruction finds an address. */
static inline gpa_t kvmi_gva_to_gpa(struct kvm_vcpu *vcpu,
				    struct kvm_pagewalk *walk, gva_t gva,
				    u64 access, struct x86_exception *exception)
{
	if (kvmi_has_pages(vcpu->kvm))
		return __kvmi_gva_to_gpa(vcpu, gva, access, exception);

	return walk->gva_to_gpa(vcpu, walk, gva, access, exception);
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

static inline void kvmi_mute(struct kvm_vcpu *vcpu, bool mute) { }
static inline int kvmi_hold_interrupt(struct kvm_vcpu *vcpu, u8 vector) { return 0; }
static inline bool kvmi_has_interrupt(struct kvm_vcpu *vcpu) { return false; }
static inline u8 kvmi_interrupt(struct kvm_vcpu *vcpu) { return 0; }
static inline u8 kvmi_take_interrupt(struct kvm_vcpu *vcpu) { return 0; }
static inline void kvmi_drop_interrupt(struct kvm_vcpu *vcpu) { }
static inline u8 kvmi_int3_len(struct kvm_vcpu *vcpu) { return 0; }
static inline void kvmi_queue_breakpoint(struct kvm_vcpu *vcpu, u8 len) { }

static inline u8 kvmi_soft_exception_len(struct kvm_vcpu *vcpu, u8 vector)
{
	return 0;
}

static inline bool kvmi_owns_breakpoints(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvmi_take_moved(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_note_emulated(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_take_emulated(struct kvm_vcpu *vcpu) { return false; }
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

static inline int kvmi_not_done(struct kvm_vcpu *vcpu, void *val,
				unsigned int bytes)
{
	return 0;
}

static inline void kvmi_begin_insn(struct kvm_vcpu *vcpu) { }
static inline void kvmi_emulating(struct kvm_vcpu *vcpu, bool on) { }
static inline void kvmi_give_up(struct kvm_vcpu *vcpu) { }
static inline bool kvmi_may_touch_device(struct kvm_vcpu *vcpu) { return true; }

static inline bool kvmi_ends_iteration(struct kvm_vcpu *vcpu, bool completes)
{
	return false;
}

static inline gpa_t kvmi_gva_to_gpa(struct kvm_vcpu *vcpu,
				    struct kvm_pagewalk *walk, gva_t gva,
				    u64 access, struct x86_exception *exception)
{
	return walk->gva_to_gpa(vcpu, walk, gva, access, exception);
}

static inline void kvmi_vcpu_destroy(struct kvm_vcpu *vcpu) { }

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVM_X86_KVMI_HOOKS_H */
