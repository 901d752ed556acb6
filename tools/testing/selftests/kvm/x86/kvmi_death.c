// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tool dies, at each point of each exchange.  Every waiting vCPU is
 * released at once, the guest goes on, and HOOK works on the dead session.
 */
#include <sys/wait.h>

#include "kvmi_test.h"

KVMI_SUITE(kvmi_death, 2);

static void start(struct kvmi_fixture *f, struct kvmi_runner *runners)
{
	kvmi_start(&runners[0], f->vcpus[0]);
	kvmi_start(&runners[1], f->vcpus[1]);
	kvmi_wait_progress(f->vm, 0);
	kvmi_wait_progress(f->vm, 1);
}

/* After a death: both vCPUs run, and the VM can be hooked. */
static void survived(struct kvmi_fixture *f)
{
	kvmi_close(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_wait_progress(f->vm, 1);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_wait_progress(f->vm, 0);
	kvmi_wait_progress(f->vm, 1);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
}

static void stop(struct kvmi_runner *runners)
{
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

KVMI_TEST(kvmi_death, idle)
{
	struct kvmi_runner runners[2];
	unsigned int i;

	start(f, runners);
	for (i = 0; i < 10; i++)
		survived(f);
	stop(runners);
}

/* Each command has been sent; its answer was never read. */
KVMI_TEST(kvmi_death, before_the_answer)
{
	struct kvmi_runner runners[2];
	const struct kvmi_message *m;

	start(f, runners);
	kvmi_for_each_message(m) {
		/* No exception into a guest that expects none. */
		if (m->id == KVMI_VCPU_INJECT_EXCEPTION)
			continue;
		kvmi_send(&f->kvmi, m->id, m->sample, m->request);
		survived(f);
	}
	stop(runners);
}

/* The answer, or the event, was read by half. */
KVMI_TEST(kvmi_death, inside_the_answer)
{
	u8 torn[sizeof(struct kvmi_msg_hdr) + sizeof(struct kvmi_error_code) + 1];
	struct kvmi_vm_pause_vcpu pause = {};
	struct kvmi_runner runners[2];
	const struct kvmi_message *m;
	u8 byte;

	start(f, runners);
	kvmi_for_each_message(m) {
		/* No exception into a guest that expects none. */
		if (m->id == KVMI_VCPU_INJECT_EXCEPTION)
			continue;
		kvmi_send(&f->kvmi, m->id, m->sample, m->request);
		kvmi_recv_raw(&f->kvmi, &byte, 1);
		survived(f);
	}
	/* The event may come before the answer: it is torn in either order. */
	kvmi_send(&f->kvmi, KVMI_VM_PAUSE_VCPU, &pause, sizeof(pause));
	kvmi_recv_raw(&f->kvmi, torn, sizeof(torn));
	survived(f);
	stop(runners);
}

KVMI_TEST(kvmi_death, event_waits)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev;
	unsigned int i;

	start(f, runners);
	for (i = 0; i < 20; i++) {
		kvmi_stop_vcpu(&f->kvmi, i & 1, &ev);
		survived(f);
	}
	stop(runners);
}

/* All vCPUs are released, and pauses that were to come do not come. */
KVMI_TEST(kvmi_death, all_wait)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev;
	unsigned int i, n;

	start(f, runners);
	for (i = 0; i < 10; i++) {
		for (n = 0; n < 20; n++) {
			kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
			kvmi_assert_err(kvmi_pause(&f->kvmi, 1, 0), 0);
		}
		kvmi_recv_event(&f->kvmi, &ev);
		kvmi_recv_event(&f->kvmi, &ev);
		survived(f);
		kvmi_expect_quiet(&f->kvmi);
	}
	stop(runners);
}

/* Each length of an event's reply. */
KVMI_TEST(kvmi_death, inside_the_reply)
{
	struct kvmi_runner runners[2];
	struct kvmi_reply_msg msg;
	struct kvmi_event ev;
	unsigned int size;

	start(f, runners);
	for (size = 1; size <= sizeof(msg); size++) {
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_build_reply(&msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
		kvmi_send_raw(&f->kvmi, &msg, size);
		survived(f);
	}
	stop(runners);
}

/* Inside an event, with a command answered, half sent, or queued elsewhere. */
KVMI_TEST(kvmi_death, commands_in_an_event)
{
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvmi_msg_hdr hdr = {
		.id = KVMI_VCPU_GET_REGISTERS,
		.size = 16,
		.seq = 77,
	};
	struct kvmi_event ev;
	struct kvmi_runner runners[2];

	start(f, runners);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
	survived(f);

	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_send_raw(&f->kvmi, &hdr, sizeof(hdr));
	survived(f);

	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, NULL, 0);
	kvmi_send_vcpu(&f->kvmi, 1, KVMI_VCPU_GET_INFO, NULL, 0);
	survived(f);
	stop(runners);
}

/* No vCPU runs: the session dies all the same, and what waits is dropped. */
KVMI_TEST(kvmi_death, nobody_runs)
{
	struct kvmi_event ev;

	kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, NULL, 0);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_expect_quiet(&f->kvmi);

	/* An event that userspace carries from one KVM_RUN to the next. */
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_stop(&f->runner);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

/*
 * A tool in a process of its own, killed: this is what closes its socket.
 * @steps: how far it gets.
 */
static void tool(struct kvmi *k, unsigned int steps, int report)
{
	struct kvmi_event ev;
	char done = 1;

	if (steps > 0)
		kvmi_ping(k);
	if (steps > 1)
		kvmi_assert_err(kvmi_pause(k, 0, 0), 0);
	if (steps > 2)
		kvmi_recv_pause(k, 0, &ev);
	if (steps > 3)
		kvmi_assert_err(kvmi_set_regs(k, 0, &ev.vcpu.arch.regs), 0);
	if (steps > 4)
		kvmi_assert_err(kvmi_pause(k, 1, 1), 0);
	if (steps > 5)
		kvmi_reply(k, &ev, KVMI_EVENT_ACTION_CONTINUE);
	TEST_ASSERT(write(report, &done, 1) == 1, "write() failed");
	for (;;)
		pause();
}

KVMI_TEST(kvmi_death, sigkill)
{
	struct kvmi_runner runners[2];
	unsigned int steps;
	int report[2];
	pid_t pid;
	char done;

	TEST_ASSERT(!pipe(report), "pipe() failed");
	start(f, runners);
	for (steps = 0; steps <= 6; steps++) {
		fflush(NULL);
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork() failed");
		if (!pid) {
			/* A tool holds no VM: this copy of the fd must go. */
			kvm_close(f->vm->fd);
			tool(&f->kvmi, steps, report[1]);
		}
		kvmi_close(&f->kvmi);
		TEST_ASSERT(read(report[0], &done, 1) == 1, "read() failed");
		kill(pid, SIGKILL);
		TEST_ASSERT(waitpid(pid, NULL, 0) == pid, "waitpid() failed");
		survived(f);
	}
	stop(runners);
}

KVMI_TEST_MAIN
