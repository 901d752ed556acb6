// SPDX-License-Identifier: GPL-2.0-only
/*
 * The last descriptor of a VM lies in the socket of its own session, or of that
 * of another VM, and that one's in its: the task that reads it ends a VM.
 */
#include <sys/wait.h>

#include "kvmi_test.h"

struct vms {
	pid_t pid;
	int step, fds[2], tools[2];
};

/* Makes two VMs, and lets go of them when the tool has them. */
static void vmm(struct kvmi_fixture *unused, int fd)
{
	struct kvm_vm *vms[2] = { vm_create_barebones(), vm_create_barebones() };
	int fds[2] = { vms[0]->fd, vms[1]->fd };

	TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), NULL), 2);
	TEST_ASSERT(write(fd, fds, sizeof(fds)) == sizeof(fds), "write() failed");
	kvmi_wait_step(fd);
	kvm_vm_free(vms[0]);
	kvm_vm_free(vms[1]);
	kvmi_step(fd);
	for (;;)
		pause();
}

static void start(struct vms *v)
{
	int sv[2], fds[2], i, status;

	kvmi_socketpair(sv);
	v->pid = kvmi_start_process(vmm, NULL, sv[1]);
	kvm_close(sv[1]);
	TEST_ASSERT(read(sv[0], fds, sizeof(fds)) == sizeof(fds), "The VMM failed");
	for (i = 0; i < 2; i++)
		v->fds[i] = kvmi_take_vm_fd(v->pid, fds[i]);
	kvmi_step(sv[0]);
	kvmi_wait_step(sv[0]);
	kvm_close(sv[0]);
	/* The tasks of its VMs read nothing until it goes on. */
	kill(v->pid, SIGSTOP);
	TEST_ASSERT(waitpid(v->pid, &status, WUNTRACED) == v->pid && WIFSTOPPED(status),
		    "The VMM does not stop");
}

/* VM i is hooked through a socket with the descriptor of VM @parked[i] in it. */
static void park(struct vms *v, const int parked[2])
{
	struct kvmi_msg_hdr hdr = { .id = KVMI_GET_VERSION, .seq = 1 };
	int sv[2][2], i;

	for (i = 0; i < 2; i++) {
		kvmi_socketpair(sv[i]);
		kvmi_assert_err(kvmi_send_fd(sv[i][1], &hdr, sizeof(hdr),
					     v->fds[parked[i]]), 0);
		kvmi_assert_err(kvmi_ioctl_hook(v->fds[i], sv[i][0]), 0);
		kvm_close(sv[i][0]);
		v->tools[i] = sv[i][1];
	}
	kvm_close(v->fds[0]);
	kvm_close(v->fds[1]);
}

static void end(struct vms *v, int signal)
{
	struct kvmi k;
	int i;

	kill(v->pid, signal);
	for (i = 0; i < 2; i++) {
		kvmi_init(&k, NULL, v->tools[i]);
		kvmi_drain_until_closed(&k);
		kvmi_close(&k);
	}
	kvmi_wait_until(!kvmi_vm_tasks(v->pid, NULL));
	kill(v->pid, SIGKILL);
	TEST_ASSERT(waitpid(v->pid, NULL, 0) == v->pid, "waitpid() failed");
}

static void both_signals(struct __test_metadata *_metadata, const int parked[2])
{
	struct vms v;

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	start(&v);
	park(&v, parked);
	end(&v, SIGCONT);
	start(&v);
	park(&v, parked);
	end(&v, SIGKILL);
}

TEST(own)
{
	both_signals(_metadata, (const int []) { 0, 1 });
}

TEST(each_others)
{
	both_signals(_metadata, (const int []) { 1, 0 });
}

KVMI_TEST_MAIN
