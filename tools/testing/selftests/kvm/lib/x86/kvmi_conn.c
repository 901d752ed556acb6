// SPDX-License-Identifier: GPL-2.0-only
/* The tool's end of a session: bytes and whole messages.  See kvmi_util.h. */
#include <poll.h>

#include "kvmi_util.h"

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

int kvmi_send_fd(int sock, const void *data, size_t size, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
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

struct kvmi_msg *__kvmi_recv_event(struct kvmi *k)
{
	return recv_matching(k, true, 0);
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

u32 kvmi_send_parts(struct kvmi *k, u16 id, const void *head, size_t head_size,
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
	return kvmi_send_parts(k, id, NULL, 0, payload, size);
}

u32 kvmi_send_vcpu(struct kvmi *k, u16 vcpu, u16 id, const void *body,
		   size_t size)
{
	struct kvmi_vcpu_hdr hdr = { .vcpu = vcpu };

	return kvmi_send_parts(k, id, &hdr, sizeof(hdr), body, size);
}
