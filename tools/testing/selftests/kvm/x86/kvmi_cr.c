// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_CONTROL_CR and the CR event. */
#include "kvmi_insn.h"

#define CR3_PWT		BIT_ULL(3)
#define CR3_PCD		BIT_ULL(4)

/* The register that the guest writes, and the bit that it changes. */
static u64 which = 3;
static u64 bit = CR3_PWT;

static const struct {
	u8 cr;
	u64 bit;
} registers[] = {
	{ 0, X86_CR0_WP },
	{ 0, X86_CR0_TS },
	{ 3, CR3_PWT },
	{ 4, X86_CR4_TSD },
	{ 4, X86_CR4_PCE },
};

static u64 read_cr(u64 cr)
{
	return cr == 0 ? get_cr0() : cr == 3 ? get_cr3() : get_cr4();
}

static void execute(struct kvmi_insn_seen *seen)
{
	u64 value;

	seen->before = read_cr(which);
	value = kvmi_insn_same ? seen->before : seen->before ^ bit;

	switch (which) {
	case 0:
		asm volatile(KVMI_INSN_ASM("mov %[value], %%cr0")
			     : KVMI_INSN_OUTPUTS(seen) : [value] "a"(value)
			     : KVMI_INSN_CLOBBERS);
		break;
	case 3:
		asm volatile(KVMI_INSN_ASM("mov %[value], %%cr3")
			     : KVMI_INSN_OUTPUTS(seen) : [value] "a"(value)
			     : KVMI_INSN_CLOBBERS);
		break;
	case 4:
		asm volatile(KVMI_INSN_ASM("mov %[value], %%cr4")
			     : KVMI_INSN_OUTPUTS(seen) : [value] "a"(value)
			     : KVMI_INSN_CLOBBERS);
		break;
	}
	seen->after = read_cr(which);
}

static void control(struct kvmi *k, bool enable)
{
	kvmi_assert_err(kvmi_control_cr(k, 0, 3, enable), 0);
}

static const struct kvmi_vcpu_event_cr *cr_of(const struct kvmi_event *ev)
{
	return (const void *)ev->specific;
}

static void check(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	const struct kvmi_vcpu_event_cr *cr = cr_of(ev);
	u64 seen, differs;

	TEST_ASSERT(kvmi_is_zero(cr->padding, sizeof(cr->padding)),
		    "Padding");
	/*
	 * With NPT a guest sees the host's CR4.MCE in place of its own, and
	 * CR0.ET, without which the guest of a selftest begins.
	 */
	differs = cr->cr == 4 ? X86_CR4_MCE : cr->cr == 0 ? X86_CR0_ET : 0;
	seen = kvmi_insn_host(f)->before;
	seen = (seen & ~differs) | (cr->old_value & differs);
	TEST_ASSERT_EQ(cr->old_value, seen);
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rax, cr->new_value);
	if (cr->cr == 3)
		TEST_ASSERT_EQ(ev->vcpu.arch.sregs.cr3, cr->old_value);
}

static bool is(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate)
{
	/* See check(). */
	u64 always = which == 0 ? X86_CR0_ET : 0;
	u64 changed = (seen->before ^ seen->after) & ~always;

	return kvmi_insn_is_write(seen, fate,
				  changed && !(changed & (changed - 1)),
				  !changed);
}

static const struct kvmi_insn kvmi_insn = {
	.event = KVMI_VCPU_EVENT_CR,
	.size = sizeof(struct kvmi_vcpu_event_cr),
	.value_offset = offsetof(struct kvmi_vcpu_event_cr, new_value),
	.done_if_moved = true,
	.refused = KVMI_INSN_REFUSED,
	.control = control,
	.execute = execute,
	.check = check,
	.is = is,
};

KVMI_INSN_SUITE(kvmi_cr);
KVMI_INSN_TESTS(kvmi_cr)
KVMI_INSN_VALUE_TESTS(kvmi_cr)

static void choose(struct kvmi_fixture *f, u64 cr, u64 the_bit)
{
	which = cr;
	bit = the_bit;
	sync_global_to_guest(f->vm, which);
	sync_global_to_guest(f->vm, bit);
}

/* Each register is seen when it is wanted, whichever bit changes. */
KVMI_TEST(kvmi_cr, each_register)
{
	struct kvmi_event ev;
	unsigned int i, j;
	u64 runs = 0;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CR, 1),
			0);
	for (i = 0; i < ARRAY_SIZE(registers); i++) {
		kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, registers[i].cr, 1),
				0);
		for (j = 0; j < ARRAY_SIZE(registers); j++) {
			choose(f, registers[j].cr, registers[j].bit);
			kvmi_insn_run(f, 1);
			if (registers[j].cr == registers[i].cr) {
				kvmi_insn_recv(f, &ev);
				TEST_ASSERT_EQ(cr_of(&ev)->cr, registers[j].cr);
				TEST_ASSERT((cr_of(&ev)->old_value ^
					     cr_of(&ev)->new_value) &
					    registers[j].bit, "The bit");
				kvmi_insn_reply(f, &ev,
						KVMI_EVENT_ACTION_CONTINUE);
			}
			kvmi_insn_expect(f, ++runs, KVMI_INSN_DONE);
		}
		kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, registers[i].cr, 0),
				0);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* The tool's value is written, through the checks that the guest's goes through. */
KVMI_TEST(kvmi_cr, other_value)
{
	static const u64 also[] = { X86_CR0_NE, CR3_PCD, X86_CR4_PCE };
	static const u64 bits[] = { X86_CR0_WP, CR3_PWT, X86_CR4_TSD };
	static const u8 crs[] = { 0, 3, 4 };
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);
	struct kvmi_event ev;
	u64 runs = 0, always;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CR, 1),
			0);
	for (i = 0; i < ARRAY_SIZE(crs); i++) {
		kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, crs[i], 1), 0);
		choose(f, crs[i], bits[i]);

		/* One bit more. */
		kvmi_insn_run(f, 1);
		kvmi_insn_recv(f, &ev);
		kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
				 cr_of(&ev)->new_value ^ also[i]);
		kvmi_insn_wait(f, ++runs);
		TEST_ASSERT_EQ(seen->vector, 0);
		always = crs[i] ? 0 : X86_CR0_ET;
		TEST_ASSERT_EQ(seen->after | always,
			       (seen->before ^ bits[i] ^ also[i]) | always);

		/* The one before: nothing happens, and the guest does not know. */
		kvmi_insn_run(f, 1);
		kvmi_insn_recv(f, &ev);
		kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
				 seen->before);
		kvmi_insn_expect(f, ++runs, KVMI_INSN_SKIPPED);

		/* One that no guest could write. */
		kvmi_insn_run(f, 1);
		kvmi_insn_recv(f, &ev);
		kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
				 cr_of(&ev)->new_value | BIT_ULL(62));
		kvmi_insn_expect(f, ++runs, KVMI_INSN_REFUSED);
		kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, crs[i], 0), 0);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_cr, control_errors)
{
	unsigned int cr;

	kvmi_start(&f->runner, f->vcpu);
	for (cr = 0; cr <= 0xff; cr++) {
		int want = cr == 0 || cr == 3 || cr == 4 ? 0 : -KVMI_EINVAL;

		kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, cr, 1), want);
		kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, cr, 0), want);
		kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, cr, 2),
				-KVMI_EINVAL);
	}
	kvmi_assert_err(kvmi_control_cr(&f->kvmi, 0, 3, 0xff), -KVMI_EINVAL);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
