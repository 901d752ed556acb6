/* SPDX-License-Identifier: GPL-2.0 */
#if !defined(_TRACE_KVMI_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVMI_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvmi

/* vm is the process that created the VM. */

TRACE_EVENT(kvmi_hook,
	TP_PROTO(int vm, int hooker, const char *comm, bool foreign),
	TP_ARGS(vm, hooker, comm, foreign),
	TP_STRUCT__entry(
		__field(int, vm)
		__field(int, hooker)
		__string(comm, comm)
		__field(bool, foreign)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->hooker = hooker;
		__assign_str(comm);
		__entry->foreign = foreign;
	),
	TP_printk("vm %d hooker %d (%s)%s", __entry->vm, __entry->hooker,
		  __get_str(comm), __entry->foreign ? " foreign" : "")
);

TRACE_EVENT(kvmi_unhook,
	TP_PROTO(int vm),
	TP_ARGS(vm),
	TP_STRUCT__entry(__field(int, vm)),
	TP_fast_assign(__entry->vm = vm;),
	TP_printk("vm %d", __entry->vm)
);

TRACE_EVENT(kvmi_command,
	TP_PROTO(int vm, u16 id, u16 size, u32 seq),
	TP_ARGS(vm, id, size, seq),
	TP_STRUCT__entry(
		__field(int, vm)
		__field(u16, id)
		__field(u16, size)
		__field(u32, seq)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->id = id;
		__entry->size = size;
		__entry->seq = seq;
	),
	TP_printk("vm %d id %u size %u seq %u", __entry->vm, __entry->id,
		  __entry->size, __entry->seq)
);

TRACE_EVENT(kvmi_reply,
	TP_PROTO(int vm, u16 id, u16 size, u32 seq, s32 err),
	TP_ARGS(vm, id, size, seq, err),
	TP_STRUCT__entry(
		__field(int, vm)
		__field(u16, id)
		__field(u16, size)
		__field(u32, seq)
		__field(s32, err)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->id = id;
		__entry->size = size;
		__entry->seq = seq;
		__entry->err = err;
	),
	TP_printk("vm %d id %u size %u seq %u err %d", __entry->vm,
		  __entry->id, __entry->size, __entry->seq, __entry->err)
);

TRACE_EVENT(kvmi_event,
	TP_PROTO(int vm, u32 vcpu, u16 event, u32 seq),
	TP_ARGS(vm, vcpu, event, seq),
	TP_STRUCT__entry(
		__field(int, vm)
		__field(u32, vcpu)
		__field(u16, event)
		__field(u32, seq)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->vcpu = vcpu;
		__entry->event = event;
		__entry->seq = seq;
	),
	TP_printk("vm %d vcpu %d event %u seq %u", __entry->vm,
		  (int)__entry->vcpu, __entry->event, __entry->seq)
);

TRACE_EVENT(kvmi_event_reply,
	TP_PROTO(int vm, u32 vcpu, u8 event, u32 seq, u8 action),
	TP_ARGS(vm, vcpu, event, seq, action),
	TP_STRUCT__entry(
		__field(int, vm)
		__field(u32, vcpu)
		__field(u8, event)
		__field(u32, seq)
		__field(u8, action)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->vcpu = vcpu;
		__entry->event = event;
		__entry->seq = seq;
		__entry->action = action;
	),
	TP_printk("vm %d vcpu %u event %u seq %u action %u", __entry->vm,
		  __entry->vcpu, __entry->event, __entry->seq, __entry->action)
);

#endif /* _TRACE_KVMI_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../virt/kvm/introspection
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

#include <trace/define_trace.h>
