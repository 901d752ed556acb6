// SPDX-License-Identifier: GPL-2.0-only
/* The CPUID event. */
#include "kvmi_insn.h"

#define FUNCTION	0u
#define INDEX		0x1234u

/* What the guest gets of KVM. */
static u32 answer;

static void execute(struct kvmi_insn_seen *seen)
{
	u32 eax = FUNCTION, ecx = INDEX, edx = 0;

	asm volatile(KVMI_INSN_ASM("cpuid")
		     : KVMI_INSN_OUTPUTS(seen), "+a"(eax), "+c"(ecx), "+d"(edx)
		     : : "rbx", KVMI_INSN_CLOBBERS);
	seen->before = edx;
	seen->after = eax;
}

static void check(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	const struct kvmi_vcpu_event_cpuid *cpuid = (const void *)ev->specific;

	TEST_ASSERT_EQ(cpuid->function, FUNCTION);
	TEST_ASSERT_EQ(cpuid->index, INDEX);
	TEST_ASSERT_EQ(cpuid->insn_len, 2);
	TEST_ASSERT(kvmi_is_zero(cpuid->padding, sizeof(cpuid->padding)),
		    "Padding");
}

static bool is(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate)
{
	if (seen->vector)
		return false;

	return seen->after == (fate == KVMI_INSN_DONE ? answer : FUNCTION);
}

static void prepare(struct kvmi_fixture *f)
{
	vcpu_get_cpuid(f->vcpu);
	answer = __vcpu_get_cpuid_entry(f->vcpu, FUNCTION, 0)->eax;
	TEST_ASSERT(answer, "Leaf %u is 0", FUNCTION);
}

static const struct kvmi_insn kvmi_insn = {
	.event = KVMI_VCPU_EVENT_CPUID,
	.size = sizeof(struct kvmi_vcpu_event_cpuid),
	.skipped_if_set = true,
	.refused = KVMI_INSN_DONE,
	.execute = execute,
	.check = check,
	.is = is,
	.prepare = prepare,
};

KVMI_INSN_SUITE(kvmi_cpuid_event);
KVMI_INSN_TESTS(kvmi_cpuid_event)

/* The tool answers in place of KVM. */
KVMI_TEST(kvmi_cpuid_event, answered_by_the_tool)
{
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);
	struct kvmi_event ev;
	struct kvm_regs regs;

	kvmi_insn_start(f, &ev);
	regs = ev.vcpu.arch.regs;
	regs.rax = 0xaaaaaaaa;
	regs.rdx = 0xdddddddd;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_wait(f, 1);
	TEST_ASSERT_EQ(seen->after, 0xaaaaaaaa);
	TEST_ASSERT_EQ(seen->before, 0xdddddddd);
	kvmi_insn_once_more(f, 2, 2);
}

KVMI_TEST_MAIN
