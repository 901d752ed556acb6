// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM saves the state of a guest that gets an SMI into memory, and RSM has it
 * read again: the one is dropped and counted where it is restricted, for the
 * other the tool is asked.
 */
#include "kvmi_own.h"
#include "smm.h"

#define SMRAM		0x1000000
#define STATE		(SMRAM + 0xf000)
#define COUNTER		0x9000

/* 16-bit code. */
static const u8 handler[] = {
	0x2e, 0xff, 0x06, 0x00, 0x90,		/* incw %cs:COUNTER */
	0x0f, 0xaa,				/* rsm */
};

static void do_one(u64 it)
{
}

static void prepare(struct kvmi_fixture *f)
{
	setup_smram(f->vm, f->vcpu, SMRAM, handler, sizeof(handler));
	/* Outside of SMM, too: only what is memory there can be restricted. */
	vm_set_user_memory_region(f->vm, SLOT + 1, 0, SMRAM, SMRAM_SIZE,
				  addr_gpa2hva(f->vm, SMRAM));
	kvmi_hook(&f->kvmi, f->vm);
}

KVMI_SUITE_OF(kvmi_own_smm, kvmi_create_vm(1, f->vcpus), prepare(f));

static u16 handled(struct kvmi_fixture *f)
{
	return READ_ONCE(*(u16 *)addr_gpa2hva(f->vm, SMRAM + COUNTER));
}

static u8 *state(struct kvmi_fixture *f)
{
	return addr_gpa2hva(f->vm, STATE);
}

static void send_smi(struct kvmi_fixture *f)
{
	kvmi_stop(&f->runner);
	inject_smi(f->vcpu);
	kvmi_start(&f->runner, f->vcpu);
}

/* The state is saved where that is allowed, and RSM asks to read it. */
KVMI_TEST(kvmi_own_smm, rsm_asks)
{
	struct kvmi_event ev;
	u64 before;

	start(f);
	before = refused(f);
	send_smi(f);
	kvmi_wait_until(handled(f) == 1);
	kvmi_wait_progress(f->vm, 0);
	TEST_ASSERT_EQ(refused(f), before);

	/* What the first SMI saved is what RSM finds again: the guest goes on. */
	restrict_page(f, STATE, 0);
	send_smi(f);
	expect(f, &ev, STATE + 0xe00, R, NO_GVA);
	TEST_ASSERT_EQ(handled(f), 2);
	TEST_ASSERT_EQ(refused(f), before + 1);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	expect(f, &ev, STATE + 0xe00, R, NO_GVA);
	proceed(f, &ev);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* The VM survives it, and one SMI is one refusal. */
KVMI_TEST(kvmi_own_smm, smi_is_dropped)
{
	u8 saved[512];
	u64 before, i;

	start(f);
	send_smi(f);
	kvmi_wait_until(handled(f) == 1);
	kvmi_wait_progress(f->vm, 0);
	memcpy(saved, state(f) + 0xe00, sizeof(saved));

	restrict_page(f, STATE, R | X);
	before = refused(f);
	for (i = 1; i <= 5; i++) {
		send_smi(f);
		kvmi_wait_until(handled(f) == i + 1);
		kvmi_wait_progress(f->vm, 0);
		TEST_ASSERT_EQ(refused(f), before + i);
		TEST_ASSERT(!memcmp(saved, state(f) + 0xe00, sizeof(saved)),
			    "Written although it is restricted");
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvm_has_cap(KVM_CAP_X86_SMM), "KVM has no SMM");
	return test_harness_run(argc, argv);
}
