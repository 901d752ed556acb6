// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one task that a VM has for introspection: whose it is, when it is there,
 * and that nobody waits for it, whatever state its process is in.
 */
#include <fcntl.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "kvmi_test.h"

KVMI_UNHOOKED_SUITE(kvmi_task, 1);

static void wait_for_tasks(unsigned int nr)
{
	kvmi_wait_until(kvmi_vm_tasks(getpid(), NULL) == nr);
}

static void read_cgroup(pid_t task, char line[256])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/cgroup", task);
	f = fopen(path, "r");
	TEST_ASSERT(f && fgets(line, 256, f), "Cannot read %s", path);
	fclose(f);
}

/* It comes with the VM, hooked or not, and goes with it. */
KVMI_TEST(kvmi_task, one_for_each_vm)
{
	struct kvm_vm *vms[3];
	unsigned int i;

	TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), NULL), 1);
	for (i = 0; i < ARRAY_SIZE(vms); i++) {
		vms[i] = vm_create_barebones();
		TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), NULL), 2 + i);
	}
	for (i = 0; i < 3; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_ping(&f->kvmi);
		TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), NULL), 4);
		kvmi_unhook(f->vm);
		TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), NULL), 4);
		kvmi_close(&f->kvmi);
	}
	for (i = 0; i < ARRAY_SIZE(vms); i++) {
		kvm_vm_free(vms[i]);
		wait_for_tasks(3 - i);
	}
}

/* A VM that nobody has hooked, or whose session is over, sleeps. */
static void in_cgroup(struct kvmi_fixture *f, int fd)
{
	char own[256], its[256];
	struct kvmi_cgroup cg;
	const char *why = kvmi_cgroup_make(&cg, "task");
	struct kvm_vm *vm;
	pid_t task;

	TEST_ASSERT(!why, "%s", why);
	kvmi_cgroup_enter(&cg);
	vm = vm_create_barebones();
	TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), &task), 1);
	read_cgroup(getpid(), own);
	read_cgroup(task, its);
	TEST_ASSERT(!strcmp(own, its), "The task is in %s", its);
	kvm_vm_free(vm);
	wait_for_tasks(0);
	kvmi_cgroup_leave();
	kvmi_cgroup_remove(&cg);
}

KVMI_TEST(kvmi_task, in_the_cgroup_of_the_vmm)
{
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup v2");
	kvmi_run_process(in_cgroup, f, -1);
}

/* The session is not the attacher's. */
static void attach_and_exit(struct kvmi_fixture *f, int fd)
{
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, fd), 0);
	kvmi_allow_all(f->vm);
}

static void attach_and_exec(struct kvmi_fixture *f, int fd)
{
	attach_and_exit(f, fd);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void session_of_another(struct kvmi_fixture *f,
			       void (*attach)(struct kvmi_fixture *f, int fd))
{
	struct kvmi_event ev;
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_run_process(attach, f, sv[0]);
	kvm_close(sv[0]);
	kvmi_init(&f->kvmi, f->vm, sv[1]);
	TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), NULL), 1);
	kvmi_ping(&f->kvmi);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_continue(&f->kvmi, &ev);
	kvmi_wait_progress(f->vm, 0);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_task, attacher_exits)
{
	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	session_of_another(f, attach_and_exit);
}

KVMI_TEST(kvmi_task, attacher_execs)
{
	if (!kvmi_have_sys_ptrace() || access("/bin/true", X_OK))
		SKIP(return, "no CAP_SYS_PTRACE, or no program");
	session_of_another(f, attach_and_exec);
}

/* A VMM that does nothing but run its vCPU; it tells its descriptor. */
static void vmm(struct kvmi_fixture *f, int fd)
{
	f->vm = kvmi_create_vm(1, f->vcpus);
	kvmi_start(&f->runner, f->vcpus[0]);
	TEST_ASSERT(write(fd, &f->vm->fd, sizeof(int)) == sizeof(int), "write()");
	for (;;)
		pause();
}

static pid_t start_vmm(int *vm_fd)
{
	struct kvmi_fixture f = {};
	int sv[2], fd;
	pid_t pid;

	kvmi_socketpair(sv);
	pid = kvmi_start_process(vmm, &f, sv[1]);
	TEST_ASSERT(read(sv[0], &fd, sizeof(fd)) == sizeof(fd), "The VMM failed");
	*vm_fd = kvmi_take_vm_fd(pid, fd);
	kvm_close(sv[0]);
	kvm_close(sv[1]);
	return pid;
}

static void attach(struct kvmi *k, int vm_fd)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), 0);
	kvm_close(sv[0]);
	kvmi_assert_err(kvmi_ioctl_command(vm_fd, -1, 1), 0);
	kvmi_assert_err(kvmi_ioctl_event(vm_fd, -1, 1), 0);
	kvmi_init(k, NULL, sv[1]);
}

/* Stopping the VMM's tasks, and letting them go on. */
struct stop {
	void (*stop)(pid_t pid, struct kvmi_cgroup *cg);
	void (*go_on)(pid_t pid, struct kvmi_cgroup *cg);
};

/* Lets it go on, should this process wait for it; @pid fails then. */
static pid_t start_rescuer(const struct stop *how, pid_t pid, struct kvmi_cgroup *cg)
{
	pid_t rescuer = fork();

	TEST_ASSERT(rescuer >= 0, "fork() failed");
	if (!rescuer) {
		sleep(KVMI_HANG_SECONDS);
		how->go_on(pid, cg);
		_exit(0);
	}
	return rescuer;
}

static void end_rescuer(pid_t rescuer)
{
	int status;

	kill(rescuer, SIGKILL);
	TEST_ASSERT(waitpid(rescuer, &status, 0) == rescuer && WIFSIGNALED(status),
		    "This process waited for the VMM's");
}

static void stopped_vmm(struct kvmi_fixture *f, const struct stop *how,
			struct kvmi_cgroup *cg)
{
	pid_t pid, rescuer;
	struct kvmi_event ev;
	unsigned int i;
	int vm_fd;

	pid = start_vmm(&vm_fd);
	for (i = 0; i < 3; i++) {
		attach(&f->kvmi, vm_fd);
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		if (i & 1)
			kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		rescuer = start_rescuer(how, pid, cg);
		how->stop(pid, cg);
		kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), 0);
		kvmi_expect_closed(&f->kvmi);
		kvmi_close(&f->kvmi);
		attach(&f->kvmi, vm_fd);
		kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), 0);
		kvmi_expect_closed(&f->kvmi);
		kvmi_close(&f->kvmi);
		attach(&f->kvmi, vm_fd);
		end_rescuer(rescuer);
		how->go_on(pid, cg);
		kvmi_ping(&f->kvmi);
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		kvmi_ping(&f->kvmi);
		kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), 0);
		kvmi_close(&f->kvmi);
	}
	/* Its end does not wait for the tasks either. */
	attach(&f->kvmi, vm_fd);
	how->stop(pid, cg);
	kill(pid, SIGKILL);
	kvmi_expect_closed(&f->kvmi);
	TEST_ASSERT(waitpid(pid, NULL, 0) == pid, "waitpid() failed");
	kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), 0);
	kvm_close(vm_fd);
}

static bool is_stopped(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	TEST_ASSERT(f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1, "Cannot read %s",
		    path);
	fclose(f);
	return state == 'T';
}

static void signal_stop(pid_t pid, struct kvmi_cgroup *cg)
{
	kill(pid, SIGSTOP);
	kvmi_wait_until(is_stopped(pid));
}

static void signal_go_on(pid_t pid, struct kvmi_cgroup *cg)
{
	kill(pid, SIGCONT);
}

KVMI_TEST(kvmi_task, vmm_is_stopped)
{
	static const struct stop by_signal = { signal_stop, signal_go_on };

	if (!kvmi_have_sys_ptrace())
		SKIP(return, "no CAP_SYS_PTRACE");
	stopped_vmm(f, &by_signal, NULL);
}

static void freeze(pid_t pid, struct kvmi_cgroup *cg)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", pid);
	kvmi_cgroup_write(cg, "cgroup.procs", number);
	kvmi_cgroup_write(cg, "cgroup.freeze", "1");
	kvmi_wait_until(kvmi_cgroup_read(cg, "cgroup.events", "frozen") == 1);
}

static void thaw(pid_t pid, struct kvmi_cgroup *cg)
{
	kvmi_cgroup_write(cg, "cgroup.freeze", "0");
}

KVMI_TEST(kvmi_task, vmm_is_frozen)
{
	static const struct stop by_cgroup = { freeze, thaw };
	struct kvmi_cgroup cg;
	const char *why = kvmi_cgroup_make(&cg, "frozen");

	if (why || !kvmi_have_sys_ptrace())
		SKIP(return, "%s", why ?: "no CAP_SYS_PTRACE");
	stopped_vmm(f, &by_cgroup, &cg);
	kvmi_wait_until(!kvmi_cgroup_read(&cg, "cgroup.events", "populated"));
	kvmi_cgroup_remove(&cg);
}

/* A tool outside of the VMM's cgroup makes work: the VMM's limit holds for it. */
KVMI_TEST(kvmi_task, time_is_charged)
{
	struct kvmi_cgroup cg;
	const char *why = kvmi_cgroup_make(&cg, "time");
	long before, used;
	char number[16], data[PAGE_SIZE];
	pid_t pid;
	int vm_fd, i;

	if (!why && !kvmi_cgroup_enable("+cpu"))
		why = "no CPU controller";
	if (why || !kvmi_have_sys_ptrace())
		SKIP(return, "%s", why ?: "no CAP_SYS_PTRACE");
	pid = start_vmm(&vm_fd);
	attach(&f->kvmi, vm_fd);
	/* The vCPU uses no time: it waits in an event. */
	kvmi_stop_vcpu(&f->kvmi, 0, &(struct kvmi_event) {});
	snprintf(number, sizeof(number), "%d", pid);
	kvmi_cgroup_write(&cg, "cgroup.procs", number);
	kvmi_cgroup_write(&cg, "cpu.max", "5000 100000");
	before = kvmi_cgroup_read(&cg, "cpu.stat", "nr_throttled");
	used = kvmi_cgroup_read(&cg, "cpu.stat", "usage_usec");
	for (i = 0; kvmi_cgroup_read(&cg, "cpu.stat", "nr_throttled") < before + 3; i++) {
		TEST_ASSERT(i < 1000000, "%d commands, and never throttled: %ld us", i,
			    kvmi_cgroup_read(&cg, "cpu.stat", "usage_usec") - used);
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, 0, PAGE_SIZE, data), 0);
	}
	kvmi_assert_err(kvmi_ioctl_unhook(vm_fd), 0);
	kvmi_expect_closed(&f->kvmi);
	kill(pid, SIGKILL);
	TEST_ASSERT(waitpid(pid, NULL, 0) == pid, "waitpid() failed");
	kvm_close(vm_fd);
	kvmi_wait_until(!kvmi_cgroup_read(&cg, "cgroup.events", "populated"));
	kvmi_cgroup_remove(&cg);
}

static void no_op(int signal)
{
}

/*
 * A signal comes in the middle of it.  EINTR is what KVM has always said where
 * it registers with the address space; making a task begins the system call
 * anew, and its code for that is no errno.
 */
KVMI_TEST(kvmi_task, created_with_a_signal_pending)
{
	struct sigaction sa = { .sa_handler = no_op };
	struct itimerval timer = {};
	unsigned int i;
	int kvm_fd, fd;

	kvm_fd = open_kvm_dev_path_or_exit();
	TEST_ASSERT(!sigaction(SIGALRM, &sa, NULL), "sigaction() failed");
	for (i = 0; i < 500; i++) {
		timer.it_value.tv_usec = 1 + i * 7 % 1500;
		TEST_ASSERT(!setitimer(ITIMER_REAL, &timer, NULL), "setitimer() failed");
		do {
			fd = ioctl(kvm_fd, KVM_CREATE_VM, NULL);
		} while (fd < 0 && errno == EINTR);
		TEST_ASSERT(fd >= 0, "KVM_CREATE_VM: %d", errno);
		close(fd);
	}
	wait_for_tasks(1);
	close(kvm_fd);
}

KVMI_TEST_MAIN
