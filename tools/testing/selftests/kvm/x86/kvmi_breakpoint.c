// SPDX-License-Identifier: GPL-2.0-only
/* The BREAKPOINT event. */
#include "kvmi_insn.h"

static u64 hits;

/* INT3 has a prefix. */
static u64 prefixed;

static void on_breakpoint(struct ex_regs *regs)
{
	hits++;
}

static void execute(struct kvmi_insn_seen *seen)
{
	seen->before = READ_ONCE(hits);
	if (prefixed)
		asm volatile(KVMI_INSN_ASM(".byte 0x66; int3")
			     : KVMI_INSN_OUTPUTS(seen) : : KVMI_INSN_CLOBBERS);
	else
		asm volatile(KVMI_INSN_ASM("int3")
			     : KVMI_INSN_OUTPUTS(seen) : : KVMI_INSN_CLOBBERS);
	seen->after = READ_ONCE(hits);
}

static void check(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	const struct kvmi_vcpu_event_breakpoint *bp = (const void *)ev->specific;

	TEST_ASSERT_EQ(bp->gpa, addr_gva2gpa(f->vm, ev->vcpu.arch.regs.rip));
	TEST_ASSERT_EQ(bp->insn_len, prefixed + 1);
	TEST_ASSERT(kvmi_is_zero(bp->padding, sizeof(bp->padding)),
		    "Padding");
}

static bool is(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate)
{
	return !seen->vector &&
	       seen->after == seen->before + (fate == KVMI_INSN_DONE);
}

static void prepare(struct kvmi_fixture *f)
{
	vm_install_exception_handler(f->vm, BP_VECTOR, on_breakpoint);
}

static const struct kvmi_insn kvmi_insn = {
	.event = KVMI_VCPU_EVENT_BREAKPOINT,
	.size = sizeof(struct kvmi_vcpu_event_breakpoint),
	.retry = true,
	.done_if_moved = true,
	.trap_len = 1,
	.refused = KVMI_INSN_DONE,
	.execute = execute,
	.check = check,
	.is = is,
	.prepare = prepare,
};

KVMI_INSN_SUITE(kvmi_breakpoint);
KVMI_INSN_TESTS(kvmi_breakpoint)

/* As a tool does it that executes the hidden instruction elsewhere. */
KVMI_TEST(kvmi_breakpoint, retry_elsewhere)
{
	kvmi_insn_move_rip(f, KVMI_EVENT_ACTION_RETRY);
}

/* The guest comes back to what lies behind all of it. */
KVMI_TEST(kvmi_breakpoint, with_prefix)
{
	struct kvmi_event ev;

	prefixed = 1;
	sync_global_to_guest(f->vm, prefixed);
	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_insn_once_more(f, 2, 2);
}

static u64 invalid;

static void on_invalid(struct ex_regs *regs)
{
	invalid++;
}

/* The guest's #BP goes before what the tool injects, wherever it put RIP. */
static void breakpoint_wins(struct kvmi_fixture *f, bool moved)
{
	const struct kvmi_vcpu_event_trap *trap;
	struct kvmi_vcpu_inject_exception req = { .nr = UD_VECTOR };
	struct kvmi_event ev;
	struct kvm_regs regs;

	vm_install_exception_handler(f->vm, UD_VECTOR, on_invalid);
	kvmi_insn_start(f, &ev);
	regs = ev.vcpu.arch.regs;
	if (moved)
		regs.rip = regs.r11 - 1;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_INJECT_EXCEPTION,
					  &req, sizeof(req), NULL, 0), 0);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_this(&f->kvmi, &ev, KVMI_VCPU_EVENT_TRAP, sizeof(*trap));
	trap = (const void *)ev.specific;
	TEST_ASSERT_EQ(trap->nr, BP_VECTOR);
	TEST_ASSERT_EQ(trap->error_code, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_wait(f, 1);
	/* Of the instruction that was left out. */
	kvmi_insn_host(f)->vector = 0;
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	TEST_ASSERT_EQ(*(u64 *)addr_gva2hva(f->vm, (gva_t)&invalid), 0);
	kvmi_insn_once_more(f, 2, 3);
}

KVMI_TEST(kvmi_breakpoint, wins)
{
	breakpoint_wins(f, false);
}

KVMI_TEST(kvmi_breakpoint, wins_elsewhere)
{
	breakpoint_wins(f, true);
}

/* The tool takes INT3 away and has the guest's #BP delivered all the same. */
KVMI_TEST(kvmi_breakpoint, taken_away)
{
	const u8 nop = 0x90;
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_assert_err(kvmi_write_physical(&f->kvmi,
					    addr_gva2gpa(f->vm, ev.vcpu.arch.regs.rip),
					    sizeof(nop), &nop), 0);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_insn_run(f, 1);
	kvmi_insn_expect(f, 2, KVMI_INSN_SKIPPED);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* Breakpoints have one owner. */
KVMI_TEST(kvmi_breakpoint, ownership)
{
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP,
	};
	struct kvm_guest_debug none = {};
	struct kvmi *k = &f->kvmi;
	const u16 bp = KVMI_VCPU_EVENT_BREAKPOINT;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(k, 0, bp, 0), -KVMI_EBUSY);
	kvmi_assert_err(kvmi_control_event(k, 0, bp, 1), 0);
	kvmi_assert_err(kvmi_control_event(k, 0, bp, 1), -KVMI_EBUSY);
	kvmi_stop(&f->runner);
	TEST_ASSERT(__vcpu_ioctl(f->vcpu, KVM_SET_GUEST_DEBUG, &debug) &&
		    errno == EBUSY, "The VMM took the tool's breakpoints");

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(k, 0, bp, 0), 0);
	kvmi_assert_err(kvmi_control_event(k, 0, bp, 0), -KVMI_EBUSY);
	kvmi_stop(&f->runner);
	vcpu_ioctl(f->vcpu, KVM_SET_GUEST_DEBUG, &debug);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(k, 0, bp, 1), -KVMI_EBUSY);
	kvmi_stop(&f->runner);

	vcpu_ioctl(f->vcpu, KVM_SET_GUEST_DEBUG, &none);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(k, 0, bp, 1), 0);
	kvmi_stop(&f->runner);
	/* A dead session owns nothing, even before the vCPU runs again. */
	kvmi_close(k);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	vcpu_ioctl(f->vcpu, KVM_SET_GUEST_DEBUG, &debug);
}

/* Without clean-up the guest gets its #BP, whoever left the intercept. */
KVMI_TEST(kvmi_breakpoint, without_cleanup)
{
	struct kvmi_vm_control_cleanup cleanup = { .enable = 0 };
	struct kvmi_event ev;

	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CONTROL_CLEANUP,
				     &cleanup, sizeof(cleanup), NULL, 0), 0);
	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_unhook(f->vm);
	kvmi_insn_run(f, 10);
	kvmi_insn_expect(f, 11, KVMI_INSN_DONE);
	kvmi_close(&f->kvmi);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_insn_run(f, 10);
	kvmi_insn_expect(f, 21, KVMI_INSN_DONE);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_insn_enable(&f->kvmi, true);
	kvmi_insn_once_more(f, 22, 1);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvmi_has_bp_exits(),
		       "this processor does not exit on #BP");
	return test_harness_run(argc, argv);
}
