/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_KVMI_HOOKS_H
#define __KVM_X86_KVMI_HOOKS_H

/*
 * What x86 KVM calls of its introspection subsystem when a vCPU does something
 * that a tool may want to know, and what it asks before it stops intercepting.
 *
 * A hook site asks in the vCPU's own thread, where sleeping is allowed.  No
 * event comes of what a guest's own guest does.
 *
 * Included behind regs.h.
 */

#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>

#include "../../../../virt/kvm/introspection/glue.h"

/* MSRs from 0 on and from 0xc0000000 on that hardware can watch. */
#define KVMI_MSRS		0x2000
#define KVMI_HIGH_MSR		0xc0000000

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
	/* KVM_RUN ends with KVM_EXIT_SHUTDOWN. */
	bool crash;
	/* No interrupts until an answered event recurs, counted in exits. */
	bool hold;
	u64 hold_exits;
	/* An exception was queued, counted in exits; the tool is not told yet. */
	bool injected;
	u64 injected_exits;
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
void __kvmi_vcpu_destroy(struct kvm_vcpu *vcpu);

/* Is this event intercepted for a tool?  For those who program hardware. */
static inline bool kvmi_intercepts(struct kvm_vcpu *vcpu, unsigned int event)
{
	return static_branch_unlikely(&kvmi_enabled) && vcpu->arch.kvmi &&
	       (vcpu->arch.kvmi->events & BIT(event));
}

/* The same for writes to a control register. */
static inline bool kvmi_intercepts_cr(struct kvm_vcpu *vcpu, unsigned int cr)
{
	return static_branch_unlikely(&kvmi_enabled) && vcpu->arch.kvmi &&
	       (vcpu->arch.kvmi->crs & BIT(cr));
}

/* Has a tool wanted anything of this vCPU, now or before? */
static inline bool kvmi_has_wishes(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_enabled) && vcpu->arch.kvmi;
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

	if (!static_branch_unlikely(&kvmi_enabled) || !vcpu->arch.kvmi)
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

/* Did the tool move RIP in the event that was just answered?  Asked once. */
static inline bool kvmi_take_moved(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvmi_in_use.key) || !vcpu->arch.kvmi ||
	    !vcpu->arch.kvmi->moved)
		return false;

	vcpu->arch.kvmi->moved = false;
	return true;
}

/* Nothing is asked while KVM does what no guest could do again. */
static inline void kvmi_mute(struct kvm_vcpu *vcpu, bool mute)
{
	if (static_branch_unlikely(&kvmi_enabled) && vcpu->arch.kvmi)
		vcpu->arch.kvmi->mute = mute;
}

/* Are breakpoints a tool's, and not the VMM's to debug with? */
static inline bool kvmi_owns_breakpoints(struct kvm_vcpu *vcpu)
{
	return kvmi_wants(vcpu, KVMI_VCPU_EVENT_BREAKPOINT) &&
	       __kvmi_owns_breakpoints(vcpu);
}

/* Are interrupts held back until an answered event recurs? */
static inline bool kvmi_holds_interrupts(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi &&
	       vcpu->arch.kvmi->hold;
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
static inline bool kvmi_holds_interrupts(struct kvm_vcpu *vcpu) { return false; }
static inline void kvmi_vcpu_destroy(struct kvm_vcpu *vcpu) { }

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVM_X86_KVMI_HOOKS_H */
