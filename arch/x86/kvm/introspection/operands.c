// SPDX-License-Identifier: GPL-2.0
/*
 * The instruction that KVM carries out for a guest with restricted pages: where
 * it finds its memory, and what it is asked for before it accesses a device.
 *
 * Page tables may change while a tool is asked, or by another vCPU.  So a page
 * is translated once for an instruction: what was checked is what is accessed.
 * A change of the tables counts for the next instruction.
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

/* Accesses that differ in one of these may differ in what they find. */
#define KIND_MASK	(PFERR_USER_MASK | PFERR_FETCH_MASK | PFERR_IMPLICIT_ACCESS)

/* An access of KVM's for the guest was refused without an event. */
void kvmi_count_refusal(struct kvm *kvm)
{
	atomic64_inc(&kvm->stat.kvmi_refused_accesses);
}

void __kvmi_begin_insn(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = kvmi_make_wishes(vcpu);

	/* Without memory what is denied is not done. */
	if (wishes)
		wishes->insn.nr = 0;
}

void __kvmi_emulating(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = kvmi_make_wishes(vcpu);

	if (wishes)
		wishes->insn.emulating = true;
}

static struct kvmi_translation *kvmi_find(struct kvmi_insn *insn, gva_t gva,
					  u64 access)
{
	struct kvmi_translation *t;

	for (t = insn->translations; t < insn->translations + insn->nr; t++) {
		if (t->page == (gva & PAGE_MASK) &&
		    !((t->access ^ access) & KIND_MASK) &&
		    !(access & ~t->access & PFERR_WRITE_MASK))
			return t;
	}
	return NULL;
}

/* With the room used up, the oldest makes room. */
static void kvmi_keep(struct kvmi_insn *insn, gva_t gva, u64 access, gpa_t gpa)
{
	struct kvmi_translation *t;

	if (insn->nr < KVMI_TRANSLATIONS) {
		t = &insn->translations[insn->nr++];
		insn->next = 0;
	} else {
		t = &insn->translations[insn->next++ % KVMI_TRANSLATIONS];
	}

	t->page = gva & PAGE_MASK;
	t->access = access;
	t->gpa = gpa & PAGE_MASK;
}

static bool kvmi_is_emulating(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.kvmi && vcpu->arch.kvmi->insn.emulating;
}

/* Does the instruction read and write what lies at this address? */
bool kvmi_modifies(struct kvm_vcpu *vcpu, gva_t gva)
{
	struct x86_insn_memory memory;
	unsigned int i;

	if (!kvmi_is_emulating(vcpu))
		return false;

	for (i = 0; i < X86_INSN_MEMORIES; i++)
		if (x86_insn_memory(vcpu->arch.emulate_ctxt, i, &memory) &&
		    memory.read && memory.write &&
		    gva - memory.linear < memory.bytes)
			return true;

	return false;
}

/* Does the instruction write to this page? */
static bool kvmi_writes_page(struct kvm_vcpu *vcpu, gva_t gva)
{
	struct x86_insn_memory memory;
	unsigned int i;

	for (i = 0; i < X86_INSN_MEMORIES; i++)
		if (x86_insn_memory(vcpu->arch.emulate_ctxt, i, &memory) &&
		    memory.write &&
		    (gva & PAGE_MASK) >= (memory.linear & PAGE_MASK) &&
		    (gva & PAGE_MASK) <= ((memory.linear + memory.bytes - 1) & PAGE_MASK))
			return true;

	return false;
}

/*
 * A page that the instruction writes is translated for that, when it is read
 * first, too; where that is a fault, as it is accessed.
 */
gpa_t __kvmi_gva_to_gpa(struct kvm_vcpu *vcpu, gva_t gva, u64 access,
			struct x86_exception *exception)
{
	struct kvm_pagewalk *walk = &vcpu->arch.gva_walk;
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	struct kvmi_translation *t;
	gpa_t gpa;

	if (!wishes)
		return walk->gva_to_gpa(vcpu, walk, gva, access, exception);

	t = kvmi_find(&wishes->insn, gva, access);
	if (t)
		return t->gpa | offset_in_page(gva);

	if (kvmi_is_emulating(vcpu) &&
	    !(access & (PFERR_WRITE_MASK | PFERR_FETCH_MASK | PFERR_IMPLICIT_ACCESS)) &&
	    kvmi_writes_page(vcpu, gva)) {
		gpa = walk->gva_to_gpa(vcpu, walk, gva, access | PFERR_WRITE_MASK,
				       NULL);
		if (gpa != INVALID_GPA) {
			kvmi_keep(&wishes->insn, gva, access | PFERR_WRITE_MASK,
				  gpa);
			return gpa;
		}
	}

	gpa = walk->gva_to_gpa(vcpu, walk, gva, access, exception);
	if (gpa != INVALID_GPA)
		kvmi_keep(&wishes->insn, gva, access, gpa);
	return gpa;
}

bool kvmi_translates_for_write(struct kvm_vcpu *vcpu, gva_t gva, u64 access)
{
	return kvmi_find(&vcpu->arch.kvmi->insn, gva, access | PFERR_WRITE_MASK);
}

/* One piece of memory; true as well: the host has no page to tell by. */
static bool kvmi_is_in_frame(struct kvm_vcpu *vcpu,
			     const struct x86_insn_memory *memory, gfn_t gfn,
			     gva_t *gva, gpa_t *gpa)
{
	u64 access = kvm_x86_call(get_cpl)(vcpu) == 3 ? PFERR_USER_MASK : 0;
	struct kvm_pagewalk *walk = &vcpu->arch.gva_walk;
	gva_t at, end = memory->linear + memory->bytes;
	gpa_t here;

	for (at = memory->linear; at < end; at = (at & PAGE_MASK) + PAGE_SIZE) {
		vcpu->arch.kvmi_absent = false;
		here = walk->gva_to_gpa(vcpu, walk, at, access, NULL);
		if (here == INVALID_GPA) {
			/* What cannot be translated is a fault: not read. */
			if (vcpu->arch.kvmi_absent)
				return true;
			continue;
		}
		if (gpa_to_gfn(here) == gfn) {
			*gva = at;
			*gpa = here;
			return true;
		}
	}
	return false;
}

static bool __kvmi_may_read_frame(struct kvm_vcpu *vcpu, gfn_t gfn, gva_t *gva,
				  gpa_t *gpa)
{
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;
	struct x86_insn_memory memory;
	unsigned int i;

	if (x86_decode_emulated_instruction(vcpu, EMULTYPE_PF, NULL, 0) != EMULATION_OK ||
	    !x86_insn_memory_is_known(ctxt))
		return true;

	for (i = 0; i < X86_INSN_MEMORIES; i++)
		if (x86_insn_memory(ctxt, i, &memory) && memory.read &&
		    kvmi_is_in_frame(vcpu, &memory, gfn, gva, gpa))
			return true;

	return false;
}

/*
 * The processor walks the guest's page tables through a frame that may not be
 * read.  Returns whether the instruction at RIP may read it, too: it does, at
 * the addresses that are stored, or that is not to be known, and they are left.
 * No page of the host is waited for.
 */
bool kvmi_may_read_frame(struct kvm_vcpu *vcpu, gfn_t gfn, gva_t *gva,
			 gpa_t *gpa)
{
	bool r;

	/* It is the delivery of an event that walks. */
	if (kvm_event_needs_reinjection(vcpu))
		return true;

	pagefault_disable();
	r = __kvmi_may_read_frame(vcpu, gfn, gva, gpa);
	pagefault_enable();
	return r;
}

/*
 * Before an instruction accesses a device for the first time.  What it accesses
 * of it later, perhaps when user space has done its part, is let through then.
 */
bool __kvmi_may_touch_device(struct kvm_vcpu *vcpu)
{
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;
	struct x86_insn_memory memory;
	unsigned int i;

	if (!kvmi_is_emulating(vcpu) || vcpu->arch.kvmi->mute ||
	    ctxt->device_touched)
		return true;

	for (i = 0; i < X86_INSN_MEMORIES; i++) {
		if (!x86_insn_memory(ctxt, i, &memory))
			continue;
		/* One that is read and written is asked for once. */
		if (memory.read &&
		    !__kvmi_emulates(vcpu, memory.linear, memory.bytes, 0))
			return false;
		if (memory.write &&
		    !__kvmi_emulates(vcpu, memory.linear, memory.bytes,
				     PFERR_WRITE_MASK))
			return false;
	}
	return true;
}

/*
 * Nothing is asked in the completion of an iteration, so the next one begins in
 * the guest; what a device has given ahead is stored before.
 */
bool __kvmi_ends_iteration(struct kvm_vcpu *vcpu)
{
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;

	return ctxt->io_read.pos == ctxt->io_read.end;
}

/* What becomes of an access that kvmi_emulates() did not let through. */
int kvmi_not_done(struct kvm_vcpu *vcpu, void *val, unsigned int bytes)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes || !wishes->insn.refused)
		return X86EMUL_INTERCEPTED;

	wishes->insn.refused = false;
	if (val)
		memset(val, 0xff, bytes);
	return X86EMUL_CONTINUE;
}

/* Nothing of what the instruction wanted of a device is carried out later. */
void __kvmi_give_up(struct kvm_vcpu *vcpu)
{
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;

	vcpu->mmio_needed = 0;
	vcpu->mmio_read_completed = 0;
	vcpu->mmio_cur_fragment = 0;
	vcpu->mmio_nr_fragments = 0;
	vcpu->arch.pio.count = 0;
	vcpu->arch.complete_userspace_io = NULL;

	ctxt->io_read.pos = 0;
	ctxt->io_read.end = 0;
	ctxt->mem_read.pos = 0;
	ctxt->mem_read.end = 0;
	ctxt->device_touched = false;
}
