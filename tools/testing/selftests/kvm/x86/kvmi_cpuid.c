// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_GET_CPUID: the guest's table as it is. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_cpuid, 1);

static int get_cpuid(struct kvmi *k, u32 function, u32 index,
		     struct kvmi_vcpu_get_cpuid_reply *reply)
{
	struct kvmi_vcpu_get_cpuid req = {
		.function = function,
		.index = index,
	};

	return kvmi_vcpu_command(k, 0, KVMI_VCPU_GET_CPUID, &req, sizeof(req),
				 reply, sizeof(*reply));
}

KVMI_TEST(kvmi_cpuid, every_entry)
{
	struct kvmi_vcpu_get_cpuid_reply reply;
	const struct kvm_cpuid_entry2 *e;
	struct kvmi_event ev;
	unsigned int i;

	vcpu_get_cpuid(f->vcpu);
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);

	TEST_ASSERT(f->vcpu->cpuid->nent, "The vCPU has no CPUID");
	for (i = 0; i < f->vcpu->cpuid->nent; i++) {
		e = &f->vcpu->cpuid->entries[i];
		kvmi_assert_err(get_cpuid(&f->kvmi, e->function, e->index,
					  &reply), 0);
		TEST_ASSERT(reply.eax == e->eax && reply.ebx == e->ebx &&
			    reply.ecx == e->ecx && reply.edx == e->edx,
			    "Leaf %#x.%u is not the guest's", e->function,
			    e->index);
		if (e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)
			continue;
		/* Where the index means nothing any will do. */
		kvmi_assert_err(get_cpuid(&f->kvmi, e->function, 0x1234,
					  &reply), 0);
		TEST_ASSERT_EQ(reply.eax, e->eax);
	}
}

KVMI_TEST(kvmi_cpuid, no_such_leaf)
{
	static const struct {
		u32 function;
		u32 index;
	} none[] = {
		{ 0x20000000, 0 },
		{ 0x0fffffff, 0 },
		{ 0x8fffffff, 0 },
		{ 0xffffffff, 0xffffffff },
		/* A leaf that exists, at an index that does not. */
		{ 0x0000000d, 0x7fffffff },
	};
	struct kvmi_vcpu_get_cpuid_reply reply;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	for (i = 0; i < ARRAY_SIZE(none); i++)
		kvmi_assert_err(get_cpuid(&f->kvmi, none[i].function,
					  none[i].index, &reply),
				-KVMI_ENOENT);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
