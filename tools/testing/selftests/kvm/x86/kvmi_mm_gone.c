// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VM's address space goes away while another process, the tool, holds the
 * VM's fd: the session ends, and nobody hooks the VM any more.
 */
#include <sys/wait.h>

#include "kvmi_test.h"

FIXTURE(kvmi_mm_gone) {
	struct kvmi_fixture f;
};

FIXTURE_SETUP(kvmi_mm_gone)
{
	self->f.kvmi.fd = -1;
}

FIXTURE_TEARDOWN(kvmi_mm_gone)
{
	kvmi_close(&self->f.kvmi);
}

enum last_deed {
	WAIT_FOR_SIGKILL,
	CALL_EXIT,
	EXEC,
	NR_LAST_DEEDS,
};

struct vmm {
	pid_t pid;
	int to, from;
	/* In this process. */
	int vm_fd;
};

static void run_vmm(enum last_deed deed, int in, int out)
{
	struct kvm_vcpu *vcpus[1];
	struct kvm_vm *vm = kvmi_create_vm(1, vcpus);
	struct kvmi_runner r;
	char go;

	kvmi_start(&r, vcpus[0]);
	TEST_ASSERT(write(out, &vm->fd, sizeof(vm->fd)) == sizeof(vm->fd),
		    "write() failed");
	TEST_ASSERT(read(in, &go, 1) == 1, "The tool is gone");
	switch (deed) {
	case WAIT_FOR_SIGKILL:
		for (;;)
			pause();
	case CALL_EXIT:
		_exit(0);
	case EXEC:
		/* Its output would be taken for the test's. */
		kvm_close(STDOUT_FILENO);
		kvm_close(STDERR_FILENO);
		execl("/proc/self/exe", "true", "-h", NULL);
		_exit(0);
	default:
		TEST_FAIL("Deed %u", deed);
	}
}

static void start_vmm(struct vmm *vmm, enum last_deed deed)
{
	int to[2], from[2], fd;

	TEST_ASSERT(!pipe(to) && !pipe(from), "pipe() failed");
	fflush(NULL);
	vmm->pid = fork();
	TEST_ASSERT(vmm->pid >= 0, "fork() failed");
	if (!vmm->pid) {
		kvm_close(to[1]);
		kvm_close(from[0]);
		run_vmm(deed, to[0], from[1]);
	}
	kvm_close(to[0]);
	kvm_close(from[1]);
	TEST_ASSERT(read(from[0], &fd, sizeof(fd)) == sizeof(fd),
		    "The VMM is gone");
	vmm->vm_fd = kvmi_take_vm_fd(vmm->pid, fd);
	vmm->to = to[1];
	vmm->from = from[0];
}

/* When this returns its address space is no more. */
static void end_vmm(struct vmm *vmm, enum last_deed deed)
{
	kvmi_step(vmm->to);
	if (deed == WAIT_FOR_SIGKILL)
		kill(vmm->pid, SIGKILL);
	TEST_ASSERT(waitpid(vmm->pid, NULL, 0) == vmm->pid,
		    "waitpid() failed");
	kvm_close(vmm->to);
	kvm_close(vmm->from);
}

/* And leaves what there was. */
static void assert_hook_refused(int vm_fd, enum kvmi_state state)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), -EIO);
	TEST_ASSERT_EQ(kvmi_state(vm_fd), state);
	kvm_close(sv[0]);
	kvm_close(sv[1]);
}

static void session(struct kvmi_fixture *f, enum last_deed deed, bool event)
{
	struct kvmi_event ev;
	struct vmm vmm;
	int sv[2];

	start_vmm(&vmm, deed);
	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vmm.vm_fd, sv[0]), 0);
	kvm_close(sv[0]);
	kvmi_assert_err(kvmi_ioctl_command(vmm.vm_fd, -1, 1), 0);
	kvmi_assert_err(kvmi_ioctl_event(vmm.vm_fd, -1, 1), 0);
	kvmi_init(&f->kvmi, NULL, sv[1]);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	if (!event)
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);

	end_vmm(&vmm, deed);
	kvmi_expect_closed(&f->kvmi);
	kvmi_wait_until(kvmi_state(vmm.vm_fd) == KVMI_DEAD);
	kvmi_assert_err(kvmi_ioctl_preunhook(vmm.vm_fd), -ENOENT);
	assert_hook_refused(vmm.vm_fd, KVMI_DEAD);
	kvmi_assert_err(kvmi_ioctl_unhook(vmm.vm_fd), 0);
	assert_hook_refused(vmm.vm_fd, KVMI_NONE);
	kvmi_assert_err(kvmi_ioctl_command(vmm.vm_fd, -1, 1), -EFAULT);
	kvm_close(vmm.vm_fd);
	kvmi_close(&f->kvmi);
}

KVMI_TEST(kvmi_mm_gone, session_of_another_process)
{
	enum last_deed deed;

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	for (deed = 0; deed < NR_LAST_DEEDS; deed++) {
		session(f, deed, false);
		session(f, deed, true);
	}
}

/* A VM that nobody ever hooked. */
KVMI_TEST(kvmi_mm_gone, hook_is_refused)
{
	enum last_deed deed;
	struct vmm vmm;

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	for (deed = 0; deed < NR_LAST_DEEDS; deed++) {
		start_vmm(&vmm, deed);
		end_vmm(&vmm, deed);
		assert_hook_refused(vmm.vm_fd, KVMI_NONE);
		kvmi_assert_err(kvmi_ioctl_unhook(vmm.vm_fd), 0);
		kvm_close(vmm.vm_fd);
	}
}

KVMI_TEST_MAIN
