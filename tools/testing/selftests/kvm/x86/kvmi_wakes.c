// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whom an event wakes: the tool, and the vCPU that waits for the answer, and
 * not the task of the VM.
 */
#include "kvmi_test.h"

#define EVENTS	100
#define MANY	90

KVMI_SUITE(kvmi_wakes, 1);

static void guest(void)
{
	u32 eax, ebx, ecx, edx;

	for (;;) {
		cpuid(0, &eax, &ebx, &ecx, &edx);
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
	}
}

static long switches(pid_t task)
{
	long voluntary = -1, involuntary = -1;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", task);
	f = fopen(path, "r");
	TEST_ASSERT(f, "Cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "voluntary_ctxt_switches: %ld", &voluntary);
		sscanf(line, "nonvoluntary_ctxt_switches: %ld", &involuntary);
	}
	fclose(f);
	TEST_ASSERT(voluntary >= 0 && involuntary >= 0, "Nothing in %s", path);
	return voluntary + involuntary;
}

static void answer(struct kvmi_fixture *f, unsigned int nr)
{
	struct kvmi_event ev;

	while (nr--) {
		kvmi_recv_this(&f->kvmi, &ev, KVMI_VCPU_EVENT_CPUID,
			       sizeof(struct kvmi_vcpu_event_cpuid));
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
}

KVMI_TEST(kvmi_wakes, events)
{
	pid_t task;
	long before, after;

	TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), &task), 1);
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CPUID, 1), 0);
	/* The command itself woke it, and it goes to sleep when it can. */
	answer(f, 20);
	before = switches(task);
	answer(f, EVENTS);
	after = switches(task);
	/* Its process has other reasons, but not one for each event. */
	TEST_ASSERT(after - before < EVENTS / 10, "%ld switches for %u events",
		    after - before, EVENTS);
	kvmi_close(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* It is woken where it must: for what could not be sent when it was made. */
KVMI_TEST(kvmi_wakes, unsent)
{
	struct kvmi_vm_read_physical req = { .size = PAGE_SIZE };
	u32 first = 0, seq = 0;
	u8 page[PAGE_SIZE];
	unsigned int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < MANY; i++) {
			seq = kvmi_send(&f->kvmi, KVMI_VM_READ_PHYSICAL, &req,
					sizeof(req));
			if (!i)
				first = seq;
		}
		/* Nobody sends any more: what is left goes when this reads. */
		for (; first <= seq; first++)
			kvmi_assert_err(kvmi_recv_reply(&f->kvmi, KVMI_VM_READ_PHYSICAL,
							first, page, sizeof(page)), 0);
		kvmi_expect_quiet(&f->kvmi);
	}
}

KVMI_TEST_MAIN
