// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hooker in another process and another memory cgroup: what a session needs
 * is charged to the cgroup of the VM, not to that of the tool.
 */
#include "kvmi_test.h"

#define VMS		64
#define INPUT_BUFFER	(KVMI_MAX_MSG_SIZE + sizeof(struct kvmi_msg_hdr))
#define QUEUE		(KVMI_MAX_QUEUED * KVMI_MAX_MSG_SIZE)

static struct kvmi_cgroup vmm_cgroup, tool_cgroup;
static struct kvmi_fixture vms[VMS];

/* Why not, or NULL.  The caller is the VMM from here on. */
static const char *make_cgroups(void)
{
	const char *why = kvmi_cgroup_make(&vmm_cgroup, "charge_vmm");

	if (!why)
		why = kvmi_cgroup_make(&tool_cgroup, "charge_tool");
	if (!why)
		kvmi_cgroup_enter(&vmm_cgroup);
	if (!why && !kvmi_have_sys_ptrace())
		why = "no CAP_SYS_PTRACE";
	return why;
}

static void remove_cgroups(void)
{
	kvmi_cgroup_leave();
	kvmi_cgroup_remove(&vmm_cgroup);
	kvmi_cgroup_remove(&tool_cgroup);
}

/* What has come since the last call: to the VMM's cgroup, to the tool's. */
static void charged(long *vmm, long *tool)
{
	static long vmm_before, tool_before;
	long vmm_now = kvmi_cgroup_kernel_memory(&vmm_cgroup);
	long tool_now = kvmi_cgroup_kernel_memory(&tool_cgroup);

	*vmm = vmm_now - vmm_before;
	*tool = tool_now - tool_before;
	vmm_before = vmm_now;
	tool_before = tool_now;
	ksft_print_msg("VMM's cgroup %+ld bytes, tool's %+ld bytes\n", *vmm,
		       *tool);
}

/* Of @least bytes, next to nothing went to the tool. */
static void assert_vmm_pays(long least)
{
	long vmm, tool;

	charged(&vmm, &tool);
	TEST_ASSERT(vmm >= least, "The VMM is charged %ld bytes of %ld", vmm,
		    least);
	TEST_ASSERT(tool < least / 4, "The tool is charged %ld bytes", tool);
}

/*
 * Start @tool and let it go, from its first step to its second: what comes of
 * that is what is charged since.
 */
static pid_t start_tool(void (*tool)(struct kvmi_fixture *f, int fd),
			struct kvmi_fixture *f, int *fd)
{
	long vmm_before, tool_before;
	pid_t child;
	int sv[2];

	kvmi_socketpair(sv);
	child = kvmi_start_process(tool, f, sv[1]);
	kvmi_wait_step(sv[0]);
	charged(&vmm_before, &tool_before);
	kvmi_step(sv[0]);
	kvmi_wait_step(sv[0]);
	*fd = sv[0];
	return child;
}

/* The sockets are the tool's own: it has them before it is measured. */
static void hooker(struct kvmi_fixture *f, int fd)
{
	int sv[VMS][2];
	unsigned int i;

	kvmi_cgroup_enter(&tool_cgroup);
	for (i = 0; i < VMS; i++)
		kvmi_socketpair(sv[i]);
	kvmi_step(fd);
	kvmi_wait_step(fd);
	for (i = 0; i < VMS; i++) {
		kvmi_assert_err(kvmi_ioctl_hook(f[i].vm->fd, sv[i][0]), 0);
		kvmi_init(&f[i].kvmi, f[i].vm, sv[i][1]);
		kvmi_ping(&f[i].kvmi);
	}
	kvmi_step(fd);
	kvmi_wait_step(fd);
}

/* Each session has an input buffer: HOOK itself takes it. */
TEST(hook)
{
	const char *why = make_cgroups();
	unsigned int i;
	pid_t child;
	int fd;

	if (why)
		SKIP(return, "%s", why);

	for (i = 0; i < VMS; i++)
		vms[i].vm = vm_create_barebones();
	child = start_tool(hooker, vms, &fd);
	assert_vmm_pays(VMS * INPUT_BUFFER);
	kvmi_step(fd);
	kvmi_finish_process(child);
	for (i = 0; i < VMS; i++)
		kvm_vm_free(vms[i].vm);
	remove_cgroups();
}

static void sender(struct kvmi_fixture *f, int fd)
{
	u8 body[KVMI_MAX_MSG_SIZE - sizeof(struct kvmi_vcpu_hdr)] = {};
	unsigned int i;
	int sv[2];

	kvmi_cgroup_enter(&tool_cgroup);
	kvmi_socketpair(sv);
	kvmi_attach(&f->kvmi, f->vm, sv[0], sv[1]);
	kvmi_allow_all(f->vm);
	kvmi_ping(&f->kvmi);
	kvmi_step(fd);
	kvmi_wait_step(fd);
	for (i = 0; i < KVMI_MAX_QUEUED; i++)
		kvmi_send_vcpu(&f->kvmi, 0, KVMI_VCPU_GET_INFO, body,
			       sizeof(body));
	/* All have been read. */
	kvmi_ping(&f->kvmi);
	kvmi_step(fd);
	kvmi_wait_step(fd);
}

/* A vCPU that does not run has a queue of the largest commands. */
TEST(queue)
{
	struct kvmi_fixture fixture = {}, *f = &fixture;
	const char *why = make_cgroups();
	long vmm, tool;
	pid_t child;
	int fd;

	if (why)
		SKIP(return, "%s", why);

	f->vm = kvmi_create_vm(1, f->vcpus);
	child = start_tool(sender, f, &fd);
	assert_vmm_pays(QUEUE);

	/* It is given back with the session. */
	kvmi_step(fd);
	kvmi_finish_process(child);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_unhook(f->vm);
	kvmi_grace_period();
	charged(&vmm, &tool);
	TEST_ASSERT(vmm < -(long)QUEUE / 2, "The queue is not given back");
	kvm_vm_free(f->vm);
	remove_cgroups();
}

KVMI_TEST_MAIN
