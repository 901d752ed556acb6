// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session with a hundred thousand restricted frames ends like any other: when
 * UNHOOK has returned, or the tool is gone, the guest has all of them.
 */
#include <sys/mman.h>

#include "kvmi_test.h"

#define SLOT		20
#define GPA		(8ull << 30)
#define HUGE		(2ull << 20)
#define PER_COMMAND	511
#define COMMANDS	200
#define FRAMES		(COMMANDS * PER_COMMAND)
#define SIZE		(((u64)FRAMES * PAGE_SIZE + HUGE - 1) / HUGE * HUGE)

/* So much memory of the host lies behind all of it, again and again. */
#define BEHIND		HUGE

/* It writes each page of the slot in each round. */
static u64 round_nr, done;

static void guest(void)
{
	u64 i, now;

	for (;;) {
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		now = READ_ONCE(round_nr);
		if (now == done)
			continue;
		for (i = 0; i < FRAMES; i++)
			*(volatile u64 *)(GPA + i * PAGE_SIZE) = now;
		WRITE_ONCE(done, now);
	}
}

static void add_slot(struct kvm_vm *vm)
{
	int fd = syscall(__NR_memfd_create, "kvmi_end_bounded", MFD_CLOEXEC);
	u8 *mem = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	u64 offset;

	TEST_ASSERT(fd >= 0 && !ftruncate(fd, BEHIND) && mem != MAP_FAILED,
		    "No memory");
	for (offset = 0; offset < SIZE; offset += BEHIND)
		TEST_ASSERT(mmap(mem + offset, BEHIND, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED,
			    "mmap() failed");
	kvm_close(fd);
	vm_set_user_memory_region(vm, SLOT, 0, GPA, SIZE, mem);
	for (offset = 0; offset < SIZE; offset += HUGE)
		__virt_pg_map(vm, &vm->mmu, GPA + offset, GPA + offset, PG_LEVEL_2M);
}

static void prepare(struct kvmi_fixture *f)
{
	add_slot(f->vm);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
}

KVMI_SUITE_OF(kvmi_end_bounded, vm_create_with_vcpus(2, guest, f->vcpus),
	      prepare(f));

static void restrict_all(struct kvmi_fixture *f)
{
	unsigned int i;

	for (i = 0; i < COMMANDS; i++)
		kvmi_assert_err(kvmi_set_pages_access(&f->kvmi,
				GPA + i * PER_COMMAND * PAGE_SIZE, PER_COMMAND,
				KVMI_PAGE_ACCESS_R), 0);
	TEST_ASSERT_EQ(vm_get_stat(f->vm, kvmi_restricted_frames), FRAMES);
}

static void start_round(struct kvmi_fixture *f, u64 nr)
{
	WRITE_ONCE(*(u64 *)addr_gva2hva(f->vm, (gva_t)&round_nr), nr);
}

static void wait_round(struct kvmi_fixture *f, u64 nr)
{
	kvmi_wait_until(READ_ONCE(*(u64 *)addr_gva2hva(f->vm, (gva_t)&done)) == nr);
}

KVMI_TEST(kvmi_end_bounded, unhook)
{
	u64 i;

	for (i = 1; i <= 3; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		restrict_all(f);
		kvmi_unhook(f->vm);
		TEST_ASSERT_EQ(vm_get_stat(f->vm, kvmi_restricted_frames), 0);
		start_round(f, i);
		wait_round(f, i);
		kvmi_expect_closed(&f->kvmi);
		kvmi_close(&f->kvmi);
	}
	kvmi_stop(&f->runner);
}

/* A vCPU that waits for the tool because of one of them goes on, too. */
KVMI_TEST(kvmi_end_bounded, unhook_in_an_event)
{
	struct kvmi_event ev;

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	restrict_all(f);
	start_round(f, 1);
	kvmi_recv_pf(&f->kvmi, &ev, GPA, KVMI_PAGE_ACCESS_W);
	kvmi_unhook(f->vm);
	TEST_ASSERT_EQ(vm_get_stat(f->vm, kvmi_restricted_frames), 0);
	wait_round(f, 1);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_end_bounded, tool_is_gone)
{
	struct kvmi_event ev;

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	restrict_all(f);
	start_round(f, 1);
	kvmi_recv_pf(&f->kvmi, &ev, GPA, KVMI_PAGE_ACCESS_W);
	kvmi_close(&f->kvmi);
	wait_round(f, 1);
	kvmi_wait_until(!vm_get_stat(f->vm, kvmi_restricted_frames));
	kvmi_stop(&f->runner);
}

/* The VM goes with all of them. */
KVMI_TEST(kvmi_end_bounded, vm_is_destroyed)
{
	kvmi_hook(&f->kvmi, f->vm);
	restrict_all(f);
	kvmi_stop(&f->runner);
	kvm_vm_free(f->vm);
	kvmi_expect_closed(&f->kvmi);
	kvmi_close(&f->kvmi);
	/* For the teardown. */
	f->vm = vm_create_barebones();
}

KVMI_TEST_MAIN
