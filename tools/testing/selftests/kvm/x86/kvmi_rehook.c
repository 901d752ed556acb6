// SPDX-License-Identifier: GPL-2.0-only
/*
 * HOOK and UNHOOK a thousand times: the kernel memory charged to the test is
 * back where it was.
 */
#include <sys/stat.h>

#include "kvmi_test.h"

#define CGROUP_ROOT	"/sys/fs/cgroup"
#define CYCLES		1000
/* Grows what is allocated once: caches, stocks, slabs. */
#define WARM_UP		200

/*
 * Each CPU may hold back a page's worth of uncharged bytes of either kind of
 * slab, and one partly filled page.  A leak of the smallest object there is
 * (8 bytes) per cycle is above 8000 bytes; one of 64 bytes is far above this
 * bound on a machine of up to four CPUs.
 */
#define BOUND		(3 * PAGE_SIZE * sysconf(_SC_NPROCESSORS_CONF))

static char cgroup[128];

static bool write_file(const char *dir, const char *name, const char *value)
{
	char path[256];
	ssize_t ret;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	ret = write(fd, value, strlen(value));
	kvm_close(fd);
	return ret == (ssize_t)strlen(value);
}

/* Why not, or NULL. */
static const char *enter_cgroup(void)
{
	if (access(CGROUP_ROOT "/cgroup.controllers", F_OK))
		return "no cgroup v2 at " CGROUP_ROOT;
	if (!write_file(CGROUP_ROOT, "cgroup.subtree_control", "+memory"))
		return "the memory controller cannot be had";
	snprintf(cgroup, sizeof(cgroup), CGROUP_ROOT "/kvmi_rehook.%d",
		 getpid());
	if (mkdir(cgroup, 0755))
		return "no cgroup can be made";
	if (!write_file(cgroup, "cgroup.procs", "0"))
		return "the cgroup cannot be entered";
	return NULL;
}

static void leave_cgroup(void)
{
	write_file(CGROUP_ROOT, "cgroup.procs", "0");
	rmdir(cgroup);
}

/* All memory that the kernel holds for this cgroup, in bytes. */
static long kernel_memory(void)
{
	char path[256], line[256];
	long kernel = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/memory.stat", cgroup);
	f = fopen(path, "r");
	TEST_ASSERT(f, "Cannot open %s", path);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "kernel %ld", &kernel) == 1)
			break;
	fclose(f);
	TEST_ASSERT(kernel >= 0, "No kernel memory in memory.stat");
	return kernel;
}

/* What waits for a grace period is freed after one. */
static void grace_period(void)
{
	/* MEMBARRIER_CMD_GLOBAL */
	syscall(__NR_membarrier, 1, 0, 0);
}

/* Also work queues free: until it is so, or for ever. */
static void wait_for_memory(long limit)
{
	u64 deadline = kvmi_deadline();
	char what[64];
	long now;

	for (;;) {
		grace_period();
		now = kernel_memory();
		if (now <= limit)
			return;
		snprintf(what, sizeof(what), "kernel memory %ld above %ld",
			 now, limit);
		kvmi_still_alive(deadline, what);
	}
}

/*
 * A session's memory is charged to the cgroup in which the VM was made: so
 * the VM is made when the test is in its own.
 */
static const char *start(struct kvmi_fixture *f)
{
	const char *why = enter_cgroup();

	if (why)
		return why;
	f->vm = kvmi_create_vm(2, f->vcpus);
	f->vcpu = f->vcpus[0];
	f->kvmi.fd = -1;
	return NULL;
}

/* A whole session, with a command and an event, ended one way or the other. */
static void cycle(struct kvmi_fixture *f, unsigned int i)
{
	struct kvmi_vcpu_get_info_reply info;
	struct kvmi_event ev;

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
	switch (i % 4) {
	case 0:
		kvmi_unhook(f->vm);
		kvmi_expect_closed(&f->kvmi);
		break;
	case 1:
		kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0,
						  KVMI_VCPU_GET_INFO, NULL, 0,
						  &info, sizeof(info)), 0);
		kvmi_send_vcpu(&f->kvmi, 1, KVMI_VCPU_GET_INFO, NULL, 0);
		kvmi_unhook(f->vm);
		break;
	case 2:
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_unhook(f->vm);
		break;
	case 3:
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_close(&f->kvmi);
		kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
		kvmi_unhook(f->vm);
		break;
	}
	kvmi_close(&f->kvmi);
}

TEST(memory)
{
	struct kvmi_fixture fixture, *f = &fixture;
	const char *why = start(f);
	long before;
	unsigned int i;

	if (why)
		SKIP(return, "%s", why);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	for (i = 0; i < WARM_UP; i++)
		cycle(f, i);
	grace_period();
	before = kernel_memory();

	for (i = 0; i < CYCLES; i++)
		cycle(f, i);
	wait_for_memory(before + BOUND);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvm_vm_free(f->vm);
	leave_cgroup();
}

/*
 * That this sees anything: a full queue of the largest commands is charged
 * here, and is given back with the session, however it ends.
 */
TEST(queued_commands_are_charged)
{
	u8 body[KVMI_MAX_MSG_SIZE - sizeof(struct kvmi_vcpu_hdr)] = {};
	struct kvmi_fixture fixture, *f = &fixture;
	const char *why = start(f);
	unsigned int i, n;
	long before;

	if (why)
		SKIP(return, "%s", why);

	/* The VM takes its page tables when it first runs. */
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	for (i = 0; i < WARM_UP; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_ping(&f->kvmi);
		kvmi_unhook(f->vm);
		kvmi_close(&f->kvmi);
	}
	grace_period();
	before = kernel_memory();

	for (i = 0; i < 3; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		for (n = 0; n < KVMI_MAX_QUEUED; n++)
			kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, body,
				       sizeof(body));
		/* All have been read. */
		kvmi_ping(&f->kvmi);
		TEST_ASSERT(kernel_memory() - before >
			    KVMI_MAX_QUEUED * KVMI_MAX_MSG_SIZE / 2,
			    "A full queue is charged with %ld bytes",
			    kernel_memory() - before);
		if (i == 0) {
			kvmi_unhook(f->vm);
		} else if (i == 1) {
			kvmi_close(&f->kvmi);
			kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
			kvmi_unhook(f->vm);
		} else {
			kvmi_start(&f->runner, f->vcpu);
			while (n--)
				free(kvmi_recv(&f->kvmi));
			kvmi_stop(&f->runner);
			kvmi_unhook(f->vm);
		}
		kvmi_close(&f->kvmi);
		wait_for_memory(before + BOUND);
	}
	kvm_vm_free(f->vm);
	leave_cgroup();
}

/* The same for sessions that nobody ends but the end of the VM. */
TEST(memory_of_vms)
{
	const char *why = enter_cgroup();
	long before = 0;
	struct kvm_vm *vm;
	struct kvmi k;
	unsigned int i;

	if (why)
		SKIP(return, "%s", why);

	for (i = 0; i < WARM_UP + CYCLES; i++) {
		if (i == WARM_UP) {
			grace_period();
			before = kernel_memory();
		}
		vm = vm_create_barebones();
		__vm_vcpu_add(vm, 0);
		kvmi_hook(&k, vm);
		kvmi_ping(&k);
		if (i & 1)
			kvmi_close(&k);
		kvm_vm_free(vm);
		kvmi_close(&k);
	}
	wait_for_memory(before + BOUND);
	leave_cgroup();
}

KVMI_TEST_MAIN
