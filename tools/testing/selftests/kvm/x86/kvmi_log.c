// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's log: one line for each HOOK, with the VM's process and hooker. */
#include <sys/prctl.h>

#include "kvmi_test.h"

KVMI_UNHOOKED_SUITE(kvmi_log, 1);

/* A reader of the log, at its end; -1: not for us. */
static int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	if (fd >= 0)
		TEST_ASSERT(!lseek(fd, 0, SEEK_END), "lseek() failed");
	return fd;
}

/* The lines since the last call that have @part; all have to end with @want. */
static unsigned int count_lines(int fd, const char *part, const char *want)
{
	char record[8192], *text;
	unsigned int n = 0;
	ssize_t size;

	for (;;) {
		size = read(fd, record, sizeof(record) - 1);
		/* Lines that were overwritten before we came to them. */
		if (size < 0 && errno == EPIPE)
			continue;
		if (size < 0 && errno == EAGAIN)
			return n;
		TEST_ASSERT(size > 0, "Cannot read the log: %d", errno);
		record[size] = '\0';
		text = strchr(record, ';');
		TEST_ASSERT(text, "Record without a text: %s", record);
		text[strcspn(text, "\n")] = '\0';
		if (!strstr(text, part))
			continue;
		TEST_ASSERT(strstr(text, want), "The line says \"%s\", wanted \"%s\"",
			    text + 1, want);
		n++;
	}
}

/*
 * The lines are rate-limited, and other tests may have used up what is
 * allowed: so until there is one.  There is never more than one per HOOK.
 */
static void assert_line(int fd, int vm_fd, const char *want)
{
	u64 deadline = kvmi_deadline();
	unsigned int n;
	int sv[2];

	do {
		kvmi_still_alive(deadline, want);
		kvmi_socketpair(sv);
		count_lines(fd, "is introspected by", "");
		kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), 0);
		n = count_lines(fd, "is introspected by", want);
		TEST_ASSERT(n <= 1, "%u lines for one HOOK", n);
		kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), 0);
		kvm_close(sv[0]);
		kvm_close(sv[1]);
	} while (!n);
	TEST_ASSERT_EQ(count_lines(fd, "is introspected by", ""), 0);
}

KVMI_TEST(kvmi_log, vmm)
{
	int fd = open_log();
	char want[128];

	if (fd < 0)
		SKIP(return, "/dev/kmsg cannot be read");
	prctl(PR_SET_NAME, "a vmm");
	snprintf(want, sizeof(want),
		 "VM of process %d is introspected by process %d (a vmm)",
		 getpid(), getpid());
	assert_line(fd, f->vm->fd, want);

	/* A refused HOOK is none. */
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, -1), -EINVAL);
	TEST_ASSERT_EQ(count_lines(fd, "is introspected by", ""), 0);
	kvm_close(fd);
}

static void foreign_hooker(struct kvmi_fixture *f, int fd)
{
	char want[128];

	prctl(PR_SET_NAME, "a foreign tool");
	snprintf(want, sizeof(want),
		 "VM of process %d is introspected by process %d (a foreign tool)",
		 getppid(), getpid());
	assert_line(fd, f->vm->fd, want);
}

KVMI_TEST(kvmi_log, foreign)
{
	int fd = open_log();

	if (fd < 0)
		SKIP(return, "/dev/kmsg cannot be read");
	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	kvmi_run_process(foreign_hooker, f, fd);
	kvm_close(fd);
}

KVMI_TEST_MAIN
