// SPDX-License-Identifier: GPL-2.0-only
/* The five ioctls: what they check, in which order, and what they leave. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <linux/netlink.h>
#include <sys/un.h>

#include "kvmi_test.h"

#define MAX_ID 64

KVMI_UNHOOKED_SUITE(ioctls, 1);

/* A failed HOOK changes nothing: no session, and a good one works at once. */
static void assert_not_hooked(struct kvm_vm *vm)
{
	struct kvmi k;

	TEST_ASSERT_EQ(kvmi_state(vm->fd), KVMI_NONE);
	kvmi_assert_err(kvmi_ioctl_command(vm->fd, -1, 1), -EFAULT);
	kvmi_hook(&k, vm);
	kvmi_ping(&k);
	kvmi_unhook(vm);
	kvmi_close(&k);
}

static void assert_refused(struct kvm_vm *vm, int fd, int err)
{
	kvmi_assert_err(kvmi_ioctl_hook(vm->fd, fd), err);
	assert_not_hooked(vm);
}

static int ioctl_err(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

KVMI_TEST(ioctls, capability)
{
	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_INTROSPECTION), KVMI_VERSION);
	TEST_ASSERT_EQ(vm_check_cap(f->vm, KVM_CAP_INTROSPECTION),
		       KVMI_VERSION);
}

KVMI_TEST(ioctls, numbers)
{
	TEST_ASSERT_EQ(KVM_INTROSPECTION_HOOK, 0x4018aec8);
	TEST_ASSERT_EQ(KVM_INTROSPECTION_UNHOOK, 0xaec9);
	TEST_ASSERT_EQ(KVM_INTROSPECTION_COMMAND, 0x4008aeca);
	TEST_ASSERT_EQ(KVM_INTROSPECTION_EVENT, 0x4008aecb);
	TEST_ASSERT_EQ(KVM_INTROSPECTION_PREUNHOOK, 0xaecc);
}

/* They belong to the VM, not to /dev/kvm and not to a vCPU. */
KVMI_TEST(ioctls, vm_fd_only)
{
	int sv[2], kvm_fd = open_kvm_dev_path_or_exit();

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(f->vcpu->fd, sv[0]), -EINVAL);
	kvmi_assert_err(kvmi_ioctl_hook(kvm_fd, sv[0]), -EINVAL);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vcpu->fd), -EINVAL);
	assert_not_hooked(f->vm);
}

KVMI_TEST(ioctls, hook_arguments)
{
	int sv[2];

	kvmi_assert_err(ioctl_err(f->vm->fd, KVM_INTROSPECTION_HOOK, NULL),
			-EFAULT);
	kvmi_assert_err(ioctl_err(f->vm->fd, KVM_INTROSPECTION_HOOK,
				  (void *)-1ul), -EFAULT);
	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook_uuid(f->vm->fd, sv[0], NULL, 1),
			-EINVAL);
	kvmi_assert_err(kvmi_ioctl_hook_uuid(f->vm->fd, sv[0], NULL,
					     0x80000000), -EINVAL);
	/* Padding comes before the fd. */
	kvmi_assert_err(kvmi_ioctl_hook_uuid(f->vm->fd, -1, NULL, 1), -EINVAL);
	assert_not_hooked(f->vm);
	/* The socket of a refused HOOK is as good as before. */
	kvmi_attach(&f->kvmi, f->vm, sv[0], sv[1]);
	kvmi_ping(&f->kvmi);
}

KVMI_TEST(ioctls, not_a_socket)
{
	int p[2], fd = kvm_dup(f->vm->fd);

	TEST_ASSERT(!pipe(p), "pipe() failed");
	assert_refused(f->vm, -1, -EINVAL);
	assert_refused(f->vm, 0x7fffffff, -EINVAL);
	assert_refused(f->vm, p[0], -EINVAL);
	assert_refused(f->vm, p[1], -EINVAL);
	assert_refused(f->vm, f->vm->fd, -EINVAL);
	assert_refused(f->vm, open_kvm_dev_path_or_exit(), -EINVAL);
	kvm_close(fd);
	assert_refused(f->vm, fd, -EINVAL);
	assert_refused(f->vm, open("/", O_PATH), -EINVAL);
}

KVMI_TEST(ioctls, not_a_stream)
{
	int sv[2];

	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), "socketpair()");
	assert_refused(f->vm, sv[0], -EINVAL);
	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv),
		    "socketpair()");
	assert_refused(f->vm, sv[0], -EINVAL);
	assert_refused(f->vm, socket(AF_INET, SOCK_DGRAM, 0), -EINVAL);
	assert_refused(f->vm, socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE),
		       -EINVAL);
}

KVMI_TEST(ioctls, not_connected)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_refused(f->vm, fd, -EINVAL);
	/* A listening one, with an address of its own choosing. */
	TEST_ASSERT(!bind(fd, (void *)&addr, sizeof(sa_family_t)), "bind()");
	assert_refused(f->vm, fd, -EINVAL);
	TEST_ASSERT(!listen(fd, 1), "listen()");
	assert_refused(f->vm, fd, -EINVAL);

	assert_refused(f->vm, socket(AF_INET, SOCK_STREAM, 0), -EINVAL);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (!listen(fd, 1))
		assert_refused(f->vm, fd, -EINVAL);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	if (fd >= 0)
		assert_refused(f->vm, fd, -EINVAL);
}

/* A connected stream of a family that nobody has tried. */
KVMI_TEST(ioctls, other_family)
{
	int sv[2];

	if (socketpair(AF_TIPC, SOCK_STREAM, 0, sv))
		SKIP(return, "no other family has connected streams: no TIPC");
	assert_refused(f->vm, sv[0], -EOPNOTSUPP);
}

KVMI_TEST(ioctls, socket_of_another_session)
{
	struct kvm_vm *other = vm_create_barebones();
	struct kvmi k;
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_init(&k, f->vm, sv[1]);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, sv[0]), 0);
	assert_refused(other, sv[0], -EBUSY);
	assert_refused(other, kvm_dup(sv[0]), -EBUSY);
	kvmi_ping(&k);
	/* Its other end is another socket, and nobody's. */
	kvmi_assert_err(kvmi_ioctl_hook(other->fd, sv[1]), 0);
	kvmi_unhook(other);
	kvm_vm_free(other);
}

KVMI_TEST(ioctls, hooked_already)
{
	int sv[2];

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, sv[0]), -EEXIST);
	/* Behind the checks of the argument, before those of the socket. */
	kvmi_assert_err(kvmi_ioctl_hook_uuid(f->vm->fd, sv[0], NULL, 1),
			-EINVAL);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, -1), -EEXIST);
	kvmi_assert_err(ioctl_err(f->vm->fd, KVM_INTROSPECTION_HOOK, NULL),
			-EFAULT);
	/* The session does not mind. */
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_vcpu_count(&f->kvmi), 1);
}

KVMI_TEST(ioctls, hook_on_dead_session)
{
	unsigned int i;

	kvmi_hook(&f->kvmi, f->vm);
	for (i = 0; i < 10; i++) {
		kvmi_close(&f->kvmi);
		kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_ping(&f->kvmi);
	}
}

KVMI_TEST(ioctls, unhook)
{
	int sv[2];

	/* Always 0: never hooked, hooked, dead, unhooked before. */
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);
	kvmi_assert_err(ioctl_err(f->vm->fd, KVM_INTROSPECTION_UNHOOK,
				  (void *)-1ul), 0);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);
	kvmi_expect_closed(&f->kvmi);
	kvmi_close(&f->kvmi);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);
	assert_not_hooked(f->vm);

	/* The VMM may keep its fd; it sees the end as well. */
	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, sv[0]), 0);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);
	kvmi_init(&f->kvmi, f->vm, sv[1]);
	kvmi_expect_closed(&f->kvmi);
}

/* @known: ids that exist; every other one is invalid, hooked or not. */
static void assert_ids(struct kvm_vm *vm, int (*fn)(int, s32, u32), bool command,
		       int good)
{
	int id;

	kvmi_assert_err(fn(vm->fd, -1, 1), good);
	kvmi_assert_err(fn(vm->fd, -2, 1), -EINVAL);
	kvmi_assert_err(fn(vm->fd, INT_MIN, 1), -EINVAL);
	kvmi_assert_err(fn(vm->fd, INT_MAX, 1), -EINVAL);
	kvmi_assert_err(fn(vm->fd, 0x10000, 1), -EINVAL);
	for (id = 0; id <= MAX_ID; id++) {
		bool known = command ? !!kvmi_find_message(id) :
				       kvmi_known_event(id);

		kvmi_assert_err(fn(vm->fd, id, 1), known ? good : -EINVAL);
		kvmi_assert_err(fn(vm->fd, id, 2), -EINVAL);
		kvmi_assert_err(fn(vm->fd, id, 0xffffffff), -EINVAL);
		if (!known)
			kvmi_assert_err(fn(vm->fd, id, 0), -EINVAL);
	}
	kvmi_assert_err(fn(vm->fd, -1, 2), -EINVAL);
}

KVMI_TEST(ioctls, command)
{
	const struct kvmi_message *m;

	kvmi_assert_err(ioctl_err(f->vm->fd, KVM_INTROSPECTION_COMMAND, NULL),
			-EFAULT);
	assert_ids(f->vm, kvmi_ioctl_command, true, -EFAULT);
	/* Not hooked comes before always allowed. */
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, KVMI_GET_VERSION, 0),
			-EFAULT);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(ioctl_err(f->vm->fd, KVM_INTROSPECTION_COMMAND, NULL),
			-EFAULT);
	assert_ids(f->vm, kvmi_ioctl_command, true, 0);
	kvmi_for_each_message(m) {
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, m->id, 0),
				m->always_allowed ? -EPERM : 0);
		kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, m->id, 2),
				-EINVAL);
	}
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), 0);
	kvmi_unhook(f->vm);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), -EFAULT);
}

KVMI_TEST(ioctls, event)
{
	kvmi_assert_err(ioctl_err(f->vm->fd, KVM_INTROSPECTION_EVENT, NULL),
			-EFAULT);
	assert_ids(f->vm, kvmi_ioctl_event, false, -EFAULT);

	kvmi_hook(&f->kvmi, f->vm);
	assert_ids(f->vm, kvmi_ioctl_event, false, 0);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), 0);
	kvmi_unhook(f->vm);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), -EFAULT);
}

/* The masks belong to the session. */
KVMI_TEST(ioctls, masks_vanish)
{
	int sv[2];

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_unhook(f->vm);
	kvmi_close(&f->kvmi);
	kvmi_socketpair(sv);
	kvmi_attach(&f->kvmi, f->vm, sv[0], sv[1]);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_GET_INFO, NULL, 0, NULL,
				     0), -KVMI_EPERM);
}

static void enable_unhook_event(struct kvmi *k, u8 enable)
{
	struct kvmi_vm_control_events req = {
		.event_id = KVMI_VM_EVENT_UNHOOK,
		.enable = enable,
	};

	kvmi_assert_err(kvmi_command(k, KVMI_VM_CONTROL_EVENTS, &req,
				     sizeof(req), NULL, 0), 0);
}

KVMI_TEST(ioctls, preunhook)
{
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -EFAULT);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -ENOENT);
	enable_unhook_event(&f->kvmi, 1);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
	kvmi_recv_unhook_event(&f->kvmi, 1);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
	kvmi_recv_unhook_event(&f->kvmi, 2);
	/* It only asks: the session goes on. */
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);

	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -ENOENT);
	kvmi_unhook(f->vm);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -EFAULT);
}

/* vCPU events and VM events count with one counter. */
KVMI_TEST(ioctls, one_event_counter)
{
	struct kvmi_event ev;

	kvmi_hook(&f->kvmi, f->vm);
	enable_unhook_event(&f->kvmi, 1);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.seq, 1);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
	kvmi_recv_unhook_event(&f->kvmi, 2);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.seq, 3);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/* The next session starts to count anew. */
KVMI_TEST(ioctls, event_counter_starts_anew)
{
	struct kvmi_event ev;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 3; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		TEST_ASSERT_EQ(ev.seq, 1);
		kvmi_unhook(f->vm);
		kvmi_close(&f->kvmi);
	}
	kvmi_stop(&f->runner);
}

/* Bytes that were in the socket before HOOK are read by it. */
KVMI_TEST(ioctls, bytes_before_hook)
{
	struct kvmi_get_version_reply reply;
	int sv[2];
	u32 seq;

	kvmi_socketpair(sv);
	kvmi_init(&f->kvmi, f->vm, sv[1]);
	seq = kvmi_send(&f->kvmi, KVMI_GET_VERSION, NULL, 0);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, sv[0]), 0);
	kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_GET_VERSION, seq, &reply,
					sizeof(reply)), 0);
}

KVMI_TEST_MAIN
