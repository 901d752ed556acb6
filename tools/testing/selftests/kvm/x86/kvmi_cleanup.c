// SPDX-License-Identifier: GPL-2.0-only
/* VM_CONTROL_CLEANUP. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_cleanup, 1);

static int control_cleanup(struct kvmi *k, u8 enable)
{
	struct kvmi_vm_control_cleanup req = { .enable = enable };

	return kvmi_command(k, KVMI_VM_CONTROL_CLEANUP, &req, sizeof(req), NULL,
			    0);
}

KVMI_TEST(kvmi_cleanup, values)
{
	unsigned int enable;

	for (enable = 0; enable <= 0xff; enable++)
		kvmi_assert_err(control_cleanup(&f->kvmi, enable),
				enable <= 1 ? 0 : -KVMI_EINVAL);
}

/* Whatever was chosen: the guest goes on, and the VM can be hooked again. */
KVMI_TEST(kvmi_cleanup, unhook_and_death)
{
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < 4; i++) {
		kvmi_assert_err(control_cleanup(&f->kvmi, i & 1), 0);
		kvmi_wait_progress(f->vm, 0);
		if (i & 2)
			kvmi_unhook(f->vm);
		kvmi_close(&f->kvmi);
		kvmi_wait_until(kvmi_state(f->vm->fd) != KVMI_ACTIVE);
		kvmi_wait_progress(f->vm, 0);
		kvmi_hook(&f->kvmi, f->vm);
		kvmi_ping(&f->kvmi);
	}
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
