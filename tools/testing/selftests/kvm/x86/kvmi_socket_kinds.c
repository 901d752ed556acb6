// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets of the Internet's families that are not plain TCP are refused: what
 * they do beneath a stream is not known to be harmless here.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "kvmi_test.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif
#ifndef TCP_ULP
#define TCP_ULP		31
#endif
#ifndef AF_SMC
#define AF_SMC		43
#endif
#define SMC_IPV4	0
#define SMC_IPV6	1

KVMI_UNHOOKED_SUITE(kvmi_socket_kinds, 1);

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

/* Connected to each other over the loopback interface; false: not here. */
static bool connected_pair(int family, bool six, int protocol, int sv[2])
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};
	struct sockaddr *addr = six ? (void *)&in6 : (void *)&in;
	socklen_t len = six ? sizeof(in6) : sizeof(in);
	int fd = socket(family, SOCK_STREAM, protocol);

	if (fd < 0)
		return false;
	loopback_up();
	sv[0] = socket(family, SOCK_STREAM, protocol);
	if (sv[0] < 0 || bind(fd, addr, len) || listen(fd, 1) ||
	    getsockname(fd, addr, &len) || connect(sv[0], addr, len)) {
		if (sv[0] >= 0)
			kvm_close(sv[0]);
		kvm_close(fd);
		return false;
	}
	sv[1] = accept(fd, NULL, NULL);
	TEST_ASSERT(sv[1] >= 0, "accept() failed");
	kvm_close(fd);
	return true;
}

/* Either end is refused, is still the caller's, and nothing is hooked. */
static void assert_refused(struct kvmi_fixture *f, int sv[2])
{
	unsigned int i;
	char c;

	for (i = 0; i < 2; i++) {
		kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, sv[i]), -EOPNOTSUPP);
		TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
	}
	TEST_ASSERT(write(sv[0], "x", 1) == 1 && read(sv[1], &c, 1) == 1 && c == 'x',
		    "The connection is broken");
	kvm_close(sv[0]);
	kvm_close(sv[1]);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
	kvmi_unhook(f->vm);
	kvmi_close(&f->kvmi);
}

static void refused(struct __test_metadata *_metadata, struct kvmi_fixture *f,
		    int protocol, const char *why)
{
	int sv[2];

	if (!connected_pair(AF_INET, false, protocol, sv))
		SKIP(return, "%s", why);
	assert_refused(f, sv);
	if (connected_pair(AF_INET6, true, protocol, sv))
		assert_refused(f, sv);
}

KVMI_TEST(kvmi_socket_kinds, mptcp)
{
	refused(_metadata, f, IPPROTO_MPTCP, "no MPTCP");
}

KVMI_TEST(kvmi_socket_kinds, sctp)
{
	refused(_metadata, f, IPPROTO_SCTP, "no SCTP (module sctp)");
}

/* Without a connection, too: a kind of socket is not a state. */
KVMI_TEST(kvmi_socket_kinds, smc)
{
	int fd = socket(AF_SMC, SOCK_STREAM, SMC_IPV4), sv[2];

	if (fd < 0)
		SKIP(return, "no SMC (module smc)");
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, fd), -EOPNOTSUPP);
	kvm_close(fd);
	if (connected_pair(AF_SMC, false, SMC_IPV4, sv))
		assert_refused(f, sv);
	if (connected_pair(AF_SMC, true, SMC_IPV6, sv))
		assert_refused(f, sv);
}

KVMI_TEST(kvmi_socket_kinds, smc_over_inet)
{
	/* IPPROTO_SMC */
	refused(_metadata, f, 256, "no SMC by IPPROTO_SMC (module smc)");
}

static void tls(struct __test_metadata *_metadata, struct kvmi_fixture *f, bool six)
{
	int sv[2];

	if (!connected_pair(six ? AF_INET6 : AF_INET, six, 0, sv))
		SKIP(return, "no TCP over the loopback interface");
	if (setsockopt(sv[0], SOL_TCP, TCP_ULP, "tls", sizeof("tls")) ||
	    setsockopt(sv[1], SOL_TCP, TCP_ULP, "tls", sizeof("tls")))
		SKIP(return, "no TLS in the kernel (module tls)");
	assert_refused(f, sv);
}

KVMI_TEST(kvmi_socket_kinds, tls)
{
	tls(_metadata, f, false);
}

KVMI_TEST(kvmi_socket_kinds, tls6)
{
	tls(_metadata, f, true);
}

/* Neither are these: not a stream, or not of a kind that is known. */
KVMI_TEST(kvmi_socket_kinds, others)
{
	static const struct {
		int family, type;
	} kinds[] = {
		{ AF_UNIX, SOCK_DGRAM },
		{ AF_UNIX, SOCK_SEQPACKET },
		{ AF_INET, SOCK_DGRAM },
		{ AF_INET6, SOCK_DGRAM },
		{ AF_NETLINK, SOCK_RAW },
		{ AF_VSOCK, SOCK_SEQPACKET },
	};
	unsigned int i;
	int fd, err;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		fd = socket(kinds[i].family, kinds[i].type, 0);
		if (fd < 0)
			continue;
		err = kvmi_ioctl_hook(f->vm->fd, fd);
		TEST_ASSERT(err == -EOPNOTSUPP || err == -EINVAL || err == -ENOTCONN,
			    "Family %d, type %d: %d", kinds[i].family, kinds[i].type,
			    err);
		TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
		kvm_close(fd);
	}
}

KVMI_TEST_MAIN
