// SPDX-License-Identifier: GPL-2.0-only
/* VM_GET_MAX_GFN: the highest frame that a user memory slot backs. */
#include "kvmi_test.h"

#define SLOT	10

KVMI_SUITE(kvmi_max_gfn, 1);

static u64 max_gfn(struct kvmi *k)
{
	struct kvmi_vm_get_max_gfn_reply reply = { .gfn = -1ull };

	kvmi_assert_err(kvmi_command(k, KVMI_VM_GET_MAX_GFN, NULL, 0, &reply,
				     sizeof(reply)), 0);
	return reply.gfn;
}

static u64 expected(struct kvm_vm *vm)
{
	struct userspace_mem_region *region;
	u64 max = 0;
	int i;

	hash_for_each(vm->regions.slot_hash, i, region, slot_node) {
		u64 end = region->region.guest_phys_addr +
			  region->region.memory_size;

		if (end && (end - 1) / PAGE_SIZE > max)
			max = (end - 1) / PAGE_SIZE;
	}
	return max;
}

/* The VM of the library; KVM's private slots lie above and do not count. */
KVMI_TEST(kvmi_max_gfn, library_vm)
{
	TEST_ASSERT_EQ(max_gfn(&f->kvmi), expected(f->vm));
}

KVMI_TEST(kvmi_max_gfn, follows_the_slots)
{
	u64 before = max_gfn(&f->kvmi);
	u64 gpa = 8ull << 30;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, gpa, SLOT, 3,
				    0);
	TEST_ASSERT_EQ(max_gfn(&f->kvmi), gpa / PAGE_SIZE + 2);

	/* A slot below, added later, with a higher number. */
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, 4ull << 30,
				    SLOT + 1, 1, 0);
	TEST_ASSERT_EQ(max_gfn(&f->kvmi), gpa / PAGE_SIZE + 2);

	vm_mem_region_move(f->vm, SLOT, gpa + (1ull << 30));
	TEST_ASSERT_EQ(max_gfn(&f->kvmi), (gpa + (1ull << 30)) / PAGE_SIZE + 2);

	vm_mem_region_delete(f->vm, SLOT);
	TEST_ASSERT_EQ(max_gfn(&f->kvmi), (4ull << 30) / PAGE_SIZE);
	vm_mem_region_delete(f->vm, SLOT + 1);
	TEST_ASSERT_EQ(max_gfn(&f->kvmi), before);
}

KVMI_TEST(kvmi_max_gfn, read_only_slot)
{
	if (!kvm_has_cap(KVM_CAP_READONLY_MEM))
		SKIP(return, "no read-only memory slots");
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, 8ull << 30,
				    SLOT, 1, KVM_MEM_READONLY);
	TEST_ASSERT_EQ(max_gfn(&f->kvmi), (8ull << 30) / PAGE_SIZE);
}

/* With one page at the very bottom there is no doubt about off by one. */
KVMI_TEST(kvmi_max_gfn, one_page)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct kvmi k;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, 0, 0, 1, 0);
	kvmi_hook(&k, vm);
	TEST_ASSERT_EQ(max_gfn(&k), 0);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

static int max_gfn_err(struct kvmi *k)
{
	struct kvmi_vm_get_max_gfn_reply reply;

	return kvmi_command(k, KVMI_VM_GET_MAX_GFN, NULL, 0, &reply,
			    sizeof(reply));
}

/* No memory, no frame; what KVM keeps for itself is none either. */
KVMI_TEST(kvmi_max_gfn, no_slots)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct kvmi k;

	kvmi_hook(&k, vm);
	kvmi_assert_err(max_gfn_err(&k), -KVMI_ENOENT);
	vm_create_irqchip(vm);
	__vm_vcpu_add(vm, 0);
	kvmi_assert_err(max_gfn_err(&k), -KVMI_ENOENT);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, 0, SLOT, 2, 0);
	TEST_ASSERT_EQ(max_gfn(&k), 1);
	vm_mem_region_delete(vm, SLOT);
	kvmi_assert_err(max_gfn_err(&k), -KVMI_ENOENT);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

KVMI_TEST_MAIN
