// SPDX-License-Identifier: GPL-2.0-only
/* The XSETBV event. */
#include "kvmi_insn.h"

/* Valid wherever there is XSAVE. */
static u64 next(u64 xcr0)
{
	return xcr0 == XFEATURE_MASK_FP ? XFEATURE_MASK_FP | XFEATURE_MASK_SSE :
	       XFEATURE_MASK_FP;
}

/* The guest writes this instead, if it is not 0. */
static u64 instead;

static void execute(struct kvmi_insn_seen *seen)
{
	u64 value;

	seen->before = xgetbv(0);
	value = instead ? instead : next(seen->before);
	asm volatile(KVMI_INSN_ASM("xsetbv")
		     : KVMI_INSN_OUTPUTS(seen)
		     : "a"((u32)value), "d"((u32)(value >> 32)), "c"(0)
		     : KVMI_INSN_CLOBBERS);
	seen->after = xgetbv(0);
}

static void check(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	const struct kvmi_vcpu_event_xsetbv *xcr = (const void *)ev->specific;

	TEST_ASSERT_EQ(xcr->xcr, 0);
	TEST_ASSERT(kvmi_is_zero(xcr->padding, sizeof(xcr->padding)),
		    "Padding");
	TEST_ASSERT_EQ(xcr->old_value, kvmi_insn_host(f)->before);
	TEST_ASSERT_EQ(xcr->new_value, next(xcr->old_value));
}

static bool is(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate)
{
	return kvmi_insn_is_write(seen, fate,
				  seen->after == next(seen->before),
				  seen->after == seen->before);
}

static const struct kvmi_insn kvmi_insn = {
	.event = KVMI_VCPU_EVENT_XSETBV,
	.size = sizeof(struct kvmi_vcpu_event_xsetbv),
	.done_if_moved = true,
	.refused = KVMI_INSN_DONE,
	.execute = execute,
	.check = check,
	.is = is,
};

KVMI_INSN_SUITE(kvmi_xsetbv);
KVMI_INSN_TESTS(kvmi_xsetbv)

static void write_xcr0(struct kvmi_fixture *f, u64 value)
{
	instead = value;
	sync_global_to_guest(f->vm, instead);
	kvmi_insn_run(f, 1);
}

/* What KVM refuses, and what changes nothing, is no event. */
KVMI_TEST(kvmi_xsetbv, no_change)
{
	struct kvmi_event ev;

	kvmi_insn_start(f, &ev);
	kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_insn_expect(f, 1, KVMI_INSN_DONE);
	write_xcr0(f, kvmi_insn_host(f)->after);
	kvmi_insn_expect(f, 2, KVMI_INSN_SKIPPED);
	write_xcr0(f, XFEATURE_MASK_SSE);
	kvmi_insn_expect(f, 3, KVMI_INSN_REFUSED);
	write_xcr0(f, BIT_ULL(62) | XFEATURE_MASK_FP);
	kvmi_insn_expect(f, 4, KVMI_INSN_REFUSED);
	kvmi_expect_quiet(&f->kvmi);
	instead = 0;
	sync_global_to_guest(f->vm, instead);
	kvmi_insn_once_more(f, 5, 2);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_XSAVE));
	return test_harness_run(argc, argv);
}
