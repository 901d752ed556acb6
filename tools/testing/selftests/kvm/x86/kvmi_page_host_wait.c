// SPDX-License-Identifier: GPL-2.0-only
/*
 * vCPUs whose instruction is let through wait for pages of the host that nobody
 * brings in: none of them keeps another one from being let through.
 */
#include <linux/userfaultfd.h>
#include <sys/syscall.h>

#include "kvmi_page.h"

/* More than there are views. */
#define SLEEPERS	8
#define ABSENT		(5ull << 30)

KVMI_SUITE(kvmi_page_host_wait, SLEEPERS + 1);

static u64 stored;

static void do_one(u64 it)
{
}

/* Reads what is restricted, and stores it where the host has no page. */
static void sleeper(u64 me)
{
	u64 from = PAGE, to = ABSENT + me * PAGE_SIZE;

	while (!READ_ONCE(what))
		WRITE_ONCE(kvmi_progress[me], kvmi_progress[me] + 1);
	asm volatile("cld; movsq" : "+S"(from), "+D"(to) : : "memory");
	__atomic_add_fetch(&stored, 1, __ATOMIC_SEQ_CST);
	for (;;)
		;
}

/* Reads what is restricted when the host says so. */
static void reader(u64 me)
{
	while (READ_ONCE(what) < 2)
		WRITE_ONCE(kvmi_progress[me], kvmi_progress[me] + 1);
	*(volatile u64 *)PAGE;
	WRITE_ONCE(done, 1);
	for (;;)
		;
}

/* The faults in @mem are nobody's to resolve until @fd says so. */
static int hold_faults(void *mem, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (u64)mem, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -1;
	TEST_ASSERT(!ioctl(fd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER: %d", errno);
	return fd;
}

static void wait_faults(int fd, unsigned int nr)
{
	struct uffd_msg msg;

	while (nr) {
		kvmi_wait_until(read(fd, &msg, sizeof(msg)) == sizeof(msg));
		TEST_ASSERT_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
		nr--;
	}
}

static void resolve(int fd, void *mem, size_t size)
{
	struct uffdio_zeropage zero = { .range = { .start = (u64)mem, .len = size } };

	TEST_ASSERT(!ioctl(fd, UFFDIO_ZEROPAGE, &zero), "UFFDIO_ZEROPAGE: %d", errno);
}

static void let_read(struct kvmi_fixture *f)
{
	struct kvmi_event ev;

	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
	proceed(f, &ev);
}

KVMI_TEST(kvmi_page_host_wait, absent)
{
	struct kvmi_runner runners[SLEEPERS + 1];
	size_t size = SLEEPERS * PAGE_SIZE;
	unsigned int i;
	void *mem;
	int fd;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, 1, 0);
	virt_map(f->vm, PAGE, PAGE, 1);
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(mem != MAP_FAILED, "mmap() failed");
	vm_set_user_memory_region(f->vm, SLOT + 1, 0, ABSENT, size, mem);
	for (i = 0; i < SLEEPERS; i++)
		virt_map(f->vm, ABSENT + i * PAGE_SIZE, ABSENT + i * PAGE_SIZE, 1);
	fd = hold_faults(mem, size);
	if (fd < 0)
		SKIP(return, "no userfaultfd: %s", strerror(errno));

	for (i = 0; i <= SLEEPERS; i++) {
		vcpu_arch_set_entry_point(f->vcpus[i], i < SLEEPERS ? sleeper : reader);
		vcpu_args_set(f->vcpus[i], 1, (u64)i);
		kvmi_start(&runners[i], f->vcpus[i]);
		kvmi_wait_progress(f->vm, i);
		kvmi_assert_err(kvmi_control_event(&f->kvmi, i, KVMI_VCPU_EVENT_PF, 1), 0);
	}
	restrict_page(f, PAGE, 0);
	run(f, 1);
	for (i = 0; i < SLEEPERS; i++)
		let_read(f);
	wait_faults(fd, SLEEPERS);

	/* All of them sleep; this one goes through. */
	run(f, 2);
	let_read(f);
	wait_done(f, 1);
	TEST_ASSERT_EQ(*ON_HOST(f, stored), 0);

	resolve(fd, mem, size);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, stored)) == SLEEPERS);
	kvmi_expect_quiet(&f->kvmi);
	for (i = 0; i <= SLEEPERS; i++)
		kvmi_stop(&runners[i]);
	close(fd);
}

KVMI_TEST_MAIN
