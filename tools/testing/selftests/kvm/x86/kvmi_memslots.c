// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMM changes memory slots while a vCPU waits for the tool: it does not
 * wait with it, and the tool sees the slots as they are then.
 */
#include "kvmi_test.h"

#define SLOT	10
#define GPA	(4ull << 30)
#define MOVED	(6ull << 30)
#define PAGES	16
#define ROUNDS	20

KVMI_SUITE(kvmi_memslots, 2);

/* The VMM's thread, so that one that waits for the tool is seen to hang. */
struct change {
	struct kvm_vm *vm;
	void (*fn)(struct kvm_vm *vm);
	bool done;
};

static void *run_change(void *arg)
{
	struct change *c = arg;

	c->fn(c->vm);
	__atomic_store_n(&c->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void vmm(struct kvm_vm *vm, void (*fn)(struct kvm_vm *vm))
{
	struct change c = { .vm = vm, .fn = fn };
	pthread_t thread;

	kvm_pthread_create(&thread, NULL, run_change, &c);
	kvmi_wait_until(__atomic_load_n(&c.done, __ATOMIC_SEQ_CST));
	kvm_pthread_join(thread, NULL);
}

static void add(struct kvm_vm *vm)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT, PAGES,
				    0);
}

static void log_dirty(struct kvm_vm *vm)
{
	vm_mem_region_set_flags(vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES);
}

static void move(struct kvm_vm *vm)
{
	vm_mem_region_move(vm, SLOT, MOVED);
}

static void delete(struct kvm_vm *vm)
{
	vm_mem_region_delete(vm, SLOT);
}

static u64 max_gfn(struct kvmi *k)
{
	struct kvmi_vm_get_max_gfn_reply reply;

	kvmi_assert_err(kvmi_command(k, KVMI_VM_GET_MAX_GFN, NULL, 0, &reply,
				     sizeof(reply)), 0);
	return reply.gfn;
}

static void assert_memory(struct kvmi *k, u64 gpa, u64 value)
{
	u64 got;

	kvmi_assert_err(kvmi_read_physical(k, gpa, sizeof(got), &got), 0);
	TEST_ASSERT_EQ(got, value);
	kvmi_assert_err(kvmi_write_physical(k, gpa, sizeof(got), &got), 0);
}

static void assert_no_memory(struct kvmi *k, u64 gpa)
{
	u64 got = 0;

	kvmi_assert_err(kvmi_read_physical(k, gpa, sizeof(got), &got),
			-KVMI_ENOENT);
	kvmi_assert_err(kvmi_write_physical(k, gpa, sizeof(got), &got),
			-KVMI_ENOENT);
}

static void changes(struct kvmi_fixture *f)
{
	struct kvmi *k = &f->kvmi;
	u64 before = max_gfn(k), *hva;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		assert_no_memory(k, GPA);
		vmm(f->vm, add);
		hva = addr_gpa2hva(f->vm, GPA + PAGE_SIZE);
		*hva = 0x1000 + i;
		assert_memory(k, GPA + PAGE_SIZE, 0x1000 + i);
		TEST_ASSERT_EQ(max_gfn(k), GPA / PAGE_SIZE + PAGES - 1);

		vmm(f->vm, log_dirty);
		assert_memory(k, GPA + PAGE_SIZE, 0x1000 + i);

		vmm(f->vm, move);
		assert_no_memory(k, GPA + PAGE_SIZE);
		assert_memory(k, MOVED + PAGE_SIZE, 0x1000 + i);
		TEST_ASSERT_EQ(max_gfn(k), MOVED / PAGE_SIZE + PAGES - 1);

		vmm(f->vm, delete);
		assert_no_memory(k, MOVED + PAGE_SIZE);
		TEST_ASSERT_EQ(max_gfn(k), before);
	}
}

KVMI_TEST(kvmi_memslots, while_an_event_waits)
{
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	changes(f);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

/* Nobody of the VM's is outside of an event. */
KVMI_TEST(kvmi_memslots, while_all_wait)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		kvmi_start(&runners[i], f->vcpus[i]);
		kvmi_stop_vcpu(&f->kvmi, i, &ev[i]);
	}
	changes(f);
	for (i = 0; i < 2; i++) {
		kvmi_reply(&f->kvmi, &ev[i], KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_progress(f->vm, i);
		kvmi_stop(&runners[i]);
	}
}

/* An AP that waits for its SIPI, in an event. */
KVMI_TEST(kvmi_memslots, while_one_not_started_waits)
{
	struct kvm_mp_state mp_state = {
		.mp_state = KVM_MP_STATE_UNINITIALIZED,
	};
	struct kvmi_event ev;

	vcpu_mp_state_set(f->vcpus[1], &mp_state);
	kvmi_start(&f->runner, f->vcpus[1]);
	kvmi_stop_vcpu(&f->kvmi, 1, &ev);
	changes(f);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
