// SPDX-License-Identifier: GPL-2.0
/*
 * NPT: what an instruction does to a page table that may not be written, while
 * the processor walks it.
 *
 * To set accessed and dirty bits the walk needs a frame that can be written, and
 * for this one instruction it can: then the instruction itself could store into
 * it unseen.  The table is copied before, and compared afterwards.
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

/* Tables in one instruction, and the space to read one into again. */
#define MAX_WALKS	8

#define ENTRIES		(PAGE_SIZE / sizeof(u64))

struct kvmi_walks {
	unsigned int nr;
	gfn_t gfns[MAX_WALKS];
	u64 *copies[MAX_WALKS + 1];
	/* Where tables were found written; told from the last one on. */
	unsigned int nr_written;
	gpa_t written[MAX_WALKS];
};

static u64 *kvmi_space(struct kvmi_walks *walks, unsigned int i)
{
	if (!walks->copies[i])
		walks->copies[i] = (u64 *)__get_free_page(GFP_KERNEL_ACCOUNT);
	return walks->copies[i];
}

/* No page of the host is waited for: false, it is absent. */
static bool kvmi_read_table(struct kvm_vcpu *vcpu, gfn_t gfn, u64 *copy)
{
	guard(pagefault)();

	return !kvm_vcpu_walk_guest_page(vcpu, gfn, copy, 0, PAGE_SIZE);
}

/* False: it cannot be copied, so that a walk cannot be told from a store. */
bool kvmi_copy_table(struct kvm_vcpu *vcpu, gfn_t gfn)
{
	struct kvmi_walks *walks = vcpu->arch.kvmi->walks;
	unsigned int i;
	u64 *copy;

	if (!walks) {
		walks = kzalloc_obj(*walks, GFP_KERNEL_ACCOUNT);
		if (!walks)
			return false;
		vcpu->arch.kvmi->walks = walks;
	}

	for (i = 0; i < walks->nr; i++)
		if (walks->gfns[i] == gfn)
			return true;
	if (i == MAX_WALKS || !kvmi_space(walks, MAX_WALKS))
		return false;

	copy = kvmi_space(walks, i);
	if (!copy || !kvmi_read_table(vcpu, gfn, copy))
		return false;

	walks->gfns[i] = gfn;
	walks->nr++;
	return true;
}

/* Where the two differ first, but for what a walk writes; PAGE_SIZE: nowhere. */
static unsigned int kvmi_differ(const u64 *a, const u64 *b, u64 walked)
{
	unsigned int i;
	u64 diff;

	for (i = 0; i < ENTRIES; i++) {
		diff = (a[i] ^ b[i]) & ~walked;
		if (diff)
			return i * sizeof(u64) + __ffs64(diff) / BITS_PER_BYTE;
	}
	return PAGE_SIZE;
}

/* The instruction is done. */
void kvmi_compare_tables(struct kvm_vcpu *vcpu)
{
	struct kvmi_walks *walks = vcpu->arch.kvmi->walks;
	u64 walked = PT_ACCESSED_MASK | PT_DIRTY_MASK;
	unsigned int i, at;
	u64 *now;

	if (!walks)
		return;

	/* Two entries in eight bytes. */
	if (!is_pae(vcpu))
		walked |= walked << 32;

	now = walks->copies[MAX_WALKS];
	walks->nr_written = 0;
	for (i = walks->nr; i-- > 0; ) {
		/* What cannot be compared is told as if it were written. */
		at = kvmi_read_table(vcpu, walks->gfns[i], now) ?
		     kvmi_differ(walks->copies[i], now, walked) : 0;
		if (at < PAGE_SIZE)
			walks->written[walks->nr_written++] =
				gfn_to_gpa(walks->gfns[i]) + at;
	}
}

void kvmi_forget_tables(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.kvmi->walks)
		vcpu->arch.kvmi->walks->nr = 0;
}

/* Nobody is to be told any more. */
void kvmi_forget_written(struct kvmi_wishes *wishes)
{
	if (wishes->walks)
		wishes->walks->nr_written = 0;
}

/* Was a table written that the tool was not asked about?  Each is told once. */
bool kvmi_vcpu_take_written(struct kvm_vcpu *vcpu, __u64 *gpa)
{
	struct kvmi_walks *walks = vcpu->arch.kvmi ? vcpu->arch.kvmi->walks : NULL;

	if (!walks || !walks->nr_written)
		return false;

	*gpa = walks->written[--walks->nr_written];
	return true;
}

void kvmi_free_walks(struct kvmi_wishes *wishes)
{
	struct kvmi_walks *walks = wishes->walks;
	unsigned int i;

	if (!walks)
		return;

	for (i = 0; i < ARRAY_SIZE(walks->copies); i++)
		free_page((unsigned long)walks->copies[i]);
	kfree(walks);
	wishes->walks = NULL;
}
