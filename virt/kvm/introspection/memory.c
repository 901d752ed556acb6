// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a VM, as a tool reads and writes it, and what KVM logs of that.
 * Nothing here waits for a page that user space supplies.
 */
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>

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

/* Memory whose pages the kernel has, or makes: no file system is asked for them. */
static bool kvmi_is_memory(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma) || is_vm_hugetlb_page(vma) ||
	       (vma->vm_file && shmem_mapping(vma->vm_file->f_mapping));
}

/*
 * Pin the page of an address of the VMM.  One that is mapped is taken; one that
 * is not is asked for only where that needs no file system, because that could
 * wait for user space whatever is said (FUSE).  -ENOENT: no memory, or not to be
 * written; -EAGAIN: the page is not here; -ENOMEM.
 */
static long kvmi_pin_page(struct mm_struct *mm, unsigned long hva, bool write,
			  struct page **page)
{
	unsigned int flags = write ? FOLL_WRITE : 0;
	struct vm_area_struct *vma;
	long r;

	if (!mmap_read_trylock(mm))
		return -EAGAIN;

	vma = vma_lookup(mm, hva);
	r = -ENOENT;
	if (!vma || vma->vm_flags & (VM_IO | VM_PFNMAP) ||
	    !(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		goto out;

	r = pin_user_pages_remote(mm, hva, 1, flags | FOLL_NOFAULT, page, NULL);
	if (r == 1)
		goto out;

	if (!kvmi_is_memory(vma)) {
		r = -EAGAIN;
		goto out;
	}

	r = pin_user_pages_remote(mm, hva, 1, flags | FOLL_NOWAIT, page, NULL);
	if (r == 0 || r == -EBUSY)
		r = -EAGAIN;
	else if (r < 0 && r != -EAGAIN && r != -ENOMEM)
		r = -ENOENT;
out:
	mmap_read_unlock(mm);
	return r == 1 ? 0 : r;
}

static void kvmi_copy(struct page *page, __u64 gpa, void *to, const void *from,
		      size_t len)
{
	void *at = kmap_local_page(page);

	if (from)
		memcpy(at + offset_in_page(gpa), from, len);
	else
		memcpy(to, at + offset_in_page(gpa), len);
	kunmap_local(at);
}

/* Memory that has no address in the VMM. */
static int kvmi_access_gmem(struct kvm *kvm, struct kvm_memory_slot *slot,
			    __u64 gpa, void *to, const void *from, size_t len)
{
	struct page *page;
	kvm_pfn_t pfn;
	int r;

	r = kvm_gmem_get_pfn(kvm, slot, gpa_to_gfn(gpa), &pfn, &page, NULL);
	if (r)
		return r == -ENOMEM ? r : -ENOENT;

	kvmi_copy(page, gpa, to, from, len);
	if (from)
		kvm_release_page_dirty(page);
	else
		kvm_release_page_clean(page);
	return 0;
}

static int kvmi_access_hva(struct kvm *kvm, struct kvm_memory_slot *slot,
			   __u64 gpa, void *to, const void *from, size_t len)
{
	bool writable = true;
	unsigned long hva;
	struct page *page;
	long r;

	hva = gfn_to_hva_memslot_prot(slot, gpa_to_gfn(gpa), &writable);
	if (kvm_is_error_hva(hva) || (from && !writable))
		return -ENOENT;

	r = kvmi_pin_page(kvm->mm, hva, from, &page);
	if (r)
		return r;

	kvmi_copy(page, gpa, to, from, len);
	/* Without the lock of the page, which its file may hold long. */
	if (from && !PageReserved(page))
		SetPageDirty(page);
	unpin_user_page(page);
	return 0;
}

/* The caller holds kvm->srcu and the VMM's address space. */
static int kvmi_access_slot(struct kvm *kvm, __u64 gpa, void *to,
			    const void *from, size_t len)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	struct kvm_memory_slot *slot = gfn_to_memslot(kvm, gfn);
	int r;

	if (!slot || slot->id >= KVM_USER_MEM_SLOTS ||
	    (from && slot->flags & KVM_MEM_READONLY))
		return -ENOENT;

	if (from && kvm_slot_dirty_track_enabled(slot) && kvmi_dirty_ring_full(kvm))
		return -EBUSY;

	if (kvm_memslot_is_gmem_only(slot))
		r = kvmi_access_gmem(kvm, slot, gpa, to, from, len);
	else
		r = kvmi_access_hva(kvm, slot, gpa, to, from, len);

	if (!r && from)
		kvmi_mark_dirty(kvm, slot, gfn);
	return r;
}

static int kvmi_access(struct kvm *kvm, __u64 gpa, void *to, const void *from,
		       size_t len)
{
	int r;

	if (!mmget_not_zero(kvm->mm))
		return -ENOENT;

	scoped_guard(srcu, &kvm->srcu)
		r = kvmi_access_slot(kvm, gpa, to, from, len);

	/* The last user's exit may sleep long, and may end this session. */
	mmput_async(kvm->mm);
	return r;
}

/*
 * Read within one page of guest memory, through the VMM's address space whoever
 * the caller is.  -ENOENT: no memory there; -EAGAIN: the page is not here, and
 * whoever wants it must bring it; -ENOMEM.
 */
int kvmi_vm_read(struct kvm *kvm, __u64 gpa, void *buf, size_t len)
{
	return kvmi_access(kvm, gpa, buf, NULL, len);
}

/*
 * The same for a write.  -ENOENT for what may not be written, too; -EBUSY: the
 * vCPU's dirty ring has no room for it.
 */
int kvmi_vm_write(struct kvm *kvm, __u64 gpa, const void *buf, size_t len)
{
	return kvmi_access(kvm, gpa, NULL, buf, len);
}
