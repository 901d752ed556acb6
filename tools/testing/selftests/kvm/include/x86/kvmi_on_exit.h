/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest whose vCPUs store to restricted pages when they are told to, and a
 * tool that dies.
 *
 * Each vCPU has a page of its own.  It counts in kvmi_progress[] while it has
 * nothing to do.
 */
#ifndef SELFTEST_KVM_KVMI_ON_EXIT_H
#define SELFTEST_KVM_KVMI_ON_EXIT_H

#include <sys/wait.h>

#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X
#define RWX	(R | W | X)

#define RELEASE	KVMI_ON_EXIT_RELEASE
#define FREEZE	KVMI_ON_EXIT_FREEZE
#define CRASH	KVMI_ON_EXIT_CRASH

#define SLOT	10
#define PAGES	(4ull << 30)
#define NR	2

/* The page of vCPU @i; guest virtual addresses are the physical ones. */
#define PAGE(i)	(PAGES + (i) * PAGE_SIZE)

#define OLD	0x01dull
#define NEW	0x4e3ull

static u64 ordered[NR], done[NR];

/* The store, at an address that a test can compare RIP with. */
extern const char kvmi_on_exit_store[];

static noinline void store(u64 gva)
{
	asm volatile(".globl kvmi_on_exit_store\n"
		     "kvmi_on_exit_store: mov %1, (%0)"
		     : : "r"(gva), "r"(NEW) : "memory");
}

static void guest(u64 index)
{
	for (;;) {
		WRITE_ONCE(kvmi_progress[index], kvmi_progress[index] + 1);
		if (!READ_ONCE(ordered[index]))
			continue;
		store(PAGE(index));
		WRITE_ONCE(ordered[index], 0);
		WRITE_ONCE(done[index], done[index] + 1);
	}
}

#define ON_HOST(f, variable) \
	((u64 *)addr_gva2hva((f)->vm, (gva_t)&(variable)))

static struct kvmi_runner runners[NR];

static inline u64 *page(struct kvmi_fixture *f, unsigned int i)
{
	return addr_gpa2hva(f->vm, PAGE(i));
}

/* Memory with OLD in each page, and both vCPUs at work. */
static inline void start(struct kvmi_fixture *f)
{
	unsigned int i;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGES, SLOT,
				    NR, 0);
	virt_map(f->vm, PAGES, PAGES, NR);
	for (i = 0; i < NR; i++) {
		*page(f, i) = OLD;
		vcpu_arch_set_entry_point(f->vcpus[i], guest);
		kvmi_start(&runners[i], f->vcpus[i]);
		kvmi_wait_progress(f->vm, i);
	}
}

static inline void stop(void)
{
	unsigned int i;

	for (i = 0; i < NR; i++)
		kvmi_stop(&runners[i]);
}

static inline u64 restricted_frames(struct kvmi_fixture *f)
{
	return vm_get_stat(f->vm, kvmi_restricted_frames);
}

/* The tool of the suite restricts both pages, and has PF events of both. */
static inline void restrict_pages(struct kvmi_fixture *f)
{
	unsigned int i;

	for (i = 0; i < NR; i++)
		kvmi_assert_err(kvmi_control_event(&f->kvmi, i,
						   KVMI_VCPU_EVENT_PF, 1), 0);
	kvmi_assert_err(kvmi_set_pages_access(&f->kvmi, PAGES, NR, R | X), 0);
	TEST_ASSERT_EQ(restricted_frames(f), NR);
}

static inline void order(struct kvmi_fixture *f, unsigned int i)
{
	WRITE_ONCE(*page(f, i), OLD);
	WRITE_ONCE(ON_HOST(f, done)[i], 0);
	WRITE_ONCE(ON_HOST(f, ordered)[i], 1);
}

/* The store has been done, once, and the vCPU goes on. */
static inline void expect_stored(struct kvmi_fixture *f, unsigned int i)
{
	kvmi_wait_until(READ_ONCE(ON_HOST(f, done)[i]) == 1);
	TEST_ASSERT_EQ(READ_ONCE(*page(f, i)), NEW);
	kvmi_wait_progress(f->vm, i);
	TEST_ASSERT_EQ(READ_ONCE(ON_HOST(f, done)[i]), 1);
}

/* RIP of a vCPU that is taken out of KVM_RUN for it and put back. */
static inline u64 peek_rip(struct kvmi_fixture *f, unsigned int i)
{
	struct kvm_regs regs;

	kvmi_stop(&runners[i]);
	vcpu_regs_get(f->vcpus[i], &regs);
	kvmi_start(&runners[i], f->vcpus[i]);
	return regs.rip;
}

static inline void expect_nothing_stored(struct kvmi_fixture *f, unsigned int i)
{
	TEST_ASSERT_EQ(READ_ONCE(*page(f, i)), OLD);
	TEST_ASSERT_EQ(READ_ONCE(ON_HOST(f, done)[i]), 0);
}

/*
 * The vCPU waits at its store and does not get any further, however often a
 * signal takes it out of KVM_RUN.
 */
static inline void expect_frozen(struct kvmi_fixture *f, unsigned int i)
{
	unsigned int round, before;

	kvmi_wait_until(peek_rip(f, i) == (u64)kvmi_on_exit_store);
	for (round = 0; round < 10; round++) {
		before = __atomic_load_n(&runners[i].eintr, __ATOMIC_SEQ_CST);
		/* A signal that comes before KVM_RUN is lost. */
		kvmi_wait_until((kvmi_kick(&runners[i]),
				 __atomic_load_n(&runners[i].eintr,
						 __ATOMIC_SEQ_CST) > before));
	}
	TEST_ASSERT_EQ(peek_rip(f, i), (u64)kvmi_on_exit_store);
	expect_nothing_stored(f, i);
}

static inline void expect_pf(struct kvmi_fixture *f, struct kvmi_event *ev,
			     unsigned int i)
{
	kvmi_recv_pf(&f->kvmi, ev, PAGE(i), W);
	TEST_ASSERT_EQ(ev->vcpu.vcpu, i);
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rip, (u64)kvmi_on_exit_store);
	expect_nothing_stored(f, i);
}

static inline void proceed(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_reply(&f->kvmi, ev, KVMI_EVENT_ACTION_CONTINUE);
}

static inline void expect_state(struct kvmi_fixture *f, enum kvmi_state state,
				u64 frames)
{
	kvmi_wait_until(kvmi_state(f->vm->fd) == state);
	TEST_ASSERT_EQ(restricted_frames(f), frames);
}

/* The tool closes its socket. */
static inline void die(struct kvmi_fixture *f, enum kvmi_state state)
{
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == state);
}

#endif /* SELFTEST_KVM_KVMI_ON_EXIT_H */
