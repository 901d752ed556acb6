// SPDX-License-Identifier: GPL-2.0-only
/*
 * HOOK from another process that holds a duplicate of the VM fd: what it
 * needs, what it gets, and what is left to the VMM meanwhile.
 */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sched.h>

#include "kvmi_test.h"

#ifndef CLONE_NEWUSER
#define CLONE_NEWUSER 0x10000000
#endif

KVMI_UNHOOKED_SUITE(kvmi_foreign, 1);

/* All five, whatever their arguments are. */
static void assert_all_refused(int vm_fd)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), -EPERM);
	kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), -EPERM);
	kvmi_assert_err(kvmi_ioctl_command(vm_fd, -1, 1), -EPERM);
	kvmi_assert_err(kvmi_ioctl_event(vm_fd, -1, 1), -EPERM);
	kvmi_assert_err(kvmi_ioctl_preunhook(vm_fd), -EPERM);

	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, -1), -EPERM);
	kvmi_assert_err(kvmi_ioctl_command(vm_fd, -2, 2), -EPERM);
	kvmi_assert_err(kvmi_ioctl_event(vm_fd, -2, 2), -EPERM);
	kvm_close(sv[0]);
	kvm_close(sv[1]);
}

static void without_capability(struct kvmi_fixture *f, int fd)
{
	kvmi_drop_sys_ptrace();
	assert_all_refused(f->vm->fd);
}

static void as_nobody(struct kvmi_fixture *f, int fd)
{
	TEST_ASSERT(!setgid(65534) && !setuid(65534), "setuid() failed");
	assert_all_refused(f->vm->fd);
}

KVMI_TEST(kvmi_foreign, without_capability)
{
	kvmi_run_process(without_capability, f, -1);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
	/* Nor for a VM that is hooked, by its VMM. */
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_run_process(without_capability, f, -1);
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);
}

KVMI_TEST(kvmi_foreign, as_nobody)
{
	if (getuid())
		SKIP(return, "not root");
	kvmi_run_process(as_nobody, f, -1);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
}

/* The VMM itself needs no capability. */
static void own_vm_without_capability(struct kvmi_fixture *f, int fd)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct kvmi k;

	kvmi_drop_sys_ptrace();
	kvmi_hook(&k, vm);
	kvmi_ping(&k);
	kvmi_unhook(vm);
	kvm_vm_free(vm);
}

KVMI_TEST(kvmi_foreign, own_vm_without_capability)
{
	kvmi_run_process(own_vm_without_capability, f, -1);
}

/* A foreign session, from beginning to end. */
static void foreign_session(struct kvmi_fixture *f, int fd)
{
	int vm_fd = kvmi_take_vm_fd(getppid(), f->vm->fd), sv[2];
	struct kvmi_event ev;
	struct kvmi k;

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), 0);
	kvm_close(sv[0]);
	kvmi_assert_err(kvmi_ioctl_command(vm_fd, -1, 1), 0);
	kvmi_assert_err(kvmi_ioctl_event(vm_fd, -1, 1), 0);
	TEST_ASSERT_EQ(kvmi_state(vm_fd), KVMI_ACTIVE);
	/* The fd is needed no more. */
	kvm_close(vm_fd);

	kvmi_init(&k, f->vm, sv[1]);
	kvmi_ping(&k);
	kvmi_stop_vcpu(&k, 0, &ev);
	kvmi_reply(&k, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_ping(&k);
}

KVMI_TEST(kvmi_foreign, session)
{
	unsigned int i;

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 5; i++) {
		kvmi_run_process(foreign_session, f, -1);
		kvmi_wait_progress(f->vm, 0);
		/* It died with its tool; whoever comes next need not wait. */
		kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	}
	kvmi_stop(&f->runner);
}

/* Guest memory is reached through the VM's mm, not the caller's. */
static void foreign_memory(struct kvmi_fixture *f, int fd)
{
	u64 gpa = addr_gva2gpa(f->vm, (gva_t)&kvmi_progress[3]), value;
	u64 *copy = addr_gva2hva(f->vm, (gva_t)&kvmi_progress[3]);
	int sv[2];
	struct kvmi k;

	kvmi_socketpair(sv);
	kvmi_attach(&k, f->vm, sv[0], sv[1]);
	kvmi_allow_all(f->vm);
	/* This process has a copy of the VMM's memory: not the guest's. */
	*copy = 0xbad;
	kvmi_assert_err(kvmi_read_physical(&k, gpa, 8, &value), 0);
	TEST_ASSERT_EQ(value, 0x1111);
	value = 0x2222;
	kvmi_assert_err(kvmi_write_physical(&k, gpa, 8, &value), 0);
	TEST_ASSERT_EQ(READ_ONCE(*copy), 0xbad);
}

KVMI_TEST(kvmi_foreign, memory)
{
	u64 *counter = addr_gva2hva(f->vm, (gva_t)&kvmi_progress[3]);

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	*counter = 0x1111;
	kvmi_run_process(foreign_memory, f, -1);
	TEST_ASSERT_EQ(READ_ONCE(*counter), 0x2222);
}

/* One ioctl that KVM has always had refuses foreigners, as ever. */
static void other_ioctls(struct kvmi_fixture *f, int fd)
{
	TEST_ASSERT(ioctl(f->vm->fd, KVM_CHECK_EXTENSION,
			  KVM_CAP_INTROSPECTION) < 0 && errno == EIO,
		    "CHECK_EXTENSION on a foreign VM");
	TEST_ASSERT(ioctl(f->vm->fd, KVM_CREATE_VCPU, 3) < 0 && errno == EIO,
		    "CREATE_VCPU on a foreign VM");
	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_INTROSPECTION), KVMI_VERSION);
}

KVMI_TEST(kvmi_foreign, other_ioctls)
{
	kvmi_run_process(other_ioctls, f, -1);
}

/* Hooks, says so, and goes when told to. */
static void hooker(struct kvmi_fixture *f, int fd)
{
	struct kvmi_vm_control_events req = { .enable = 1 };
	struct kvmi k;
	int sv[2];

	prctl(PR_SET_NAME, "a foreign tool");
	kvmi_socketpair(sv);
	kvmi_attach(&k, f->vm, sv[0], sv[1]);
	kvmi_allow_all(f->vm);
	kvmi_assert_err(kvmi_command(&k, KVMI_VM_CONTROL_EVENTS, &req,
				     sizeof(req), NULL, 0), 0);
	kvmi_step(fd);
	/* The VMM asks the tool to leave. */
	kvmi_recv_unhook_event(&k, 1);
	kvmi_ping(&k);
	kvmi_step(fd);
	kvmi_wait_step(fd);
}

KVMI_TEST(kvmi_foreign, vmm_of_a_foreign_session)
{
	char *comm, *pid;
	int sv[2], pair[2];
	pid_t child;

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	kvmi_socketpair(sv);
	kvmi_socketpair(pair);
	child = kvmi_start_process(hooker, f, sv[1]);
	kvmi_wait_step(sv[0]);

	comm = kvmi_fdinfo(f->vm->fd, "kvmi-hooker-comm");
	TEST_ASSERT(comm && !strcmp(comm, "a foreign tool"),
		    "kvmi-hooker-comm is %s", comm);
	pid = kvmi_fdinfo(f->vm->fd, "kvmi-hooker-pid");
	TEST_ASSERT(pid && atoi(pid) == child, "kvmi-hooker-pid is %s", pid);

	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), -EPERM);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), -EPERM);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), -EPERM);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, pair[0]), -EEXIST);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
	kvmi_wait_step(sv[0]);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);

	/* The tool leaves: the VM belongs to its VMM again. */
	kvmi_step(sv[0]);
	kvmi_finish_process(child);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, pair[0]), 0);
}

/* The VM may go while it is hooked by a stranger, with or without asking. */
static void sees_the_end(struct kvmi_fixture *f, int fd)
{
	struct kvmi k;
	int vm_fd, sv[2];

	vm_fd = kvmi_take_vm_fd(getppid(), f->vm->fd);
	/* Nothing of the VMM's but what was taken: no fd and no mapping. */
	kvm_vm_release(f->vm);
	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), 0);
	kvm_close(sv[0]);
	kvm_close(vm_fd);
	kvmi_init(&k, f->vm, sv[1]);
	kvmi_ping(&k);
	kvmi_step(fd);
	kvmi_expect_closed(&k);
}

KVMI_TEST(kvmi_foreign, vm_is_destroyed)
{
	pid_t child;
	int sv[2];

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	kvmi_socketpair(sv);
	child = kvmi_start_process(sees_the_end, f, sv[1]);
	kvmi_wait_step(sv[0]);
	kvm_vm_free(f->vm);
	kvmi_finish_process(child);
	/* For the teardown. */
	f->vm = vm_create_barebones();
}

/* The VMM's own session is not out of a capable stranger's reach. */
static void stranger(struct kvmi_fixture *f, int fd)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, sv[0]), -EEXIST);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), 0);
}

KVMI_TEST(kvmi_foreign, session_of_the_vmm)
{
	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_run_process(stranger, f, -1);
	kvmi_expect_closed(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
}

/* All capabilities of another user namespace are none here. */
static void in_user_namespace(struct kvmi_fixture *f, int fd)
{
	TEST_ASSERT(!unshare(CLONE_NEWUSER), "unshare() failed");
	TEST_ASSERT(kvmi_have_sys_ptrace(), "No capability in a new namespace");
	assert_all_refused(f->vm->fd);
}

static bool have_user_namespaces(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(!!unshare(CLONE_NEWUSER));
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

KVMI_TEST(kvmi_foreign, other_user_namespace)
{
	if (!have_user_namespaces())
		SKIP(return, "no user namespaces");
	kvmi_run_process(in_user_namespace, f, -1);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
}

/* Those of the namespace in which the VM was created are enough. */
static void tool_of_namespace(struct kvmi_fixture *f, int fd)
{
	struct kvmi k;
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_attach(&k, f->vm, sv[0], sv[1]);
	kvmi_ping(&k);
	kvmi_unhook(f->vm);
	kvmi_drop_sys_ptrace();
	assert_all_refused(f->vm->fd);
}

static void vmm_in_namespace(struct kvmi_fixture *f, int fd)
{
	struct kvmi_fixture inner = {};

	TEST_ASSERT(!unshare(CLONE_NEWUSER), "unshare() failed");
	inner.vm = vm_create_barebones();
	kvmi_run_process(tool_of_namespace, &inner, -1);
	kvm_vm_free(inner.vm);
}

KVMI_TEST(kvmi_foreign, same_user_namespace)
{
	int kvm_fd;

	if (!have_user_namespaces())
		SKIP(return, "no user namespaces");
	kvm_fd = open_kvm_dev_path_or_exit();
	kvm_close(kvm_fd);
	kvmi_run_process(vmm_in_namespace, f, -1);
}

KVMI_TEST_MAIN
