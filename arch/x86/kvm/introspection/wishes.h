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

/*
 * Frames that one instruction is let through to.  The most are those of a gather
 * of 16 elements in two pages each: with five levels of page tables, of which all
 * have the first in common, they are 161, and those of its own code 9.
 */
#define KVMI_MAX_GRANTS		192

/* Frames of the host that an instruction waited for. */
#define KVMI_MAX_WAITED		16

/* Frames that KVM may access for the guest's own guest until it is left. */
#define KVMI_MAX_KEPT		24

/* Made for the first of them, and kept. */
struct kvmi_grants {
	unsigned int nr;
	gfn_t gfns[KVMI_MAX_GRANTS];
	u8 access[KVMI_MAX_GRANTS];
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
	struct kvmi_grants *grants;
	/* Frames for which the host was waited for without it. */
	u8 nr_waited;
	gfn_t waited[KVMI_MAX_WAITED];

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

/* Where an instruction finds a page, for an access of this kind. */
struct kvmi_translation {
	gva_t page;
	u64 access;
	gpa_t gpa;
};

/* More than an instruction uses between the check of a page and its access. */
#define KVMI_TRANSLATIONS	16

/* The instruction that KVM carries out for the guest. */
struct kvmi_insn {
	/* The emulator is at it. */
	bool emulating;
	/* What was checked last is neither done nor done again. */
	bool refused;
	u8 nr;
	u8 next;
	struct kvmi_translation translations[KVMI_TRANSLATIONS];
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
	/* No interrupts until an event recurs, counted in exits. */
	bool hold;
	u64 hold_exits;
	/* The VMM's interrupt that came meanwhile, and its vector. */
	bool has_interrupt;
	u8 interrupt;
	/*
	 * An exception was queued, counted in exits; the tool is not told yet.
	 * It is the tool's, or another one that stood in its way.
	 */
	bool injected;
	bool own_exception;
	u64 injected_exits;
	struct kvmi_step step;
	struct kvmi_insn insn;
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
