// SPDX-License-Identifier: GPL-2.0-only
/* The HYPERCALL event. */
#include "kvmi_insn.h"

/* What the guest calls. */
static u64 number = KVM_HC_XEN_HVM_OP;
static u64 function = KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT;
static u64 argument;

static void execute(struct kvmi_insn_seen *seen)
{
	u64 rax = number, rdi = function, rsi = argument;

	seen->before = rax;
	if (host_cpu_is_amd)
		asm volatile(KVMI_INSN_ASM("vmmcall")
			     : KVMI_INSN_OUTPUTS(seen), "+a"(rax), "+D"(rdi),
			       "+S"(rsi)
			     : : "rdx", KVMI_INSN_CLOBBERS);
	else
		asm volatile(KVMI_INSN_ASM("vmcall")
			     : KVMI_INSN_OUTPUTS(seen), "+a"(rax), "+D"(rdi),
			       "+S"(rsi)
			     : : "rdx", KVMI_INSN_CLOBBERS);
	seen->after = rax;
}

static void check(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	TEST_ASSERT_EQ((u32)ev->vcpu.arch.regs.rax, KVM_HC_XEN_HVM_OP);
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rdi,
		       KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT);
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rsi, 0);
}

static bool is(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate)
{
	if (seen->vector)
		return false;

	return seen->after == (fate == KVMI_INSN_DONE ? 0 : (u64)-KVMI_ENOSYS);
}

static const struct kvmi_insn kvmi_insn = {
	.event = KVMI_VCPU_EVENT_HYPERCALL,
	.done_if_moved = true,
	.refused = KVMI_INSN_REFUSED,
	.unasked = KVMI_INSN_REFUSED,
	.execute = execute,
	.check = check,
	.is = is,
};

KVMI_INSN_SUITE(kvmi_hypercall);
KVMI_INSN_TESTS(kvmi_hypercall)

static void call(struct kvmi_fixture *f, u64 nr, u64 fn, u64 arg)
{
	number = nr;
	function = fn;
	argument = arg;
	sync_global_to_guest(f->vm, number);
	sync_global_to_guest(f->vm, function);
	sync_global_to_guest(f->vm, argument);
	kvmi_insn_run(f, 1);
}

/* Every other call is KVM's, and so is this one when nobody listens. */
KVMI_TEST(kvmi_hypercall, other_calls)
{
	static const u64 calls[][3] = {
		{ 33, 24, 0 }, { 35, 24, 0 }, { 34, 23, 0 }, { 34, 25, 0 },
		{ 34, 24, 1 }, { 34, 24ull | 1ull << 32, 0 },
		{ 34, 24, 1ull << 63 }, { ~0ull, 24, 0 },
	};
	struct kvmi_event ev;
	unsigned int i;
	u64 runs = 0;

	kvmi_start(&f->runner, f->vcpu);
	call(f, 34, 24, 0);
	kvmi_insn_expect(f, ++runs, KVMI_INSN_REFUSED);
	kvmi_insn_enable(&f->kvmi, true);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		call(f, calls[i][0], calls[i][1], calls[i][2]);
		kvmi_insn_expect(f, ++runs, KVMI_INSN_REFUSED);
	}
	kvmi_expect_quiet(&f->kvmi);
	/* Of the number the lower half counts. */
	call(f, 34ull | 1ull << 40, 24, 0);
	kvmi_insn_recv(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, ++runs, KVMI_INSN_DONE);
	kvmi_insn_once_more(f, runs + 1, 2);
}

KVMI_TEST(kvmi_hypercall, after_the_session)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_close(&f->kvmi);
	/* The tool died meanwhile: as if it had said CONTINUE. */
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	kvmi_insn_run(f, 1);
	kvmi_insn_expect(f, 2, KVMI_INSN_REFUSED);
	kvmi_unhook(f->vm);
	kvmi_insn_run(f, 1);
	kvmi_insn_expect(f, 3, KVMI_INSN_REFUSED);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
