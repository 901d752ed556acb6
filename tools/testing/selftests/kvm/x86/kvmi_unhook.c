// SPDX-License-Identifier: GPL-2.0-only
/*
 * UNHOOK and the end of the VM, whatever is under way: queued commands, an
 * event that waits, vCPUs in and out of KVM_RUN; and vCPUs created after HOOK.
 */
#include <sys/wait.h>

#include "kvmi_test.h"

KVMI_SUITE(unhook, 2);

static void rehook(struct kvmi_fixture *f)
{
	kvmi_close(&f->kvmi);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
}

KVMI_TEST(unhook, rehook_at_once)
{
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 50; i++) {
		kvmi_unhook(f->vm);
		kvmi_expect_closed(&f->kvmi);
		rehook(f);
	}
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(unhook, commands_are_queued)
{
	unsigned int i;

	for (i = 0; i < 200; i++) {
		kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, NULL, 0);
		kvmi_send_vcpu(&f->kvmi, 1, KVMI_VCPU_GET_INFO, NULL, 0);
	}
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_unhook(f->vm);
	kvmi_expect_closed(&f->kvmi);
	rehook(f);

	/* Neither commands nor the pause are left for the next session. */
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* While the vCPU runs them. */
KVMI_TEST(unhook, commands_are_running)
{
	unsigned int i, n;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 30; i++) {
		for (n = 0; n < 30; n++)
			kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, NULL,
				       0);
		kvmi_unhook(f->vm);
		/* Some were answered; which ones is nobody's promise. */
		TEST_ASSERT(kvmi_drain_until_closed(&f->kvmi) <= 30,
			    "More replies than commands");
		rehook(f);
	}
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(unhook, event_waits)
{
	struct kvmi_event ev;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 20; i++) {
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_unhook(f->vm);
		kvmi_expect_closed(&f->kvmi);
		kvmi_wait_progress(f->vm, 0);
		rehook(f);
	}
	kvmi_stop(&f->runner);
}

/* The vCPU has left KVM_RUN with its event; the next session has no such. */
KVMI_TEST(unhook, event_waits_outside)
{
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_stop(&f->runner);
	kvmi_unhook(f->vm);
	rehook(f);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(ev.seq, 1);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/*
 * Nobody ran the vCPU while its session ended, and no VM is hooked any more:
 * what the session asked of it is stale, and it enters the guest.  KVM takes
 * its hooks out a second after the last session.  If that takes longer than
 * the sleep, less is seen, and nothing fails.
 */
KVMI_TEST(unhook, stale_request)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		kvmi_assert_err(kvmi_pause(&f->kvmi, i, 0), 0);
		kvmi_send_vcpu(&f->kvmi, i, KVMI_VCPU_GET_INFO, NULL, 0);
	}
	kvmi_ping(&f->kvmi);
	kvmi_unhook(f->vm);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
	sleep(3);
	for (i = 0; i < 2; i++) {
		kvmi_start(&f->runner, f->vcpus[i]);
		kvmi_wait_progress(f->vm, i);
		kvmi_stop(&f->runner);
		TEST_ASSERT_EQ(f->runner.exit_reason, 0);
	}
	rehook(f);
	kvmi_expect_quiet(&f->kvmi);
}

KVMI_TEST(unhook, many_pauses_wait)
{
	struct kvmi_event ev;
	unsigned int i;

	for (i = 0; i < KVMI_MAX_PAUSES; i++)
		kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	kvmi_unhook(f->vm);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

/* A vCPU created after HOOK is introspected like the others. */
KVMI_TEST(unhook, new_vcpu)
{
	struct kvm_vcpu *vcpu = vm_vcpu_add(f->vm, 2, kvmi_guest_count);
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvmi_event ev;

	vcpu_args_set(vcpu, 1, 2);
	kvmi_start(&f->runner, vcpu);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 2, &reply), 0);
	kvmi_stop_vcpu(&f->kvmi, 2, &ev);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 2, &ev.vcpu.arch.regs), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 2);
	kvmi_stop(&f->runner);
}

/* One created between two sessions, and one while an event waits. */
KVMI_TEST(unhook, new_vcpu_between)
{
	struct kvm_vcpu *vcpu;
	struct kvmi_event ev;

	kvmi_unhook(f->vm);
	vcpu = vm_vcpu_add(f->vm, 2, kvmi_guest_count);
	vcpu_args_set(vcpu, 1, 2);
	rehook(f);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 2, 0), 0);
	kvmi_start(&f->runner, vcpu);
	kvmi_recv_pause(&f->kvmi, 2, &ev);
	vm_vcpu_add(f->vm, 3, kvmi_guest_count);
	TEST_ASSERT_EQ(kvmi_vcpu_count(&f->kvmi), 4);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 3, 1), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 2);
	kvmi_stop(&f->runner);
}

/*
 * The end of a VMM, seen from its tool: a process of its own makes the VM,
 * gets into an event, and then goes.
 */
enum last_deed {
	CALL_EXIT,
	WAIT_FOR_SIGKILL,
	CLOSE_VM_FIRST,
	CLOSE_VCPU_FIRST,
	FREE_VM,
	UNHOOK_AND_EXIT,
	EXEC,
	NR_LAST_DEEDS,
};

static void vmm(int fd, enum last_deed deed, int ready)
{
	struct kvm_vcpu *vcpus[1];
	struct kvmi_runner r;
	struct kvm_vm *vm = kvmi_create_vm(1, vcpus);
	char go;

	kvmi_assert_err(kvmi_ioctl_hook(vm->fd, fd), 0);
	kvm_close(fd);
	kvmi_allow_all(vm);
	kvmi_start(&r, vcpus[0]);
	/* The tool says when its event is there. */
	TEST_ASSERT(read(ready, &go, 1) == 1, "read() failed");

	switch (deed) {
	case CALL_EXIT:
		_exit(0);
	case WAIT_FOR_SIGKILL:
		for (;;)
			pause();
	case CLOSE_VM_FIRST:
		kvm_close(vm->fd);
		kvmi_kick(&r);
		_exit(0);
	case CLOSE_VCPU_FIRST:
		kvmi_stop(&r);
		kvm_close(vcpus[0]->fd);
		kvm_close(vm->fd);
		_exit(0);
	case FREE_VM:
		kvmi_stop(&r);
		kvm_vm_free(vm);
		for (;;)
			pause();
	case UNHOOK_AND_EXIT:
		kvmi_unhook(vm);
		_exit(0);
	case EXEC:
		execl("/proc/self/exe", "true", "-h", NULL);
		_exit(0);
	default:
		TEST_FAIL("Deed %u", deed);
	}
}

static void assert_end_of_vmm(enum last_deed deed, bool event)
{
	struct kvmi_event ev;
	int sv[2], ready[2];
	struct kvmi k;
	pid_t pid;

	kvmi_socketpair(sv);
	TEST_ASSERT(!pipe(ready), "pipe() failed");
	fflush(NULL);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		kvm_close(sv[1]);
		kvm_close(ready[1]);
		/* Its output would be taken for the test's. */
		if (deed == EXEC) {
			kvm_close(STDOUT_FILENO);
			kvm_close(STDERR_FILENO);
		}
		vmm(sv[0], deed, ready[0]);
	}
	kvm_close(sv[0]);
	kvm_close(ready[0]);
	kvmi_init(&k, NULL, sv[1]);

	/* Until the VMM has allowed it. */
	while (kvmi_pause(&k, 0, 0))
		sched_yield();
	kvmi_recv_pause(&k, 0, &ev);
	if (!event)
		kvmi_reply(&k, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_ping(&k);

	TEST_ASSERT(write(ready[1], "", 1) == 1, "write() failed");
	if (deed == WAIT_FOR_SIGKILL)
		kill(pid, SIGKILL);
	kvmi_expect_closed(&k);
	kvmi_close(&k);
	if (deed == FREE_VM)
		kill(pid, SIGKILL);
	TEST_ASSERT(waitpid(pid, NULL, 0) == pid, "waitpid() failed");
	kvm_close(ready[1]);
}

KVMI_TEST(unhook, vmm_ends_while_an_event_waits)
{
	enum last_deed deed;

	for (deed = 0; deed < NR_LAST_DEEDS; deed++)
		assert_end_of_vmm(deed, true);
}

KVMI_TEST(unhook, vmm_ends_while_the_guest_runs)
{
	enum last_deed deed;

	for (deed = 0; deed < NR_LAST_DEEDS; deed++)
		assert_end_of_vmm(deed, false);
}

/* Somebody else holds the VM's fd: the session ends with the VMM all the same. */
KVMI_TEST(unhook, vmm_ends_but_not_its_fd)
{
	struct kvm_vcpu *vcpus[1];
	struct {
		struct kvmi_msg_hdr hdr;
		struct kvmi_vm_read_physical req;
	} __packed read_cmd = {
		.hdr.id = KVMI_VM_READ_PHYSICAL,
		.hdr.size = sizeof(read_cmd.req),
		.req.size = 1,
	};
	int sv[2], vm_fd, ready[2];
	struct kvmi_error_code ec;
	struct kvmi_msg *msg;
	struct kvmi k;
	pid_t pid;

	kvmi_socketpair(sv);
	TEST_ASSERT(!pipe(ready), "pipe() failed");
	fflush(NULL);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		struct kvmi_runner r;
		struct kvm_vm *vm = kvmi_create_vm(1, vcpus);

		kvmi_assert_err(kvmi_ioctl_hook(vm->fd, sv[0]), 0);
		kvmi_allow_all(vm);
		/* Both ends are inherited: keep neither. */
		kvm_close(sv[0]);
		kvm_close(sv[1]);
		kvmi_start(&r, vcpus[0]);
		TEST_ASSERT(write(ready[1], &vm->fd, sizeof(int)) ==
			    sizeof(int), "write() failed");
		for (;;)
			pause();
	}
	kvm_close(sv[0]);
	TEST_ASSERT(read(ready[0], &vm_fd, sizeof(int)) == sizeof(int),
		    "read() failed");
	vm_fd = syscall(__NR_pidfd_getfd, syscall(__NR_pidfd_open, pid, 0),
			vm_fd, 0);
	TEST_ASSERT(vm_fd >= 0, "pidfd_getfd() failed");

	kvmi_init(&k, NULL, sv[1]);
	kvmi_ping(&k);
	kill(pid, SIGKILL);
	TEST_ASSERT(waitpid(pid, NULL, 0) == pid, "waitpid() failed");

	/* A command that is sent now is answered -KVM_ENOENT at most. */
	if (__kvmi_send_raw(&k, &read_cmd, sizeof(read_cmd))) {
		msg = kvmi_recv(&k);
		if (msg) {
			memcpy(&ec, msg->data, sizeof(ec));
			TEST_ASSERT_EQ(ec.err, -KVMI_ENOENT);
			free(msg);
		}
	}
	kvmi_drain_until_closed(&k);
	kvmi_wait_until(kvmi_state(vm_fd) == KVMI_DEAD);
	kvm_close(vm_fd);
}

KVMI_TEST_MAIN
