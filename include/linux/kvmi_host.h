/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVMI_HOST_H
#define __KVMI_HOST_H

/*
 * What KVM calls of its introspection subsystem.
 *
 * Two static keys stand in front of every call: kvmi_enabled is on when the
 * module was loaded with kvm.introspection=1, kvmi_in_use while at least one
 * VM is hooked, or a vCPU exists of which a session wanted something.  With
 * both off a hook site is a no-op instruction.  With the second off it still is
 * where a guest exits, but for the run loop, which tests one bit.
 */

#include <linux/jump_label_ratelimit.h>
#include <linux/kvm_host.h>
#include <linux/seq_file.h>

#include <uapi/linux/kvmi.h>

struct file;
struct kvm;
struct kvm_vcpu;

#ifdef CONFIG_KVM_INTROSPECTION

DECLARE_STATIC_KEY_FALSE(kvmi_enabled);
extern struct static_key_false_deferred kvmi_in_use;

extern bool kvmi_param;

int kvmi_init(void);
void kvmi_exit(void);

int __kvmi_create_vm(struct kvm *kvm);
void __kvmi_destroy_vm(struct kvm *kvm);
void __kvmi_pre_destroy_vm(struct kvm *kvm);
void __kvmi_mm_release(struct kvm *kvm);
void __kvmi_vcpu_postcreate(struct kvm_vcpu *vcpu);
int __kvmi_protect_vm(struct kvm *kvm);
long __kvmi_vm_ioctl(struct file *filp, unsigned int ioctl, unsigned long arg);
void __kvmi_show_fdinfo(struct seq_file *m, struct kvm *kvm);
int __kvmi_handle_requests(struct kvm_vcpu *vcpu);
int __kvmi_handle_requests_blocked(struct kvm_vcpu *vcpu);
void __kvmi_state_written(struct kvm_vcpu *vcpu);
void __kvmi_vcpu_ioctl(struct kvm_vcpu *vcpu, unsigned int ioctl);
void __kvmi_vcpu_init(struct kvm_vcpu *vcpu);
bool __kvmi_is_refused(struct kvm *kvm, gfn_t gfn, unsigned int access);
bool __kvmi_refuses(struct kvm *kvm, gfn_t gfn, unsigned int access);
void gfn_to_pfn_cache_invalidate_gfns(struct kvm *kvm, const gfn_t *gfns,
				      unsigned int nr);

/* What KVM_CHECK_EXTENSION answers for KVM_CAP_INTROSPECTION. */
static inline int kvmi_check_extension(void)
{
	return static_branch_unlikely(&kvmi_enabled) ? KVMI_VERSION : 0;
}

/* Make room for introspection of a VM that is being created. */
static inline int kvmi_create_vm(struct kvm *kvm)
{
	if (static_branch_unlikely(&kvmi_enabled))
		return __kvmi_create_vm(kvm);

	return 0;
}

/* End the session, if there is one, while the vCPUs still exist. */
static inline void kvmi_pre_destroy_vm(struct kvm *kvm)
{
	if (static_branch_unlikely(&kvmi_enabled))
		__kvmi_pre_destroy_vm(kvm);
}

/* Give back what kvmi_create_vm() took. */
static inline void kvmi_destroy_vm(struct kvm *kvm)
{
	if (static_branch_unlikely(&kvmi_enabled))
		__kvmi_destroy_vm(kvm);
}

/* The VM's address space goes away: its session dies.  Never sleeps long. */
static inline void kvmi_mm_release(struct kvm *kvm)
{
	if (static_branch_unlikely(&kvmi_in_use.key))
		__kvmi_mm_release(kvm);
}

/* A vCPU is online; called without kvm->lock and vcpu->mutex. */
static inline void kvmi_vcpu_postcreate(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvmi_in_use.key))
		__kvmi_vcpu_postcreate(vcpu);
}

/*
 * The VM is about to become one whose memory or registers the host must not
 * see.  Returns -EBUSY while it is hooked; else it can never be hooked again.
 */
static inline int kvmi_protect_vm(struct kvm *kvm)
{
	if (static_branch_unlikely(&kvmi_enabled))
		return __kvmi_protect_vm(kvm);

	return 0;
}

/* Is this one of the five ioctls?  They are not bound to the VM's owner. */
static inline bool kvmi_is_ioctl(unsigned int ioctl)
{
	switch (ioctl) {
	case KVM_INTROSPECTION_HOOK:
	case KVM_INTROSPECTION_UNHOOK:
	case KVM_INTROSPECTION_COMMAND:
	case KVM_INTROSPECTION_EVENT:
	case KVM_INTROSPECTION_PREUNHOOK:
		return true;
	default:
		return false;
	}
}

static inline long kvmi_vm_ioctl(struct file *filp, unsigned int ioctl,
				 unsigned long arg)
{
	if (static_branch_unlikely(&kvmi_enabled))
		return __kvmi_vm_ioctl(filp, ioctl, arg);

	return -EPERM;
}

static inline void kvmi_show_fdinfo(struct seq_file *m, struct kvm *kvm)
{
	if (static_branch_unlikely(&kvmi_enabled))
		__kvmi_show_fdinfo(m, kvm);
	else
		seq_puts(m, "kvmi:\tnone\n");
}

/* kvm_test_request() would cost KVM the inlining of all its other callers. */
static __always_inline bool kvmi_is_requested(struct kvm_vcpu *vcpu)
{
	return test_bit(KVM_REQ_INTROSPECTION & KVM_REQUEST_MASK,
			(void *)&vcpu->requests);
}

/*
 * Run what the tool wants of this vCPU.  Called by its own thread with
 * kvm->srcu held, which is dropped while waiting.  Returns 1 to go on, 0 to
 * leave KVM_RUN with the exit reason that was set, or a negative error.
 *
 * This and the next take a request that a session left behind when no VM is
 * hooked any more: with it the guest would never be entered.
 */
static inline int kvmi_handle_requests(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvmi_enabled) &&
	    (kvmi_is_requested(vcpu) ||
	     (static_branch_unlikely(&kvmi_in_use.key) && vcpu->arch.kvmi)))
		return __kvmi_handle_requests(vcpu);

	return 1;
}

/* The vCPU had nothing but our request and goes on waiting for INIT. */
#define KVMI_WAIT_ON 2

/* The same for a vCPU that was never started: KVMI_WAIT_ON if it was run. */
static inline int kvmi_handle_requests_blocked(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvmi_enabled))
		return __kvmi_handle_requests_blocked(vcpu);

	return 1;
}

/* The VMM wrote registers of this vCPU while an event may be in flight. */
static inline void kvmi_state_written(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvmi_in_use.key))
		__kvmi_state_written(vcpu);
}

/* INIT is about to reset this vCPU. */
static inline void kvmi_vcpu_init(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvmi_in_use.key))
		__kvmi_vcpu_init(vcpu);
}

/* An ioctl of a vCPU is about to run: does it write the vCPU's state? */
static inline void kvmi_vcpu_ioctl(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	if (static_branch_unlikely(&kvmi_in_use.key))
		__kvmi_vcpu_ioctl(vcpu, ioctl);
}

/*
 * Returns whether KVM must not do this to a frame on the guest's behalf, as if
 * there were no memory.  Called by whoever is about to do it, with interrupts
 * off perhaps.  The running vCPU has what was granted to it.
 */
static inline bool kvmi_is_refused(struct kvm *kvm, gfn_t gfn,
				   unsigned int access)
{
	return static_branch_unlikely(&kvmi_in_use.key) &&
	       __kvmi_is_refused(kvm, gfn, access);
}

/* The same, counted in the statistics of the VM. */
static inline bool kvmi_refuses(struct kvm *kvm, gfn_t gfn, unsigned int access)
{
	return static_branch_unlikely(&kvmi_in_use.key) &&
	       __kvmi_refuses(kvm, gfn, access);
}

#else

static inline bool kvmi_is_refused(struct kvm *kvm, gfn_t gfn,
				   unsigned int access)
{
	return false;
}

static inline bool kvmi_refuses(struct kvm *kvm, gfn_t gfn, unsigned int access)
{
	return false;
}

static inline int kvmi_init(void) { return 0; }
static inline void kvmi_exit(void) { }
static inline int kvmi_check_extension(void) { return 0; }
static inline int kvmi_create_vm(struct kvm *kvm) { return 0; }
static inline void kvmi_pre_destroy_vm(struct kvm *kvm) { }
static inline void kvmi_destroy_vm(struct kvm *kvm) { }
static inline void kvmi_mm_release(struct kvm *kvm) { }
static inline void kvmi_vcpu_postcreate(struct kvm_vcpu *vcpu) { }
static inline int kvmi_protect_vm(struct kvm *kvm) { return 0; }
static inline bool kvmi_is_ioctl(unsigned int ioctl) { return false; }
static inline long kvmi_vm_ioctl(struct file *filp, unsigned int ioctl,
				 unsigned long arg)
{
	return -ENOTTY;
}

static inline void kvmi_show_fdinfo(struct seq_file *m, struct kvm *kvm) { }
static inline int kvmi_handle_requests(struct kvm_vcpu *vcpu) { return 1; }
static inline void kvmi_state_written(struct kvm_vcpu *vcpu) { }
static inline void kvmi_vcpu_init(struct kvm_vcpu *vcpu) { }
static inline void kvmi_vcpu_ioctl(struct kvm_vcpu *vcpu, unsigned int ioctl) { }

#define KVMI_WAIT_ON 2
static inline int kvmi_handle_requests_blocked(struct kvm_vcpu *vcpu)
{
	return 1;
}

#endif /* CONFIG_KVM_INTROSPECTION */

#endif /* __KVMI_HOST_H */
