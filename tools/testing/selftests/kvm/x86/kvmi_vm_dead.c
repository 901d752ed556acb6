// SPDX-License-Identifier: GPL-2.0-only
/* The five ioctls on a VM that KVM has given up. */
#include "kvmi_test.h"

FIXTURE(kvmi_vm_dead) {
	struct kvmi_fixture f;
};

FIXTURE_SETUP(kvmi_vm_dead)
{
	self->f.vm = vm_create_barebones();
	self->f.vcpu = __vm_vcpu_add(self->f.vm, 0);
	self->f.kvmi.fd = -1;
}

FIXTURE_TEARDOWN(kvmi_vm_dead)
{
}

/* A VM whose SMRAM is no memory is dead when it gets an SMI. */
static void give_up(struct kvmi_fixture *f)
{
	int ret;

	ret = ioctl(f->vcpu->fd, KVM_SMI, NULL);
	TEST_ASSERT(!ret, KVM_IOCTL_ERROR(KVM_SMI, ret));
	ret = __vcpu_run(f->vcpu);
	TEST_ASSERT(ret < 0 && errno == EIO, "KVM_RUN: %d, errno %d", ret,
		    errno);
	ret = ioctl(f->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY);
	TEST_ASSERT(ret < 0 && errno == EIO, "The VM is alive");
}

static void assert_all(int vm_fd, int err)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), err);
	/* There is always something to give back. */
	kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), err == -EIO ? 0 : err);
	kvmi_assert_err(kvmi_ioctl_command(vm_fd, -1, 1), err);
	kvmi_assert_err(kvmi_ioctl_event(vm_fd, -1, 1), err);
	kvmi_assert_err(kvmi_ioctl_preunhook(vm_fd), err);
	kvm_close(sv[0]);
	kvm_close(sv[1]);
}

static void capable(struct kvmi_fixture *f, int fd)
{
	assert_all(f->vm->fd, -EIO);
}

static void without_capability(struct kvmi_fixture *f, int fd)
{
	kvmi_drop_sys_ptrace();
	assert_all(f->vm->fd, -EPERM);
}

KVMI_TEST(kvmi_vm_dead, vmm)
{
	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "no SMM, and no other way to kill a VM");
	give_up(f);
	assert_all(f->vm->fd, -EIO);
}

/* Whether a stranger may comes first: he learns nothing of the VM. */
KVMI_TEST(kvmi_vm_dead, foreign)
{
	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "no SMM, and no other way to kill a VM");
	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	kvmi_run_process(without_capability, f, -1);
	give_up(f);
	kvmi_run_process(capable, f, -1);
	kvmi_run_process(without_capability, f, -1);
}

/* Its session can be ended, and ends with it at the latest. */
KVMI_TEST(kvmi_vm_dead, session)
{
	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "no SMM, and no other way to kill a VM");
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
	give_up(f);
	assert_all(f->vm->fd, -EIO);
	kvmi_expect_closed(&f->kvmi);
	kvmi_close(&f->kvmi);
}

KVMI_TEST(kvmi_vm_dead, session_left_alone)
{
	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "no SMM, and no other way to kill a VM");
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
	give_up(f);
	kvm_vm_free(f->vm);
	kvmi_expect_closed(&f->kvmi);
	kvmi_close(&f->kvmi);
}

KVMI_TEST_MAIN
