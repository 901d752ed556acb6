/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_KVMI_WISHES_H
#define __KVM_X86_KVMI_WISHES_H

/*
 * What a tool wants of a vCPU, and what is noted for it.
 */

#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>

/* MSRs from 0 on and from 0xc0000000 on that hardware can watch. */
#define KVMI_MSRS		0x2000
#define KVMI_HIGH_MSR		0xc0000000

/* Frames that one instruction is let through to. */
#define KVMI_MAX_GRANTS		32

/* Frames that KVM may access for the guest's own guest until it is left. */
#define KVMI_MAX_KEPT		24

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
	/* What the tool let the guest's own guest be entered with. */
	u8 nr_kept;
	gfn_t kept[KVMI_MAX_KEPT];
	/* NPT: page tables that this instruction's walks may write. */
	struct kvmi_walks *walks;
	/* Hardware is to be programmed when the guest's own guest is left. */
	bool stale;
	/* The session that wants this; 0: nothing is wanted. */
	u64 owner;
};

#ifdef CONFIG_KVM_INTROSPECTION

struct kvmi_wishes *kvmi_make_wishes(struct kvm_vcpu *vcpu);
void kvmi_free_walks(struct kvmi_wishes *wishes);
void kvmi_forget_written(struct kvmi_wishes *wishes);

/* Has a tool wanted anything of this vCPU, now or before? */
static inline bool kvmi_has_wishes(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi;
}

#else

static inline bool kvmi_has_wishes(struct kvm_vcpu *vcpu) { return false; }

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVM_X86_KVMI_WISHES_H */
