// SPDX-License-Identifier: GPL-2.0-only
/* vCPU events and their replies.  See kvmi_util.h. */
#include "kvmi_util.h"

bool kvmi_is_zero(const void *data, size_t size)
{
	const u8 *p = data;

	while (size--)
		if (*p++)
			return false;
	return true;
}

void kvmi_parse_event(const struct kvmi_msg *msg, struct kvmi_event *ev)
{
	const struct kvmi_event_hdr *hdr = (const void *)msg->data;
	const size_t common = sizeof(*hdr) + sizeof(ev->vcpu);
	const struct kvm_sregs *sregs;

	TEST_ASSERT(kvmi_is_event(msg) && msg->hdr.id == KVMI_VCPU_EVENT,
		    "Message %u is no vCPU event", msg->hdr.id);
	TEST_ASSERT(msg->hdr.size >= common &&
		    msg->hdr.size - common <= sizeof(ev->specific),
		    "vCPU event of %u bytes", msg->hdr.size);

	memset(ev, 0, sizeof(*ev));
	ev->seq = msg->hdr.seq;
	ev->event = hdr->event;
	memcpy(&ev->vcpu, msg->data + sizeof(*hdr), sizeof(ev->vcpu));
	ev->specific_size = msg->hdr.size - common;
	memcpy(ev->specific, msg->data + common, ev->specific_size);

	sregs = &ev->vcpu.arch.sregs;
	TEST_ASSERT_EQ(ev->vcpu.size, sizeof(ev->vcpu));
	TEST_ASSERT(kvmi_is_zero(hdr->padding, sizeof(hdr->padding)) &&
		    !ev->vcpu.padding &&
		    kvmi_is_zero(ev->vcpu.arch.padding,
			    sizeof(ev->vcpu.arch.padding)) &&
		    kvmi_is_zero(sregs->gdt.padding, sizeof(sregs->gdt.padding)) &&
		    kvmi_is_zero(sregs->idt.padding, sizeof(sregs->idt.padding)) &&
		    !sregs->cs.padding && !sregs->tr.padding,
		    "Event with padding that is not zero");
}

void kvmi_recv_event(struct kvmi *k, struct kvmi_event *ev)
{
	struct kvmi_msg *msg = __kvmi_recv_event(k);

	TEST_ASSERT(msg, "The session ended before the event");
	kvmi_parse_event(msg, ev);
	free(msg);
}

void kvmi_recv_pause(struct kvmi *k, u16 vcpu, struct kvmi_event *ev)
{
	kvmi_recv_event(k, ev);
	TEST_ASSERT_EQ(ev->event, KVMI_VCPU_EVENT_PAUSE);
	TEST_ASSERT_EQ(ev->vcpu.vcpu, vcpu);
	TEST_ASSERT_EQ(ev->specific_size, 0);
}

void kvmi_recv_unhook_event(struct kvmi *k, u32 seq)
{
	struct kvmi_msg *msg = __kvmi_recv_event(k);

	TEST_ASSERT(msg, "The session ended before the event");
	TEST_ASSERT_EQ(msg->hdr.id, KVMI_VM_EVENT);
	TEST_ASSERT_EQ(msg->hdr.size, sizeof(struct kvmi_event_hdr));
	TEST_ASSERT_EQ(msg->hdr.seq, seq);
	TEST_ASSERT(kvmi_is_zero(msg->data, msg->hdr.size),
		    "UNHOOK event with contents");
	free(msg);
}

void kvmi_build_reply(struct kvmi_reply_msg *msg, const struct kvmi_event *ev,
		      u8 action)
{
	memset(msg, 0, sizeof(*msg));
	msg->hdr.id = KVMI_VCPU_EVENT;
	msg->hdr.size = sizeof(*msg) - sizeof(msg->hdr);
	msg->hdr.seq = ev->seq;
	msg->vcpu.vcpu = ev->vcpu.vcpu;
	msg->reply.action = action;
	msg->reply.event = ev->event;
}

void kvmi_reply(struct kvmi *k, const struct kvmi_event *ev, u8 action)
{
	struct kvmi_reply_msg msg;

	kvmi_build_reply(&msg, ev, action);
	kvmi_send_raw(k, &msg, sizeof(msg));
}

void kvmi_recv_pf(struct kvmi *k, struct kvmi_event *ev, u64 gpa, u8 access)
{
	const struct kvmi_vcpu_event_pf *pf = (const void *)ev->specific;

	kvmi_recv_event(k, ev);
	TEST_ASSERT_EQ(ev->event, KVMI_VCPU_EVENT_PF);
	TEST_ASSERT_EQ(ev->specific_size, sizeof(*pf));
	TEST_ASSERT(pf->gpa == gpa, "At %#llx, not at %#lx", pf->gpa,
		    (unsigned long)gpa);
	TEST_ASSERT(pf->access == access ||
		    (access == KVMI_PAGE_ACCESS_W &&
		     pf->access == (KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W)),
		    "Access %u, not %u", pf->access, access);
	TEST_ASSERT(!pf->padding1 && !pf->padding2 && !pf->padding3, "Padding");
}

void kvmi_stop_vcpu(struct kvmi *k, u16 vcpu, struct kvmi_event *ev)
{
	kvmi_assert_err(kvmi_pause(k, vcpu, 0), 0);
	kvmi_recv_pause(k, vcpu, ev);
}

void kvmi_reply_value(struct kvmi *k, const struct kvmi_event *ev, u8 action,
		      u64 value)
{
	struct {
		struct kvmi_reply_msg msg;
		u64 value;
	} __packed reply = { .value = value };

	kvmi_build_reply(&reply.msg, ev, action);
	reply.msg.hdr.size += sizeof(value);
	kvmi_send_raw(k, &reply, sizeof(reply));
}

void kvmi_continue(struct kvmi *k, const struct kvmi_event *ev)
{
	const struct kvmi_vcpu_event_msr *msr = (const void *)ev->specific;
	const struct kvmi_vcpu_event_cr *cr = (const void *)ev->specific;

	switch (ev->event) {
	case KVMI_VCPU_EVENT_CR:
		kvmi_reply_value(k, ev, KVMI_EVENT_ACTION_CONTINUE,
				 cr->new_value);
		break;
	case KVMI_VCPU_EVENT_MSR:
		kvmi_reply_value(k, ev, KVMI_EVENT_ACTION_CONTINUE,
				 msr->new_value);
		break;
	default:
		kvmi_reply(k, ev, KVMI_EVENT_ACTION_CONTINUE);
		break;
	}
}

void kvmi_recv_this(struct kvmi *k, struct kvmi_event *ev, u16 event,
		    size_t size)
{
	kvmi_recv_event(k, ev);
	TEST_ASSERT_EQ(ev->event, event);
	TEST_ASSERT_EQ(ev->vcpu.vcpu, 0);
	TEST_ASSERT_EQ(ev->specific_size, size);
}
