// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's page tables change while the tool is asked about what KVM's
 * emulator accesses: what was checked is accessed, and nothing else.
 */
#include "kvmi_page.h"

#define IOAPIC	0xfec00000ull
#define DEVICE	(5ull << 30)

KVMI_SUITE(kvmi_page_remapped, 1);

enum { PUSH = 1, PUSH_DEVICE };

static void do_one(u64 it)
{
	u64 rsp;

	asm volatile("mov %%rsp, %0; mov %1, %%rsp; pushq (%2); mov %0, %%rsp"
		     : "=&r"(rsp)
		     : "r"(PAGE + 72), "r"(it == PUSH ? IOAPIC + 0x10 : DEVICE)
		     : "memory");
}

static u64 *pte_of_page(struct kvmi_fixture *f)
{
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, 2, 0);
	virt_map(f->vm, PAGE, PAGE, 1);
	virt_map(f->vm, DEVICE, DEVICE, 1);
	virt_map(f->vm, IOAPIC, IOAPIC, 1);
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	memset(addr_gpa2hva(f->vm, PAGE), 0xee, 2 * PAGE_SIZE);
	return vm_get_pte(f->vm, PAGE);
}

#define UNTOUCHED	0xeeeeeeeeeeeeeeee

/* Which of the two pages the guest has stored in. */
static void check(struct kvmi_fixture *f, bool first)
{
	u64 *a = addr_gpa2hva(f->vm, PAGE + 64);
	u64 *b = addr_gpa2hva(f->vm, PAGE + 4096 + 64);

	TEST_ASSERT_EQ(*a != UNTOUCHED, first);
	TEST_ASSERT_EQ(*b != UNTOUCHED, !first);
}

/* The answer lets the store through to the page that was asked for. */
KVMI_TEST(kvmi_page_remapped, while_asked)
{
	struct kvmi_event ev;
	u64 *pte = pte_of_page(f);

	restrict_page(f, PAGE, R | X);
	restrict_page(f, PAGE + 4096, R | X);
	run(f, PUSH);
	kvmi_recv_pf(&f->kvmi, &ev, PAGE + 64, W);
	*pte += 4096;
	proceed(f, &ev);
	finish(f, 1);
	check(f, true);
}

/* Done anew it is another instruction, which finds the other page. */
KVMI_TEST(kvmi_page_remapped, next_instruction)
{
	struct kvmi_event ev;
	u64 *pte = pte_of_page(f);

	restrict_page(f, PAGE, R | X);
	restrict_page(f, PAGE + 4096, R | X);
	run(f, PUSH);
	kvmi_recv_pf(&f->kvmi, &ev, PAGE + 64, W);
	*pte += 4096;
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	kvmi_recv_pf(&f->kvmi, &ev, PAGE + 4096 + 64, W);
	*pte -= 4096;
	proceed(f, &ev);
	finish(f, 1);
	check(f, false);
}

/* While user space is the device: the completion stores where it was allowed. */
KVMI_TEST(kvmi_page_remapped, while_completed)
{
	struct kvmi_event ev;
	u64 *pte = pte_of_page(f);

	restrict_page(f, PAGE, R | X);
	restrict_page(f, PAGE + 4096, R | X);
	run(f, PUSH_DEVICE);
	kvmi_recv_pf(&f->kvmi, &ev, PAGE + 64, W);
	proceed(f, &ev);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_MMIO);
	*pte += 4096;
	memset(f->vcpu->run->mmio.data, 0x5a, 8);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, 1);
	check(f, true);
}

/* The same for a page that nobody had to be asked for. */
KVMI_TEST(kvmi_page_remapped, to_a_restricted_page)
{
	u64 *pte = pte_of_page(f);

	restrict_page(f, PAGE + 4096, R | X);
	run(f, PUSH_DEVICE);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_MMIO);
	*pte += 4096;
	memset(f->vcpu->run->mmio.data, 0x5a, 8);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, 1);
	check(f, true);
}

KVMI_TEST_MAIN
