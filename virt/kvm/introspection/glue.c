// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of KVM introspection: the ioctls' entry, the VM's memory and
 * whatever needs KVM's locks, inlines and structures.  The Rust side decides;
 * what is here only does.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/uaccess.h>

#include "glue.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

bool kvmi_param;
module_param_named(introspection, kvmi_param, bool, 0444);
MODULE_PARM_DESC(introspection,
		 "Let programs outside a VM introspect it (default: off)");

DEFINE_STATIC_KEY_FALSE(kvmi_enabled);
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_enabled);

DEFINE_STATIC_KEY_DEFERRED_FALSE(kvmi_in_use, HZ);
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_in_use);

int kvmi_init(void)
{
	if (kvmi_param)
		static_branch_enable(&kvmi_enabled);
	return 0;
}

void kvmi_exit(void)
{
	static_key_deferred_flush(&kvmi_in_use);
}

void kvmi_in_use_inc(void)
{
	static_branch_inc(&kvmi_in_use.key);
}

void kvmi_in_use_dec(void)
{
	static_branch_slow_dec_deferred(&kvmi_in_use);
}

int __kvmi_create_vm(struct kvm *kvm)
{
	return kvmi_rs_create_vm(kvm);
}

void __kvmi_pre_destroy_vm(struct kvm *kvm)
{
	kvmi_rs_pre_destroy_vm(kvm);
}

void __kvmi_destroy_vm(struct kvm *kvm)
{
	kvmi_rs_destroy_vm(kvm);
}

void __kvmi_mm_release(struct kvm *kvm)
{
	kvmi_rs_mm_release(kvm);
}

void __kvmi_vcpu_postcreate(struct kvm_vcpu *vcpu)
{
	/* Without memory the vCPU answers KVMI_EAGAIN; say so once. */
	if (kvmi_rs_vcpu_postcreate(vcpu->kvm))
		pr_warn_ratelimited("kvmi: no memory to introspect a new vCPU\n");
}

int __kvmi_protect_vm(struct kvm *kvm)
{
	return kvmi_rs_protect_vm(kvm);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_protect_vm);

int __kvmi_handle_requests(struct kvm_vcpu *vcpu)
{
	if (!kvmi_vcpu_take_request(vcpu) && !kvmi_vcpu_is_due(vcpu))
		return 1;

	return kvmi_rs_handle_requests(vcpu);
}

/*
 * A never started vCPU that was woken for our request alone goes back to
 * waiting; -EAGAIN would make the VMM run it for nothing.  One that got INIT
 * acts on that first, even if there is more for it to do here.
 */
int __kvmi_handle_requests_blocked(struct kvm_vcpu *vcpu)
{
	int r;

	if (!kvmi_vcpu_take_request(vcpu))
		return 1;

	r = kvmi_rs_handle_requests(vcpu);
	if (r > 0 && !signal_pending(current) && !kvmi_vcpu_has_init(vcpu))
		return KVMI_WAIT_ON;

	return r;
}

void __kvmi_state_written(struct kvm_vcpu *vcpu)
{
	kvmi_rs_state_written(vcpu);
}

void __kvmi_vcpu_ioctl(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	if (kvmi_ioctl_writes_state(ioctl))
		kvmi_rs_state_written(vcpu);
}

/*
 * A caller that is not the VM's owner needs CAP_SYS_PTRACE where the VM was
 * created; a duplicate of the descriptor is the same file and tells where.
 */
long __kvmi_vm_ioctl(struct file *filp, unsigned int ioctl, unsigned long arg)
{
	struct kvm_introspection_feature feature;
	struct kvm_introspection_hook hook;
	void __user *argp = (void __user *)arg;
	struct kvm *kvm = filp->private_data;
	bool foreign = kvm->mm != current->mm;

	if (foreign && !ns_capable(filp->f_cred->user_ns, CAP_SYS_PTRACE))
		return -EPERM;

	/* What a session holds of a dead VM can be given back. */
	if (kvm->vm_dead && ioctl != KVM_INTROSPECTION_UNHOOK)
		return -EIO;

	switch (ioctl) {
	case KVM_INTROSPECTION_HOOK:
		if (copy_from_user(&hook, argp, sizeof(hook)))
			return -EFAULT;
		return kvmi_rs_hook(kvm, &hook, foreign);
	case KVM_INTROSPECTION_UNHOOK:
		return kvmi_rs_unhook(kvm, foreign);
	case KVM_INTROSPECTION_COMMAND:
		if (copy_from_user(&feature, argp, sizeof(feature)))
			return -EFAULT;
		return kvmi_rs_allow_command(kvm, &feature, foreign);
	case KVM_INTROSPECTION_EVENT:
		if (copy_from_user(&feature, argp, sizeof(feature)))
			return -EFAULT;
		return kvmi_rs_allow_event(kvm, &feature, foreign);
	case KVM_INTROSPECTION_PREUNHOOK:
		return kvmi_rs_preunhook(kvm);
	default:
		return -ENOTTY;
	}
}

void __kvmi_show_fdinfo(struct seq_file *m, struct kvm *kvm)
{
	static const char * const names[] = { "none", "active", "dead" };
	struct pid_namespace *ns = proc_pid_ns(file_inode(m->file)->i_sb);
	struct kvmi_status status = {};

	kvmi_rs_status(kvm, &status);
	seq_printf(m, "kvmi:\t%s\n", names[status.state]);
	if (status.state == KVMI_STATE_NONE)
		return;

	seq_printf(m, "kvmi-hooker-pid:\t%d\n",
		   pid_nr_ns(status.hooker.pid, ns));
	seq_puts(m, "kvmi-hooker-comm:\t");
	seq_escape(m, status.hooker.comm, "\n\\");
	seq_printf(m, "\nkvmi-uuid:\t%pUb\n", status.hooker.uuid);
	kvmi_hooker_put(&status.hooker);
}

void kvmi_hooker_fill(struct kvmi_hooker *hooker, const __u8 *uuid,
		      bool foreign)
{
	hooker->pid = get_task_pid(current, PIDTYPE_TGID);
	get_task_comm(hooker->comm, current->group_leader);
	memcpy(hooker->uuid, uuid, sizeof(hooker->uuid));
	hooker->foreign = foreign;
}

void kvmi_hooker_copy(struct kvmi_hooker *to, const struct kvmi_hooker *from)
{
	*to = *from;
	get_pid(to->pid);
}

void kvmi_hooker_put(struct kvmi_hooker *hooker)
{
	put_pid(hooker->pid);
	hooker->pid = NULL;
}

void kvmi_log_hook(struct kvm *kvm, const struct kvmi_hooker *hooker)
{
	pr_info_ratelimited("kvmi: VM of process %d is introspected by process %d (%*pE)\n",
			    kvm->userspace_pid, pid_nr(hooker->pid),
			    (int)strnlen(hooker->comm, sizeof(hooker->comm)),
			    hooker->comm);
}

size_t kvmi_index_nospec(size_t index, size_t size)
{
	return array_index_nospec(index, size);
}

void kvmi_vm_set_private(struct kvm *kvm, void *private)
{
	kvm->kvmi = private;
}

void *kvmi_vm_private(struct kvm *kvm)
{
	return kvm->kvmi;
}

int kvmi_vm_pid(struct kvm *kvm)
{
	return kvm->userspace_pid;
}

__u32 kvmi_vm_vcpu_count(struct kvm *kvm)
{
	return atomic_read(&kvm->online_vcpus);
}

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

/*
 * Has the VM an address space still?  The notifier that ends a session runs
 * after the last user has gone: whoever published a session before asking is
 * either told here or found by it.
 */
bool kvmi_vm_has_mm(struct kvm *kvm)
{
	smp_mb();
	return atomic_read(&kvm->mm->mm_users);
}

struct mem_cgroup *kvmi_vm_memcg(struct kvm *kvm)
{
	return get_mem_cgroup_from_mm(kvm->mm);
}

/* The caller has a reference already, so that there is always another. */
struct mem_cgroup *kvmi_memcg_get(struct mem_cgroup *memcg)
{
	return mem_cgroup_tryget(memcg) ? memcg : NULL;
}

struct mem_cgroup *kvmi_memcg_enter(struct mem_cgroup *memcg)
{
	return set_active_memcg(memcg);
}

void kvmi_memcg_leave(struct mem_cgroup *old)
{
	set_active_memcg(old);
}

void kvmi_memcg_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

void kvmi_trace_hook(struct kvm *kvm, const struct kvmi_hooker *hooker)
{
	trace_kvmi_hook(kvm->userspace_pid, pid_nr(hooker->pid), hooker->comm,
			hooker->foreign);
}

void kvmi_trace_unhook(struct kvm *kvm)
{
	trace_kvmi_unhook(kvm->userspace_pid);
}

void kvmi_trace_command(struct kvm *kvm, const struct kvmi_msg_hdr *hdr)
{
	trace_kvmi_command(kvm->userspace_pid, hdr->id, hdr->size, hdr->seq);
}

void kvmi_trace_reply(struct kvm *kvm, const struct kvmi_msg_hdr *hdr,
		      __s32 err)
{
	trace_kvmi_reply(kvm->userspace_pid, hdr->id, hdr->size, hdr->seq, err);
}

void kvmi_trace_event(struct kvm *kvm, __u32 vcpu, __u16 event, __u32 seq)
{
	trace_kvmi_event(kvm->userspace_pid, vcpu, event, seq);
}

void kvmi_trace_event_reply(struct kvm *kvm, __u32 vcpu, __u8 event, __u32 seq,
			    __u8 action)
{
	trace_kvmi_event_reply(kvm->userspace_pid, vcpu, event, seq, action);
}
