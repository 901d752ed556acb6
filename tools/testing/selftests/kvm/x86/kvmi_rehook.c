// SPDX-License-Identifier: GPL-2.0-only
/*
 * HOOK and UNHOOK a thousand times: the kernel memory charged to the test is
 * back where it was.
 */
#include "kvmi_test.h"

#define CYCLES		1000
/* Grows what is allocated once: caches, stocks, slabs. */
#define WARM_UP		200

/*
 * Each CPU may hold back a page's worth of uncharged bytes of either kind of
 * slab, and one partly filled page.  A leak of the smallest object there is
 * (8 bytes) per cycle is above 8000 bytes; one of 64 bytes is far above this
 * bound on a machine of up to four CPUs.
 */
#define BOUND		(3 * PAGE_SIZE * sysconf(_SC_NPROCESSORS_CONF))

static struct kvmi_cgroup cgroup;

/* Why not, or NULL. */
static const char *enter_cgroup(void)
{
	const char *why = kvmi_cgroup_make(&cgroup, "rehook");

	if (!why)
		kvmi_cgroup_enter(&cgroup);
	return why;
}

static void leave_cgroup(void)
{
	kvmi_cgroup_leave();
	kvmi_cgroup_remove(&cgroup);
}

static long kernel_memory(void)
{
	return kvmi_cgroup_kernel_memory(&cgroup);
}

/*
 * A session's memory is charged to the cgroup in which the VM was made: so
 * the VM is made when the test is in its own.
 */
static const char *start(struct kvmi_fixture *f)
{
	const char *why = enter_cgroup();

	if (why)
		return why;
	f->vm = kvmi_create_vm(2, f->vcpus);
	f->vcpu = f->vcpus[0];
	f->kvmi.fd = -1;
	return NULL;
}

/* A whole session, with a command and an event, ended one way or the other. */
static void cycle(struct kvmi_fixture *f, unsigned int i)
{
	struct kvmi_vcpu_get_info_reply info;
	struct kvmi_event ev;

	kvmi_hook(&f->kvmi, f->vm);
	kvmi_ping(&f->kvmi);
	switch (i % 4) {
	case 0:
		kvmi_unhook(f->vm);
		kvmi_expect_closed(&f->kvmi);
		break;
	case 1:
		kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0,
						  KVMI_VCPU_GET_INFO, NULL, 0,
						  &info, sizeof(info)), 0);
		kvmi_send_vcpu(&f->kvmi, 1, KVMI_VCPU_GET_INFO, NULL, 0);
		kvmi_unhook(f->vm);
		break;
	case 2:
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_unhook(f->vm);
		break;
	case 3:
		kvmi_stop_vcpu(&f->kvmi, 0, &ev);
		kvmi_close(&f->kvmi);
		kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
		kvmi_unhook(f->vm);
		break;
	}
	kvmi_close(&f->kvmi);
}

TEST(memory)
{
	struct kvmi_fixture fixture, *f = &fixture;
	const char *why = start(f);
	long before;
	unsigned int i;

	if (why)
		SKIP(return, "%s", why);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	for (i = 0; i < WARM_UP; i++)
		cycle(f, i);
	kvmi_grace_period();
	before = kernel_memory();

	for (i = 0; i < CYCLES; i++)
		cycle(f, i);
	kvmi_cgroup_wait_below(&cgroup, before + BOUND);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	kvm_vm_free(f->vm);
	leave_cgroup();
}

/*
 * That this sees anything: a full queue of the largest commands is charged
 * here, and is given back with the session, however it ends.
 */
TEST(queued_commands_are_charged)
{
	u8 body[KVMI_MAX_MSG_SIZE - sizeof(struct kvmi_vcpu_hdr)] = {};
	struct kvmi_fixture fixture, *f = &fixture;
	const char *why = start(f);
	unsigned int i, n;
	long before;

	if (why)
		SKIP(return, "%s", why);

	/* The VM takes its page tables when it first runs. */
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
	for (i = 0; i < WARM_UP; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_ping(&f->kvmi);
		kvmi_unhook(f->vm);
		kvmi_close(&f->kvmi);
	}
	kvmi_grace_period();
	before = kernel_memory();

	for (i = 0; i < 3; i++) {
		kvmi_hook(&f->kvmi, f->vm);
		for (n = 0; n < KVMI_MAX_QUEUED; n++)
			kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, body,
				       sizeof(body));
		/* All have been read. */
		kvmi_ping(&f->kvmi);
		TEST_ASSERT(kernel_memory() - before >
			    KVMI_MAX_QUEUED * KVMI_MAX_MSG_SIZE / 2,
			    "A full queue is charged with %ld bytes",
			    kernel_memory() - before);
		if (i == 0) {
			kvmi_unhook(f->vm);
		} else if (i == 1) {
			kvmi_close(&f->kvmi);
			kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
			kvmi_unhook(f->vm);
		} else {
			kvmi_start(&f->runner, f->vcpu);
			while (n--)
				free(kvmi_recv(&f->kvmi));
			kvmi_stop(&f->runner);
			kvmi_unhook(f->vm);
		}
		kvmi_close(&f->kvmi);
		kvmi_cgroup_wait_below(&cgroup, before + BOUND);
	}
	kvm_vm_free(f->vm);
	leave_cgroup();
}

/* The same for sessions that nobody ends but the end of the VM. */
TEST(memory_of_vms)
{
	const char *why = enter_cgroup();
	long before = 0;
	struct kvm_vm *vm;
	struct kvmi k;
	unsigned int i;

	if (why)
		SKIP(return, "%s", why);

	for (i = 0; i < WARM_UP + CYCLES; i++) {
		if (i == WARM_UP) {
			kvmi_grace_period();
			before = kernel_memory();
		}
		vm = vm_create_barebones();
		__vm_vcpu_add(vm, 0);
		kvmi_hook(&k, vm);
		kvmi_ping(&k);
		if (i & 1)
			kvmi_close(&k);
		kvm_vm_free(vm);
		kvmi_close(&k);
	}
	kvmi_cgroup_wait_below(&cgroup, before + BOUND);
	leave_cgroup();
}

KVMI_TEST_MAIN
