// SPDX-License-Identifier: GPL-2.0-only
/*
 * The introspection tool's side of a test.  See kvmi_util.h.
 */
#include <poll.h>
#include <time.h>

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
		.name = "VM_GET_MAX_GFN",
		.id = KVMI_VM_GET_MAX_GFN,
		.reply = REPLY(kvmi_vm_get_max_gfn_reply),
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
		.name = "VCPU_GET_XCR",
		.id = KVMI_VCPU_GET_XCR,
		.request = VCPU_REQUEST(kvmi_vcpu_get_xcr),
		.reply = REPLY(kvmi_vcpu_get_xcr_reply),
		.padding = { VCPU_PAD(kvmi_vcpu_get_xcr, padding) },
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
	return id == KVMI_VM_EVENT_UNHOOK || id == KVMI_VCPU_EVENT_PAUSE;
}

static u64 now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

u64 kvmi_deadline(void)
{
	return now_seconds() + KVMI_HANG_SECONDS;
}

void kvmi_still_alive(u64 deadline, const char *what)
{
	TEST_ASSERT(now_seconds() <= deadline,
		    "The test hangs: waited %d seconds for: %s",
		    KVMI_HANG_SECONDS, what);
}

void kvmi_require(void)
{
	int cap = kvm_check_cap(KVM_CAP_INTROSPECTION);

	if (cap == KVMI_VERSION)
		return;
	TEST_ASSERT(!cap, "KVM_CAP_INTROSPECTION is %d, wanted 0 or %d", cap,
		    KVMI_VERSION);
	__TEST_REQUIRE(!access("/sys/module/kvm/parameters/introspection", F_OK),
		       "kvm.ko was built without CONFIG_KVM_INTROSPECTION");
	__TEST_REQUIRE(false, "the module parameter kvm.introspection is off");
}

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

int kvmi_ioctl_hook_uuid(int vm_fd, int fd, const u8 *uuid, u32 padding)
{
	struct kvm_introspection_hook hook = {
		.fd = fd,
		.padding = padding,
	};

	if (uuid)
		memcpy(hook.uuid, uuid, sizeof(hook.uuid));
	return result(ioctl(vm_fd, KVM_INTROSPECTION_HOOK, &hook));
}

int kvmi_ioctl_hook(int vm_fd, int fd)
{
	return kvmi_ioctl_hook_uuid(vm_fd, fd, NULL, 0);
}

int kvmi_ioctl_unhook(int vm_fd)
{
	return result(ioctl(vm_fd, KVM_INTROSPECTION_UNHOOK, NULL));
}

int kvmi_ioctl_command(int vm_fd, s32 id, u32 allow)
{
	struct kvm_introspection_feature feature = {
		.allow = allow,
		.id = id,
	};

	return result(ioctl(vm_fd, KVM_INTROSPECTION_COMMAND, &feature));
}

int kvmi_ioctl_event(int vm_fd, s32 id, u32 allow)
{
	struct kvm_introspection_feature feature = {
		.allow = allow,
		.id = id,
	};

	return result(ioctl(vm_fd, KVM_INTROSPECTION_EVENT, &feature));
}

int kvmi_ioctl_preunhook(int vm_fd)
{
	return result(ioctl(vm_fd, KVM_INTROSPECTION_PREUNHOOK, NULL));
}

void kvmi_socketpair(int sv[2])
{
	int ret = socketpair(AF_UNIX, SOCK_STREAM, 0, sv);

	TEST_ASSERT(!ret, __KVM_SYSCALL_ERROR("socketpair()", ret));
}

void kvmi_init(struct kvmi *k, struct kvm_vm *vm, int tool)
{
	k->vm = vm;
	k->fd = tool;
	k->seq = 0;
	INIT_LIST_HEAD(&k->stash);
}

void kvmi_attach(struct kvmi *k, struct kvm_vm *vm, int vmm, int tool)
{
	kvmi_init(k, vm, tool);
	kvmi_assert_err(kvmi_ioctl_hook(vm->fd, vmm), 0);
	/* From here on the kernel's reference is the only one. */
	kvm_close(vmm);
}

void kvmi_allow_all(struct kvm_vm *vm)
{
	kvmi_assert_err(kvmi_ioctl_command(vm->fd, -1, 1), 0);
	kvmi_assert_err(kvmi_ioctl_event(vm->fd, -1, 1), 0);
}

void kvmi_hook(struct kvmi *k, struct kvm_vm *vm)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_attach(k, vm, sv[0], sv[1]);
	kvmi_allow_all(vm);
}

void kvmi_close(struct kvmi *k)
{
	struct kvmi_msg *msg;

	if (k->fd < 0)
		return;

	kvm_close(k->fd);
	k->fd = -1;
	while (!list_empty(&k->stash)) {
		msg = list_first_entry(&k->stash, struct kvmi_msg, list);
		list_del(&msg->list);
		free(msg);
	}
}

void kvmi_unhook(struct kvm_vm *vm)
{
	kvmi_assert_err(kvmi_ioctl_unhook(vm->fd), 0);
}

char *kvmi_fdinfo(int vm_fd, const char *key)
{
	char path[64], line[256], *value = NULL;
	size_t len = strlen(key);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", vm_fd);
	f = fopen(path, "r");
	TEST_ASSERT(f, "Cannot open %s", path);

	while (!value && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len) || strncmp(line + len, ":\t", 2))
			continue;
		line[strcspn(line, "\n")] = '\0';
		value = strdup(line + len + 2);
	}
	fclose(f);
	return value;
}

enum kvmi_state kvmi_state(int vm_fd)
{
	static const char * const names[] = {
		[KVMI_NONE] = "none",
		[KVMI_ACTIVE] = "active",
		[KVMI_DEAD] = "dead",
	};
	char *value = kvmi_fdinfo(vm_fd, "kvmi");
	unsigned int i;

	TEST_ASSERT(value, "fdinfo of the VM has no line \"kvmi:\"");
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]))
			continue;
		free(value);
		return i;
	}
	TEST_FAIL("fdinfo of the VM says \"kvmi:\t%s\"", value);
}

static void wait_for(struct kvmi *k, short events, const char *what)
{
	struct pollfd pfd = { .fd = k->fd, .events = events };
	int ret;

	do {
		ret = poll(&pfd, 1, KVMI_HANG_SECONDS * 1000);
	} while (ret < 0 && errno == EINTR);

	TEST_ASSERT(ret > 0, "The test hangs: waited %d seconds for %s",
		    KVMI_HANG_SECONDS, what);
}

bool __kvmi_send_raw(struct kvmi *k, const void *data, size_t size)
{
	ssize_t ret;

	while (size) {
		wait_for(k, POLLOUT, "room in the socket");
		ret = send(k->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (ret < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (ret < 0 && (errno == EPIPE || errno == ECONNRESET))
			return false;
		TEST_ASSERT(ret > 0, __KVM_SYSCALL_ERROR("send()", (int)ret));
		data += ret;
		size -= ret;
	}
	return true;
}

void kvmi_send_raw(struct kvmi *k, const void *data, size_t size)
{
	TEST_ASSERT(__kvmi_send_raw(k, data, size),
		    "The session has ended, cannot send");
}

bool __kvmi_recv_raw(struct kvmi *k, void *data, size_t size)
{
	size_t done = 0;
	ssize_t ret;

	while (done < size) {
		wait_for(k, POLLIN, "a message");
		ret = recv(k->fd, data + done, size - done, MSG_DONTWAIT);
		if (ret < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (!ret || (ret < 0 && errno == ECONNRESET)) {
			TEST_ASSERT(!done, "The session ended inside a message");
			return false;
		}
		TEST_ASSERT(ret > 0, __KVM_SYSCALL_ERROR("recv()", (int)ret));
		done += ret;
	}
	return true;
}

void kvmi_recv_raw(struct kvmi *k, void *data, size_t size)
{
	TEST_ASSERT(__kvmi_recv_raw(k, data, size),
		    "The session has ended, nothing to receive");
}

/* The rules that every message from the kernel follows. */
static void check_msg(const struct kvmi_msg *msg)
{
	const struct kvmi_error_code *ec = (const void *)msg->data;

	TEST_ASSERT(msg->hdr.size >= sizeof(*ec),
		    "Message %u of %u bytes: too short for anything",
		    msg->hdr.id, msg->hdr.size);
	if (kvmi_is_event(msg))
		return;

	TEST_ASSERT(!ec->padding, "Padding of a reply is %#x", ec->padding);
	TEST_ASSERT(ec->err <= 0, "Reply with the error code %d", ec->err);
	TEST_ASSERT(!ec->err || msg->hdr.size == sizeof(*ec),
		    "Reply with an error and %u bytes", msg->hdr.size);
}

static struct kvmi_msg *read_msg(struct kvmi *k)
{
	struct kvmi_msg *msg = malloc(sizeof(*msg));

	TEST_ASSERT(msg, "No memory");
	if (!__kvmi_recv_raw(k, &msg->hdr, sizeof(msg->hdr))) {
		free(msg);
		return NULL;
	}
	TEST_ASSERT(msg->hdr.size <= KVMI_MAX_MSG_SIZE,
		    "Message %u of %u bytes: larger than any may be",
		    msg->hdr.id, msg->hdr.size);
	if (msg->hdr.size)
		kvmi_recv_raw(k, msg->data, msg->hdr.size);
	check_msg(msg);
	return msg;
}

bool kvmi_is_event(const struct kvmi_msg *msg)
{
	const struct kvmi_error_code *ec = (const void *)msg->data;

	if (msg->hdr.id != KVMI_VM_EVENT && msg->hdr.id != KVMI_VCPU_EVENT)
		return false;
	return msg->hdr.size != sizeof(*ec) || !ec->err;
}

struct kvmi_msg *kvmi_recv(struct kvmi *k)
{
	struct kvmi_msg *msg;

	if (!list_empty(&k->stash)) {
		msg = list_first_entry(&k->stash, struct kvmi_msg, list);
		list_del(&msg->list);
		return msg;
	}
	return read_msg(k);
}

/* The first message for which @want says yes; others are kept. */
static struct kvmi_msg *recv_matching(struct kvmi *k, bool event, u32 seq)
{
	struct kvmi_msg *msg;

	list_for_each_entry(msg, &k->stash, list) {
		if (kvmi_is_event(msg) == event &&
		    (event || msg->hdr.seq == seq)) {
			list_del(&msg->list);
			return msg;
		}
	}

	for (;;) {
		msg = read_msg(k);
		if (!msg)
			return NULL;
		if (kvmi_is_event(msg) == event &&
		    (event || msg->hdr.seq == seq))
			return msg;
		list_add_tail(&msg->list, &k->stash);
	}
}

struct kvmi_msg *__kvmi_recv_reply(struct kvmi *k, u32 seq)
{
	return recv_matching(k, false, seq);
}

void kvmi_expect_closed(struct kvmi *k)
{
	struct kvmi_msg *msg;

	TEST_ASSERT(list_empty(&k->stash), "A message was left over");
	msg = read_msg(k);
	TEST_ASSERT(!msg, "Message %u instead of the end of the session",
		    msg ? msg->hdr.id : 0);
}

unsigned int kvmi_drain_until_closed(struct kvmi *k)
{
	struct kvmi_msg *msg;
	unsigned int n = 0;

	while ((msg = kvmi_recv(k))) {
		free(msg);
		n++;
	}
	return n;
}

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

static u32 send_parts(struct kvmi *k, u16 id, const void *head, size_t head_size,
		      const void *body, size_t size)
{
	struct kvmi_msg_hdr hdr = {
		.id = id,
		.size = head_size + size,
		.seq = ++k->seq,
	};
	u8 buf[sizeof(hdr) + KVMI_MAX_MSG_SIZE];

	TEST_ASSERT(head_size + size <= KVMI_MAX_MSG_SIZE, "Message too long");
	memcpy(buf, &hdr, sizeof(hdr));
	if (head_size)
		memcpy(buf + sizeof(hdr), head, head_size);
	if (size)
		memcpy(buf + sizeof(hdr) + head_size, body, size);
	kvmi_send_raw(k, buf, sizeof(hdr) + head_size + size);
	return hdr.seq;
}

u32 kvmi_send(struct kvmi *k, u16 id, const void *payload, size_t size)
{
	return send_parts(k, id, NULL, 0, payload, size);
}

u32 kvmi_send_vcpu(struct kvmi *k, u16 vcpu, u16 id, const void *body,
		   size_t size)
{
	struct kvmi_vcpu_hdr hdr = { .vcpu = vcpu };

	return send_parts(k, id, &hdr, sizeof(hdr), body, size);
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

	seq = send_parts(k, KVMI_VM_WRITE_PHYSICAL, &req, sizeof(req), data,
			 size);
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

static bool is_zero(const void *data, size_t size)
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
	TEST_ASSERT(is_zero(hdr->padding, sizeof(hdr->padding)) &&
		    !ev->vcpu.padding &&
		    is_zero(ev->vcpu.arch.padding,
			    sizeof(ev->vcpu.arch.padding)) &&
		    is_zero(sregs->gdt.padding, sizeof(sregs->gdt.padding)) &&
		    is_zero(sregs->idt.padding, sizeof(sregs->idt.padding)) &&
		    !sregs->cs.padding && !sregs->tr.padding,
		    "Event with padding that is not zero");
}

void kvmi_recv_event(struct kvmi *k, struct kvmi_event *ev)
{
	struct kvmi_msg *msg = recv_matching(k, true, 0);

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
	struct kvmi_msg *msg = recv_matching(k, true, 0);

	TEST_ASSERT(msg, "The session ended before the event");
	TEST_ASSERT_EQ(msg->hdr.id, KVMI_VM_EVENT);
	TEST_ASSERT_EQ(msg->hdr.size, sizeof(struct kvmi_event_hdr));
	TEST_ASSERT_EQ(msg->hdr.seq, seq);
	TEST_ASSERT(is_zero(msg->data, msg->hdr.size),
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

void kvmi_stop_vcpu(struct kvmi *k, u16 vcpu, struct kvmi_event *ev)
{
	kvmi_assert_err(kvmi_pause(k, vcpu, 0), 0);
	kvmi_recv_pause(k, vcpu, ev);
}

static void no_op(int sig)
{
}

static void *run_vcpu(void *arg)
{
	struct kvmi_runner *r = arg;
	struct kvm_vcpu *vcpu = r->vcpu;
	struct ucall uc;

	for (;;) {
		if (__vcpu_run(vcpu)) {
			r->err = errno;
			/* A vCPU that waits for its SIPI: run it again. */
			if (r->err == EAGAIN)
				continue;
			if (r->err != EINTR)
				break;
			TEST_ASSERT_EQ(vcpu->run->exit_reason, KVM_EXIT_INTR);
			__atomic_add_fetch(&r->eintr, 1, __ATOMIC_SEQ_CST);
			if (__atomic_load_n(&r->stop, __ATOMIC_SEQ_CST))
				break;
			r->err = 0;
			continue;
		}

		r->exit_reason = vcpu->run->exit_reason;
		if (r->exit_reason != KVM_EXIT_IO)
			break;
		r->ucall = get_ucall(vcpu, &uc);
		if (r->ucall == UCALL_ABORT)
			REPORT_GUEST_ASSERT(uc);
		if (r->ucall != UCALL_SYNC)
			break;
	}
	__atomic_store_n(&r->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

void kvmi_start(struct kvmi_runner *r, struct kvm_vcpu *vcpu)
{
	/* Without SA_RESTART: the signal is there to interrupt. */
	struct sigaction sa = { .sa_handler = no_op };

	TEST_ASSERT(!sigaction(SIGUSR1, &sa, NULL), "sigaction() failed");
	memset(r, 0, sizeof(*r));
	r->vcpu = vcpu;
	vcpu->run->immediate_exit = 0;
	kvm_pthread_create(&r->thread, NULL, run_vcpu, r);
}

void kvmi_join(struct kvmi_runner *r)
{
	kvmi_wait_until(__atomic_load_n(&r->done, __ATOMIC_SEQ_CST));
	kvm_pthread_join(r->thread, NULL);
}

void kvmi_stop(struct kvmi_runner *r)
{
	__atomic_store_n(&r->stop, true, __ATOMIC_SEQ_CST);
	/* Also when the signal comes just before the thread enters KVM_RUN. */
	WRITE_ONCE(r->vcpu->run->immediate_exit, 1);
	kvmi_kick(r);
	kvmi_join(r);
	r->vcpu->run->immediate_exit = 0;
	TEST_ASSERT(r->err == EINTR,
		    "KVM_RUN ended before it was asked to: errno %d, exit %u (%s)",
		    r->err, r->exit_reason, exit_reason_str(r->exit_reason));
}

void kvmi_kick(struct kvmi_runner *r)
{
	TEST_ASSERT(!pthread_kill(r->thread, SIGUSR1), "pthread_kill() failed");
}

u64 kvmi_progress[KVMI_MAX_COUNTERS];

void kvmi_guest_count(u64 index)
{
	for (;;)
		WRITE_ONCE(kvmi_progress[index], kvmi_progress[index] + 1);
}

u64 kvmi_read_progress(struct kvm_vm *vm, unsigned int index)
{
	u64 *counter = addr_gva2hva(vm, (gva_t)&kvmi_progress[index]);

	return READ_ONCE(*counter);
}

void kvmi_wait_progress(struct kvm_vm *vm, unsigned int index)
{
	u64 before = kvmi_read_progress(vm, index);

	kvmi_wait_until(kvmi_read_progress(vm, index) != before);
}

struct kvm_vm *kvmi_create_vm(unsigned int nr_vcpus, struct kvm_vcpu **vcpus)
{
	struct kvm_vm *vm;
	unsigned int i;

	TEST_ASSERT(nr_vcpus && nr_vcpus <= KVMI_MAX_COUNTERS,
		    "%u vCPUs", nr_vcpus);
	vm = vm_create_with_vcpus(nr_vcpus, kvmi_guest_count, vcpus);
	for (i = 0; i < nr_vcpus; i++)
		vcpu_args_set(vcpus[i], 1, i);
	return vm;
}
