// SPDX-License-Identifier: GPL-2.0-only
/*
 * VM_WRITE_PHYSICAL in a VM with a dirty ring: a tool cannot overrun the ring
 * of a vCPU that does not come to enter the guest.
 */
#include "kvmi_test.h"

#define SLOT	10
#define GPA	(4ull << 30)
#define PAGES	2048

/* As virt/kvm/dirty_ring.c has it; the second is VMX's log of pages. */
#define RESERVED	64
#define RESERVED_PML	512

KVMI_UNHOOKED_SUITE(kvmi_dirty_ring, 1);

struct ring {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct kvm_dirty_gfn *gfns;
	u8 *hva;
	/* Entries, those that may be used, and where the next one is. */
	unsigned int size, limit, next;
};

static bool enable(struct kvm_vm *vm, unsigned int entries)
{
	u32 bytes = entries * sizeof(struct kvm_dirty_gfn);
	int cap = kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL) ?
		  KVM_CAP_DIRTY_LOG_RING_ACQ_REL : KVM_CAP_DIRTY_LOG_RING;

	if (__vm_enable_cap(vm, cap, bytes))
		return false;
	vm->dirty_ring_size = bytes;
	return true;
}

/* The smallest ring that this processor can have. */
static void create(struct ring *r)
{
	unsigned int reserved = RESERVED;

	memset(r, 0, sizeof(*r));
	r->vm = vm_create(1);
	r->size = getpagesize() / sizeof(struct kvm_dirty_gfn);
	if (!enable(r->vm, r->size)) {
		reserved += RESERVED_PML;
		while (r->size <= reserved)
			r->size *= 2;
		TEST_ASSERT(enable(r->vm, r->size), "No ring of %u entries",
			    r->size);
	}
	r->limit = r->size - reserved;
	r->vcpu = vm_vcpu_add(r->vm, 0, kvmi_guest_count);
	vcpu_args_set(r->vcpu, 1, 0);
	vm_userspace_mem_region_add(r->vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT,
				    PAGES, KVM_MEM_LOG_DIRTY_PAGES);
	r->hva = addr_gpa2hva(r->vm, GPA);
	r->gfns = vcpu_map_dirty_ring(r->vcpu);
}

static int write_page(struct kvmi *k, unsigned int page, u8 value)
{
	return kvmi_write_physical(k, GPA + (u64)page * PAGE_SIZE + 7, 1,
				   &value);
}

static u8 read_page(struct ring *r, unsigned int page)
{
	return READ_ONCE(r->hva[page * PAGE_SIZE + 7]);
}

/* Writes page after page until the ring is full, and no further. */
static void fill(struct ring *r, struct kvmi *k, unsigned int first, u8 value)
{
	unsigned int i;

	for (i = 0; i < r->limit; i++)
		kvmi_assert_err(write_page(k, first + i, value), 0);
	for (i = r->limit; i < r->limit + 3; i++) {
		kvmi_assert_err(write_page(k, first + i, value), -KVMI_EBUSY);
		TEST_ASSERT(read_page(r, first + i) != value,
			    "A refused write was done");
	}
	/* Nor is a page that is in the ring already written again. */
	kvmi_assert_err(write_page(k, first, value ^ 0x80), -KVMI_EBUSY);
	for (i = 0; i < r->limit; i++)
		TEST_ASSERT_EQ(read_page(r, first + i), value);
}

static u32 flags_of(struct kvm_dirty_gfn *gfn)
{
	return __atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE);
}

/* The VMM takes all there is: these pages, in this order, and no more. */
static void harvest(struct ring *r, unsigned int first)
{
	struct kvm_dirty_gfn *gfn;
	unsigned int i;

	for (i = 0; i < r->limit; i++) {
		gfn = &r->gfns[r->next++ % r->size];
		TEST_ASSERT(flags_of(gfn) == KVM_DIRTY_GFN_F_DIRTY,
			    "Entry %u has flags %#x", i, gfn->flags);
		TEST_ASSERT_EQ(gfn->slot, SLOT);
		TEST_ASSERT_EQ(gfn->offset, first + i);
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
	}
	gfn = &r->gfns[r->next % r->size];
	TEST_ASSERT(!(flags_of(gfn) & KVM_DIRTY_GFN_F_DIRTY),
		    "More entries than pages written");
	TEST_ASSERT_EQ(kvm_vm_reset_dirty_ring(r->vm), r->limit);
}

static bool have_dirty_ring(void)
{
	return kvm_has_cap(KVM_CAP_DIRTY_LOG_RING) ||
	       kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
}

/* A hooked VM with a ring, whose vCPU waits for the reply to @ev. */
static void create_paused(struct kvmi_fixture *f, struct ring *r,
			  struct kvmi *k, struct kvmi_event *ev)
{
	create(r);
	kvmi_hook(k, r->vm);
	kvmi_assert_err(kvmi_pause(k, 0, 0), 0);
	kvmi_start(&f->runner, r->vcpu);
	kvmi_recv_pause(k, 0, ev);
}

/* vCPU 0 stays in its event: nothing but the tool writes. */
KVMI_TEST(kvmi_dirty_ring, overrun)
{
	struct kvmi_event ev;
	struct ring r;
	unsigned int i;
	struct kvmi k;
	u8 byte;

	if (!have_dirty_ring())
		SKIP(return, "no dirty ring");

	create_paused(f, &r, &k, &ev);

	/* Often enough for the ring to go around, on any processor. */
	for (i = 0; i < 4; i++) {
		unsigned int first = i * (PAGES / 4);

		TEST_ASSERT(r.limit + 3 <= PAGES / 4, "Too few pages");
		fill(&r, &k, first, i + 1);
		/* What needs no entry goes on. */
		kvmi_assert_err(kvmi_read_physical(&k, GPA, 1, &byte), 0);
		kvmi_assert_err(kvmi_write_physical(&k, 0, 1, &byte), 0);
		harvest(&r, first);
	}
	/* After the last reset there is room again, for one more. */
	kvmi_assert_err(write_page(&k, PAGES - 1, 0x55), 0);
	TEST_ASSERT_EQ(r.gfns[r.next % r.size].offset, PAGES - 1);

	kvmi_reply(&k, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(r.vm, 0);
	kvmi_stop(&f->runner);
	kvmi_close(&k);
	kvm_vm_free(r.vm);
}

/* A vCPU that comes out of its event with a full ring tells its VMM. */
KVMI_TEST(kvmi_dirty_ring, full_after_the_event)
{
	struct kvmi_event ev;
	struct ring r;
	struct kvmi k;

	if (!have_dirty_ring())
		SKIP(return, "no dirty ring");

	create_paused(f, &r, &k, &ev);
	fill(&r, &k, 0, 1);
	kvmi_reply(&k, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_DIRTY_RING_FULL);
	harvest(&r, 0);

	kvmi_start(&f->runner, r.vcpu);
	kvmi_wait_progress(r.vm, 0);
	kvmi_assert_err(write_page(&k, r.limit, 1), 0);
	kvmi_stop(&f->runner);
	kvmi_close(&k);
	kvm_vm_free(r.vm);
}

KVMI_TEST_MAIN
