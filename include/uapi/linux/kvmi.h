/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI__LINUX_KVMI_H
#define _UAPI__LINUX_KVMI_H

/*
 * KVM introspection: the ioctls that hand a socket to a VM, and what is
 * spoken on that socket.  See Documentation/virt/kvm/kvmi.rst.
 *
 * Every structure is in host byte order, naturally aligned, and without
 * implicit padding.  Fields named padding* must be zero when sent to the
 * kernel and are zero when they come from it.
 *
 * Flexible tails are hidden from bindgen, which defines __BINDGEN__: Rust has
 * the fixed head as a structure of plain bytes, and a slice for the tail.
 */

#include <linux/types.h>
#include <linux/stddef.h>
#include <linux/kvm.h>
#include <asm/kvmi.h>

/* What KVM_CHECK_EXTENSION(KVM_CAP_INTROSPECTION) and GET_VERSION answer. */
#define KVMI_VERSION 1

/* "KVMI": far from the numbers that KVM hands out in sequence. */
#define KVM_CAP_INTROSPECTION 0x4b564d49

struct kvm_introspection_hook {
	__s32 fd;
	__u32 padding;
	__u8 uuid[16];
};

struct kvm_introspection_feature {
	__u32 allow;
	__s32 id;
};

#define KVM_INTROSPECTION_HOOK \
	_IOW(KVMIO, 0xc8, struct kvm_introspection_hook)
#define KVM_INTROSPECTION_UNHOOK \
	_IO(KVMIO, 0xc9)
#define KVM_INTROSPECTION_COMMAND \
	_IOW(KVMIO, 0xca, struct kvm_introspection_feature)
#define KVM_INTROSPECTION_EVENT \
	_IOW(KVMIO, 0xcb, struct kvm_introspection_feature)
#define KVM_INTROSPECTION_PREUNHOOK \
	_IO(KVMIO, 0xcc)

/*
 * Error codes of replies, which carry them negated.  <linux/kvm_para.h> has the
 * same as KVM_E*, of which some need <errno.h>.
 */
#define KVMI_EPERM 1
#define KVMI_ENOENT 2
#define KVMI_EAGAIN 11
#define KVMI_ENOMEM 12
#define KVMI_EBUSY 16
#define KVMI_EINVAL 22
#define KVMI_EOPNOTSUPP 95
#define KVMI_ENOSYS 1000

/* Largest payload of a message, its header not counted. */
#define KVMI_MAX_MSG_SIZE (4096 * 2 - 8)

/* VM messages are even, vCPU messages are odd; so are events. */
#define KVMI_VM_MESSAGE_ID(id)		((id) << 1)
#define KVMI_VCPU_MESSAGE_ID(id)	(((id) << 1) | 1)
#define KVMI_VM_EVENT_ID(id)		((id) << 1)
#define KVMI_VCPU_EVENT_ID(id)		(((id) << 1) | 1)

#define KVMI_VM_EVENT			0
#define KVMI_GET_VERSION		2
#define KVMI_VM_CHECK_COMMAND		4
#define KVMI_VM_CHECK_EVENT		6
#define KVMI_VM_GET_INFO		8
#define KVMI_VM_CONTROL_EVENTS		10
#define KVMI_VM_READ_PHYSICAL		12
#define KVMI_VM_WRITE_PHYSICAL		14
#define KVMI_VM_PAUSE_VCPU		16
#define KVMI_VM_CONTROL_CLEANUP		18
#define KVMI_VM_SET_PAGE_ACCESS		20
#define KVMI_VM_GET_MAX_GFN		22
#define KVMI_VM_SET_ON_EXIT		24
#define KVMI_NEXT_VM_MESSAGE		(KVMI_VM_SET_ON_EXIT + 1)

#define KVMI_VCPU_EVENT			1
#define KVMI_VCPU_GET_INFO		3
#define KVMI_VCPU_CONTROL_EVENTS	5
#define KVMI_VCPU_GET_REGISTERS		7
#define KVMI_VCPU_SET_REGISTERS		9
#define KVMI_VCPU_GET_CPUID		11
#define KVMI_VCPU_CONTROL_CR		13
#define KVMI_VCPU_INJECT_EXCEPTION	15
#define KVMI_VCPU_GET_XCR		17
#define KVMI_VCPU_GET_XSAVE		19
#define KVMI_VCPU_SET_XSAVE		21
#define KVMI_VCPU_GET_MTRR_TYPE		23
#define KVMI_VCPU_CONTROL_MSR		25
#define KVMI_VCPU_CONTROL_SINGLESTEP	27
#define KVMI_VCPU_TRANSLATE_GVA		29
#define KVMI_NEXT_VCPU_MESSAGE		(KVMI_VCPU_TRANSLATE_GVA + 1)

#define KVMI_VM_EVENT_UNHOOK		0
#define KVMI_NEXT_VM_EVENT		(KVMI_VM_EVENT_UNHOOK + 1)

#define KVMI_VCPU_EVENT_PAUSE		1
#define KVMI_VCPU_EVENT_HYPERCALL	3
#define KVMI_VCPU_EVENT_BREAKPOINT	5
#define KVMI_VCPU_EVENT_CR		7
#define KVMI_VCPU_EVENT_TRAP		9
#define KVMI_VCPU_EVENT_XSETBV		11
#define KVMI_VCPU_EVENT_DESCRIPTOR	13
#define KVMI_VCPU_EVENT_MSR		15
#define KVMI_VCPU_EVENT_PF		17
#define KVMI_VCPU_EVENT_SINGLESTEP	19
#define KVMI_VCPU_EVENT_CPUID		21
#define KVMI_NEXT_VCPU_EVENT		(KVMI_VCPU_EVENT_CPUID + 1)

#define KVMI_EVENT_ACTION_CONTINUE	0
#define KVMI_EVENT_ACTION_RETRY		1
#define KVMI_EVENT_ACTION_CRASH		2

#define KVMI_PAGE_ACCESS_R		(1 << 0)
#define KVMI_PAGE_ACCESS_W		(1 << 1)
#define KVMI_PAGE_ACCESS_X		(1 << 2)

/* What becomes of page restrictions when the tool dies. */
#define KVMI_ON_EXIT_RELEASE		0
#define KVMI_ON_EXIT_FREEZE		1
#define KVMI_ON_EXIT_CRASH		2

struct kvmi_msg_hdr {
	__u16 id;
	__u16 size;
	__u32 seq;
};

struct kvmi_vcpu_hdr {
	__u16 vcpu;
	__u16 padding1;
	__u32 padding2;
};

struct kvmi_error_code {
	__s32 err;
	__u32 padding;
};

struct kvmi_features {
	__u8 singlestep;
	__u8 on_exit;
	__u8 padding[6];
};

struct kvmi_get_version_reply {
	__u32 version;
	__u32 max_msg_size;
	struct kvmi_features features;
};

struct kvmi_vm_check_command {
	__u16 id;
	__u16 padding1;
	__u32 padding2;
};

struct kvmi_vm_check_event {
	__u16 id;
	__u16 padding1;
	__u32 padding2;
};

struct kvmi_vm_get_info_reply {
	__u32 vcpu_count;
	__u32 padding[3];
};

struct kvmi_vm_control_events {
	__u16 event_id;
	__u8 enable;
	__u8 padding1;
	__u32 padding2;
};

struct kvmi_vm_read_physical {
	__u64 gpa;
	__u16 size;
	__u16 padding1;
	__u32 padding2;
};

struct kvmi_vm_write_physical {
	__u64 gpa;
	__u16 size;
	__u16 padding1;
	__u32 padding2;
#ifndef __BINDGEN__
	__DECLARE_FLEX_ARRAY(__u8, data);	/* size of them */
#endif
};

struct kvmi_vm_pause_vcpu {
	__u16 vcpu;
	__u8 wait;
	__u8 padding1;
	__u32 padding2;
};

struct kvmi_vm_control_cleanup {
	__u8 enable;
	__u8 padding[7];
};

struct kvmi_page_access_entry {
	__u64 gpa;
	__u8 access;
	__u8 padding[7];
};

struct kvmi_vm_set_page_access {
	__u16 count;
	__u16 padding1;
	__u32 padding2;
#ifndef __BINDGEN__
	__DECLARE_FLEX_ARRAY(struct kvmi_page_access_entry, entries);	/* count */
#endif
};

struct kvmi_vm_get_max_gfn_reply {
	__u64 gfn;
};

struct kvmi_vm_set_on_exit {
	__u8 action;
	__u8 padding[7];
};

struct kvmi_vcpu_get_info_reply {
	__u64 tsc_speed;
};

struct kvmi_vcpu_control_events {
	__u16 event_id;
	__u8 enable;
	__u8 padding1;
	__u32 padding2;
};

struct kvmi_event_hdr {
	__u16 event;
	__u16 padding[3];
};

struct kvmi_vcpu_event_reply {
	__u8 action;
	__u8 event;
	__u16 padding1;
	__u32 padding2;
};

struct kvmi_vcpu_event_breakpoint {
	__u64 gpa;
	__u8 insn_len;
	__u8 padding[7];
};

struct kvmi_vcpu_event_pf {
	__u64 gva;
	__u64 gpa;
	__u8 access;
	__u8 padding1;
	__u16 padding2;
	__u32 padding3;
};

struct kvmi_vcpu_event_singlestep {
	__u8 failed;
	__u8 padding[7];
};

#endif /* _UAPI__LINUX_KVMI_H */
