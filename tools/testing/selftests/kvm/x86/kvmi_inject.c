// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_INJECT_EXCEPTION and the TRAP event. */
#include "kvmi_test.h"

#define CR2		0x123456789000ull
#define ERROR_CODE	0x5

/* What the guest's handler saw. */
static struct {
	u64 count;
	u64 vector;
	u64 error_code;
	u64 cr2;
	u64 rip;
} seen;

/* The handler executes CPUID. */
static u64 do_cpuid;

static const u8 exceptions[] = {
	0, 1, 3, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19,
};

extern const char kvmi_inject_nop[], kvmi_inject_int3[];

static bool has_error_code(u8 nr)
{
	return nr == 8 || (nr >= 10 && nr <= 14) || nr == 17;
}

/* #BP is that of an INT3, behind which it is delivered; the others come here. */
static u64 place_of(u8 nr)
{
	return (u64)(nr == BP_VECTOR ? kvmi_inject_int3 : kvmi_inject_nop);
}

static void handler(struct ex_regs *regs)
{
	u64 cr2;
	u32 eax = 0, ebx, ecx = 0, edx;

	asm volatile("mov %%cr2, %0" : "=r"(cr2));
	if (do_cpuid)
		asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx),
			     "=d"(edx));
	seen.vector = regs->vector;
	seen.error_code = regs->error_code;
	seen.cr2 = cr2;
	seen.rip = regs->rip;
	WRITE_ONCE(seen.count, seen.count + 1);
}

static void guest(void)
{
	for (;;) {
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		asm volatile(".globl kvmi_inject_nop, kvmi_inject_int3\n"
			     "kvmi_inject_nop: nop\n\t"
			     "jmp 1f\n\t"
			     "kvmi_inject_int3: int3\n\t"
			     "1:");
	}
}

static void prepare(struct kvmi_fixture *f)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(exceptions); i++)
		vm_install_exception_handler(f->vm, exceptions[i], handler);
	kvmi_hook(&f->kvmi, f->vm);
}

KVMI_SUITE_OF(kvmi_inject, vm_create_with_vcpus(1, guest, f->vcpus),
	      prepare(f));

static int inject(struct kvmi *k, u8 nr, u32 error_code, u64 address)
{
	struct kvmi_vcpu_inject_exception req = {
		.nr = nr,
		.error_code = error_code,
		.address = address,
	};

	return kvmi_vcpu_command(k, 0, KVMI_VCPU_INJECT_EXCEPTION, &req,
				 sizeof(req), NULL, 0);
}

/* In the next event, which is TRAP. */
static void recv_trap(struct kvmi_fixture *f, struct kvmi_event *ev, u8 nr,
		      u32 error_code)
{
	const struct kvmi_vcpu_event_trap *trap = (const void *)ev->specific;

	kvmi_recv_this(&f->kvmi, ev, KVMI_VCPU_EVENT_TRAP, sizeof(*trap));
	TEST_ASSERT_EQ(trap->nr, nr);
	TEST_ASSERT_EQ(trap->padding1, 0);
	TEST_ASSERT_EQ(trap->padding2, 0);
	TEST_ASSERT_EQ(trap->error_code, error_code);
	TEST_ASSERT_EQ(trap->address, ev->vcpu.arch.sregs.cr2);
}

static void stop_for(struct kvmi_fixture *f, struct kvmi_event *ev, u8 nr)
{
	struct kvm_regs regs;

	kvmi_stop_vcpu(&f->kvmi, 0, ev);
	regs = ev->vcpu.arch.regs;
	regs.rip = place_of(nr);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
}

static void expect_seen(struct kvmi_fixture *f, u64 count, u8 nr, u32 error_code)
{
	typeof(seen) *s = addr_gva2hva(f->vm, (gva_t)&seen);

	kvmi_wait_until(READ_ONCE(s->count) == count);
	TEST_ASSERT_EQ(s->vector, nr);
	TEST_ASSERT_EQ(s->error_code, error_code);
	TEST_ASSERT_EQ(s->rip, place_of(nr) + (nr == BP_VECTOR));
	kvmi_wait_progress(f->vm, 0);
}

/* Each is delivered once, and told of once. */
KVMI_TEST(kvmi_inject, each)
{
	typeof(seen) *s = addr_gva2hva(f->vm, (gva_t)&seen);
	struct kvmi_event ev;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < ARRAY_SIZE(exceptions); i++) {
		u8 nr = exceptions[i];
		u32 error_code = has_error_code(nr) ? ERROR_CODE : 0;

		/* Only error code 0 comes with #DF and #AC. */
		if (nr == DF_VECTOR || nr == AC_VECTOR)
			error_code = 0;
		ksft_print_msg("vector %u\n", nr);
		stop_for(f, &ev, nr);
		kvmi_assert_err(inject(&f->kvmi, nr, error_code, CR2), 0);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		recv_trap(f, &ev, nr, error_code);
		TEST_ASSERT_EQ(ev.seq, 2 * i + 2);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		expect_seen(f, i + 1, nr, error_code);
		if (nr == PF_VECTOR)
			TEST_ASSERT_EQ(s->cr2, CR2);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* #BP needs no INT3: it is delivered behind the byte at RIP. */
KVMI_TEST(kvmi_inject, breakpoint_anywhere)
{
	typeof(seen) *s = addr_gva2hva(f->vm, (gva_t)&seen);
	struct kvmi_event ev;
	u32 i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 1; i <= 3; i++) {
		/* At a NOP, as for #UD. */
		stop_for(f, &ev, UD_VECTOR);
		kvmi_assert_err(inject(&f->kvmi, BP_VECTOR, 0, 0), 0);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		recv_trap(f, &ev, BP_VECTOR, 0);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_until(READ_ONCE(s->count) == i);
		TEST_ASSERT_EQ(s->vector, BP_VECTOR);
		TEST_ASSERT_EQ(s->rip, (u64)kvmi_inject_nop + 1);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* Without a pause before it. */
KVMI_TEST(kvmi_inject, into_a_running_guest)
{
	typeof(seen) *s = addr_gva2hva(f->vm, (gva_t)&seen);
	struct kvmi_event ev;
	u32 i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 1; i <= 20; i++) {
		kvmi_assert_err(inject(&f->kvmi, GP_VECTOR, i << 3, 0), 0);
		recv_trap(f, &ev, GP_VECTOR, i << 3);
		TEST_ASSERT_EQ(ev.seq, i);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
		kvmi_wait_until(READ_ONCE(s->count) == i);
		TEST_ASSERT_EQ(s->error_code, i << 3);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* An error code where there is none, and an address: both count for nothing. */
KVMI_TEST(kvmi_inject, what_does_not_count)
{
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	stop_for(f, &ev, UD_VECTOR);
	kvmi_assert_err(inject(&f->kvmi, UD_VECTOR, 0xffff, CR2), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	recv_trap(f, &ev, UD_VECTOR, 0);
	TEST_ASSERT(ev.vcpu.arch.sregs.cr2 != CR2, "#UD came with CR2");
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	expect_seen(f, 1, UD_VECTOR, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_inject, errors)
{
	static const u8 none[] = { NMI_VECTOR, 32, 33, 0x80, 0xff };
	struct kvmi_vcpu_inject_exception padded = { .nr = 32, .padding2 = 1 };
	struct kvmi_event ev;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	stop_for(f, &ev, UD_VECTOR);
	for (i = 0; i < ARRAY_SIZE(none); i++)
		kvmi_assert_err(inject(&f->kvmi, none[i], 0, 0), -KVMI_EINVAL);

	/* Disallowed comes first. */
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, KVMI_VCPU_EVENT_TRAP, 0), 0);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0,
					  KVMI_VCPU_INJECT_EXCEPTION, &padded,
					  sizeof(padded), NULL, 0),
			-KVMI_EPERM);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, KVMI_VCPU_EVENT_TRAP, 1), 0);

	/* One at a time, until the tool has been told. */
	kvmi_assert_err(inject(&f->kvmi, UD_VECTOR, 0, 0), 0);
	kvmi_assert_err(inject(&f->kvmi, UD_VECTOR, 0, 0), -KVMI_EBUSY);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	recv_trap(f, &ev, UD_VECTOR, 0);
	/* Now the next one may. */
	kvmi_assert_err(inject(&f->kvmi, GP_VECTOR, 8, 0), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	recv_trap(f, &ev, GP_VECTOR, 8);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* TRAP comes before the event of the handler. */
KVMI_TEST(kvmi_inject, comes_first)
{
	struct kvmi_event ev;

	do_cpuid = 1;
	sync_global_to_guest(f->vm, do_cpuid);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CPUID,
					   1), 0);
	stop_for(f, &ev, UD_VECTOR);
	kvmi_assert_err(inject(&f->kvmi, GP_VECTOR, 8, 0), 0);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);

	/* What was asked for before the guest runs comes before it runs. */
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_TRAP);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_recv_this(&f->kvmi, &ev, KVMI_VCPU_EVENT_CPUID,
		       sizeof(struct kvmi_vcpu_event_cpuid));
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	expect_seen(f, 1, GP_VECTOR, 8);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_inject, crash)
{
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(inject(&f->kvmi, UD_VECTOR, 0, 0), 0);
	recv_trap(f, &ev, UD_VECTOR, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.err, 0);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
}

KVMI_TEST(kvmi_inject, retry)
{
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(inject(&f->kvmi, UD_VECTOR, 0, 0), 0);
	recv_trap(f, &ev, UD_VECTOR, 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	kvmi_expect_closed(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

/* The tool dies before the guest has it: nothing is injected any more. */
KVMI_TEST(kvmi_inject, tool_dies)
{
	typeof(seen) *s = addr_gva2hva(f->vm, (gva_t)&seen);
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	stop_for(f, &ev, UD_VECTOR);
	kvmi_assert_err(inject(&f->kvmi, UD_VECTOR, 0, 0), 0);
	kvmi_close(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_wait_progress(f->vm, 0);
	TEST_ASSERT_EQ(s->count, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
