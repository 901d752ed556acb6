// SPDX-License-Identifier: GPL-2.0-only
/* VM_READ_PHYSICAL. */
#include <linux/userfaultfd.h>

#include "kvmi_test.h"

#define SLOT	10
#define GPA	(4ull << 30)
#define PAGES	4

KVMI_SUITE(kvmi_read_physical, 1);

static u8 *add_slot(struct kvm_vm *vm, u32 flags)
{
	unsigned int i;
	u8 *hva;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT, PAGES,
				    flags);
	hva = addr_gpa2hva(vm, GPA);
	for (i = 0; i < PAGES * PAGE_SIZE; i++)
		hva[i] = i * 7 + i / PAGE_SIZE;
	return hva;
}

KVMI_TEST(kvmi_read_physical, every_size)
{
	u8 *hva = add_slot(f->vm, 0), buf[PAGE_SIZE];
	unsigned int size;

	for (size = 1; size <= PAGE_SIZE; size++) {
		u64 offset = PAGE_SIZE - size;

		memset(buf, 0xee, sizeof(buf));
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + offset, size,
						   buf), 0);
		TEST_ASSERT(!memcmp(buf, hva + offset, size),
			    "%u bytes are not those of the guest", size);
	}
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + 3 * PAGE_SIZE,
					   PAGE_SIZE, buf), 0);
	TEST_ASSERT(!memcmp(buf, hva + 3 * PAGE_SIZE, PAGE_SIZE),
		    "The last page is not that of the guest");
}

/* Reading changes nothing: a page never touched stays untouched. */
KVMI_TEST(kvmi_read_physical, untouched_page_is_zero)
{
	u8 *hva = add_slot(f->vm, 0), buf[PAGE_SIZE], zero[PAGE_SIZE] = {};

	kvm_madvise(hva, PAGE_SIZE, MADV_DONTNEED);
	memset(buf, 0xee, sizeof(buf));
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, PAGE_SIZE, buf), 0);
	TEST_ASSERT(!memcmp(buf, zero, PAGE_SIZE), "Not zero");
}

KVMI_TEST(kvmi_read_physical, read_only_slot)
{
	u8 *hva, buf[16];

	if (!kvm_has_cap(KVM_CAP_READONLY_MEM))
		SKIP(return, "no read-only memory slots");
	hva = add_slot(f->vm, KVM_MEM_READONLY);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + 32, 16, buf), 0);
	TEST_ASSERT(!memcmp(buf, hva + 32, 16), "Not the guest's bytes");
}

KVMI_TEST(kvmi_read_physical, bad_ranges)
{
	static const struct {
		u64 offset;
		u16 size;
	} bad[] = {
		{ 0, 0 },
		{ 0, 4097 },
		{ 0, 0xffff },
		{ 1, 4096 },
		{ 4095, 2 },
		{ 4090, 7 },
	};
	u8 buf[16];
	unsigned int i;

	add_slot(f->vm, 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + bad[i].offset,
						   bad[i].size, NULL),
				-KVMI_EINVAL);
		/* The range is looked at before the memory. */
		kvmi_assert_err(kvmi_read_physical(&f->kvmi, (1ull << 50) +
						   bad[i].offset, bad[i].size,
						   NULL), -KVMI_EINVAL);
	}
	/* At the very end of the address space nothing may wrap. */
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, -1ull, 2, NULL),
			-KVMI_EINVAL);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, -1ull, 1, buf),
			-KVMI_ENOENT);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, -4096ull, 16, buf),
			-KVMI_ENOENT);
}

KVMI_TEST(kvmi_read_physical, padding_before_memory)
{
	struct kvmi_vm_read_physical req = {
		.gpa = 1ull << 50,
		.size = 1,
		.padding2 = 1,
	};

	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_READ_PHYSICAL, &req,
				     sizeof(req), NULL, 0), -KVMI_EINVAL);
}

KVMI_TEST(kvmi_read_physical, no_memory)
{
	u8 *hva = add_slot(f->vm, 0), buf[16];

	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA - PAGE_SIZE, 16, buf),
			-KVMI_ENOENT);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + PAGES * PAGE_SIZE,
					   16, buf), -KVMI_ENOENT);

	/* A slot whose host memory is gone, or must not be read. */
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, 16, buf), 0);
	TEST_ASSERT(!mprotect(hva, PAGE_SIZE, PROT_NONE), "mprotect() failed");
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, 16, buf),
			-KVMI_ENOENT);
	kvm_munmap(hva + PAGE_SIZE, PAGE_SIZE);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + PAGE_SIZE, 16, buf),
			-KVMI_ENOENT);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + 2 * PAGE_SIZE, 16,
					   buf), 0);

	vm_mem_region_delete(f->vm, SLOT);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + 2 * PAGE_SIZE, 16,
					   buf), -KVMI_ENOENT);
}

KVMI_TEST(kvmi_read_physical, while_the_guest_runs)
{
	gpa_t gpa = addr_gva2gpa(f->vm, (gva_t)&kvmi_progress[0]);
	u64 first, now;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, gpa, 8, &first), 0);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, gpa, 8, &now), 0);
	TEST_ASSERT(now > first, "%lu after %lu", now, first);
	kvmi_stop(&f->runner);
}

static int missing_pages(void *hva, size_t size)
{
	struct uffdio_register reg = {
		.range = { .start = (u64)hva, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fd;
	kvm_madvise(hva, size, MADV_DONTNEED);
	TEST_ASSERT(!ioctl(fd, UFFDIO_API, &api), "UFFDIO_API failed");
	TEST_ASSERT(!ioctl(fd, UFFDIO_REGISTER, &reg),
		    "UFFDIO_REGISTER failed");
	return fd;
}

/* A page that userspace is yet to supply: KVM does not wait for it. */
KVMI_TEST(kvmi_read_physical, userfault)
{
	u8 *hva = add_slot(f->vm, 0), *page, buf[PAGE_SIZE];
	struct uffdio_copy copy = { .dst = (u64)hva, .len = PAGE_SIZE };
	int fd = missing_pages(hva, PAGE_SIZE);

	if (fd < 0)
		SKIP(return, "no userfaultfd");
	page = kvm_mmap(PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(page, 0x5a, PAGE_SIZE);
	copy.src = (u64)page;

	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, 8, buf), -KVMI_EAGAIN);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA, 8, page), -KVMI_EAGAIN);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + PAGE_SIZE, 8, buf), 0);
	TEST_ASSERT(!ioctl(fd, UFFDIO_COPY, &copy), "UFFDIO_COPY failed");
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, PAGE_SIZE, buf), 0);
	TEST_ASSERT(!memcmp(buf, page, PAGE_SIZE), "Not the page supplied");
	close(fd);
}

/*
 * Many that nobody ever supplies hold up neither the tool nor UNHOOK: waiting a
 * moment for each would take far longer than a case may.
 */
KVMI_TEST(kvmi_read_physical, many_userfaults)
{
	struct kvmi_vm_read_physical req = { .gpa = GPA, .size = 8 };
	int fd = missing_pages(add_slot(f->vm, 0), PAGE_SIZE), i;
	struct kvmi_event ev;
	u32 seq[200];

	if (fd < 0)
		SKIP(return, "no userfaultfd");
	kvmi_start(&f->runner, f->vcpu);
	/* Whoever reads the socket: the task, or the vCPU. */
	for (i = 0; i < ARRAY_SIZE(seq); i++) {
		if (i == ARRAY_SIZE(seq) / 2)
			kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		seq[i] = kvmi_send(&f->kvmi, KVMI_VM_READ_PHYSICAL, &req, sizeof(req));
	}
	for (i = 0; i < ARRAY_SIZE(seq); i++)
		kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_VM_READ_PHYSICAL, seq[i],
						NULL, 0), -KVMI_EAGAIN);
	for (i = 0; i < ARRAY_SIZE(seq); i++)
		kvmi_send(&f->kvmi, KVMI_VM_READ_PHYSICAL, &req, sizeof(req));
	kvmi_unhook(f->vm);
	kvmi_drain_until_closed(&f->kvmi);
	kvmi_close(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
	kvmi_stop(&f->runner);
	close(fd);
}

KVMI_TEST_MAIN
