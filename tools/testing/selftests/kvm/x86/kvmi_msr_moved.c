// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tool moves RIP in the event of a write to an MSR, and has written what no
 * guest could: the VMM, which wants to know of such writes, carries it out.
 * Nothing is skipped where RIP is then.
 */
#include "kvmi_page.h"

KVMI_SUITE(kvmi_msr_moved, 1);

u64 msr_behind, msr_at_target;
extern const char msr_target[];

static void do_one(u64 it)
{
	asm volatile("wrmsr\n\t"
		     "incq msr_behind(%%rip)\n\t"
		     ".globl msr_target\nmsr_target:\n\t"
		     "incq msr_at_target(%%rip)"
		     : : "c"(MSR_LSTAR), "a"(0x1000), "d"(0) : "memory", "cc");
}

/* Once, with the VMM's verdict on the write. */
static void write_once(struct kvmi_fixture *f, u8 error)
{
	struct kvmi_event ev;
	struct kvm_regs regs;

	run(f, 1);
	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_MSR);
	regs = ev.vcpu.arch.regs;
	regs.rip = (u64)msr_target;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
			 0x1234567812345678);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_X86_WRMSR);
	TEST_ASSERT_EQ(f->vcpu->run->msr.data, 0x1234567812345678);
	f->vcpu->run->msr.error = error;
	kvmi_start(&f->runner, f->vcpu);
}

KVMI_TEST(kvmi_msr_moved, to_user_space)
{
	u64 i;

	vm_enable_cap(f->vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_INVAL);
	start(f);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_MSR, 1), 0);
	kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, MSR_LSTAR, 1), 0);
	for (i = 1; i <= 3; i++) {
		write_once(f, 0);
		wait_done(f, i);
		TEST_ASSERT_EQ(*ON_HOST(f, msr_at_target), i);
		TEST_ASSERT_EQ(*ON_HOST(f, msr_behind), 0);
	}
	/* The next write that nobody moves is done like any other. */
	kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, MSR_LSTAR, 0), 0);
	run(f, 1);
	finish(f, 4);
	TEST_ASSERT_EQ(*ON_HOST(f, msr_behind), 1);
	TEST_ASSERT_EQ(vcpu_get_msr(f->vcpu, MSR_LSTAR), 0x1000);
}

KVMI_TEST_MAIN
