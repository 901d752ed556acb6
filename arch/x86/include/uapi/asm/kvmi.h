/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_ASM_X86_KVMI_H
#define _UAPI_ASM_X86_KVMI_H

/* The x86 part of <linux/kvmi.h>, which includes it. */

#include <linux/types.h>
#include <linux/stddef.h>
#include <asm/kvm.h>

/* Hypercall number and sub-function that raise the HYPERCALL event. */
#define KVM_HC_XEN_HVM_OP			34
#define KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT 24

#define KVMI_DESC_IDTR	1
#define KVMI_DESC_GDTR	2
#define KVMI_DESC_LDTR	3
#define KVMI_DESC_TR	4

struct kvmi_vcpu_get_registers {
	__u16 nmsrs;
	__u16 padding1;
	__u32 padding2;
#ifndef __BINDGEN__
	__DECLARE_FLEX_ARRAY(__u32, msrs_idx);	/* nmsrs of them */
#endif
};

struct kvmi_vcpu_get_registers_reply {
	__u32 mode;
	__u32 padding;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
#ifndef __BINDGEN__
	struct kvm_msrs msrs;
#else
	/* The head of it. */
	__u32 msrs_nmsrs;
	__u32 msrs_pad;
#endif
};

struct kvmi_vcpu_get_cpuid {
	__u32 function;
	__u32 index;
};

struct kvmi_vcpu_get_cpuid_reply {
	__u32 eax;
	__u32 ebx;
	__u32 ecx;
	__u32 edx;
};

struct kvmi_vcpu_control_cr {
	__u8 cr;
	__u8 enable;
	__u16 padding1;
	__u32 padding2;
};

struct kvmi_vcpu_inject_exception {
	__u8 nr;
	__u8 padding1;
	__u16 padding2;
	__u32 error_code;
	__u64 address;
};

struct kvmi_vcpu_get_xcr {
	__u8 xcr;
	__u8 padding[7];
};

struct kvmi_vcpu_get_xcr_reply {
	__u64 value;
};

#ifndef __BINDGEN__
struct kvmi_vcpu_get_xsave_reply {
	struct kvm_xsave xsave;
};

struct kvmi_vcpu_set_xsave {
	struct kvm_xsave xsave;
};
#endif

struct kvmi_vcpu_get_mtrr_type {
	__u64 gpa;
};

struct kvmi_vcpu_get_mtrr_type_reply {
	__u8 type;
	__u8 padding[7];
};

struct kvmi_vcpu_control_msr {
	__u8 enable;
	__u8 padding1;
	__u16 padding2;
	__u32 msr;
};

struct kvmi_vcpu_control_singlestep {
	__u8 enable;
	__u8 padding[7];
};

struct kvmi_vcpu_translate_gva {
	__u64 gva;
};

struct kvmi_vcpu_translate_gva_reply {
	__u64 gpa;
};

struct kvmi_vcpu_event_arch_msrs {
	__u64 sysenter_cs;
	__u64 sysenter_esp;
	__u64 sysenter_eip;
	__u64 efer;
	__u64 star;
	__u64 lstar;
	__u64 cstar;
	__u64 pat;
	__u64 shadow_gs;
};

struct kvmi_vcpu_event_arch {
	__u8 mode;
	__u8 padding[7];
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvmi_vcpu_event_arch_msrs msrs;
};

/* size is that of this structure: what an event adds lies behind it. */
struct kvmi_vcpu_event {
	__u16 size;
	__u16 vcpu;
	__u32 padding;
	struct kvmi_vcpu_event_arch arch;
};

struct kvmi_vcpu_event_cr {
	__u8 cr;
	__u8 padding[7];
	__u64 old_value;
	__u64 new_value;
};

struct kvmi_vcpu_event_cr_reply {
	__u64 new_val;
};

struct kvmi_vcpu_event_trap {
	__u8 nr;
	__u8 padding1;
	__u16 padding2;
	__u32 error_code;
	__u64 address;
};

struct kvmi_vcpu_event_xsetbv {
	__u8 xcr;
	__u8 padding[7];
	__u64 old_value;
	__u64 new_value;
};

struct kvmi_vcpu_event_descriptor {
	__u8 descriptor;
	__u8 write;
	__u8 padding[6];
};

struct kvmi_vcpu_event_msr {
	__u32 msr;
	__u32 padding;
	__u64 old_value;
	__u64 new_value;
};

struct kvmi_vcpu_event_msr_reply {
	__u64 new_val;
};

struct kvmi_vcpu_event_cpuid {
	__u32 function;
	__u32 index;
	__u8 insn_len;
	__u8 padding[7];
};

#endif /* _UAPI_ASM_X86_KVMI_H */
