// SPDX-License-Identifier: GPL-2.0-only
/*
 * What KVM keeps of restricted frames: it is charged to the VMM, it has a
 * limit, and there being no room is an answer and nobody's end.
 */
#include <sys/wait.h>

#include "kvmi_test.h"

#define R		KVMI_PAGE_ACCESS_R
#define RWX		(R | KVMI_PAGE_ACCESS_W | KVMI_PAGE_ACCESS_X)

#define SLOT		20
#define GPA		(8ull << 30)
#define PER_COMMAND	511
#define STRIDE		(2ull << 20)
#define SIZE		(64ull << 30)
#define NR_FRAMES	(SIZE / STRIDE)

/* What one frame, far from any other, takes at least. */
#define LEAST_BYTES	100

#define PARAMETER	"/sys/module/kvm/parameters/introspection_max_frames"

KVMI_UNHOOKED_SUITE(kvmi_charge_pages, 1);

static void add_slot(struct kvm_vm *vm)
{
	void *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	TEST_ASSERT(mem != MAP_FAILED, "mmap() failed");
	vm_set_user_memory_region(vm, SLOT, 0, GPA, SIZE, mem);
}

/* The frames @first to @first + @count, each far from the others. */
static int restrict_frames(struct kvmi *k, u64 first, u16 count, u8 access)
{
	struct {
		struct kvmi_vm_set_page_access head;
		struct kvmi_page_access_entry entries[PER_COMMAND];
	} req = { .head.count = count };
	unsigned int i;

	for (i = 0; i < count; i++) {
		req.entries[i].gpa = GPA + (first + i) * STRIDE;
		req.entries[i].access = access;
	}
	return kvmi_command(k, KVMI_VM_SET_PAGE_ACCESS, &req,
			    sizeof(req.head) + count * sizeof(req.entries[0]), NULL, 0);
}

static void restrict_all(struct kvmi *k, u64 nr, u8 access)
{
	u64 i;

	for (i = 0; i < nr; i += PER_COMMAND)
		kvmi_assert_err(restrict_frames(k, i, min_t(u64, nr - i, PER_COMMAND),
						access), 0);
}

static u64 restricted(struct kvm_vm *vm)
{
	return vm_get_stat(vm, kvmi_restricted_frames);
}

/* A VMM in @cg, whose tool is this process. */
struct vmm {
	pid_t pid;
	int step, vm_fd;
	struct kvmi_cgroup cg;
	struct kvmi kvmi;
};

static void run_vmm(struct kvmi_fixture *f, int fd)
{
	kvmi_wait_step(fd);
	f->vm = vm_create_barebones();
	add_slot(f->vm);
	TEST_ASSERT(write(fd, &f->vm->fd, sizeof(int)) == sizeof(int), "write()");
	for (;;)
		pause();
}

static const char *start_vmm(struct vmm *vmm, const char *name)
{
	const char *why = kvmi_cgroup_make(&vmm->cg, name);
	struct kvmi_fixture f = {};
	char number[16];
	int sv[2], fd;

	if (!why && !kvmi_have_sys_ptrace())
		why = "no CAP_SYS_PTRACE";
	if (why)
		return why;
	kvmi_socketpair(sv);
	vmm->pid = kvmi_start_process(run_vmm, &f, sv[1]);
	kvm_close(sv[1]);
	snprintf(number, sizeof(number), "%d", vmm->pid);
	kvmi_cgroup_write(&vmm->cg, "cgroup.procs", number);
	kvmi_step(sv[0]);
	TEST_ASSERT(read(sv[0], &fd, sizeof(fd)) == sizeof(fd), "The VMM failed");
	vmm->vm_fd = kvmi_take_vm_fd(vmm->pid, fd);
	kvm_close(sv[0]);
	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vmm->vm_fd, sv[0]), 0);
	kvm_close(sv[0]);
	kvmi_assert_err(kvmi_ioctl_command(vmm->vm_fd, -1, 1), 0);
	kvmi_init(&vmm->kvmi, NULL, sv[1]);
	kvmi_assert_err(restrict_frames(&vmm->kvmi, 0, 1, R), 0);
	kvmi_assert_err(restrict_frames(&vmm->kvmi, 0, 1, RWX), 0);
	return NULL;
}

static void end_vmm(struct vmm *vmm)
{
	int status;

	TEST_ASSERT(!waitpid(vmm->pid, &status, WNOHANG), "The VMM has ended: %#x",
		    status);
	kill(vmm->pid, SIGKILL);
	TEST_ASSERT(waitpid(vmm->pid, &status, 0) == vmm->pid, "waitpid() failed");
	kvmi_close(&vmm->kvmi);
	kvm_close(vmm->vm_fd);
	kvmi_wait_until(!kvmi_cgroup_read(&vmm->cg, "cgroup.events", "populated"));
	kvmi_cgroup_remove(&vmm->cg);
}

KVMI_TEST(kvmi_charge_pages, to_the_vmm)
{
	const u64 nr = 20 * PER_COMMAND;
	struct vmm vmm;
	const char *why = start_vmm(&vmm, "charge_pages");
	long before, after;

	if (why)
		SKIP(return, "%s", why);
	before = kvmi_cgroup_kernel_memory(&vmm.cg);
	restrict_all(&vmm.kvmi, nr, R);
	after = kvmi_cgroup_kernel_memory(&vmm.cg);
	TEST_ASSERT(after - before >= (long)nr * LEAST_BYTES,
		    "%lu frames, and %ld bytes are charged", nr, after - before);
	/* And it is given back with the session, whoever frees it, and when. */
	kvmi_assert_err(kvmi_ioctl_unhook(vmm.vm_fd), 0);
	kvmi_cgroup_wait_below(&vmm.cg, before + (after - before) / 10);
	end_vmm(&vmm);
}

/* The VMM's cgroup has no more: the tool is told so, and all goes on. */
KVMI_TEST(kvmi_charge_pages, no_room)
{
	struct vmm vmm;
	const char *why = start_vmm(&vmm, "no_room");
	char limit[32];
	u64 i, nr;
	int err;

	if (why)
		SKIP(return, "%s", why);
	snprintf(limit, sizeof(limit), "%ld",
		 kvmi_cgroup_read(&vmm.cg, "memory.current", NULL) + (1 << 20));
	kvmi_cgroup_write(&vmm.cg, "memory.max", limit);
	for (nr = 0, err = 0; !err && nr < NR_FRAMES - PER_COMMAND; nr += PER_COMMAND)
		err = restrict_frames(&vmm.kvmi, nr, PER_COMMAND, R);
	kvmi_assert_err(err, -KVMI_ENOMEM);
	for (i = 0; i < 10; i++)
		kvmi_assert_err(restrict_frames(&vmm.kvmi, nr, PER_COMMAND, R),
				-KVMI_ENOMEM);
	kvmi_ping(&vmm.kvmi);
	TEST_ASSERT_EQ(kvmi_cgroup_read(&vmm.cg, "memory.events", "oom_kill"), 0);

	/* With room again the same is done. */
	kvmi_cgroup_write(&vmm.cg, "memory.max", "max");
	kvmi_assert_err(restrict_frames(&vmm.kvmi, nr, PER_COMMAND, R), 0);
	kvmi_assert_err(kvmi_ioctl_unhook(vmm.vm_fd), 0);
	end_vmm(&vmm);
}

static unsigned long set_limit(unsigned long limit)
{
	unsigned long before;
	FILE *f = fopen(PARAMETER, "r+");

	TEST_ASSERT(f && fscanf(f, "%lu", &before) == 1, "Cannot read " PARAMETER);
	rewind(f);
	TEST_ASSERT(fprintf(f, "%lu\n", limit) > 0 && !fclose(f),
		    "Cannot write " PARAMETER);
	return before;
}

#define LIMIT	100

static void at_the_limit(struct kvmi_fixture *f, int fd)
{
	struct kvmi *k = &f->kvmi;
	unsigned int i;

	kvmi_hook(k, f->vm);
	add_slot(f->vm);
	TEST_ASSERT_EQ(restricted(f->vm), 0);
	for (i = 0; i < LIMIT; i++)
		kvmi_assert_err(restrict_frames(k, i, 1, R), 0);
	TEST_ASSERT_EQ(restricted(f->vm), LIMIT);
	kvmi_assert_err(restrict_frames(k, LIMIT, 1, R), -KVMI_ENOMEM);
	TEST_ASSERT_EQ(restricted(f->vm), LIMIT);
	/* What is restricted already may be so differently. */
	kvmi_assert_err(restrict_frames(k, 0, LIMIT, 0), 0);
	kvmi_assert_err(restrict_frames(k, 0, LIMIT, R), 0);
	/* Permitting what is permitted takes no place. */
	kvmi_assert_err(restrict_frames(k, LIMIT, 10, RWX), 0);
	TEST_ASSERT_EQ(restricted(f->vm), LIMIT);

	/* One goes, one comes. */
	kvmi_assert_err(restrict_frames(k, 7, 1, RWX), 0);
	TEST_ASSERT_EQ(restricted(f->vm), LIMIT - 1);
	kvmi_assert_err(restrict_frames(k, LIMIT, 1, R), 0);
	kvmi_assert_err(restrict_frames(k, LIMIT + 1, 1, R), -KVMI_ENOMEM);
	TEST_ASSERT_EQ(restricted(f->vm), LIMIT);
	kvmi_ping(k);

	/* The limit is looked at when a frame is to be restricted. */
	set_limit(LIMIT + 1);
	kvmi_assert_err(restrict_frames(k, LIMIT + 1, 1, R), 0);
	kvmi_assert_err(restrict_frames(k, LIMIT + 2, 1, R), -KVMI_ENOMEM);
	set_limit(0);
	kvmi_assert_err(restrict_frames(k, 7, 1, R), -KVMI_ENOMEM);
	kvmi_assert_err(restrict_frames(k, 8, LIMIT - 7, RWX), 0);
	TEST_ASSERT_EQ(restricted(f->vm), 8);
	kvmi_unhook(f->vm);
	TEST_ASSERT_EQ(restricted(f->vm), 0);
	kvmi_close(k);

	/* The next session begins with none. */
	set_limit(LIMIT);
	kvmi_hook(k, f->vm);
	restrict_all(k, LIMIT, R);
	kvmi_assert_err(restrict_frames(k, LIMIT, 1, R), -KVMI_ENOMEM);
	TEST_ASSERT_EQ(restricted(f->vm), LIMIT);
	kvmi_close(k);
	kvmi_wait_until(!restricted(f->vm));
	kvm_vm_free(f->vm);
}

/* A VM of the process's own: a failure leaves the limit as it was. */
static void with_limit(struct kvmi_fixture *unused, int fd)
{
	struct kvmi_fixture f = {};

	f.vm = kvmi_create_vm(1, f.vcpus);
	at_the_limit(&f, fd);
}

KVMI_TEST(kvmi_charge_pages, limit)
{
	unsigned long before;
	pid_t pid;
	int status;

	TEST_ASSERT(!access(PARAMETER, F_OK), "No " PARAMETER);
	if (getuid())
		SKIP(return, "not root");
	before = set_limit(LIMIT);
	TEST_ASSERT_EQ(before, 1048576);
	pid = kvmi_start_process(with_limit, f, -1);
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
	set_limit(before);
	TEST_ASSERT(!status, "The other process failed: status %#x", status);
}

KVMI_TEST_MAIN
