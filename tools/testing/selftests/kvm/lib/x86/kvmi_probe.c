// SPDX-License-Identifier: GPL-2.0-only
/* What a processor, or what plays it, can show of events.  See kvmi_util.h. */
#include "kvmi_util.h"

static void guest_breakpoint(void)
{
	asm volatile("int3");
	GUEST_DONE();
}

static void ignore(struct ex_regs *regs)
{
}

bool kvmi_has_bp_exits(void)
{
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP,
	};
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, guest_breakpoint);
	u32 reason;

	vm_install_exception_handler(vm, BP_VECTOR, ignore);
	vcpu_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug);
	vcpu_run(vcpu);
	reason = vcpu->run->exit_reason;
	kvm_vm_free(vm);
	return reason == KVM_EXIT_DEBUG;
}

bool kvmi_has_descriptor_exits(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = kvmi_create_vm(1, &vcpu);
	struct kvmi_runner runner;
	struct kvmi k;
	int err;

	kvmi_hook(&k, vm);
	kvmi_start(&runner, vcpu);
	err = kvmi_control_event(&k, 0, KVMI_VCPU_EVENT_DESCRIPTOR, 1);
	kvmi_stop(&runner);
	kvmi_close(&k);
	kvm_vm_free(vm);
	TEST_ASSERT(!err || err == -KVMI_EOPNOTSUPP, "DESCRIPTOR: %d", err);
	return !err;
}
