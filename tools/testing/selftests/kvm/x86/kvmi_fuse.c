// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory behind a FUSE file whose daemon does not answer: a tool that
 * asks for it is told to ask again, and nobody waits for the page.
 */
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kvmi_fuse.h"
#include "kvmi_test.h"

#define SLOT	20
#define GPA	(8ull << 30)
#define NOBODY	65534

struct behind_fuse {
	struct kvmi_fuse fuse;
	struct kvmi_fixture f;
};

/* A VM of this process, as user @uid, with the file as memory at GPA. */
static void start(struct behind_fuse *b, uid_t uid)
{
	const char *why = kvmi_fuse_start(&b->fuse, uid);

	TEST_ASSERT(!why, "%s", why);
	b->f.vm = kvmi_create_vm(1, b->f.vcpus);
	b->f.vcpu = b->f.vcpus[0];
	vm_set_user_memory_region(b->f.vm, SLOT, 0, GPA, KVMI_FUSE_PAGES * PAGE_SIZE,
				  b->fuse.mem);
	kvmi_hook(&b->f.kvmi, b->f.vm);
}

static void end(struct behind_fuse *b)
{
	kvmi_fuse_end(&b->fuse);
	kvmi_close(&b->f.kvmi);
	kvm_vm_free(b->f.vm);
}

static void send_read(struct kvmi *k)
{
	struct kvmi_vm_read_physical req = { .gpa = GPA, .size = 8 };

	kvmi_send(k, KVMI_VM_READ_PHYSICAL, &req, sizeof(req));
}

static void both_users(struct __test_metadata *_metadata,
		       void (*fn)(struct kvmi_fixture *f, int uid))
{
	if (getuid() || access("/dev/fuse", F_OK))
		SKIP(return, "not root, or no FUSE");
	/* As on a host that lets its users have it: they are the point here. */
	TEST_ASSERT(!chmod("/dev/kvm", 0666), "/dev/kvm: %s", strerror(errno));
	kvmi_run_process(fn, NULL, 0);
	kvmi_run_process(fn, NULL, NOBODY);
}

#define FUSE_TEST(name)							\
TEST(fuse_##name)							\
{									\
	both_users(_metadata, name);					\
}

/* The answer depends on the page alone, and the next command is answered. */
static void read_and_write(struct kvmi_fixture *unused, int uid)
{
	u64 value = 0x1122334455667788;
	struct behind_fuse b = {};
	struct kvmi *k = &b.f.kvmi;
	u8 seen[PAGE_SIZE];
	unsigned int i;

	start(&b, uid);
	for (i = 0; i < 3; i++) {
		kvmi_assert_err(kvmi_read_physical(k, GPA + i * PAGE_SIZE, 8, seen),
				-KVMI_EAGAIN);
		kvmi_assert_err(kvmi_write_physical(k, GPA + i * PAGE_SIZE, 8, &value),
				-KVMI_EAGAIN);
		kvmi_ping(k);
	}

	/* The VMM has one of them, and a copy of its own of another. */
	kvmi_fuse_answer(&b.fuse);
	TEST_ASSERT_EQ(READ_ONCE(b.fuse.mem[0]), kvmi_fuse_byte(0));
	WRITE_ONCE(b.fuse.mem[PAGE_SIZE + 100], 1);
	kvmi_assert_err(kvmi_read_physical(k, GPA, PAGE_SIZE, seen), 0);
	for (i = 0; i < PAGE_SIZE; i++)
		TEST_ASSERT_EQ(seen[i], kvmi_fuse_byte(0));
	kvmi_assert_err(kvmi_write_physical(k, GPA + PAGE_SIZE, 8, &value), 0);
	TEST_ASSERT_EQ(*(u64 *)(b.fuse.mem + PAGE_SIZE), value);
	TEST_ASSERT_EQ(b.fuse.mem[PAGE_SIZE + 8], kvmi_fuse_byte(1));
	kvmi_assert_err(kvmi_read_physical(k, GPA + 2 * PAGE_SIZE, 8, seen),
			-KVMI_EAGAIN);
	end(&b);
}

FUSE_TEST(read_and_write)

/* The page tables themselves lie there. */
static void translate(struct kvmi_fixture *unused, int uid)
{
	struct kvmi_vcpu_translate_gva_reply reply;
	struct kvmi_vcpu_translate_gva req;
	struct behind_fuse b = {};
	unsigned int shift;
	u64 *top;

	start(&b, uid);
	shift = PAGE_SHIFT + 9 * (b.f.vm->mmu.pgtable_levels - 1);
	top = addr_gpa2hva(b.f.vm, b.f.vm->mmu.pgd);
	TEST_ASSERT(!top[5], "The entry is used");
	top[5] = GPA | PTE_PRESENT_MASK(&b.f.vm->mmu) | PTE_WRITABLE_MASK(&b.f.vm->mmu);
	req.gva = 5ull << shift;
	kvmi_start(&b.f.runner, b.f.vcpu);
	kvmi_assert_err(kvmi_vcpu_command(&b.f.kvmi, 0, KVMI_VCPU_TRANSLATE_GVA,
					  &req, sizeof(req), &reply, sizeof(reply)),
			-KVMI_EAGAIN);
	kvmi_wait_progress(b.f.vm, 0);
	/* With the table there, it says that nothing is mapped. */
	kvmi_fuse_answer(&b.fuse);
	memset(b.fuse.mem, 0, PAGE_SIZE);
	kvmi_assert_err(kvmi_vcpu_command(&b.f.kvmi, 0, KVMI_VCPU_TRANSLATE_GVA,
					  &req, sizeof(req), &reply, sizeof(reply)), 0);
	TEST_ASSERT_EQ(reply.gpa, ~0ull);
	kvmi_stop(&b.f.runner);
	end(&b);
}

FUSE_TEST(translate)

/* A descriptor that the session of another VM lets go of is really closed. */
static void release_elsewhere(void)
{
	struct pollfd pfd;
	struct kvm_vm *vm = vm_create_barebones();
	int sv[2], p[2];
	struct kvmi k;

	kvmi_socketpair(sv);
	TEST_ASSERT(!pipe(p), "pipe() failed");
	kvmi_send_fd(sv[1], "x", 1, p[1]);
	kvm_close(p[1]);
	kvmi_attach(&k, vm, sv[0], sv[1]);
	pfd = (struct pollfd) { .fd = p[0] };
	TEST_ASSERT(poll(&pfd, 1, KVMI_HANG_SECONDS * 1000) == 1 &&
		    (pfd.revents & POLLHUP), "The descriptor is still held");
	kvm_close(p[0]);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

/* Each of these works while the page is being asked for. */
static void nobody_waits(struct kvmi_fixture *unused, int uid)
{
	struct behind_fuse b = {};
	struct kvmi *k = &b.f.kvmi;
	unsigned int i;

	start(&b, uid);
	for (i = 0; i < 3; i++) {
		send_read(k);
		kvm_munmap(kvm_mmap(PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
				    -1), PAGE_SIZE);
		kvmi_assert_err(kvmi_ioctl_command(b.f.vm->fd, KVMI_VM_GET_INFO, 0), 0);
		kvmi_assert_err(kvmi_ioctl_event(b.f.vm->fd, KVMI_VCPU_EVENT_CR, 0), 0);
		/* Nobody wants the event that it sends. */
		kvmi_ioctl_preunhook(b.f.vm->fd);
		send_read(k);
		release_elsewhere();
		send_read(k);
		kvmi_unhook(b.f.vm);
		kvmi_drain_until_closed(k);
		kvmi_close(k);
		kvmi_hook(k, b.f.vm);
		kvmi_ping(k);
	}
	/* The VM goes, and with it the session. */
	send_read(k);
	kvm_vm_free(b.f.vm);
	kvmi_drain_until_closed(k);
	kvmi_close(k);
	kvmi_fuse_end(&b.fuse);
}

FUSE_TEST(nobody_waits)

/* A VMM that is not the tool; the daemon outlives it. */
static void vmm(struct kvmi_fixture *f, int fd)
{
	struct behind_fuse *b = container_of(f, struct behind_fuse, f);

	f->vm = kvmi_create_vm(1, f->vcpus);
	vm_set_user_memory_region(f->vm, SLOT, 0, GPA, KVMI_FUSE_PAGES * PAGE_SIZE,
				  b->fuse.mem);
	kvmi_assert_err(kvmi_ioctl_hook(f->vm->fd, fd), 0);
	kvmi_allow_all(f->vm);
	kvmi_start(&f->runner, f->vcpus[0]);
	/* The socket is KVM's: a signal is all that says that it is done. */
	raise(SIGSTOP);
	for (;;)
		pause();
}

static void kill_vmm(struct kvmi_fixture *unused, int uid)
{
	struct behind_fuse b = {};
	const char *why = kvmi_fuse_start(&b.fuse, uid);
	int sv[2], i, status;
	pid_t pid;

	TEST_ASSERT(!why, "%s", why);
	kvmi_socketpair(sv);
	pid = kvmi_start_process(vmm, &b.f, sv[0]);
	kvm_close(sv[0]);
	TEST_ASSERT(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status),
		    "The VMM failed");
	kill(pid, SIGCONT);
	kvmi_init(&b.f.kvmi, NULL, sv[1]);
	kvmi_ping(&b.f.kvmi);
	for (i = 0; i < 100; i++)
		send_read(&b.f.kvmi);
	kill(pid, SIGKILL);
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
	kvmi_drain_until_closed(&b.f.kvmi);
	kvmi_close(&b.f.kvmi);
	kvmi_fuse_end(&b.fuse);
}

FUSE_TEST(kill_vmm)

static void tool(struct kvmi_fixture *f, int fd)
{
	struct kvmi k;

	kvmi_init(&k, NULL, fd);
	for (;;)
		send_read(&k);
}

static void kill_tool(struct kvmi_fixture *unused, int uid)
{
	struct behind_fuse b = {};
	int sv[2], status, i;
	pid_t pid;

	start(&b, uid);
	kvmi_unhook(b.f.vm);
	kvmi_close(&b.f.kvmi);
	kvmi_start(&b.f.runner, b.f.vcpu);
	for (i = 0; i < 5; i++) {
		kvmi_socketpair(sv);
		kvmi_assert_err(kvmi_ioctl_hook(b.f.vm->fd, sv[0]), 0);
		kvmi_allow_all(b.f.vm);
		pid = kvmi_start_process(tool, NULL, sv[1]);
		kvm_close(sv[0]);
		kvm_close(sv[1]);
		kvmi_wait_progress(b.f.vm, 0);
		kill(pid, SIGKILL);
		TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
		kvmi_wait_until(kvmi_state(b.f.vm->fd) == KVMI_DEAD);
		kvmi_wait_progress(b.f.vm, 0);
	}
	kvmi_unhook(b.f.vm);
	kvmi_stop(&b.f.runner);
	kvmi_fuse_end(&b.fuse);
	kvm_vm_free(b.f.vm);
}

FUSE_TEST(kill_tool)

static void kill_daemon(struct kvmi_fixture *unused, int uid)
{
	struct behind_fuse b = {};
	u64 data;

	start(&b, uid);
	send_read(&b.f.kvmi);
	kvmi_fuse_end(&b.fuse);
	kvmi_ping(&b.f.kvmi);
	TEST_ASSERT(kvmi_read_physical(&b.f.kvmi, GPA, 8, &data), "It was read");
	kvmi_close(&b.f.kvmi);
	kvm_vm_free(b.f.vm);
}

FUSE_TEST(kill_daemon)

static void load_once(void)
{
	GUEST_ASSERT_EQ(*(volatile u8 *)GPA, kvmi_fuse_byte(0));
	GUEST_DONE();
}

/* The guest itself waits for the page inside of KVM: that ends nothing else. */
static void stock_fault(struct kvmi_fixture *unused, int uid)
{
	struct behind_fuse b = {};
	struct kvmi *k = &b.f.kvmi;

	start(&b, uid);
	virt_map(b.f.vm, GPA, GPA, 1);
	vcpu_arch_set_entry_point(b.f.vcpu, load_once);
	kvmi_assert_err(kvmi_set_page_access(k, 0, 0), 0);
	kvmi_start(&b.f.runner, b.f.vcpu);
	kvmi_wait_until(READ_ONCE(b.fuse.shared->asked));
	kvmi_ping(k);
	kvmi_unhook(b.f.vm);
	kvmi_drain_until_closed(k);
	kvmi_close(k);
	kvmi_hook(k, b.f.vm);
	kvmi_ping(k);
	kvmi_close(k);
	kvmi_wait_until(kvmi_state(b.f.vm->fd) == KVMI_DEAD);
	kvmi_hook(k, b.f.vm);
	kvmi_ping(k);
	kvmi_fuse_answer(&b.fuse);
	kvmi_join(&b.f.runner);
	TEST_ASSERT_EQ(b.f.runner.ucall, UCALL_DONE);
	end(&b);
}

FUSE_TEST(stock_fault)

KVMI_TEST_MAIN
