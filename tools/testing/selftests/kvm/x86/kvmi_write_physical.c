// SPDX-License-Identifier: GPL-2.0-only
/* VM_WRITE_PHYSICAL. */
#include "kvmi_test.h"

#define SLOT	10
#define GPA	(4ull << 30)
#define PAGES	64

KVMI_SUITE(kvmi_write_physical, 1);

static u8 *add_slot(struct kvm_vm *vm, u32 flags)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT, PAGES,
				    flags);
	return addr_gpa2hva(vm, GPA);
}

static void fill(u8 *data, unsigned int seed)
{
	unsigned int i;

	for (i = 0; i < PAGE_SIZE; i++)
		data[i] = i * 13 + seed;
}

/* Exactly the bytes announced, and none before or behind. */
KVMI_TEST(kvmi_write_physical, every_size)
{
	u8 *hva = add_slot(f->vm, 0), data[PAGE_SIZE], want[3 * PAGE_SIZE];
	unsigned int size;

	for (size = 1; size <= PAGE_SIZE; size += size < 64 ? 1 : 67) {
		unsigned int at = PAGE_SIZE + (PAGE_SIZE - size) / 2;

		fill(data, size);
		memset(hva, 0xcc, 3 * PAGE_SIZE);
		memset(want, 0xcc, sizeof(want));
		memcpy(want + at, data, size);
		kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + at, size,
						    data), 0);
		TEST_ASSERT(!memcmp(hva, want, sizeof(want)),
			    "Memory is not as written, size %u", size);
	}
	fill(data, 1);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA, PAGE_SIZE, data), 0);
	TEST_ASSERT(!memcmp(hva, data, PAGE_SIZE), "Page is not as written");
}

KVMI_TEST(kvmi_write_physical, read_back)
{
	u8 data[PAGE_SIZE], back[PAGE_SIZE];

	add_slot(f->vm, 0);
	fill(data, 3);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA, PAGE_SIZE, data), 0);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA, PAGE_SIZE, back), 0);
	TEST_ASSERT(!memcmp(data, back, PAGE_SIZE), "Not what was written");
}

/* The session ends when the bytes announced did not come. */
KVMI_TEST(kvmi_write_physical, too_few_bytes)
{
	struct {
		struct kvmi_vm_write_physical req;
		u8 data[7];
	} __packed msg = { .req = { .gpa = GPA, .size = 8 } };
	u8 *hva = add_slot(f->vm, 0);

	memset(msg.data, 0xff, sizeof(msg.data));
	kvmi_send(&f->kvmi, KVMI_VM_WRITE_PHYSICAL, &msg, sizeof(msg));
	kvmi_expect_closed(&f->kvmi);
	TEST_ASSERT_EQ(hva[0], 0);
}

/* That comes first: before the range, the padding and the memory. */
KVMI_TEST(kvmi_write_physical, too_few_bytes_before_all)
{
	struct kvmi_vm_write_physical req = {
		.gpa = -1ull,
		.size = 5000,
		.padding1 = 1,
	};

	kvmi_send(&f->kvmi, KVMI_VM_WRITE_PHYSICAL, &req, sizeof(req));
	kvmi_expect_closed(&f->kvmi);
}

/* ... but behind the permission. */
KVMI_TEST(kvmi_write_physical, too_few_bytes_behind_permission)
{
	struct kvmi_vm_write_physical req = { .gpa = GPA, .size = 8 };

	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, KVMI_VM_WRITE_PHYSICAL,
					   0), 0);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_WRITE_PHYSICAL, &req,
				     sizeof(req), NULL, 0), -KVMI_EPERM);
	kvmi_ping(&f->kvmi);
}

KVMI_TEST(kvmi_write_physical, bad_ranges)
{
	u8 data[PAGE_SIZE + 1] = {};

	add_slot(f->vm, 0);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA, 0, data),
			-KVMI_EINVAL);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA, PAGE_SIZE + 1, data),
			-KVMI_EINVAL);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + 1, PAGE_SIZE, data),
			-KVMI_EINVAL);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + 4095, 2, data),
			-KVMI_EINVAL);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, -1ull, 2, data),
			-KVMI_EINVAL);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, -1ull, 1, data),
			-KVMI_ENOENT);
}

KVMI_TEST(kvmi_write_physical, no_memory)
{
	u8 *hva = add_slot(f->vm, 0), data[16];

	memset(data, 0x77, sizeof(data));
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA - PAGE_SIZE, 16,
					    data), -KVMI_ENOENT);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + PAGES * PAGE_SIZE,
					    16, data), -KVMI_ENOENT);

	TEST_ASSERT(!mprotect(hva, PAGE_SIZE, PROT_READ), "mprotect() failed");
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA, 16, data),
			-KVMI_ENOENT);
	TEST_ASSERT_EQ(hva[0], 0);
	kvm_munmap(hva + PAGE_SIZE, PAGE_SIZE);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + PAGE_SIZE, 16,
					    data), -KVMI_ENOENT);
}

KVMI_TEST(kvmi_write_physical, read_only_slot)
{
	u8 *hva, data[16];

	if (!kvm_has_cap(KVM_CAP_READONLY_MEM))
		SKIP(return, "no read-only memory slots");
	hva = add_slot(f->vm, KVM_MEM_READONLY);
	memset(data, 0x77, sizeof(data));
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA, 16, data),
			-KVMI_ENOENT);
	TEST_ASSERT_EQ(hva[0], 0);
}

/* A page written by the tool is a dirty page, and no other is. */
KVMI_TEST(kvmi_write_physical, dirty_log)
{
	unsigned long bitmap[PAGES / 64] = {};
	u8 data[16] = { 1 };

	kvm_static_assert(PAGES == 64);
	add_slot(f->vm, KVM_MEM_LOG_DIRTY_PAGES);
	kvm_vm_get_dirty_log(f->vm, SLOT, bitmap);

	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + 5 * PAGE_SIZE + 9,
					    16, data), 0);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + 63 * PAGE_SIZE, 16,
					    data), 0);
	kvmi_assert_err(kvmi_read_physical(&f->kvmi, GPA + 9 * PAGE_SIZE, 16,
					   data), 0);
	kvm_vm_get_dirty_log(f->vm, SLOT, bitmap);
	TEST_ASSERT_EQ(bitmap[0], BIT(5) | BIT(63));

	/* A refused write is none. */
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, GPA + PAGE_SIZE + 4095, 2,
					    data), -KVMI_EINVAL);
	kvm_vm_get_dirty_log(f->vm, SLOT, bitmap);
	TEST_ASSERT_EQ(bitmap[0], 0);
}

/* The same through the ring of a vCPU: one entry, for that page. */
KVMI_TEST(kvmi_write_physical, dirty_ring)
{
	const u32 entries = 1024;
	struct kvm_dirty_gfn *ring;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct kvmi k;
	unsigned int i, found = 0;
	u8 data[16] = { 1 }, *hva;

	if (!kvm_has_cap(KVM_CAP_DIRTY_LOG_RING) &&
	    !kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL))
		SKIP(return, "no dirty ring");

	vm = vm_create(1);
	vm_enable_dirty_ring(vm, entries * sizeof(struct kvm_dirty_gfn));
	vcpu = vm_vcpu_add(vm, 0, kvmi_guest_count);
	vcpu_args_set(vcpu, 1, 0);
	hva = add_slot(vm, KVM_MEM_LOG_DIRTY_PAGES);
	ring = vcpu_map_dirty_ring(vcpu);

	kvmi_hook(&k, vm);
	kvmi_start(&f->runner, vcpu);
	kvmi_assert_err(kvmi_write_physical(&k, GPA + 5 * PAGE_SIZE, 16, data),
			0);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(hva[5 * PAGE_SIZE], 1);

	for (i = 0; i < entries; i++) {
		if (!(READ_ONCE(ring[i].flags) & KVM_DIRTY_GFN_F_DIRTY))
			continue;
		TEST_ASSERT(ring[i].slot == SLOT && ring[i].offset == 5,
			    "Dirty: slot %u, offset %llu", ring[i].slot,
			    ring[i].offset);
		found++;
	}
	TEST_ASSERT_EQ(found, 1);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

/* The guest sees it: its counter jumps and goes on from there. */
KVMI_TEST(kvmi_write_physical, seen_by_the_guest)
{
	gpa_t gpa = addr_gva2gpa(f->vm, (gva_t)&kvmi_progress[0]);
	const u64 jump = 1ull << 60;
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	/* Between the guest's load and store a write would be lost. */
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi, gpa, 8, &jump), 0);
	TEST_ASSERT_EQ(kvmi_read_progress(f->vm, 0), jump);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
