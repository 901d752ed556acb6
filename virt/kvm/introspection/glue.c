// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of KVM introspection: the ioctls' entry and whatever needs KVM's
 * locks, inlines and structures.  The Rust side decides; what is here only
 * does.  The VM's memory is in memory.c.
 */
#include <linux/capability.h>
#include <linux/cred.h>
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

unsigned int kvmi_max_frames = 1 << 20;
module_param_named(introspection_max_frames, kvmi_max_frames, uint, 0644);
MODULE_PARM_DESC(introspection_max_frames,
		 "How many guest frames a tool may restrict in one VM");

DEFINE_STATIC_KEY_FALSE(kvmi_enabled);
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_enabled);

DEFINE_STATIC_KEY_DEFERRED_FALSE(kvmi_in_use, HZ);
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_in_use);

int kvmi_init(void)
{
	if (!kvmi_param)
		return 0;

	kvmi_wq = alloc_workqueue("kvmi", WQ_UNBOUND, 0);
	if (!kvmi_wq)
		return -ENOMEM;

	static_branch_enable(&kvmi_enabled);
	return 0;
}

void kvmi_exit(void)
{
	static_key_deferred_flush(&kvmi_in_use);
	if (!kvmi_wq)
		return;

	/* What RCU has yet to hand over, then all of it. */
	rcu_barrier();
	destroy_workqueue(kvmi_wq);
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
	/* Which also programs what was put off. */
	bool due = kvmi_vcpu_is_due(vcpu);
	int r;

	if (!kvmi_vcpu_take_request(vcpu) && !due)
		return 1;

	kvmi_vcpu_settle_pass(vcpu);
	r = kvmi_rs_handle_requests(vcpu);
	if (r > 0)
		r = kvmi_vcpu_prepare_pass(vcpu);
	return r > 0 ? kvmi_vcpu_step_over(vcpu) : r;
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

void __kvmi_vcpu_init(struct kvm_vcpu *vcpu)
{
	kvmi_rs_state_written(vcpu);
	kvmi_vcpu_forget_interrupt(vcpu);
}

void __kvmi_vcpu_ioctl(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	if (kvmi_ioctl_writes_state(ioctl))
		kvmi_rs_state_written(vcpu);
	/* It was reported as queued, and is written as such. */
	if (ioctl == KVM_SET_VCPU_EVENTS)
		kvmi_vcpu_forget_interrupt(vcpu);
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
	static const char * const names[] = { "none", "active", "dead", "frozen" };
	struct pid_namespace *ns = proc_pid_ns(file_inode(m->file)->i_sb);
	struct kvmi_status status = {};

	kvmi_rs_status(kvm, &status);
	seq_printf(m, "kvmi:\t%s\n", names[status.state]);
	if (!status.hooker.pid)
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

__u32 kvmi_vm_vcpu_count(struct kvm *kvm)
{
	return atomic_read(&kvm->online_vcpus);
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
