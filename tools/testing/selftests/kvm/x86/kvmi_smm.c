// SPDX-License-Identifier: GPL-2.0-only
/*
 * System management mode: KVM writes control registers when the guest enters
 * and leaves it, which is no event; what the handler itself does is one.
 */
#include "kvmi_test.h"
#include "smm.h"

#define SMRAM		0x1000000
#define HANDLER		0x8000
#define COUNTER		0x9000
#define NEW_LSTAR	0x5000

/* 16-bit code. */
static const u8 handler[] = {
	0x66, 0xb9, 0x82, 0x00, 0x00, 0xc0,	/* mov $MSR_LSTAR, %ecx */
	0x66, 0xb8, 0x00, 0x50, 0x00, 0x00,	/* mov $NEW_LSTAR, %eax */
	0x66, 0x31, 0xd2,			/* xor %edx, %edx */
	0x0f, 0x30,				/* wrmsr */
	0x66, 0x31, 0xc0,			/* xor %eax, %eax */
	0x66, 0x31, 0xc9,			/* xor %ecx, %ecx */
	0x0f, 0xa2,				/* cpuid */
	0x0f, 0x20, 0xc0,			/* mov %cr0, %eax */
	0x34, X86_CR0_MP,			/* xor $X86_CR0_MP, %al */
	0x0f, 0x22, 0xc0,			/* mov %eax, %cr0 */
	0x2e, 0xff, 0x06, 0x00, 0x90,		/* incw %cs:COUNTER */
	0x0f, 0xaa,				/* rsm */
};

static void prepare(struct kvmi_fixture *f)
{
	setup_smram(f->vm, f->vcpu, SMRAM, handler, sizeof(handler));
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_start(&f->runner, f->vcpu);
}

KVMI_SUITE_OF(kvmi_smm, kvmi_create_vm(1, f->vcpus), prepare(f));

static u16 handled(struct kvmi_fixture *f)
{
	return READ_ONCE(*(u16 *)addr_gpa2hva(f->vm, SMRAM + COUNTER));
}

static void send_smi(struct kvmi_fixture *f)
{
	kvmi_stop(&f->runner);
	inject_smi(f->vcpu);
	kvmi_start(&f->runner, f->vcpu);
}

static void want(struct kvmi *k, u16 event)
{
	kvmi_assert_err(kvmi_control_event(k, 0, event, 1), 0);
}

static void want_crs(struct kvmi *k)
{
	kvmi_assert_err(kvmi_control_cr(k, 0, 0, 1), 0);
	kvmi_assert_err(kvmi_control_cr(k, 0, 3, 1), 0);
	kvmi_assert_err(kvmi_control_cr(k, 0, 4, 1), 0);
	want(k, KVMI_VCPU_EVENT_CR);
}

/* The next event is this one, inside the handler. */
static void recv_inside(struct kvmi_fixture *f, struct kvmi_event *ev, u16 event,
			size_t size)
{
	kvmi_recv_this(&f->kvmi, ev, event, size);
	TEST_ASSERT_EQ(ev->vcpu.arch.mode, 2);
	TEST_ASSERT_EQ(ev->vcpu.arch.sregs.cs.base, SMRAM);
	TEST_ASSERT(ev->vcpu.arch.regs.rip >= HANDLER &&
		    ev->vcpu.arch.regs.rip < HANDLER + sizeof(handler),
		    "RIP %#llx", ev->vcpu.arch.regs.rip);
}

/* The handler ends, and the guest goes on. */
static void finish(struct kvmi_fixture *f)
{
	kvmi_wait_until(handled(f) == 1);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* Neither the entry nor RSM is an event: of each SMI the handler's own comes. */
KVMI_TEST(kvmi_smm, entry_and_return)
{
	struct kvmi_vcpu_get_registers_reply before, after;
	struct kvmi_event ev;
	unsigned int i;

	want_crs(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &before), 0);
	for (i = 1; i <= 10; i++) {
		send_smi(f);
		recv_inside(f, &ev, KVMI_VCPU_EVENT_CR,
			    sizeof(struct kvmi_vcpu_event_cr));
		TEST_ASSERT_EQ(ev.seq, i);
		TEST_ASSERT_EQ(ev.specific[0], 0);
		kvmi_continue(&f->kvmi, &ev);
		kvmi_wait_until(handled(f) == i);
		kvmi_wait_progress(f->vm, 0);
		kvmi_expect_quiet(&f->kvmi);
	}
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &after), 0);
	/* KVM sets CR0.ET, without which a guest of a selftest begins. */
	TEST_ASSERT_EQ(after.sregs.cr0 | X86_CR0_ET,
		       before.sregs.cr0 | X86_CR0_ET);
	TEST_ASSERT_EQ(after.sregs.cr3, before.sregs.cr3);
	TEST_ASSERT_EQ(after.sregs.cr4, before.sregs.cr4);
	TEST_ASSERT_EQ(after.sregs.efer, before.sregs.efer);
	TEST_ASSERT_EQ(after.mode, 8);
	kvmi_stop(&f->runner);
}

/* The tool's value for an MSR is written there, and its CPUID is seen. */
KVMI_TEST(kvmi_smm, events_inside)
{
	const struct kvmi_vcpu_event_cpuid *cpuid;
	const struct kvmi_vcpu_event_msr *msr;
	struct kvmi_event ev;

	kvmi_assert_err(kvmi_control_msr(&f->kvmi, 0, MSR_LSTAR, 1), 0);
	want(&f->kvmi, KVMI_VCPU_EVENT_MSR);
	want(&f->kvmi, KVMI_VCPU_EVENT_CPUID);
	send_smi(f);

	recv_inside(f, &ev, KVMI_VCPU_EVENT_MSR, sizeof(*msr));
	msr = (const void *)ev.specific;
	TEST_ASSERT_EQ(msr->msr, MSR_LSTAR);
	TEST_ASSERT_EQ(msr->new_value, NEW_LSTAR);
	kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE,
			 2 * NEW_LSTAR);

	recv_inside(f, &ev, KVMI_VCPU_EVENT_CPUID, sizeof(*cpuid));
	cpuid = (const void *)ev.specific;
	TEST_ASSERT_EQ(cpuid->function, 0);
	TEST_ASSERT_EQ(cpuid->index, 0);
	TEST_ASSERT_EQ(handled(f), 0);
	kvmi_continue(&f->kvmi, &ev);

	finish(f);
	TEST_ASSERT_EQ(vcpu_get_msr(f->vcpu, MSR_LSTAR), 2 * NEW_LSTAR);
}

/* KVM_RUN is left while the handler waits for an answer. */
KVMI_TEST(kvmi_smm, signal)
{
	struct kvmi_event ev;

	want(&f->kvmi, KVMI_VCPU_EVENT_CPUID);
	send_smi(f);
	recv_inside(f, &ev, KVMI_VCPU_EVENT_CPUID,
		    sizeof(struct kvmi_vcpu_event_cpuid));
	kvmi_stop(&f->runner);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_expect_quiet(&f->kvmi);
	TEST_ASSERT_EQ(handled(f), 0);
	kvmi_continue(&f->kvmi, &ev);
	finish(f);
}

KVMI_TEST(kvmi_smm, tool_dies)
{
	struct kvmi_event ev;

	want_crs(&f->kvmi);
	send_smi(f);
	recv_inside(f, &ev, KVMI_VCPU_EVENT_CR,
		    sizeof(struct kvmi_vcpu_event_cr));
	kvmi_close(&f->kvmi);
	kvmi_wait_until(handled(f) == 1);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvm_has_cap(KVM_CAP_X86_SMM), "KVM has no SMM");
	return test_harness_run(argc, argv);
}
