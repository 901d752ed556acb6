// SPDX-License-Identifier: GPL-2.0-only
/* Memory cgroups, and what the kernel holds for them.  See kvmi_util.h. */
#include <sys/stat.h>

#include "kvmi_util.h"

#define CGROUP_ROOT	"/sys/fs/cgroup"

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

const char *kvmi_cgroup_make(struct kvmi_cgroup *cg, const char *name)
{
	if (access(CGROUP_ROOT "/cgroup.controllers", F_OK))
		return "no cgroup v2 at " CGROUP_ROOT;
	if (!write_file(CGROUP_ROOT, "cgroup.subtree_control", "+memory"))
		return "the memory controller cannot be had";
	snprintf(cg->path, sizeof(cg->path), CGROUP_ROOT "/kvmi_%s.%d", name,
		 getpid());
	if (mkdir(cg->path, 0755))
		return "no cgroup can be made";
	return NULL;
}

void kvmi_cgroup_enter(const struct kvmi_cgroup *cg)
{
	TEST_ASSERT(write_file(cg->path, "cgroup.procs", "0"),
		    "Cannot enter %s", cg->path);
}

void kvmi_cgroup_leave(void)
{
	TEST_ASSERT(write_file(CGROUP_ROOT, "cgroup.procs", "0"),
		    "Cannot go back to " CGROUP_ROOT);
}

void kvmi_cgroup_remove(const struct kvmi_cgroup *cg)
{
	rmdir(cg->path);
}

bool kvmi_cgroup_enable(const char *controller)
{
	return write_file(CGROUP_ROOT, "cgroup.subtree_control", controller);
}

void kvmi_cgroup_write(const struct kvmi_cgroup *cg, const char *name,
		       const char *value)
{
	TEST_ASSERT(write_file(cg->path, name, value), "Cannot write \"%s\" to %s/%s",
		    value, cg->path, name);
}

long kvmi_cgroup_read(const struct kvmi_cgroup *cg, const char *name,
		      const char *key)
{
	char path[256], line[256], this[64];
	long value = -1, now;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", cg->path, name);
	f = fopen(path, "r");
	TEST_ASSERT(f, "Cannot open %s", path);
	while (value < 0 && fgets(line, sizeof(line), f)) {
		if (!key && sscanf(line, "%ld", &now) == 1)
			value = now;
		if (key && sscanf(line, "%63s %ld", this, &now) == 2 &&
		    !strcmp(this, key))
			value = now;
	}
	fclose(f);
	TEST_ASSERT(value >= 0, "No \"%s\" in %s", key ?: "number", path);
	return value;
}

static long read_kernel_memory(const char *dir)
{
	char path[256], line[256];
	long kernel = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	f = fopen(path, "r");
	TEST_ASSERT(f, "Cannot open %s", path);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "kernel %ld", &kernel) == 1)
			break;
	fclose(f);
	return kernel;
}

/*
 * Each CPU keeps what it may charge without asking.  An object that is freed
 * by an interrupt amid this bookkeeping goes to the side, and stays charged
 * there until the CPU gives up what it keeps: on a slow CPU this happens all
 * the time, and looks like a leak.  A limit below what is charged makes all
 * CPUs give up theirs; the next object to be charged fetches what lies aside.
 */
static void drain_stocks(const struct kvmi_cgroup *cg)
{
	long current = kvmi_cgroup_read(cg, "memory.current", NULL);
	char limit[32];

	if (!current)
		return;
	snprintf(limit, sizeof(limit), "%ld", current - getpagesize());
	TEST_ASSERT(write_file(cg->path, "memory.high", limit) &&
		    write_file(cg->path, "memory.high", "max"),
		    "Cannot limit %s", cg->path);
}

/*
 * The kernel brings its statistics up to date for a reader only if they lag
 * by more than 64 pages for each CPU.  So let those of the root lag, and read
 * them: that brings all cgroups up to date.
 */
static void update_statistics(void)
{
	size_t size = 256 * sysconf(_SC_NPROCESSORS_CONF) * getpagesize();
	void *mem = kvm_mmap(size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);

	read_kernel_memory(CGROUP_ROOT);
	kvm_munmap(mem, size);
}

long kvmi_cgroup_kernel_memory(const struct kvmi_cgroup *cg)
{
	long kernel;

	drain_stocks(cg);
	update_statistics();
	kernel = read_kernel_memory(cg->path);
	TEST_ASSERT(kernel >= 0, "No kernel memory in memory.stat");
	return kernel;
}

void kvmi_grace_period(void)
{
	/* MEMBARRIER_CMD_GLOBAL */
	syscall(__NR_membarrier, 1, 0, 0);
}

void kvmi_cgroup_wait_below(const struct kvmi_cgroup *cg, long limit)
{
	u64 deadline = kvmi_deadline();
	char what[64];
	long now;

	for (;;) {
		kvmi_grace_period();
		now = kvmi_cgroup_kernel_memory(cg);
		if (now <= limit)
			return;
		snprintf(what, sizeof(what), "kernel memory %ld above %ld",
			 now, limit);
		kvmi_still_alive(deadline, what);
	}
}
