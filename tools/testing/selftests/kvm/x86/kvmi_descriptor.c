// SPDX-License-Identifier: GPL-2.0-only
/* The DESCRIPTOR event. */
#include "kvmi_insn.h"

enum {
	SIDT, SGDT, SLDT, STR, LIDT, LGDT, LLDT, LTR, NR_INSNS
};

static const struct {
	u8 descriptor;
	u8 write;
} expected[NR_INSNS] = {
	[SIDT] = { KVMI_DESC_IDTR, 0 },
	[SGDT] = { KVMI_DESC_GDTR, 0 },
	[SLDT] = { KVMI_DESC_LDTR, 0 },
	[STR] = { KVMI_DESC_TR, 0 },
	[LIDT] = { KVMI_DESC_IDTR, 1 },
	[LGDT] = { KVMI_DESC_GDTR, 1 },
	[LLDT] = { KVMI_DESC_LDTR, 1 },
	[LTR] = { KVMI_DESC_TR, 1 },
};

static u64 which = SIDT;
static struct desc_ptr idt, gdt, table;

#define EXECUTE(insn)							\
	asm volatile(KVMI_INSN_ASM(insn)				\
		     : KVMI_INSN_OUTPUTS(seen), [table] "+m"(table)	\
		     : [idt] "m"(idt), [gdt] "m"(gdt), [zero] "a"(0)	\
		     : KVMI_INSN_CLOBBERS)

static void execute(struct kvmi_insn_seen *seen)
{
	table.size = 0;
	table.address = 0;
	seen->before = idt.address;

	switch (which) {
	case SIDT:
		EXECUTE("sidt %[table]");
		break;
	case SGDT:
		EXECUTE("sgdt %[table]");
		break;
	case SLDT:
		EXECUTE("sldt %[table]");
		break;
	case STR:
		EXECUTE("str %[table]");
		break;
	case LIDT:
		EXECUTE("lidt %[idt]");
		break;
	case LGDT:
		EXECUTE("lgdt %[gdt]");
		break;
	case LLDT:
		EXECUTE("lldt %w[zero]");
		break;
	case LTR:
		/* Faults, which comes after the event. */
		EXECUTE("ltr %w[zero]");
		break;
	}
	seen->after = table.address;
}

static void check(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	const struct kvmi_vcpu_event_descriptor *d = (const void *)ev->specific;

	TEST_ASSERT_EQ(d->descriptor, expected[which].descriptor);
	TEST_ASSERT_EQ(d->write, expected[which].write);
	TEST_ASSERT(kvmi_is_zero(d->padding, sizeof(d->padding)),
		    "Padding");
}

static bool is(const struct kvmi_insn_seen *seen, enum kvmi_insn_fate fate)
{
	if (seen->vector)
		return false;

	return seen->after == (fate == KVMI_INSN_DONE ? seen->before : 0);
}

/* Where the tables are: that the guest asks would be an event. */
static void prepare(struct kvmi_fixture *f)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(f->vcpu, &sregs);
	idt.size = sregs.idt.limit;
	idt.address = sregs.idt.base;
	gdt.size = sregs.gdt.limit;
	gdt.address = sregs.gdt.base;
	sync_global_to_guest(f->vm, idt);
	sync_global_to_guest(f->vm, gdt);
}

static const struct kvmi_insn kvmi_insn = {
	.event = KVMI_VCPU_EVENT_DESCRIPTOR,
	.size = sizeof(struct kvmi_vcpu_event_descriptor),
	.retry = true,
	.refused = KVMI_INSN_DONE,
	.execute = execute,
	.check = check,
	.is = is,
	.prepare = prepare,
};

KVMI_INSN_SUITE(kvmi_descriptor);
KVMI_INSN_TESTS(kvmi_descriptor)

KVMI_TEST(kvmi_descriptor, each_register)
{
	struct kvmi_insn_seen *seen = kvmi_insn_host(f);
	struct kvmi_event ev;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_insn_enable(&f->kvmi, true);
	for (i = 0; i < NR_INSNS; i++) {
		which = i;
		sync_global_to_guest(f->vm, which);
		kvmi_insn_run(f, 1);
		kvmi_insn_recv(f, &ev);
		TEST_ASSERT_EQ(ev.seq, i + 1);
		kvmi_insn_reply(f, &ev, KVMI_EVENT_ACTION_CONTINUE);
		kvmi_insn_wait(f, i + 1);
		TEST_ASSERT_EQ(seen->vector, i == LTR ? GP_VECTOR : 0);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_descriptor, retry_elsewhere)
{
	kvmi_insn_move_rip(f, KVMI_EVENT_ACTION_RETRY);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvmi_has_descriptor_exits(),
		       "this processor has no exits on descriptor tables");
	return test_harness_run(argc, argv);
}
