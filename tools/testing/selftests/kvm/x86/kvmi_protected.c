// SPDX-License-Identifier: GPL-2.0-only
/* A VM whose memory is protected from its host refuses HOOK. */
#include "kvmi_test.h"

static bool have_type(unsigned long type)
{
	return kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(type);
}

static void assert_refused(unsigned long type)
{
	struct kvm_vm *vm = vm_create_barebones_type(type);
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm->fd, sv[0]), -EOPNOTSUPP);
	TEST_ASSERT_EQ(kvmi_state(vm->fd), KVMI_NONE);
	kvmi_assert_err(kvmi_ioctl_unhook(vm->fd), 0);
	kvmi_assert_err(kvmi_ioctl_command(vm->fd, -1, 1), -EFAULT);
	kvm_vm_free(vm);
}

TEST(sw_protected)
{
	if (!have_type(KVM_X86_SW_PROTECTED_VM))
		SKIP(return, "no KVM_X86_SW_PROTECTED_VM");
	assert_refused(KVM_X86_SW_PROTECTED_VM);
}

TEST(sev_es)
{
	if (!have_type(KVM_X86_SEV_ES_VM))
		SKIP(return, "no SEV-ES");
	assert_refused(KVM_X86_SEV_ES_VM);
}

TEST(sev_snp)
{
	if (!have_type(KVM_X86_SNP_VM))
		SKIP(return, "no SEV-SNP");
	assert_refused(KVM_X86_SNP_VM);
}

TEST(tdx)
{
	if (!have_type(KVM_X86_TDX_VM))
		SKIP(return, "no TDX");
	assert_refused(KVM_X86_TDX_VM);
}

/* The default type is not protected. */
TEST(default_vm)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct kvmi k;

	kvmi_hook(&k, vm);
	kvmi_ping(&k);
	kvm_vm_free(vm);
}

KVMI_TEST_MAIN
