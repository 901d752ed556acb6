// SPDX-License-Identifier: GPL-2.0-only
/* Commands and their replies.  See kvmi_util.h. */
#include "kvmi_util.h"

void kvmi_ping(struct kvmi *k)
{
	struct kvmi_get_version_reply reply;

	kvmi_assert_err(kvmi_command(k, KVMI_GET_VERSION, NULL, 0, &reply,
				     sizeof(reply)), 0);
	TEST_ASSERT_EQ(reply.version, KVMI_VERSION);
}

void kvmi_expect_quiet(struct kvmi *k)
{
	struct kvmi_msg *msg;

	/* The one stream is in order: what came before is in the stash. */
	kvmi_ping(k);
	if (list_empty(&k->stash))
		return;
	msg = list_first_entry(&k->stash, struct kvmi_msg, list);
	TEST_FAIL("Unexpected message: id %u, %u bytes, seq %u", msg->hdr.id,
		  msg->hdr.size, msg->hdr.seq);
}

int kvmi_recv_reply(struct kvmi *k, u16 id, u32 seq, void *reply, size_t size)
{
	struct kvmi_error_code ec;
	struct kvmi_msg *msg;

	msg = __kvmi_recv_reply(k, seq);
	TEST_ASSERT(msg, "The session ended before the reply to %u", id);
	TEST_ASSERT(msg->hdr.id == id, "Reply with id %u, wanted %u",
		    msg->hdr.id, id);
	memcpy(&ec, msg->data, sizeof(ec));
	if (!ec.err) {
		TEST_ASSERT(msg->hdr.size == sizeof(ec) + size,
			    "Reply to %u has %u bytes, wanted %zu", id,
			    msg->hdr.size, sizeof(ec) + size);
		if (size)
			memcpy(reply, msg->data + sizeof(ec), size);
	}
	free(msg);
	return ec.err;
}

int kvmi_command(struct kvmi *k, u16 id, const void *payload, size_t size,
		 void *reply, size_t reply_size)
{
	u32 seq = kvmi_send(k, id, payload, size);

	return kvmi_recv_reply(k, id, seq, reply, reply_size);
}

int kvmi_vcpu_command(struct kvmi *k, u16 vcpu, u16 id, const void *body,
		      size_t size, void *reply, size_t reply_size)
{
	u32 seq = kvmi_send_vcpu(k, vcpu, id, body, size);

	return kvmi_recv_reply(k, id, seq, reply, reply_size);
}

int kvmi_pause(struct kvmi *k, u16 vcpu, u8 wait)
{
	struct kvmi_vm_pause_vcpu req = { .vcpu = vcpu, .wait = wait };

	return kvmi_command(k, KVMI_VM_PAUSE_VCPU, &req, sizeof(req), NULL, 0);
}

u32 kvmi_vcpu_count(struct kvmi *k)
{
	struct kvmi_vm_get_info_reply reply;

	kvmi_assert_err(kvmi_command(k, KVMI_VM_GET_INFO, NULL, 0, &reply,
				     sizeof(reply)), 0);
	return reply.vcpu_count;
}

int kvmi_read_physical(struct kvmi *k, u64 gpa, u16 size, void *data)
{
	struct kvmi_vm_read_physical req = { .gpa = gpa, .size = size };

	return kvmi_command(k, KVMI_VM_READ_PHYSICAL, &req, sizeof(req), data,
			    size);
}

int kvmi_write_physical(struct kvmi *k, u64 gpa, u16 size, const void *data)
{
	struct kvmi_vm_write_physical req = { .gpa = gpa, .size = size };
	u32 seq;

	seq = kvmi_send_parts(k, KVMI_VM_WRITE_PHYSICAL, &req, sizeof(req),
			      data, size);
	return kvmi_recv_reply(k, KVMI_VM_WRITE_PHYSICAL, seq, NULL, 0);
}

int kvmi_get_regs(struct kvmi *k, u16 vcpu,
		  struct kvmi_vcpu_get_registers_reply *reply)
{
	struct kvmi_vcpu_get_registers req = {};

	return kvmi_vcpu_command(k, vcpu, KVMI_VCPU_GET_REGISTERS, &req,
				 sizeof(req), reply, sizeof(*reply));
}

int kvmi_set_regs(struct kvmi *k, u16 vcpu, const struct kvm_regs *regs)
{
	return kvmi_vcpu_command(k, vcpu, KVMI_VCPU_SET_REGISTERS, regs,
				 sizeof(*regs), NULL, 0);
}

int kvmi_control_event(struct kvmi *k, u16 vcpu, u16 event, u8 enable)
{
	struct kvmi_vcpu_control_events req = {
		.event_id = event,
		.enable = enable,
	};

	return kvmi_vcpu_command(k, vcpu, KVMI_VCPU_CONTROL_EVENTS, &req,
				 sizeof(req), NULL, 0);
}

int kvmi_set_pages_access(struct kvmi *k, u64 gpa, u16 count, u8 access)
{
	struct {
		struct kvmi_vm_set_page_access head;
		struct kvmi_page_access_entry entries[511];
	} req = { .head.count = count };
	unsigned int i;

	TEST_ASSERT(count <= ARRAY_SIZE(req.entries), "%u entries", count);
	for (i = 0; i < count; i++) {
		req.entries[i].gpa = gpa + i * PAGE_SIZE;
		req.entries[i].access = access;
	}
	return kvmi_command(k, KVMI_VM_SET_PAGE_ACCESS, &req,
			    sizeof(req.head) + count * sizeof(req.entries[0]),
			    NULL, 0);
}

int kvmi_set_page_access(struct kvmi *k, u64 gpa, u8 access)
{
	return kvmi_set_pages_access(k, gpa, 1, access);
}

int kvmi_set_on_exit(struct kvmi *k, u8 action)
{
	struct kvmi_vm_set_on_exit req = { .action = action };

	return kvmi_command(k, KVMI_VM_SET_ON_EXIT, &req, sizeof(req), NULL, 0);
}

int kvmi_control_cr(struct kvmi *k, u16 vcpu, u8 cr, u8 enable)
{
	struct kvmi_vcpu_control_cr req = { .cr = cr, .enable = enable };

	return kvmi_vcpu_command(k, vcpu, KVMI_VCPU_CONTROL_CR, &req,
				 sizeof(req), NULL, 0);
}

int kvmi_control_msr(struct kvmi *k, u16 vcpu, u32 msr, u8 enable)
{
	struct kvmi_vcpu_control_msr req = { .msr = msr, .enable = enable };

	return kvmi_vcpu_command(k, vcpu, KVMI_VCPU_CONTROL_MSR, &req,
				 sizeof(req), NULL, 0);
}

void kvmi_want_all(struct kvmi *k, u16 vcpu, bool want, bool descriptor)
{
	static const u8 crs[] = { 0, 3, 4 };
	static const u16 events[] = {
		KVMI_VCPU_EVENT_CR, KVMI_VCPU_EVENT_MSR, KVMI_VCPU_EVENT_CPUID,
		KVMI_VCPU_EVENT_BREAKPOINT,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(crs); i++)
		kvmi_assert_err(kvmi_control_cr(k, vcpu, crs[i], want), 0);
	kvmi_assert_err(kvmi_control_msr(k, vcpu, MSR_LSTAR, want), 0);
	for (i = 0; i < ARRAY_SIZE(events); i++)
		kvmi_assert_err(kvmi_control_event(k, vcpu, events[i], want), 0);
	if (descriptor)
		kvmi_assert_err(kvmi_control_event(k, vcpu,
						   KVMI_VCPU_EVENT_DESCRIPTOR,
						   want), 0);
}
