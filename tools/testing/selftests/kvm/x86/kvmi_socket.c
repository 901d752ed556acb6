// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same session over each kind of socket; a socket that nobody empties;
 * and file descriptors that are sent along.
 */
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/un.h>

#include "kvmi_test.h"

KVMI_UNHOOKED_SUITE(kvmi_socket, 2);

/* Connect to a listener of ours: -1 if this family does not work here. */
static int connect_pair(int family, struct sockaddr *addr, socklen_t len,
			int sv[2])
{
	int fd = socket(family, SOCK_STREAM, 0);

	if (fd < 0)
		return -1;
	if (bind(fd, addr, len) || listen(fd, 1) ||
	    getsockname(fd, addr, &len))
		goto close;
	if (family == AF_VSOCK)
		((struct sockaddr_vm *)addr)->svm_cid = VMADDR_CID_LOCAL;
	sv[0] = socket(family, SOCK_STREAM, 0);
	if (sv[0] < 0)
		goto close;
	if (connect(sv[0], addr, len)) {
		kvm_close(sv[0]);
		goto close;
	}
	sv[1] = accept(fd, NULL, NULL);
	TEST_ASSERT(sv[1] >= 0, "accept() failed");
	kvm_close(fd);
	return 0;
close:
	kvm_close(fd);
	return -1;
}

/* The machine under test may not have its loopback interface up. */
static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return;
	if (!ioctl(fd, SIOCGIFFLAGS, &ifr) && !(ifr.ifr_flags & IFF_UP)) {
		ifr.ifr_flags |= IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &ifr);
	}
	kvm_close(fd);
}

static int inet_pair(int sv[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	loopback_up();
	return connect_pair(AF_INET, (void *)&addr, sizeof(addr), sv);
}

static int inet6_pair(int sv[2])
{
	struct sockaddr_in6 addr = {
		.sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};

	loopback_up();
	return connect_pair(AF_INET6, (void *)&addr, sizeof(addr), sv);
}

static int vsock_pair(int sv[2])
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_port = VMADDR_PORT_ANY,
		.svm_cid = VMADDR_CID_ANY,
	};

	return connect_pair(AF_VSOCK, (void *)&addr, sizeof(addr), sv);
}

static int unix_pair(int sv[2])
{
	/* An abstract name that the kernel chooses. */
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);

	TEST_ASSERT(fd >= 0, "socket() failed");
	TEST_ASSERT(!bind(fd, (void *)&addr, sizeof(sa_family_t)) &&
		    !listen(fd, 1) && !getsockname(fd, (void *)&addr, &len),
		    "No listener");
	sv[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	TEST_ASSERT(!connect(sv[0], (void *)&addr, len), "connect() failed");
	sv[1] = accept(fd, NULL, NULL);
	TEST_ASSERT(sv[1] >= 0, "accept() failed");
	kvm_close(fd);
	return 0;
}

/* Everything once: small and large, events, death, UNHOOK. */
static void session(struct kvmi_fixture *f, int (*pair)(int sv[2]))
{
	struct {
		struct kvmi_vcpu_get_registers req;
		u32 idx[KVMI_MAX_MSRS];
	} regs = { .req.nmsrs = KVMI_MAX_MSRS };
	static struct {
		struct kvmi_vcpu_get_registers_reply head;
		struct kvm_msr_entry msrs[KVMI_MAX_MSRS];
	} reply;
	struct kvmi_event ev;
	unsigned int i;
	u8 page[PAGE_SIZE];
	int sv[2];

	for (i = 0; i < KVMI_MAX_MSRS; i++)
		regs.idx[i] = MSR_EFER;
	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 6; i++) {
		TEST_ASSERT(!pair(sv), "No second connection");
		/* Either end may be the kernel's. */
		kvmi_attach(&f->kvmi, f->vm, sv[i & 1], sv[!(i & 1)]);
		kvmi_allow_all(f->vm);
		kvmi_ping(&f->kvmi);
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, 0, PAGE_SIZE,
						   page), 0);
		kvmi_assert_err(kvmi_write_physical(&f->kvmi, 0, PAGE_SIZE,
						    page), 0);
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0,
						  KVMI_VCPU_GET_REGISTERS,
						  &regs, sizeof(regs), &reply,
						  sizeof(reply)), 0);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_progress(f->vm, 0);
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		if (i & 2) {
			kvmi_unhook(f->vm);
			kvmi_expect_closed(&f->kvmi);
		}
		kvmi_close(&f->kvmi);
		kvmi_wait_until(kvmi_state(f->vm->fd) != KVMI_ACTIVE);
		kvmi_wait_progress(f->vm, 0);
	}
	kvmi_stop(&f->runner);
}

static int pair_or_minus_one(int (*pair)(int sv[2]))
{
	int sv[2];

	if (pair(sv))
		return -1;
	kvm_close(sv[0]);
	kvm_close(sv[1]);
	return 0;
}

KVMI_TEST(kvmi_socket, unix_connected)
{
	session(f, unix_pair);
}

KVMI_TEST(kvmi_socket, tcp)
{
	if (pair_or_minus_one(inet_pair))
		SKIP(return, "no TCP over the loopback interface");
	session(f, inet_pair);
}

KVMI_TEST(kvmi_socket, tcp6)
{
	if (pair_or_minus_one(inet6_pair))
		SKIP(return, "no TCP over IPv6's loopback interface");
	session(f, inet6_pair);
}

KVMI_TEST(kvmi_socket, vsock)
{
	if (pair_or_minus_one(vsock_pair))
		SKIP(return, "no vsock loopback (module vsock_loopback)");
	session(f, vsock_pair);
}

/* So many of the largest messages are more than any queue may hold. */
#define MANY	20000

/* What is behind the request is ignored, but takes room in the socket. */
struct read_msg {
	struct kvmi_msg_hdr hdr;
	union {
		struct kvmi_vm_read_physical req;
		u8 payload[KVMI_MAX_MSG_SIZE];
	};
} __packed;

/*
 * Commands until the kernel reads no more of them.  When nothing goes for a
 * while it has stopped, or is slow: the test holds for either.
 */
static u32 send_until_full(struct kvmi *k, size_t *partial)
{
	struct pollfd pfd = { .fd = k->fd, .events = POLLOUT };
	struct read_msg msg = {
		.hdr.id = KVMI_VM_READ_PHYSICAL,
		.hdr.size = sizeof(msg.payload),
		.req.size = PAGE_SIZE,
	};
	ssize_t ret;
	u32 n = 0;

	*partial = 0;
	while (n < MANY) {
		msg.hdr.seq = n + 1;
		if (poll(&pfd, 1, 2000) <= 0)
			break;
		ret = send(k->fd, (u8 *)&msg + *partial, sizeof(msg) - *partial,
			   MSG_DONTWAIT | MSG_NOSIGNAL);
		if (ret < 0 && errno == EAGAIN)
			continue;
		TEST_ASSERT(ret > 0, "send() failed: %d", errno);
		*partial += ret;
		if (*partial < sizeof(msg))
			continue;
		*partial = 0;
		n++;
	}
	TEST_ASSERT(n < MANY, "The kernel takes commands without end");
	return n;
}

/* Nothing lost, nothing split, all in order. */
static void full_socket(struct kvmi_fixture *f, int (*pair)(int sv[2]))
{
	struct read_msg rest = {
		.hdr.id = KVMI_VM_READ_PHYSICAL,
		.hdr.size = sizeof(rest.payload),
		.req.size = PAGE_SIZE,
	};
	struct kvmi_event ev;
	u8 page[PAGE_SIZE], *hva = addr_gpa2hva(f->vm, 0);
	unsigned int i;
	size_t partial;
	int sv[2];
	u32 n, seq;

	for (i = 0; i < PAGE_SIZE; i++)
		hva[i] = i * 31 + i / 256;
	TEST_ASSERT(!pair(sv), "No connection");
	kvmi_attach(&f->kvmi, f->vm, sv[0], sv[1]);
	kvmi_allow_all(f->vm);

	/* An event has its place in a full queue. */
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	n = send_until_full(&f->kvmi, &partial);
	kvmi_start(&f->runner, f->vcpu);

	for (seq = 1; seq <= n; seq++) {
		memset(page, 0, sizeof(page));
		kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_VM_READ_PHYSICAL,
						seq, page, sizeof(page)), 0);
		TEST_ASSERT(!memcmp(page, hva, PAGE_SIZE), "Reply %u of %u",
			    seq, n);
	}
	if (partial) {
		rest.hdr.seq = n + 1;
		kvmi_send_raw(&f->kvmi, (u8 *)&rest + partial,
			      sizeof(rest) - partial);
		kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_VM_READ_PHYSICAL,
						n + 1, page, sizeof(page)), 0);
	}
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.seq, 1);
	f->kvmi.seq = n + 1;
	kvmi_expect_quiet(&f->kvmi);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_socket, full_unix)
{
	full_socket(f, unix_pair);
}

KVMI_TEST(kvmi_socket, full_tcp)
{
	if (pair_or_minus_one(inet_pair))
		SKIP(return, "no TCP over the loopback interface");
	full_socket(f, inet_pair);
}

KVMI_TEST(kvmi_socket, full_vsock)
{
	if (pair_or_minus_one(vsock_pair))
		SKIP(return, "no vsock loopback (module vsock_loopback)");
	full_socket(f, vsock_pair);
}

/* A full socket holds up neither UNHOOK nor the tool's death nor the guest. */
KVMI_TEST(kvmi_socket, full_and_over)
{
	unsigned int i;
	size_t partial;
	int sv[2];

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 2; i++) {
		unix_pair(sv);
		kvmi_attach(&f->kvmi, f->vm, sv[0], sv[1]);
		kvmi_allow_all(f->vm);
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
		send_until_full(&f->kvmi, &partial);
		if (i) {
			kvmi_unhook(f->vm);
			TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
		}
		kvmi_close(&f->kvmi);
		kvmi_wait_until(kvmi_state(f->vm->fd) != KVMI_ACTIVE);
		kvmi_wait_progress(f->vm, 0);
	}
	kvmi_stop(&f->runner);
}

/* Nobody holds the write end any more: a pipe says so. */
static void assert_released(int read_end)
{
	struct pollfd pfd = { .fd = read_end };

	TEST_ASSERT(poll(&pfd, 1, KVMI_HANG_SECONDS * 1000) == 1 &&
		    (pfd.revents & POLLHUP), "The fd is still held");
}

/* After HOOK no fd can be parked in the kernel's end. */
KVMI_TEST(kvmi_socket, fd_is_refused)
{
	struct kvmi_msg_hdr hdr = { .id = KVMI_GET_VERSION, .seq = 1 };
	int p[2];

	kvmi_hook(&f->kvmi, f->vm);
	TEST_ASSERT(!pipe(p), "pipe() failed");
	kvmi_assert_err(kvmi_send_fd(f->kvmi.fd, &hdr, sizeof(hdr), p[1]),
			-EPERM);
	kvmi_assert_err(kvmi_send_fd(f->kvmi.fd, &hdr, sizeof(hdr), f->vm->fd),
			-EPERM);
	kvm_close(p[1]);
	assert_released(p[0]);
	kvmi_ping(&f->kvmi);
	kvmi_expect_quiet(&f->kvmi);
}

/* One that was there before goes as soon as its bytes are read. */
KVMI_TEST(kvmi_socket, fd_before_hook)
{
	struct kvmi_msg_hdr hdr = { .id = KVMI_GET_VERSION, .seq = 1 };
	struct kvmi_get_version_reply reply;
	int sv[2], p[2];

	kvmi_socketpair(sv);
	TEST_ASSERT(!pipe(p), "pipe() failed");
	kvmi_assert_err(kvmi_send_fd(sv[1], &hdr, sizeof(hdr), p[1]), 0);
	kvm_close(p[1]);
	kvmi_attach(&f->kvmi, f->vm, sv[0], sv[1]);
	kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_GET_VERSION, 1, &reply,
					sizeof(reply)), 0);
	assert_released(p[0]);
	kvmi_ping(&f->kvmi);
}

/* Also the VM's own, which would hold itself. */
KVMI_TEST(kvmi_socket, vm_fd_before_hook)
{
	struct kvmi_msg_hdr hdr = { .id = KVMI_GET_VERSION, .seq = 1 };
	struct kvm_vm *vm = vm_create_barebones();
	int sv[2];

	kvmi_socketpair(sv);
	/* Half a message, with the fd; the rest never comes. */
	kvmi_assert_err(kvmi_send_fd(sv[1], &hdr, 3, vm->fd), 0);
	kvmi_attach(&f->kvmi, vm, sv[0], sv[1]);
	kvm_vm_free(vm);
	/* The VM is gone, so is its session. */
	kvmi_expect_closed(&f->kvmi);
}

KVMI_TEST_MAIN
