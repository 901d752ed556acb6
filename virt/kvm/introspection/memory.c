// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a VM, as a tool reads and writes it, and what KVM logs of that.
 * Nothing here waits for a page.
 */
#include <linux/highmem.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "glue.h"

/* The highest frame number that a user memory slot backs; false: none does. */
bool kvmi_vm_max_gfn(struct kvm *kvm, __u64 *gfn)
{
	struct kvm_memory_slot *slot;
	bool found = false;
	int idx, bkt;

	*gfn = 0;
	idx = srcu_read_lock(&kvm->srcu);
	kvm_for_each_memslot(slot, bkt, kvm_memslots(kvm)) {
		if (slot->id < KVM_USER_MEM_SLOTS && slot->npages) {
			*gfn = max(*gfn, slot->base_gfn + slot->npages - 1);
			found = true;
		}
		cond_resched();
	}
	srcu_read_unlock(&kvm->srcu, idx);

	return found;
}

/* With a dirty ring alone, a write is logged in the ring of a running vCPU. */
bool kvmi_vm_needs_vcpu_to_write(struct kvm *kvm)
{
	return kvm->dirty_ring_size && !kvm_get_running_vcpu();
}

static void kvmi_mark_dirty(struct kvm *kvm, struct kvm_memory_slot *slot,
			    gfn_t gfn)
{
	if (!kvm_slot_dirty_track_enabled(slot))
		return;

	/*
	 * mark_page_dirty_in_slot() wants a running vCPU on x86; the bitmap
	 * does not need one.
	 */
	if (kvm->dirty_ring_size)
		mark_page_dirty_in_slot(kvm, slot, gfn);
	else if (slot->dirty_bitmap)
		set_bit_le(gfn - slot->base_gfn, slot->dirty_bitmap);
}

/*
 * KVM looks at the ring only before it enters the guest; a tool could write
 * more pages in between than the ring has entries.
 */
static bool kvmi_dirty_ring_full(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu = kvm_get_running_vcpu();
	struct kvm_dirty_ring *ring;

	if (!kvm->dirty_ring_size || !vcpu)
		return false;

	ring = &vcpu->dirty_ring;
	return READ_ONCE(ring->dirty_index) - READ_ONCE(ring->reset_index) >=
	       ring->soft_limit;
}

/*
 * Copy to or from one page of guest memory.  The page is reached through the
 * VMM's address space, whoever the caller is, and without waiting for it.
 * -ENOENT: no memory there; -EAGAIN: the page is not here yet, ask again;
 * -EBUSY: the vCPU's dirty ring has no room for what would be written.
 */
int kvmi_vm_access(struct kvm *kvm, __u64 gpa, void *buf, size_t len,
		   bool write)
{
	unsigned int flags = FOLL_NOWAIT | (write ? FOLL_WRITE : 0);
	struct kvm_memory_slot *slot;
	struct page *page;
	bool writable = true;
	unsigned long hva;
	gfn_t gfn = gpa_to_gfn(gpa);
	int idx, r = -ENOENT;
	long got;
	void *at;

	if (!mmget_not_zero(kvm->mm))
		return -ENOENT;

	idx = srcu_read_lock(&kvm->srcu);
	slot = gfn_to_memslot(kvm, gfn);
	if (!slot || slot->id >= KVM_USER_MEM_SLOTS)
		goto out;

	r = -EBUSY;
	if (write && kvm_slot_dirty_track_enabled(slot) &&
	    kvmi_dirty_ring_full(kvm))
		goto out;

	r = -ENOENT;
	hva = gfn_to_hva_memslot_prot(slot, gfn, &writable);
	if (kvm_is_error_hva(hva) || (write && !writable))
		goto out;

	r = -EAGAIN;
	if (!mmap_read_trylock(kvm->mm))
		goto out;
	got = get_user_pages_remote(kvm->mm, hva, 1, flags, &page, NULL);
	mmap_read_unlock(kvm->mm);
	if (got == 0 || got == -EAGAIN || got == -EBUSY)
		goto out;

	r = -ENOENT;
	if (got != 1)
		goto out;

	at = kmap_local_page(page);
	if (write)
		memcpy(at + offset_in_page(gpa), buf, len);
	else
		memcpy(buf, at + offset_in_page(gpa), len);
	kunmap_local(at);

	/* Neither takes the lock of the page, which its file may hold long. */
	if (write) {
		kvm_release_page_dirty(page);
		kvmi_mark_dirty(kvm, slot, gfn);
	} else {
		kvm_release_page_clean(page);
	}
	r = 0;
out:
	srcu_read_unlock(&kvm->srcu, idx);
	/* The last user's exit may sleep long, and may end this session. */
	mmput_async(kvm->mm);
	return r;
}
