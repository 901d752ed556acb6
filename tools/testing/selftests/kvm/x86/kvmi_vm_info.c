// SPDX-License-Identifier: GPL-2.0-only
/* VM_GET_INFO and VCPU_GET_INFO. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_vm_info, 1);

KVMI_TEST(kvmi_vm_info, contents)
{
	struct kvmi_vm_get_info_reply reply;
	unsigned int i;

	memset(&reply, 0xff, sizeof(reply));
	kvmi_assert_err(kvmi_command(&f->kvmi, KVMI_VM_GET_INFO, NULL, 0,
				     &reply, sizeof(reply)), 0);
	TEST_ASSERT_EQ(reply.vcpu_count, 1);
	for (i = 0; i < ARRAY_SIZE(reply.padding); i++)
		TEST_ASSERT_EQ(reply.padding[i], 0);
}

/* The count is that of the moment, and ids leave no holes in it. */
KVMI_TEST(kvmi_vm_info, counts_new_vcpus)
{
	vm_vcpu_add(f->vm, 7, kvmi_guest_count);
	TEST_ASSERT_EQ(kvmi_vcpu_count(&f->kvmi), 2);
	vm_vcpu_add(f->vm, 3, kvmi_guest_count);
	TEST_ASSERT_EQ(kvmi_vcpu_count(&f->kvmi), 3);
}

KVMI_TEST(kvmi_vm_info, no_vcpu)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct kvmi k;

	kvmi_hook(&k, vm);
	TEST_ASSERT_EQ(kvmi_vcpu_count(&k), 0);
	kvmi_assert_err(kvmi_pause(&k, 0, 0), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_vcpu_command(&k, 0, KVMI_VCPU_GET_INFO, NULL, 0,
					  NULL, 0), -KVMI_EINVAL);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

KVMI_TEST(kvmi_vm_info, tsc_speed)
{
	u64 khz = __vcpu_ioctl(f->vcpu, KVM_GET_TSC_KHZ, NULL);
	struct kvmi_vcpu_get_info_reply reply;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_GET_INFO,
					  NULL, 0, &reply, sizeof(reply)), 0);
	kvmi_stop(&f->runner);

	if (kvm_has_cap(KVM_CAP_TSC_CONTROL))
		TEST_ASSERT_EQ(reply.tsc_speed, khz * 1000);
	else
		TEST_ASSERT_EQ(reply.tsc_speed, 0);
}

KVMI_TEST(kvmi_vm_info, wrong_vcpu)
{
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 1, KVMI_VCPU_GET_INFO, NULL,
					  0, NULL, 0), -KVMI_EINVAL);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0xffff, KVMI_VCPU_GET_INFO,
					  NULL, 0, NULL, 0), -KVMI_EINVAL);
}

KVMI_TEST_MAIN
