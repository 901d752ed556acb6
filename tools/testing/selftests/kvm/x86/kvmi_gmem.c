// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is a guest_memfd's alone: what the guest sees is what a tool
 * reads and writes, not what lies at the slot's userspace_addr.
 */
#include "kvmi_test.h"

#define SLOT	10
#define GPA	(4ull << 30)
#define PAGES	4
#define FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

KVMI_SUITE(kvmi_gmem, 1);

struct memory {
	int fd;
	/* The guest_memfd's, and something else. */
	u8 *guest, *other;
};

static const char *add_slot(struct kvm_vm *vm, struct memory *m)
{
	const size_t size = PAGES * PAGE_SIZE;
	int ret;

	if ((vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS) & FLAGS) != FLAGS)
		return "no guest_memfd that can be mapped";
	m->fd = vm_create_guest_memfd(vm, size, FLAGS);
	m->guest = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd);
	m->other = kvm_mmap(size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(m->guest, 0x11, PAGE_SIZE);
	memset(m->other, 0x22, size);
	ret = __vm_set_user_memory_region2(vm, SLOT, KVM_MEM_GUEST_MEMFD, GPA, size,
					   m->other, m->fd, 0);
	return ret ? "no slot of a guest_memfd alone" : NULL;
}

static void free_slot(struct memory *m)
{
	kvm_munmap(m->guest, PAGES * PAGE_SIZE);
	kvm_munmap(m->other, PAGES * PAGE_SIZE);
	kvm_close(m->fd);
}

KVMI_TEST(kvmi_gmem, read_and_write)
{
	u64 value = 0x3333333333333333, seen;
	struct memory m;
	const char *why = add_slot(f->vm, &m);

	if (why)
		SKIP(return, "%s", why);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, 8, &seen), 0);
	TEST_ASSERT_EQ(seen, 0x1111111111111111);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + 8, 8, &value), 0);
	TEST_ASSERT_EQ(*(u64 *)(m.guest + 8), value);
	TEST_ASSERT_EQ(*(u64 *)(m.other + 8), 0x2222222222222222);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + 8, 8, &seen), 0);
	TEST_ASSERT_EQ(seen, value);
	free_slot(&m);
}

/* A page that the file does not have yet: zero, or to be asked for again. */
KVMI_TEST(kvmi_gmem, untouched)
{
	struct memory m;
	const char *why = add_slot(f->vm, &m);
	u64 seen = 1;
	int err;

	if (why)
		SKIP(return, "%s", why);
	err = kvmi_read_physical(&f->kvmi, GPA + PAGE_SIZE, 8, &seen);
	TEST_ASSERT(err == -KVMI_EAGAIN || (!err && !seen), "%d, %#lx", err, seen);
	/* Once it is there it is read, whoever has it mapped. */
	WRITE_ONCE(m.guest[PAGE_SIZE], 0x44);
	kvm_munmap(m.guest, PAGES * PAGE_SIZE);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + PAGE_SIZE, 8, &seen), 0);
	TEST_ASSERT_EQ(seen, 0x44);
	kvm_munmap(m.other, PAGES * PAGE_SIZE);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + PAGE_SIZE, 8, &seen), 0);
	TEST_ASSERT_EQ(seen, 0x44);
	kvm_close(m.fd);
}

static void store_once(void)
{
	*(volatile u64 *)GPA = 0x5555555555555555;
	GUEST_SYNC(1);
	GUEST_DONE();
}

/* The guest's own store is what the tool reads. */
KVMI_TEST(kvmi_gmem, same_as_the_guest)
{
	struct memory m;
	const char *why = add_slot(f->vm, &m);
	u64 seen;

	if (why)
		SKIP(return, "%s", why);
	virt_map(f->vm, GPA, GPA, PAGES);
	vcpu_arch_set_entry_point(f->vcpu, store_once);
	vcpu_run(f->vcpu);
	TEST_ASSERT_EQ(get_ucall(f->vcpu, NULL), UCALL_SYNC);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, 8, &seen), 0);
	TEST_ASSERT_EQ(seen, 0x5555555555555555);
	TEST_ASSERT_EQ(*(u64 *)m.guest, seen);
	free_slot(&m);
}

KVMI_TEST_MAIN
