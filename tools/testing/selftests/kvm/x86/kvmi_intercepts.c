// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a session intercepted is given back: the guest's loop leaves the guest
 * as often, reason by reason, after the session as before it.
 */
#include <sys/wait.h>

#include "kvmi_test.h"

#define TRACING	"/sys/kernel/tracing"
#define TRIGGER	TRACING "/events/kvm/kvm_exit/trigger"
#define HIST	TRACING "/events/kvm/kvm_exit/hist"

#define LOOPS		20
/* Room for the reasons of either vendor that count. */
#define MAX_REASONS	0x100

static u64 loops, done;

static void guest(void)
{
	struct desc_ptr idt;
	u64 gdt_seen;
	u32 eax, ebx, ecx, edx;
	u64 n;

	for (;;) {
		while (!(n = READ_ONCE(loops)))
			WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		WRITE_ONCE(loops, n - 1);

		set_cr3(get_cr3() ^ BIT_ULL(3));
		set_cr0(get_cr0() ^ X86_CR0_WP);
		set_cr4(get_cr4() ^ X86_CR4_TSD);
		wrmsr(MSR_LSTAR, rdmsr(MSR_LSTAR) ^ 0x1000);
		wrmsr(MSR_KERNEL_GS_BASE, rdmsr(MSR_KERNEL_GS_BASE) ^ 0x1000);
		cpuid(0, &eax, &ebx, &ecx, &edx);
		idt = get_idt();
		asm volatile("lidt %0" : : "m"(idt));
		gdt_seen = get_gdt().address;
		GUEST_ASSERT(gdt_seen);
		asm volatile("int3");
		WRITE_ONCE(done, done + 1);
	}
}

static void on_breakpoint(struct ex_regs *regs)
{
}

KVMI_SUITE_OF(kvmi_intercepts, vm_create_with_vcpus(1, guest, f->vcpus),
	      vm_install_exception_handler(f->vm, BP_VECTOR, on_breakpoint));

static void trigger(const char *text)
{
	FILE *file = fopen(TRIGGER, "a");

	TEST_ASSERT(file, "Cannot open %s", TRIGGER);
	fputs(text, file);
	TEST_ASSERT(!fclose(file), "Cannot write '%s'", text);
}

/* Of these the number says something: the others come with time. */
static bool counts(unsigned int reason)
{
	if (host_cpu_is_amd)
		/* CR0 to CR4, #BP, descriptor tables, CPUID, MSR */
		return reason == 0x10 || reason == 0x13 || reason == 0x14 ||
		       reason == 0x43 || (reason >= 0x65 && reason <= 0x6d) ||
		       reason == 0x72 || reason == 0x7c;

	/* Exceptions, CPUID, CR, WRMSR, descriptor tables. */
	return reason == 0 || reason == 10 || reason == 28 || reason == 32 ||
	       reason == 46 || reason == 47;
}

/* How often the guest leaves for each reason in LOOPS loops. */
static void count(struct kvmi_fixture *f, u64 *exits)
{
	u64 *go = addr_gva2hva(f->vm, (gva_t)&loops);
	u64 *has_done = addr_gva2hva(f->vm, (gva_t)&done);
	u64 before = READ_ONCE(*has_done);
	unsigned int reason;
	char line[256];
	u64 hits;
	FILE *file;

	trigger("hist:keys=exit_reason\n");
	WRITE_ONCE(*go, LOOPS);
	kvmi_wait_until(READ_ONCE(*has_done) == before + LOOPS);
	trigger("hist:keys=exit_reason:pause\n");

	memset(exits, 0, MAX_REASONS * sizeof(*exits));
	file = fopen(HIST, "r");
	TEST_ASSERT(file, "Cannot open %s", HIST);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "{ exit_reason: %u } hitcount: %lu", &reason,
			   &hits) == 2 && reason < MAX_REASONS && counts(reason))
			exits[reason] = hits;
	}
	fclose(file);
	trigger("!hist:keys=exit_reason\n");
}

static void same(const u64 *a, const u64 *b)
{
	unsigned int i;

	for (i = 0; i < MAX_REASONS; i++)
		TEST_ASSERT(a[i] == b[i], "Reason %#x: %lu exits, then %lu", i,
			    (unsigned long)a[i], (unsigned long)b[i]);
}

/* All that can be; the guest does nothing of it meanwhile. */
static void intercept_all(struct kvmi *k)
{
	int err = kvmi_control_event(k, 0, KVMI_VCPU_EVENT_DESCRIPTOR, 1);

	TEST_ASSERT(!err || err == -KVMI_EOPNOTSUPP, "DESCRIPTOR: %d", err);
	kvmi_assert_err(kvmi_control_event(k, 0, KVMI_VCPU_EVENT_BREAKPOINT, 1),
			0);
	kvmi_assert_err(kvmi_control_cr(k, 0, 0, 1), 0);
	kvmi_assert_err(kvmi_control_cr(k, 0, 3, 1), 0);
	kvmi_assert_err(kvmi_control_cr(k, 0, 4, 1), 0);
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_LSTAR, 1), 0);
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_KERNEL_GS_BASE, 1), 0);
}

/* Intercepted for the tool, in each of the guest's loops. */
static void more(const u64 *before, const u64 *now, bool descriptor)
{
	/* CR0, CR3, IDTR written, GDTR read, MSR; CR, IDTR or GDTR, MSR. */
	static const u8 amd[] = { 0x10, 0x13, 0x6a, 0x67, 0x7c };
	static const u8 intel[] = { 28, 46, 32 };
	const u8 *reasons = host_cpu_is_amd ? amd : intel;
	unsigned int i, nr = host_cpu_is_amd ? sizeof(amd) : sizeof(intel);

	for (i = 0; i < nr; i++) {
		if (!descriptor && (reasons[i] == 46 || reasons[i] == 0x6a ||
				    reasons[i] == 0x67))
			continue;
		TEST_ASSERT(now[reasons[i]] >= before[reasons[i]] + LOOPS,
			    "Reason %#x: %lu exits, and %lu for a tool",
			    reasons[i], (unsigned long)before[reasons[i]],
			    (unsigned long)now[reasons[i]]);
	}
}

/* The tool is another process, and is killed. */
static void tool(struct kvmi_fixture *f, int fd)
{
	kvmi_step(fd);
	kvmi_wait_step(fd);
}

static void kill_tool(struct kvmi_fixture *f)
{
	int sv[2], status;
	pid_t pid;

	kvmi_socketpair(sv);
	pid = kvmi_start_process(tool, f, sv[1]);
	kvmi_wait_step(sv[0]);
	/* From here on the end of the socket is its own. */
	kvmi_close(&f->kvmi);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);
	kill(pid, SIGKILL);
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
	close(sv[0]);
	close(sv[1]);
}

enum end { UNHOOK, DEATH, DEATH_OUTSIDE, KILLED, MID_MESSAGE, NO_CLEANUP };

static void end_session(struct kvmi_fixture *f, enum end end)
{
	const struct kvmi_msg_hdr hdr = {
		.id = KVMI_GET_VERSION,
		.size = KVMI_MAX_MSG_SIZE,
	};

	switch (end) {
	case DEATH_OUTSIDE:
		kvmi_stop(&f->runner);
		break;
	case UNHOOK:
	case NO_CLEANUP:
		kvmi_unhook(f->vm);
		break;
	case KILLED:
		kill_tool(f);
		break;
	case MID_MESSAGE:
		kvmi_send_raw(&f->kvmi, &hdr, sizeof(hdr));
		break;
	case DEATH:
		break;
	}
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) != KVMI_ACTIVE);
	if (end == DEATH_OUTSIDE)
		kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	/* The request has been seen when the guest was left and entered. */
	kvmi_stop(&f->runner);
	kvmi_start(&f->runner, f->vcpu);
}

static void given_back(struct kvmi_fixture *f, enum end end)
{
	static u64 before[MAX_REASONS], now[MAX_REASONS];
	struct kvmi_vm_control_cleanup cleanup = { .enable = end != NO_CLEANUP };
	bool descriptor = kvmi_has_descriptor_exits();
	struct kvmi_vcpu_get_registers_reply regs;

	kvmi_start(&f->runner, f->vcpu);
	count(f, before);
	count(f, now);
	same(before, now);
	/* This one always exits: the numbers are numbers of something. */
	TEST_ASSERT_EQ(before[host_cpu_is_amd ? 0x72 : 10], LOOPS);

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CONTROL_CLEANUP,
				     &cleanup, sizeof(cleanup), NULL, 0), 0);
	intercept_all(&f->kvmi);
	end_session(f, end);
	count(f, now);
	if (end == NO_CLEANUP) {
		/* Without an effect on the guest, until the next session. */
		more(before, now, descriptor);
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &regs), 0);
		count(f, now);
		same(before, now);
		end_session(f, UNHOOK);
		count(f, now);
	}
	same(before, now);
	kvmi_stop(&f->runner);
}

/* While the tool is there, the guest leaves for what it wants. */
KVMI_TEST(kvmi_intercepts, intercepted)
{
	static u64 before[MAX_REASONS], now[MAX_REASONS];
	static const u8 crs[] = { 0, 3, 4 };
	struct kvmi *k = &f->kvmi;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	count(f, before);
	kvmi_hook(k, f->vm);
	for (i = 0; i < ARRAY_SIZE(crs); i++)
		kvmi_assert_err(kvmi_control_cr(k, 0, crs[i], 1), 0);
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_LSTAR, 1), 0);
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_KERNEL_GS_BASE, 1), 0);
	count(f, now);
	more(before, now, false);
	for (i = 0; i < ARRAY_SIZE(crs); i++)
		kvmi_assert_err(kvmi_control_cr(k, 0, crs[i], 0), 0);
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_LSTAR, 0), 0);
	kvmi_assert_err(kvmi_control_msr(k, 0, MSR_KERNEL_GS_BASE, 0), 0);
	count(f, now);
	same(before, now);
	kvmi_expect_quiet(k);
	kvmi_close(k);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_intercepts, unhook)
{
	given_back(f, UNHOOK);
}

KVMI_TEST(kvmi_intercepts, death)
{
	given_back(f, DEATH);
}

KVMI_TEST(kvmi_intercepts, death_outside)
{
	given_back(f, DEATH_OUTSIDE);
}

KVMI_TEST(kvmi_intercepts, killed)
{
	given_back(f, KILLED);
}

KVMI_TEST(kvmi_intercepts, mid_message)
{
	given_back(f, MID_MESSAGE);
}

KVMI_TEST(kvmi_intercepts, without_cleanup)
{
	given_back(f, NO_CLEANUP);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	if (access(TRIGGER, W_OK))
		system("mount -t tracefs tracefs " TRACING);
	__TEST_REQUIRE(!access(TRIGGER, W_OK), "no tracefs");
	__TEST_REQUIRE(!access(HIST, R_OK), "no hist triggers");
	return test_harness_run(argc, argv);
}
