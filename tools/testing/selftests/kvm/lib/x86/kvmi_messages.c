// SPDX-License-Identifier: GPL-2.0-only
/* The table of messages.  See kvmi_util.h. */
#include "kvmi_util.h"

/*
 * What a sample needs: page 0 is memory in every VM of this library, vCPU 0
 * is inside a PAUSE event, and register values are never applied since the
 * session ends without a valid reply.
 */
#define PAD(type, field) \
	{ offsetof(struct type, field), sizeof_field(struct type, field) }
#define VCPU_PAD(type, field)						\
	{ sizeof(struct kvmi_vcpu_hdr) + offsetof(struct type, field),	\
	  sizeof_field(struct type, field) }
#define REPLY(type)	(sizeof(struct kvmi_error_code) + sizeof(struct type))
#define VCPU_REQUEST(type) (sizeof(struct kvmi_vcpu_hdr) + sizeof(struct type))
#define NO_REPLY	sizeof(struct kvmi_error_code)

#ifndef sizeof_field
#define sizeof_field(type, field) sizeof(((type *)0)->field)
#endif

const struct kvmi_message kvmi_messages[] = {
	{
		.name = "GET_VERSION",
		.id = KVMI_GET_VERSION,
		.always_allowed = true,
		.reply = REPLY(kvmi_get_version_reply),
	}, {
		.name = "VM_CHECK_COMMAND",
		.id = KVMI_VM_CHECK_COMMAND,
		.always_allowed = true,
		.request = sizeof(struct kvmi_vm_check_command),
		.sample = { KVMI_GET_VERSION },
		.reply = NO_REPLY,
		.padding = {
			PAD(kvmi_vm_check_command, padding1),
			PAD(kvmi_vm_check_command, padding2),
		},
	}, {
		.name = "VM_CHECK_EVENT",
		.id = KVMI_VM_CHECK_EVENT,
		.always_allowed = true,
		.request = sizeof(struct kvmi_vm_check_event),
		.sample = { KVMI_VCPU_EVENT_PAUSE },
		.reply = NO_REPLY,
		.padding = {
			PAD(kvmi_vm_check_event, padding1),
			PAD(kvmi_vm_check_event, padding2),
		},
	}, {
		.name = "VM_GET_INFO",
		.id = KVMI_VM_GET_INFO,
		.reply = REPLY(kvmi_vm_get_info_reply),
	}, {
		.name = "VM_CONTROL_EVENTS",
		.id = KVMI_VM_CONTROL_EVENTS,
		.request = sizeof(struct kvmi_vm_control_events),
		.sample = { KVMI_VM_EVENT_UNHOOK, 0, 1 },
		.reply = NO_REPLY,
		.padding = {
			PAD(kvmi_vm_control_events, padding1),
			PAD(kvmi_vm_control_events, padding2),
		},
	}, {
		.name = "VM_READ_PHYSICAL",
		.id = KVMI_VM_READ_PHYSICAL,
		.request = sizeof(struct kvmi_vm_read_physical),
		.sample = { [offsetof(struct kvmi_vm_read_physical, size)] = 4 },
		.reply = NO_REPLY + 4,
		.padding = {
			PAD(kvmi_vm_read_physical, padding1),
			PAD(kvmi_vm_read_physical, padding2),
		},
	}, {
		.name = "VM_WRITE_PHYSICAL",
		.id = KVMI_VM_WRITE_PHYSICAL,
		.shorter = KVMI_SHORT_CLOSES,
		.request = sizeof(struct kvmi_vm_write_physical) + 4,
		.sample = { [offsetof(struct kvmi_vm_write_physical, size)] = 4 },
		.reply = NO_REPLY,
		.padding = {
			PAD(kvmi_vm_write_physical, padding1),
			PAD(kvmi_vm_write_physical, padding2),
		},
	}, {
		.name = "VM_PAUSE_VCPU",
		.id = KVMI_VM_PAUSE_VCPU,
		.request = sizeof(struct kvmi_vm_pause_vcpu),
		.reply = NO_REPLY,
		.padding = {
			PAD(kvmi_vm_pause_vcpu, padding1),
			PAD(kvmi_vm_pause_vcpu, padding2),
		},
	}, {
		.name = "VM_CONTROL_CLEANUP",
		.id = KVMI_VM_CONTROL_CLEANUP,
		.request = sizeof(struct kvmi_vm_control_cleanup),
		.sample = { 1 },
		.reply = NO_REPLY,
		.padding = { PAD(kvmi_vm_control_cleanup, padding) },
	}, {
		.name = "VM_SET_PAGE_ACCESS",
		.id = KVMI_VM_SET_PAGE_ACCESS,
		/* No entries. */
		.request = sizeof(struct kvmi_vm_set_page_access),
		.reply = NO_REPLY,
		.shorter = KVMI_SHORT_CLOSES,
		.padding = {
			PAD(kvmi_vm_set_page_access, padding1),
			PAD(kvmi_vm_set_page_access, padding2),
		},
	}, {
		.name = "VM_GET_MAX_GFN",
		.id = KVMI_VM_GET_MAX_GFN,
		.reply = REPLY(kvmi_vm_get_max_gfn_reply),
	}, {
		.name = "VM_SET_ON_EXIT",
		.id = KVMI_VM_SET_ON_EXIT,
		.request = sizeof(struct kvmi_vm_set_on_exit),
		.sample = { KVMI_ON_EXIT_RELEASE },
		.reply = NO_REPLY,
		.padding = { PAD(kvmi_vm_set_on_exit, padding) },
	}, {
		.name = "VCPU_GET_INFO",
		.id = KVMI_VCPU_GET_INFO,
		.request = sizeof(struct kvmi_vcpu_hdr),
		.reply = REPLY(kvmi_vcpu_get_info_reply),
	}, {
		.name = "VCPU_CONTROL_EVENTS",
		.id = KVMI_VCPU_CONTROL_EVENTS,
		.request = VCPU_REQUEST(kvmi_vcpu_control_events),
		/* A request cut to its header names event 0: no vCPU event. */
		.sample = { [8] = KVMI_VCPU_EVENT_PAUSE, [10] = 1 },
		.reply = NO_REPLY,
		.padding = {
			VCPU_PAD(kvmi_vcpu_control_events, padding1),
			VCPU_PAD(kvmi_vcpu_control_events, padding2),
		},
	}, {
		.name = "VCPU_GET_REGISTERS",
		.id = KVMI_VCPU_GET_REGISTERS,
		.shorter = KVMI_SHORT_EINVAL,
		.request = VCPU_REQUEST(kvmi_vcpu_get_registers) + 4,
		/* One MSR: 0x174, SYSENTER_CS. */
		.sample = { [8] = 1, [16] = 0x74, [17] = 0x01 },
		.reply = REPLY(kvmi_vcpu_get_registers_reply) +
			 sizeof(struct kvm_msr_entry),
		.padding = {
			VCPU_PAD(kvmi_vcpu_get_registers, padding1),
			VCPU_PAD(kvmi_vcpu_get_registers, padding2),
		},
	}, {
		.name = "VCPU_SET_REGISTERS",
		.id = KVMI_VCPU_SET_REGISTERS,
		.shorter = KVMI_SHORT_EINVAL,
		.request = VCPU_REQUEST(kvm_regs),
		.reply = NO_REPLY,
	}, {
		.name = "VCPU_GET_CPUID",
		.id = KVMI_VCPU_GET_CPUID,
		.request = VCPU_REQUEST(kvmi_vcpu_get_cpuid),
		.reply = REPLY(kvmi_vcpu_get_cpuid_reply),
	}, {
		.name = "VCPU_CONTROL_CR",
		.id = KVMI_VCPU_CONTROL_CR,
		.request = VCPU_REQUEST(kvmi_vcpu_control_cr),
		.sample = { [8] = 3, [9] = 1 },
		.reply = NO_REPLY,
		.padding = {
			VCPU_PAD(kvmi_vcpu_control_cr, padding1),
			VCPU_PAD(kvmi_vcpu_control_cr, padding2),
		},
	}, {
		.name = "VCPU_INJECT_EXCEPTION",
		.id = KVMI_VCPU_INJECT_EXCEPTION,
		.request = VCPU_REQUEST(kvmi_vcpu_inject_exception),
		.sample = { [8] = 14 },
		.reply = NO_REPLY,
		.padding = {
			VCPU_PAD(kvmi_vcpu_inject_exception, padding1),
			VCPU_PAD(kvmi_vcpu_inject_exception, padding2),
		},
		.once = true,
	}, {
		.name = "VCPU_GET_XCR",
		.id = KVMI_VCPU_GET_XCR,
		.request = VCPU_REQUEST(kvmi_vcpu_get_xcr),
		.reply = REPLY(kvmi_vcpu_get_xcr_reply),
		.padding = { VCPU_PAD(kvmi_vcpu_get_xcr, padding) },
	}, {
		.name = "VCPU_GET_XSAVE",
		.id = KVMI_VCPU_GET_XSAVE,
		.request = sizeof(struct kvmi_vcpu_hdr),
		.reply = REPLY(kvm_xsave),
	}, {
		.name = "VCPU_SET_XSAVE",
		.id = KVMI_VCPU_SET_XSAVE,
		.shorter = KVMI_SHORT_EINVAL,
		/* All of it in its initial state. */
		.request = VCPU_REQUEST(kvm_xsave),
		.reply = NO_REPLY,
	}, {
		.name = "VCPU_GET_MTRR_TYPE",
		.id = KVMI_VCPU_GET_MTRR_TYPE,
		.request = VCPU_REQUEST(kvmi_vcpu_get_mtrr_type),
		.reply = REPLY(kvmi_vcpu_get_mtrr_type_reply),
	}, {
		.name = "VCPU_CONTROL_MSR",
		.id = KVMI_VCPU_CONTROL_MSR,
		.request = VCPU_REQUEST(kvmi_vcpu_control_msr),
		/* 0x174, SYSENTER_CS. */
		.sample = { [8] = 1, [12] = 0x74, [13] = 0x01 },
		.reply = NO_REPLY,
		.padding = {
			VCPU_PAD(kvmi_vcpu_control_msr, padding1),
			VCPU_PAD(kvmi_vcpu_control_msr, padding2),
		},
	}, {
		.name = "VCPU_CONTROL_SINGLESTEP",
		.id = KVMI_VCPU_CONTROL_SINGLESTEP,
		/* Off: what is on tells of each instruction. */
		.request = VCPU_REQUEST(kvmi_vcpu_control_singlestep),
		.reply = NO_REPLY,
		.padding = {
			VCPU_PAD(kvmi_vcpu_control_singlestep, padding),
		},
	}, {
		.name = "VCPU_TRANSLATE_GVA",
		.id = KVMI_VCPU_TRANSLATE_GVA,
		.request = VCPU_REQUEST(kvmi_vcpu_translate_gva),
		.reply = REPLY(kvmi_vcpu_translate_gva_reply),
	},
};

const size_t kvmi_nr_messages = ARRAY_SIZE(kvmi_messages);

const struct kvmi_message *kvmi_find_message(u16 id)
{
	const struct kvmi_message *m;

	kvmi_for_each_message(m)
		if (m->id == id)
			return m;
	return NULL;
}

bool kvmi_known_event(u16 id)
{
	switch (id) {
	case KVMI_VM_EVENT_UNHOOK:
	case KVMI_VCPU_EVENT_PAUSE:
	case KVMI_VCPU_EVENT_HYPERCALL:
	case KVMI_VCPU_EVENT_BREAKPOINT:
	case KVMI_VCPU_EVENT_CR:
	case KVMI_VCPU_EVENT_TRAP:
	case KVMI_VCPU_EVENT_XSETBV:
	case KVMI_VCPU_EVENT_DESCRIPTOR:
	case KVMI_VCPU_EVENT_MSR:
	case KVMI_VCPU_EVENT_PF:
	case KVMI_VCPU_EVENT_SINGLESTEP:
	case KVMI_VCPU_EVENT_CPUID:
		return true;
	default:
		return false;
	}
}
