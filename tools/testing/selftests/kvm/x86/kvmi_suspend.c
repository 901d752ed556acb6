// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host is suspended while a vCPU waits for a tool: all tasks can be frozen,
 * and the event is answered afterwards.
 *
 * What is tried is the suspend's first part, the freezing of all tasks, which
 * any machine can do; what follows is not ours.
 */
#include "kvmi_test.h"

#define SLOT	10
#define PAGE	(4ull << 30)

static u64 what;

enum { COUNT, DO_CPUID, DO_STORE };

static void guest(void)
{
	u32 eax, ebx, ecx, edx;

	for (;;) {
		switch (READ_ONCE(what)) {
		case DO_CPUID:
			cpuid(0, &eax, &ebx, &ecx, &edx);
			break;
		case DO_STORE:
			*(volatile u64 *)PAGE = 1;
			break;
		}
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
	}
}

static void prepare(struct kvmi_fixture *f)
{
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, 1, 0);
	virt_map(f->vm, PAGE, PAGE, 1);
	kvmi_hook(&f->kvmi, f->vm);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
}

KVMI_SUITE_OF(kvmi_suspend, vm_create_with_vcpus(1, guest, f->vcpus), prepare(f));

static int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	kvm_close(fd);
	return ret;
}

static const char *can_suspend(void)
{
	if (getuid())
		return "not root";
	/* One second, if this can be chosen. */
	write_file("/sys/module/suspend/parameters/pm_test_delay", "1");
	if (write_file("/sys/power/pm_test", "freezer"))
		return "no /sys/power/pm_test";
	return NULL;
}

/* Suspend and resume, with every kind of wait that is open now. */
static void suspend(void)
{
	int err = write_file("/sys/power/state", "freeze");

	write_file("/sys/power/pm_test", "none");
	TEST_ASSERT(!err, "The host cannot be suspended: %d", err);
}

static void let(struct kvmi_fixture *f, u64 it)
{
	WRITE_ONCE(*(u64 *)addr_gva2hva(f->vm, (gva_t)&what), it);
}

static void answer(struct kvmi_fixture *f, const struct kvmi_event *ev)
{
	let(f, COUNT);
	kvmi_reply(&f->kvmi, ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_wait_progress(f->vm, 0);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_suspend, nothing)
{
	const char *why = can_suspend();

	if (why)
		SKIP(return, "%s", why);
	suspend();
	kvmi_ping(&f->kvmi);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_suspend, pause)
{
	const char *why = can_suspend();
	struct kvmi_event ev;

	if (why)
		SKIP(return, "%s", why);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	suspend();
	answer(f, &ev);
}

KVMI_TEST(kvmi_suspend, instruction)
{
	const char *why = can_suspend();
	struct kvmi_event ev;

	if (why)
		SKIP(return, "%s", why);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CPUID, 1), 0);
	let(f, DO_CPUID);
	kvmi_recv_this(&f->kvmi, &ev, KVMI_VCPU_EVENT_CPUID,
		       sizeof(struct kvmi_vcpu_event_cpuid));
	suspend();
	answer(f, &ev);
}

static void restrict_page(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, PAGE, KVMI_PAGE_ACCESS_R), 0);
	let(f, DO_STORE);
	kvmi_recv_pf(&f->kvmi, ev, PAGE, KVMI_PAGE_ACCESS_W);
}

KVMI_TEST(kvmi_suspend, page)
{
	const char *why = can_suspend();
	struct kvmi_event ev;

	if (why)
		SKIP(return, "%s", why);
	restrict_page(f, &ev);
	suspend();
	answer(f, &ev);
}

/* The tool is gone, and the VM was to be frozen then. */
KVMI_TEST(kvmi_suspend, frozen)
{
	struct kvmi_vm_set_on_exit req = { .action = KVMI_ON_EXIT_FREEZE };
	const char *why = can_suspend();
	struct kvmi_event ev;

	if (why)
		SKIP(return, "%s", why);
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_SET_ON_EXIT, &req, sizeof(req),
				     NULL, 0), 0);
	restrict_page(f, &ev);
	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_FROZEN);
	suspend();
	let(f, COUNT);
	kvmi_unhook(f->vm);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
