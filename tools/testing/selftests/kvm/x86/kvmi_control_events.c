// SPDX-License-Identifier: GPL-2.0-only
/* VM_CONTROL_EVENTS and VCPU_CONTROL_EVENTS. */
#include "kvmi_test.h"

#define MAX_ID 64

KVMI_SUITE(kvmi_control_events, 1);

static int vm_control(struct kvmi *k, u16 event, u8 enable)
{
	struct kvmi_vm_control_events req = {
		.event_id = event,
		.enable = enable,
	};

	return kvmi_command(k, KVMI_VM_CONTROL_EVENTS, &req, sizeof(req), NULL,
			    0);
}

static int vcpu_control(struct kvmi *k, u16 event, u8 enable)
{
	struct kvmi_vcpu_control_events req = {
		.event_id = event,
		.enable = enable,
	};

	return kvmi_vcpu_command(k, 0, KVMI_VCPU_CONTROL_EVENTS, &req,
				 sizeof(req), NULL, 0);
}

KVMI_TEST(kvmi_control_events, vm)
{
	unsigned int id;

	for (id = 0; id <= MAX_ID; id++) {
		int want = id == KVMI_VM_EVENT_UNHOOK ? 0 : -KVMI_EINVAL;

		kvmi_assert_err(vm_control(&f->kvmi, id, 1), want);
		kvmi_assert_err(vm_control(&f->kvmi, id, 0), want);
	}
	kvmi_assert_err(vm_control(&f->kvmi, 0xffff, 1), -KVMI_EINVAL);
}

/* The default is off, the last call counts, once or twice. */
KVMI_TEST(kvmi_control_events, vm_state)
{
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -ENOENT);

	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 1), 0);
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 1), 0);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
	kvmi_recv_unhook_event(&f->kvmi, 1);

	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 0), 0);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), -ENOENT);
	kvmi_expect_quiet(&f->kvmi);
}

/* Padding, enable, the id, and only then the permission. */
KVMI_TEST(kvmi_control_events, vm_errors)
{
	struct kvmi_vm_control_events req = { .enable = 1, .padding1 = 1 };

	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), 0);

	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_CONTROL_EVENTS, &req,
				     sizeof(req), NULL, 0), -KVMI_EINVAL);
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 2),
			-KVMI_EINVAL);
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 0xff),
			-KVMI_EINVAL);
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VCPU_EVENT_PAUSE, 1),
			-KVMI_EINVAL);
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 1),
			-KVMI_EPERM);
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 0),
			-KVMI_EPERM);
}

/* A refused request leaves the state; so does taking the permission away. */
KVMI_TEST(kvmi_control_events, vm_refused_keeps_state)
{
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 1), 0);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), 0);
	kvmi_assert_err(vm_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 0),
			-KVMI_EPERM);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), 0);
	kvmi_recv_unhook_event(&f->kvmi, 1);
}

KVMI_TEST(kvmi_control_events, vcpu)
{
	unsigned int id;

	kvmi_start(&f->runner, f->vcpu);
	for (id = 0; id <= MAX_ID; id++) {
		int want = (id & 1) && kvmi_known_event(id) ? 0 : -KVMI_EINVAL;

		kvmi_assert_err(vcpu_control(&f->kvmi, id, 1), want);
		kvmi_assert_err(vcpu_control(&f->kvmi, id, 0), want);
	}
	kvmi_assert_err(vcpu_control(&f->kvmi, 0xffff, 1), -KVMI_EINVAL);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_control_events, vcpu_errors)
{
	struct kvmi_vcpu_control_events req = {
		.event_id = KVMI_VCPU_EVENT_PAUSE,
		.enable = 1,
		.padding2 = 1,
	};

	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 0), 0);
	kvmi_start(&f->runner, f->vcpu);

	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_CONTROL_EVENTS,
					  &req, sizeof(req), NULL, 0),
			-KVMI_EINVAL);
	kvmi_assert_err(vcpu_control(&f->kvmi, KVMI_VCPU_EVENT_PAUSE, 2),
			-KVMI_EINVAL);
	kvmi_assert_err(vcpu_control(&f->kvmi, KVMI_VM_EVENT_UNHOOK, 1),
			-KVMI_EINVAL);
	kvmi_assert_err(vcpu_control(&f->kvmi, KVMI_VCPU_EVENT_PAUSE, 1),
			-KVMI_EPERM);
	kvmi_assert_err(vcpu_control(&f->kvmi, KVMI_VCPU_EVENT_PAUSE, 0),
			-KVMI_EPERM);
	kvmi_stop(&f->runner);
}

/* PAUSE is the consequence of a command: its bit switches nothing. */
KVMI_TEST(kvmi_control_events, pause_cannot_be_disabled)
{
	struct kvmi_event ev;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(vcpu_control(&f->kvmi, KVMI_VCPU_EVENT_PAUSE, 0), 0);
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
