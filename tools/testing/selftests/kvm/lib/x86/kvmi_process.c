// SPDX-License-Identifier: GPL-2.0-only
/* Other processes: a tool that is not the VMM, or a VMM that ends.  See kvmi_util.h. */
#include <glob.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "kvmi_util.h"

pid_t kvmi_start_process(void (*fn)(struct kvmi_fixture *f, int fd),
			 struct kvmi_fixture *f, int fd)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		/* A test that failed leaves nobody who holds its VM. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(f, fd);
		fflush(NULL);
		_exit(0);
	}
	return pid;
}

void kvmi_finish_process(pid_t pid)
{
	int status;

	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
	TEST_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status),
		    "The other process failed: status %#x", status);
}

void kvmi_run_process(void (*fn)(struct kvmi_fixture *f, int fd),
		      struct kvmi_fixture *f, int fd)
{
	kvmi_finish_process(kvmi_start_process(fn, f, fd));
}

int kvmi_take_vm_fd(pid_t owner, int fd)
{
	int pidfd = syscall(__NR_pidfd_open, owner, 0);

	TEST_ASSERT(pidfd >= 0, "pidfd_open() failed");
	fd = syscall(__NR_pidfd_getfd, pidfd, fd, 0);
	TEST_ASSERT(fd >= 0, "pidfd_getfd() failed: %d", errno);
	kvm_close(pidfd);
	return fd;
}

unsigned int kvmi_vm_tasks(pid_t pid, pid_t *task)
{
	char path[64], comm[32];
	unsigned int nr = 0;
	size_t i;
	glob_t g;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/*/comm", pid);
	if (glob(path, 0, NULL, &g))
		return 0;
	for (i = 0; i < g.gl_pathc; i++) {
		f = fopen(g.gl_pathv[i], "r");
		if (!f)
			continue;
		/* Anything may end meanwhile. */
		if (fgets(comm, sizeof(comm), f) && !strcmp(comm, "kvmi-vm\n")) {
			nr++;
			if (task)
				sscanf(g.gl_pathv[i], "/proc/%*d/task/%d", task);
		}
		fclose(f);
	}
	globfree(&g);
	return nr;
}

void kvmi_step(int fd)
{
	TEST_ASSERT(write(fd, "", 1) == 1, "write() failed");
}

void kvmi_wait_step(int fd)
{
	char c;

	TEST_ASSERT(read(fd, &c, 1) == 1, "The other process is gone");
}

void kvmi_drop_sys_ptrace(void)
{
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	TEST_ASSERT(!syscall(__NR_capget, &hdr, data), "capget() failed");
	data[0].effective &= ~BIT(CAP_SYS_PTRACE);
	TEST_ASSERT(!syscall(__NR_capset, &hdr, data), "capset() failed");
}

bool kvmi_have_sys_ptrace(void)
{
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	TEST_ASSERT(!syscall(__NR_capget, &hdr, data), "capget() failed");
	return data[0].effective & BIT(CAP_SYS_PTRACE);
}
