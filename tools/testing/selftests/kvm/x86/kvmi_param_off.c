// SPDX-License-Identifier: GPL-2.0-only
/* The module parameter is off: the ioctls are there and refuse everything. */
#include "kvmi_test.h"

KVMI_UNHOOKED_SUITE(kvmi_param_off, 1);

KVMI_TEST(kvmi_param_off, capability)
{
	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_INTROSPECTION), 0);
	TEST_ASSERT_EQ(vm_check_cap(f->vm, KVM_CAP_INTROSPECTION), 0);
}

KVMI_TEST(kvmi_param_off, ioctls)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, sv[0]), -EPERM);
	kvmi_assert_err(kvmi_ioctl_unhook(f->vm->fd), -EPERM);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 1), -EPERM);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 1), -EPERM);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -EPERM);
}

/* Before anything else, the argument included. */
KVMI_TEST(kvmi_param_off, before_anything_else)
{
	kvmi_assert_err(ioctl(f->vm->fd, KVM_INTROSPECTION_HOOK, NULL) ?
			-errno : 0, -EPERM);
	kvmi_assert_err(ioctl(f->vm->fd, KVM_INTROSPECTION_COMMAND, NULL) ?
			-errno : 0, -EPERM);
	kvmi_assert_err(ioctl(f->vm->fd, KVM_INTROSPECTION_EVENT, NULL) ?
			-errno : 0, -EPERM);
	kvmi_assert_err(kvmi_ioctl_hook_uuid(f->vm->fd, -1, NULL, 1), -EPERM);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -2, 7), -EPERM);
}

/* The parameter is read-only: nobody switches it on behind a VM's back. */
KVMI_TEST(kvmi_param_off, parameter_is_read_only)
{
	int fd = open("/sys/module/kvm/parameters/introspection", O_WRONLY);

	TEST_ASSERT(fd < 0 || write(fd, "1", 1) < 0,
		    "The parameter can be written");
	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_INTROSPECTION), 0);
}

/* Nor does a VM have a task for it. */
KVMI_TEST(kvmi_param_off, no_task)
{
	TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), NULL), 0);
}

/* And the guest runs as ever. */
KVMI_TEST(kvmi_param_off, guest_runs)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

int main(int argc, char *argv[])
{
	__TEST_REQUIRE(!access("/sys/module/kvm/parameters/introspection", F_OK),
		       "kvm.ko was built without CONFIG_KVM_INTROSPECTION");
	__TEST_REQUIRE(!get_kvm_param_bool("introspection"),
		       "the module parameter kvm.introspection is on");
	return test_harness_run(argc, argv);
}
