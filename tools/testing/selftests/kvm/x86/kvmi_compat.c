// SPDX-License-Identifier: GPL-2.0-only
/* The five ioctls as a 32-bit VMM calls them: by int 0x80, from here. */
#include "kvmi_test.h"

#define I386_NR_GETPID	20
#define I386_NR_IOCTL	54

KVMI_UNHOOKED_SUITE(kvmi_compat, 1);

static long int80(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "a"(nr), "b"(a), "c"(b), "d"(c)
		     : "memory", "r8", "r9", "r10", "r11");
	/* A 32-bit process sees 32 bits of it. */
	return (int)ret;
}

static long compat_ioctl(int fd, u32 cmd, void *arg)
{
	TEST_ASSERT((unsigned long)arg == (u32)(unsigned long)arg,
		    "%p is above 4 GiB", arg);
	return int80(I386_NR_IOCTL, fd, cmd, (long)arg);
}

/* Where 32-bit pointers reach. */
static void *low_page(void)
{
	return kvm_mmap(PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1);
}

KVMI_TEST(kvmi_compat, session)
{
	struct kvm_introspection_feature *feature = low_page();
	struct kvm_introspection_hook *hook = low_page();
	struct kvmi_vm_control_events req = { .enable = 1 };
	int sv[2];

	kvmi_socketpair(sv);
	hook->fd = sv[0];
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_HOOK, hook),
			0);
	kvmi_init(&f->kvmi, f->vm, sv[1]);
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);

	feature->id = KVMI_VM_CONTROL_EVENTS;
	feature->allow = 1;
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_COMMAND,
				     feature), 0);
	feature->id = KVMI_VM_EVENT_UNHOOK;
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_EVENT,
				     feature), 0);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CONTROL_EVENTS, &req,
				     sizeof(req), NULL, 0), 0);
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_PREUNHOOK,
				     NULL), 0);
	kvmi_recv_unhook_event(&f->kvmi, 1);
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_UNHOOK,
				     NULL), 0);
	kvmi_expect_closed(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
}

KVMI_TEST(kvmi_compat, errors)
{
	struct kvm_introspection_feature *feature = low_page();
	struct kvm_introspection_hook *hook = low_page();

	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_HOOK, NULL),
			-EFAULT);
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_COMMAND,
				     NULL), -EFAULT);
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_EVENT, NULL),
			-EFAULT);
	hook->fd = -1;
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_HOOK, hook),
			-EINVAL);
	feature->id = -1;
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_COMMAND,
				     feature), -EFAULT);
	feature->id = -2;
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_COMMAND,
				     feature), -EINVAL);
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_EVENT,
				     feature), -EINVAL);
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_PREUNHOOK,
				     NULL), -EFAULT);
	kvmi_assert_err(compat_ioctl(f->vm->fd, KVM_INTROSPECTION_UNHOOK,
				     NULL), 0);
}

/* CHECK_EXTENSION takes its number as the argument. */
KVMI_TEST(kvmi_compat, capability)
{
	TEST_ASSERT_EQ(compat_ioctl(f->vm->fd, KVM_CHECK_EXTENSION,
				    (void *)KVM_CAP_INTROSPECTION),
		       KVMI_VERSION);
}

static bool have_int80(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(int80(I386_NR_GETPID, 0, 0, 0) != getpid());
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(have_int80(), "no 32-bit system calls");
	return test_harness_run(argc, argv);
}
