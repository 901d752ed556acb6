// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program written for the headers of the series of 2021 compiles with these:
 * every structure, field and tail of them is here, at its place on the wire.
 * Nothing is included but what is tested, and no library but C's is used.
 */
#include <linux/kvmi.h>

int puts(const char *text);
void *calloc(unsigned long count, unsigned long size);
void free(void *memory);

#define SIZE(type, size)						\
	_Static_assert(sizeof(struct type) == (size), "size of " #type)
#define AT(type, field, offset)						\
	_Static_assert(__builtin_offsetof(struct type, field) == (offset), \
		       #type "." #field)
#define IS(name, value)							\
	_Static_assert((name) == (value), #name)

SIZE(kvm_introspection_hook, 24);
AT(kvm_introspection_hook, fd, 0);
AT(kvm_introspection_hook, padding, 4);
AT(kvm_introspection_hook, uuid, 8);

SIZE(kvm_introspection_feature, 8);
AT(kvm_introspection_feature, allow, 0);
AT(kvm_introspection_feature, id, 4);

SIZE(kvmi_msg_hdr, 8);
AT(kvmi_msg_hdr, id, 0);
AT(kvmi_msg_hdr, size, 2);
AT(kvmi_msg_hdr, seq, 4);

SIZE(kvmi_error_code, 8);
AT(kvmi_error_code, err, 0);
AT(kvmi_error_code, padding, 4);

SIZE(kvmi_vcpu_hdr, 8);
AT(kvmi_vcpu_hdr, vcpu, 0);
AT(kvmi_vcpu_hdr, padding1, 2);
AT(kvmi_vcpu_hdr, padding2, 4);

SIZE(kvmi_features, 8);
AT(kvmi_features, singlestep, 0);

SIZE(kvmi_get_version_reply, 16);
AT(kvmi_get_version_reply, version, 0);
AT(kvmi_get_version_reply, max_msg_size, 4);
AT(kvmi_get_version_reply, features, 8);

SIZE(kvmi_vm_check_command, 8);
AT(kvmi_vm_check_command, id, 0);
AT(kvmi_vm_check_command, padding1, 2);
AT(kvmi_vm_check_command, padding2, 4);

SIZE(kvmi_vm_check_event, 8);
AT(kvmi_vm_check_event, id, 0);
AT(kvmi_vm_check_event, padding1, 2);
AT(kvmi_vm_check_event, padding2, 4);

SIZE(kvmi_vm_get_info_reply, 16);
AT(kvmi_vm_get_info_reply, vcpu_count, 0);
AT(kvmi_vm_get_info_reply, padding, 4);

SIZE(kvmi_vm_control_events, 8);
AT(kvmi_vm_control_events, event_id, 0);
AT(kvmi_vm_control_events, enable, 2);
AT(kvmi_vm_control_events, padding1, 3);
AT(kvmi_vm_control_events, padding2, 4);

SIZE(kvmi_vm_read_physical, 16);
AT(kvmi_vm_read_physical, gpa, 0);
AT(kvmi_vm_read_physical, size, 8);
AT(kvmi_vm_read_physical, padding1, 10);
AT(kvmi_vm_read_physical, padding2, 12);

SIZE(kvmi_vm_write_physical, 16);
AT(kvmi_vm_write_physical, gpa, 0);
AT(kvmi_vm_write_physical, size, 8);
AT(kvmi_vm_write_physical, padding1, 10);
AT(kvmi_vm_write_physical, padding2, 12);
AT(kvmi_vm_write_physical, data, 16);

SIZE(kvmi_vm_pause_vcpu, 8);
AT(kvmi_vm_pause_vcpu, vcpu, 0);
AT(kvmi_vm_pause_vcpu, wait, 2);
AT(kvmi_vm_pause_vcpu, padding1, 3);
AT(kvmi_vm_pause_vcpu, padding2, 4);

SIZE(kvmi_vm_control_cleanup, 8);
AT(kvmi_vm_control_cleanup, enable, 0);
AT(kvmi_vm_control_cleanup, padding, 1);

SIZE(kvmi_page_access_entry, 16);
AT(kvmi_page_access_entry, gpa, 0);
AT(kvmi_page_access_entry, access, 8);
AT(kvmi_page_access_entry, padding, 9);

SIZE(kvmi_vm_set_page_access, 8);
AT(kvmi_vm_set_page_access, count, 0);
AT(kvmi_vm_set_page_access, padding1, 2);
AT(kvmi_vm_set_page_access, padding2, 4);
AT(kvmi_vm_set_page_access, entries, 8);

SIZE(kvmi_vcpu_get_info_reply, 8);
AT(kvmi_vcpu_get_info_reply, tsc_speed, 0);

SIZE(kvmi_vcpu_control_events, 8);
AT(kvmi_vcpu_control_events, event_id, 0);
AT(kvmi_vcpu_control_events, enable, 2);
AT(kvmi_vcpu_control_events, padding1, 3);
AT(kvmi_vcpu_control_events, padding2, 4);

SIZE(kvmi_vcpu_get_registers, 8);
AT(kvmi_vcpu_get_registers, nmsrs, 0);
AT(kvmi_vcpu_get_registers, padding1, 2);
AT(kvmi_vcpu_get_registers, padding2, 4);
AT(kvmi_vcpu_get_registers, msrs_idx, 8);

SIZE(kvmi_vcpu_get_registers_reply, 472);
AT(kvmi_vcpu_get_registers_reply, mode, 0);
AT(kvmi_vcpu_get_registers_reply, padding, 4);
AT(kvmi_vcpu_get_registers_reply, regs, 8);
AT(kvmi_vcpu_get_registers_reply, sregs, 152);
AT(kvmi_vcpu_get_registers_reply, msrs, 464);
AT(kvmi_vcpu_get_registers_reply, msrs.nmsrs, 464);
AT(kvmi_vcpu_get_registers_reply, msrs.pad, 468);
AT(kvmi_vcpu_get_registers_reply, msrs.entries, 472);

SIZE(kvmi_vcpu_get_cpuid, 8);
AT(kvmi_vcpu_get_cpuid, function, 0);
AT(kvmi_vcpu_get_cpuid, index, 4);

SIZE(kvmi_vcpu_get_cpuid_reply, 16);
AT(kvmi_vcpu_get_cpuid_reply, eax, 0);
AT(kvmi_vcpu_get_cpuid_reply, ebx, 4);
AT(kvmi_vcpu_get_cpuid_reply, ecx, 8);
AT(kvmi_vcpu_get_cpuid_reply, edx, 12);

SIZE(kvmi_vcpu_control_cr, 8);
AT(kvmi_vcpu_control_cr, cr, 0);
AT(kvmi_vcpu_control_cr, enable, 1);
AT(kvmi_vcpu_control_cr, padding1, 2);
AT(kvmi_vcpu_control_cr, padding2, 4);

SIZE(kvmi_vcpu_inject_exception, 16);
AT(kvmi_vcpu_inject_exception, nr, 0);
AT(kvmi_vcpu_inject_exception, padding1, 1);
AT(kvmi_vcpu_inject_exception, padding2, 2);
AT(kvmi_vcpu_inject_exception, error_code, 4);
AT(kvmi_vcpu_inject_exception, address, 8);

SIZE(kvmi_vcpu_get_xcr, 8);
AT(kvmi_vcpu_get_xcr, xcr, 0);
AT(kvmi_vcpu_get_xcr, padding, 1);

SIZE(kvmi_vcpu_get_xcr_reply, 8);
AT(kvmi_vcpu_get_xcr_reply, value, 0);

SIZE(kvmi_vcpu_get_xsave_reply, 4096);
AT(kvmi_vcpu_get_xsave_reply, xsave, 0);

SIZE(kvmi_vcpu_set_xsave, 4096);
AT(kvmi_vcpu_set_xsave, xsave, 0);

SIZE(kvmi_vcpu_get_mtrr_type, 8);
AT(kvmi_vcpu_get_mtrr_type, gpa, 0);

SIZE(kvmi_vcpu_get_mtrr_type_reply, 8);
AT(kvmi_vcpu_get_mtrr_type_reply, type, 0);
AT(kvmi_vcpu_get_mtrr_type_reply, padding, 1);

SIZE(kvmi_vcpu_control_msr, 8);
AT(kvmi_vcpu_control_msr, enable, 0);
AT(kvmi_vcpu_control_msr, padding1, 1);
AT(kvmi_vcpu_control_msr, padding2, 2);
AT(kvmi_vcpu_control_msr, msr, 4);

SIZE(kvmi_vcpu_control_singlestep, 8);
AT(kvmi_vcpu_control_singlestep, enable, 0);
AT(kvmi_vcpu_control_singlestep, padding, 1);

SIZE(kvmi_vcpu_translate_gva, 8);
AT(kvmi_vcpu_translate_gva, gva, 0);

SIZE(kvmi_vcpu_translate_gva_reply, 8);
AT(kvmi_vcpu_translate_gva_reply, gpa, 0);

SIZE(kvmi_event_hdr, 8);
AT(kvmi_event_hdr, event, 0);
AT(kvmi_event_hdr, padding, 2);

SIZE(kvmi_vcpu_event_arch, 536);
AT(kvmi_vcpu_event_arch, mode, 0);
AT(kvmi_vcpu_event_arch, padding, 1);
AT(kvmi_vcpu_event_arch, regs, 8);
AT(kvmi_vcpu_event_arch, sregs, 152);
AT(kvmi_vcpu_event_arch, msrs.sysenter_cs, 464);
AT(kvmi_vcpu_event_arch, msrs.sysenter_esp, 472);
AT(kvmi_vcpu_event_arch, msrs.sysenter_eip, 480);
AT(kvmi_vcpu_event_arch, msrs.efer, 488);
AT(kvmi_vcpu_event_arch, msrs.star, 496);
AT(kvmi_vcpu_event_arch, msrs.lstar, 504);
AT(kvmi_vcpu_event_arch, msrs.cstar, 512);
AT(kvmi_vcpu_event_arch, msrs.pat, 520);
AT(kvmi_vcpu_event_arch, msrs.shadow_gs, 528);

SIZE(kvmi_vcpu_event, 544);
AT(kvmi_vcpu_event, size, 0);
AT(kvmi_vcpu_event, vcpu, 2);
AT(kvmi_vcpu_event, padding, 4);
AT(kvmi_vcpu_event, arch, 8);

SIZE(kvmi_vcpu_event_reply, 8);
AT(kvmi_vcpu_event_reply, action, 0);
AT(kvmi_vcpu_event_reply, event, 1);
AT(kvmi_vcpu_event_reply, padding1, 2);
AT(kvmi_vcpu_event_reply, padding2, 4);

SIZE(kvmi_vcpu_event_breakpoint, 16);
AT(kvmi_vcpu_event_breakpoint, gpa, 0);
AT(kvmi_vcpu_event_breakpoint, insn_len, 8);
AT(kvmi_vcpu_event_breakpoint, padding, 9);

SIZE(kvmi_vcpu_event_cr, 24);
AT(kvmi_vcpu_event_cr, cr, 0);
AT(kvmi_vcpu_event_cr, padding, 1);
AT(kvmi_vcpu_event_cr, old_value, 8);
AT(kvmi_vcpu_event_cr, new_value, 16);

SIZE(kvmi_vcpu_event_cr_reply, 8);
AT(kvmi_vcpu_event_cr_reply, new_val, 0);

SIZE(kvmi_vcpu_event_trap, 16);
AT(kvmi_vcpu_event_trap, nr, 0);
AT(kvmi_vcpu_event_trap, padding1, 1);
AT(kvmi_vcpu_event_trap, padding2, 2);
AT(kvmi_vcpu_event_trap, error_code, 4);
AT(kvmi_vcpu_event_trap, address, 8);

SIZE(kvmi_vcpu_event_xsetbv, 24);
AT(kvmi_vcpu_event_xsetbv, xcr, 0);
AT(kvmi_vcpu_event_xsetbv, padding, 1);
AT(kvmi_vcpu_event_xsetbv, old_value, 8);
AT(kvmi_vcpu_event_xsetbv, new_value, 16);

SIZE(kvmi_vcpu_event_descriptor, 8);
AT(kvmi_vcpu_event_descriptor, descriptor, 0);
AT(kvmi_vcpu_event_descriptor, write, 1);
AT(kvmi_vcpu_event_descriptor, padding, 2);

SIZE(kvmi_vcpu_event_msr, 24);
AT(kvmi_vcpu_event_msr, msr, 0);
AT(kvmi_vcpu_event_msr, padding, 4);
AT(kvmi_vcpu_event_msr, old_value, 8);
AT(kvmi_vcpu_event_msr, new_value, 16);

SIZE(kvmi_vcpu_event_msr_reply, 8);
AT(kvmi_vcpu_event_msr_reply, new_val, 0);

SIZE(kvmi_vcpu_event_pf, 24);
AT(kvmi_vcpu_event_pf, gva, 0);
AT(kvmi_vcpu_event_pf, gpa, 8);
AT(kvmi_vcpu_event_pf, access, 16);
AT(kvmi_vcpu_event_pf, padding1, 17);
AT(kvmi_vcpu_event_pf, padding2, 18);
AT(kvmi_vcpu_event_pf, padding3, 20);

SIZE(kvmi_vcpu_event_singlestep, 8);
AT(kvmi_vcpu_event_singlestep, failed, 0);
AT(kvmi_vcpu_event_singlestep, padding, 1);

IS(KVMI_VERSION, 1);
IS(KVMI_VM_EVENT, 0);
IS(KVMI_GET_VERSION, 2);
IS(KVMI_VM_CHECK_COMMAND, 4);
IS(KVMI_VM_CHECK_EVENT, 6);
IS(KVMI_VM_GET_INFO, 8);
IS(KVMI_VM_CONTROL_EVENTS, 10);
IS(KVMI_VM_READ_PHYSICAL, 12);
IS(KVMI_VM_WRITE_PHYSICAL, 14);
IS(KVMI_VM_PAUSE_VCPU, 16);
IS(KVMI_VM_CONTROL_CLEANUP, 18);
IS(KVMI_VM_SET_PAGE_ACCESS, 20);
IS(KVMI_VCPU_EVENT, 1);
IS(KVMI_VCPU_GET_INFO, 3);
IS(KVMI_VCPU_CONTROL_EVENTS, 5);
IS(KVMI_VCPU_GET_REGISTERS, 7);
IS(KVMI_VCPU_SET_REGISTERS, 9);
IS(KVMI_VCPU_GET_CPUID, 11);
IS(KVMI_VCPU_CONTROL_CR, 13);
IS(KVMI_VCPU_INJECT_EXCEPTION, 15);
IS(KVMI_VCPU_GET_XCR, 17);
IS(KVMI_VCPU_GET_XSAVE, 19);
IS(KVMI_VCPU_SET_XSAVE, 21);
IS(KVMI_VCPU_GET_MTRR_TYPE, 23);
IS(KVMI_VCPU_CONTROL_MSR, 25);
IS(KVMI_VCPU_CONTROL_SINGLESTEP, 27);
IS(KVMI_VCPU_TRANSLATE_GVA, 29);
IS(KVMI_VM_EVENT_UNHOOK, KVMI_VM_EVENT_ID(0));
IS(KVMI_VCPU_EVENT_PAUSE, KVMI_VCPU_EVENT_ID(0));
IS(KVMI_VCPU_EVENT_HYPERCALL, KVMI_VCPU_EVENT_ID(1));
IS(KVMI_VCPU_EVENT_BREAKPOINT, KVMI_VCPU_EVENT_ID(2));
IS(KVMI_VCPU_EVENT_CR, KVMI_VCPU_EVENT_ID(3));
IS(KVMI_VCPU_EVENT_TRAP, KVMI_VCPU_EVENT_ID(4));
IS(KVMI_VCPU_EVENT_XSETBV, KVMI_VCPU_EVENT_ID(5));
IS(KVMI_VCPU_EVENT_DESCRIPTOR, KVMI_VCPU_EVENT_ID(6));
IS(KVMI_VCPU_EVENT_MSR, KVMI_VCPU_EVENT_ID(7));
IS(KVMI_VCPU_EVENT_PF, KVMI_VCPU_EVENT_ID(8));
IS(KVMI_VCPU_EVENT_SINGLESTEP, KVMI_VCPU_EVENT_ID(9));
IS(KVMI_VM_MESSAGE_ID(10), KVMI_VM_SET_PAGE_ACCESS);
IS(KVMI_VCPU_MESSAGE_ID(14), KVMI_VCPU_TRANSLATE_GVA);
IS(KVMI_EVENT_ACTION_CONTINUE, 0);
IS(KVMI_EVENT_ACTION_RETRY, 1);
IS(KVMI_EVENT_ACTION_CRASH, 2);
IS(KVMI_PAGE_ACCESS_R, 1);
IS(KVMI_PAGE_ACCESS_W, 2);
IS(KVMI_PAGE_ACCESS_X, 4);
IS(KVMI_DESC_IDTR, 1);
IS(KVMI_DESC_GDTR, 2);
IS(KVMI_DESC_LDTR, 3);
IS(KVMI_DESC_TR, 4);
IS(KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT, 24);
IS(KVM_INTROSPECTION_HOOK, 0x4018aec8);
IS(KVM_INTROSPECTION_UNHOOK, 0xaec9);
IS(KVM_INTROSPECTION_COMMAND, 0x4008aeca);
IS(KVM_INTROSPECTION_EVENT, 0x4008aecb);
IS(KVM_INTROSPECTION_PREUNHOOK, 0xaecc);

/* The first ids that v12 did not have: never below them. */
_Static_assert(KVMI_NEXT_VM_MESSAGE >= 21 && KVMI_NEXT_VCPU_MESSAGE >= 30 &&
	       KVMI_NEXT_VM_EVENT >= 1 && KVMI_NEXT_VCPU_EVENT >= 20, "NEXT");

/* As such programs make a message: head and tail in one piece of memory. */
static int uses_tails(void)
{
	struct kvmi_vcpu_get_registers_reply *registers;
	struct kvmi_vm_set_page_access *access;
	struct kvmi_vm_write_physical *write;
	struct kvmi_vcpu_get_registers *get;
	unsigned char *bytes;
	int ok;

	access = calloc(1, sizeof(*access) + 2 * sizeof(access->entries[0]));
	write = calloc(1, sizeof(*write) + 4);
	get = calloc(1, sizeof(*get) + 2 * sizeof(get->msrs_idx[0]));
	registers = calloc(1, sizeof(*registers) +
			   2 * sizeof(registers->msrs.entries[0]));
	if (!access || !write || !get || !registers)
		return 0;

	access->entries[1].access = KVMI_PAGE_ACCESS_X;
	write->data[3] = 5;
	get->msrs_idx[1] = 6;
	registers->msrs.entries[1].data = 7;

	bytes = (unsigned char *)access;
	ok = bytes[8 + 16 + 8] == KVMI_PAGE_ACCESS_X;
	bytes = (unsigned char *)write;
	ok = ok && bytes[16 + 3] == 5;
	bytes = (unsigned char *)get;
	ok = ok && bytes[8 + 4] == 6;
	bytes = (unsigned char *)registers;
	ok = ok && bytes[472 + 16 + 8] == 7;

	free(access);
	free(write);
	free(get);
	free(registers);
	return ok;
}

int main(void)
{
	int ok = uses_tails();

	puts(ok ? "ok 1 kvmi_header" : "not ok 1 kvmi_header");
	return !ok;
}
