// SPDX-License-Identifier: GPL-2.0-only
/*
 * An instruction stores to a device first and to a restricted page then.  The
 * tool is asked before the device is, and when it has the guest go on elsewhere
 * nothing of the instruction is carried out, now or later.
 */
#include "kvmi_page.h"

#define DEVICE	(5ull << 30)
/* Some processors take 32 bits of RSP here.  The page behind it is a device. */
#define LOW	0x50000000ull

KVMI_SUITE(kvmi_page_given_up, 1);

enum { FAR_CALL = 1 };

u64 given_up_rsp;
struct { u32 off; u16 sel; } __packed given_up_to;
extern const char given_up_landing[];

static void do_one(u64 it)
{
	given_up_to.off = (u32)(u64)given_up_landing;
	asm volatile("mov %%cs, %0" : "=r"(given_up_to.sel));
	asm volatile("push %%rbp; push %%rbx\n\t"
		     "mov %%rsp, given_up_rsp(%%rip)\n\t"
		     "mov %0, %%rsp\n\t"
		     "lcall *given_up_to(%%rip)\n\t"
		     ".globl given_up_landing\n"
		     "given_up_landing:\n\t"
		     "mov given_up_rsp(%%rip), %%rsp\n\t"
		     "pop %%rbx; pop %%rbp"
		     : : "r"(LOW + 4096 + 4)
		     : "memory", "rax", "rcx", "rdx", "rsi", "rdi", "r8",
		       "r9", "r10", "r11", "r12", "r13", "r14", "r15");
}

static void start_far(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.ss.db = 1;
	vcpu_sregs_set(f->vcpu, &sregs);
	virt_map(f->vm, LOW, PAGE, 1);
	virt_map(f->vm, LOW + 4096, DEVICE, 1);
	start(f);
	restrict_page(f, PAGE, R | X);
	run(f, FAR_CALL);
	kvmi_recv_pf(&f->kvmi, ev, PAGE + 4092, W);
	TEST_ASSERT(!f->runner.done, "The device was accessed first");
}

/* Where RIP is put there is no far call: no device access is left over. */
static void skip(struct kvmi_fixture *f, const struct kvmi_event *ev, u8 action)
{
	struct kvm_regs regs = ev->vcpu.arch.regs;

	regs.rip = (u64)given_up_landing;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_reply(&f->kvmi, ev, action);
	finish(f, 1);
	TEST_ASSERT(kvmi_is_zero(addr_gpa2hva(f->vm, PAGE), PAGE_SIZE), "Stored");
}

KVMI_TEST(kvmi_page_given_up, retried)
{
	struct kvmi_event ev;

	start_far(f, &ev);
	skip(f, &ev, KVMI_EVENT_ACTION_RETRY);
}

KVMI_TEST(kvmi_page_given_up, rewritten)
{
	struct kvmi_event ev;

	start_far(f, &ev);
	skip(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
}

/* Out of KVM_RUN and in again: it has nothing to complete. */
KVMI_TEST(kvmi_page_given_up, interrupted)
{
	struct kvmi_event ev;

	start_far(f, &ev);
	kvmi_wait_until((kvmi_kick(&f->runner),
			 __atomic_load_n(&f->runner.eintr, __ATOMIC_SEQ_CST) > 3));
	TEST_ASSERT(!f->runner.done, "KVM_RUN returned with %s",
		    exit_reason_str(f->runner.exit_reason));
	skip(f, &ev, KVMI_EVENT_ACTION_RETRY);
}

/* Let through, it is done once: the device gets its store behind the page's. */
KVMI_TEST(kvmi_page_given_up, let_through)
{
	struct kvmi_event ev;

	start_far(f, &ev);
	proceed(f, &ev);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(f->vcpu->run->mmio.is_write, 1);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, 1);
	TEST_ASSERT_EQ(*(u32 *)addr_gpa2hva(f->vm, PAGE + 4092), (u32)(u64)given_up_landing);
}

KVMI_TEST_MAIN
