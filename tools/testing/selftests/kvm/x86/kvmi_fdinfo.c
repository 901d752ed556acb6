// SPDX-License-Identifier: GPL-2.0-only
/* fdinfo of the VM fd: who hooked it. */
#include <sys/prctl.h>

#include "kvmi_test.h"

KVMI_UNHOOKED_SUITE(kvmi_fdinfo, 1);

static void assert_line(struct kvm_vm *vm, const char *key, const char *want)
{
	char *value = kvmi_fdinfo(vm->fd, key);

	if (!want) {
		TEST_ASSERT(!value, "%s is there: %s", key, value);
		return;
	}
	TEST_ASSERT(value, "%s is not there", key);
	TEST_ASSERT(!strcmp(value, want), "%s is \"%s\", wanted \"%s\"", key,
		    value, want);
	free(value);
}

static void assert_hooker(struct kvm_vm *vm, const char *uuid)
{
	char comm[17] = {}, pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	prctl(PR_GET_NAME, comm);
	assert_line(vm, "kvmi-hooker-pid", pid);
	assert_line(vm, "kvmi-hooker-comm", comm);
	assert_line(vm, "kvmi-uuid", uuid);
}

static void assert_none(struct kvm_vm *vm)
{
	assert_line(vm, "kvmi", "none");
	assert_line(vm, "kvmi-hooker-pid", NULL);
	assert_line(vm, "kvmi-hooker-comm", NULL);
	assert_line(vm, "kvmi-uuid", NULL);
}

KVMI_TEST(kvmi_fdinfo, states)
{
	static const u8 uuid[16] = {
		0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
		0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
	};
	static const char want[] = "00112233-4455-6677-8899-aabbccddeeff";
	int sv[2];

	assert_none(f->vm);

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook_uuid(f->vm->fd, sv[0], uuid, 0), 0);
	kvm_close(sv[0]);
	assert_line(f->vm, "kvmi", "active");
	assert_hooker(f->vm, want);

	kvm_close(sv[1]);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	assert_hooker(f->vm, want);

	kvmi_unhook(f->vm);
	assert_none(f->vm);
}

/* Another session, another hooker. */
KVMI_TEST(kvmi_fdinfo, is_that_of_the_session)
{
	static const u8 uuid[16] = { 0xff };

	kvmi_hook(&f->kvmi, f->vm);
	assert_hooker(f->vm, "00000000-0000-0000-0000-000000000000");
	kvmi_unhook(f->vm);
	kvmi_close(&f->kvmi);

	prctl(PR_SET_NAME, "a name of 15 ch");
	kvmi_hook(&f->kvmi, f->vm);
	assert_hooker(f->vm, "00000000-0000-0000-0000-000000000000");
	/* The name is that of the moment of HOOK. */
	prctl(PR_SET_NAME, "later");
	assert_line(f->vm, "kvmi-hooker-comm", "a name of 15 ch");

	/* A refused HOOK does not change it. */
	kvmi_assert_err(kvmi_ioctl_hook_uuid(f->vm->fd, -1, uuid, 0), -EEXIST);
	assert_line(f->vm, "kvmi-uuid",
		    "00000000-0000-0000-0000-000000000000");
}

/* A name cannot forge another line. */
KVMI_TEST(kvmi_fdinfo, newline_in_the_name)
{
	prctl(PR_SET_NAME, "x\nkvmi:\tdead");
	kvmi_hook(&f->kvmi, f->vm);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);
	kvmi_unhook(f->vm);
	assert_none(f->vm);
}

/* A VM fd only; a vCPU's has no such line. */
KVMI_TEST(kvmi_fdinfo, vcpu_fd)
{
	TEST_ASSERT(!kvmi_fdinfo(f->vcpu->fd, "kvmi"), "A vCPU has the line");
}

KVMI_TEST_MAIN
