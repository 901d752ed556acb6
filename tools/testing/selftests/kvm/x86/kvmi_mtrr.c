// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_GET_MTRR_TYPE. */
#include "kvmi_test.h"

enum { UC = 0, WC = 1, WT = 4, WP = 5, WB = 6 };

#define DEF_TYPE	0x2ff
#define DEF_ON		BIT_ULL(11)
#define DEF_FIXED	BIT_ULL(10)
#define PHYS_BASE(n)	(0x200 + 2 * (n))
#define PHYS_MASK(n)	(0x201 + 2 * (n))
#define MASK_VALID	BIT_ULL(11)
#define FIX_64K		0x250
#define FIX_16K_A	0x259
#define FIX_4K_C0	0x268
#define FIX_4K_F8	0x26f

KVMI_SUITE(kvmi_mtrr, 1);

static void assert_type(struct kvmi *k, u64 gpa, u8 type)
{
	struct kvmi_vcpu_get_mtrr_type req = { .gpa = gpa };
	struct kvmi_vcpu_get_mtrr_type_reply reply;
	static const u8 zero[sizeof(reply.padding)];

	memset(&reply, 0xff, sizeof(reply));
	kvmi_assert_err(kvmi_vcpu_command(k, 0, KVMI_VCPU_GET_MTRR_TYPE, &req,
					  sizeof(req), &reply, sizeof(reply)),
			0);
	TEST_ASSERT(reply.type == type, "%#lx has type %u, wanted %u",
		    (unsigned long)gpa, reply.type, type);
	TEST_ASSERT(!memcmp(reply.padding, zero, sizeof(zero)), "Padding");
}

/* The highest address that the guest's processor knows. */
static u64 vm_max_gpa(struct kvm_vcpu *vcpu)
{
	vcpu_get_cpuid(vcpu);
	return (1ull << (u8)__vcpu_get_cpuid_entry(vcpu, 0x80000008, 0)->eax) - 1;
}

static void cover(struct kvm_vcpu *vcpu, unsigned int n, u64 base, u64 size,
		  u8 type)
{
	u64 max = vm_max_gpa(vcpu);

	vcpu_set_msr(vcpu, PHYS_BASE(n), base | type);
	vcpu_set_msr(vcpu, PHYS_MASK(n), (max & ~(size - 1)) | MASK_VALID);
}

KVMI_TEST(kvmi_mtrr, off)
{
	vcpu_set_msr(f->vcpu, DEF_TYPE, WB);
	kvmi_start(&f->runner, f->vcpu);
	assert_type(&f->kvmi, 0, UC);
	assert_type(&f->kvmi, 0x100000, UC);
	assert_type(&f->kvmi, ~0ull, UC);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_mtrr, default_type)
{
	static const u8 types[] = { UC, WC, WT, WP, WB };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		vcpu_set_msr(f->vcpu, DEF_TYPE, DEF_ON | types[i]);
		kvmi_start(&f->runner, f->vcpu);
		assert_type(&f->kvmi, 0, types[i]);
		assert_type(&f->kvmi, 0xfffff, types[i]);
		assert_type(&f->kvmi, 1ull << 40, types[i]);
		kvmi_stop(&f->runner);
	}
}

KVMI_TEST(kvmi_mtrr, fixed)
{
	vcpu_set_msr(f->vcpu, DEF_TYPE, DEF_ON | DEF_FIXED | WB);
	vcpu_set_msr(f->vcpu, FIX_64K, 0x0606060605060406);
	vcpu_set_msr(f->vcpu, FIX_16K_A, 0x0606060606060601);
	vcpu_set_msr(f->vcpu, FIX_4K_C0, 0x0600060606060605);
	vcpu_set_msr(f->vcpu, FIX_4K_F8, 0x0406060606060606);
	kvmi_start(&f->runner, f->vcpu);
	assert_type(&f->kvmi, 0x0ffff, WB);
	assert_type(&f->kvmi, 0x10000, WT);
	assert_type(&f->kvmi, 0x1ffff, WT);
	assert_type(&f->kvmi, 0x20000, WB);
	assert_type(&f->kvmi, 0x30000, WP);
	assert_type(&f->kvmi, 0xa0000, WC);
	assert_type(&f->kvmi, 0xa3fff, WC);
	assert_type(&f->kvmi, 0xa4000, WB);
	assert_type(&f->kvmi, 0xc0fff, WP);
	assert_type(&f->kvmi, 0xc1000, WB);
	assert_type(&f->kvmi, 0xc6000, UC);
	assert_type(&f->kvmi, 0xff000, WT);
	assert_type(&f->kvmi, 0x100000, WB);
	kvmi_stop(&f->runner);

	/* Not when the fixed ones are off. */
	vcpu_set_msr(f->vcpu, DEF_TYPE, DEF_ON | WB);
	kvmi_start(&f->runner, f->vcpu);
	assert_type(&f->kvmi, 0x10000, WB);
	kvmi_stop(&f->runner);
}

/* Uncached wins, then write-through over write-back. */
KVMI_TEST(kvmi_mtrr, variable)
{
	vcpu_set_msr(f->vcpu, DEF_TYPE, DEF_ON | WP);
	cover(f->vcpu, 0, 0, 0x80000000, WB);
	cover(f->vcpu, 1, 0x40000000, 0x1000, UC);
	cover(f->vcpu, 2, 0x50000000, 0x10000, WT);
	cover(f->vcpu, 7, 0xc0000000, 0x10000000, WC);
	kvmi_start(&f->runner, f->vcpu);
	assert_type(&f->kvmi, 0, WB);
	assert_type(&f->kvmi, 0x3fffffff, WB);
	assert_type(&f->kvmi, 0x40000000, UC);
	assert_type(&f->kvmi, 0x40000fff, UC);
	assert_type(&f->kvmi, 0x40001000, WB);
	assert_type(&f->kvmi, 0x5000ffff, WT);
	assert_type(&f->kvmi, 0x50010000, WB);
	assert_type(&f->kvmi, 0x7fffffff, WB);
	assert_type(&f->kvmi, 0x80000000, WP);
	assert_type(&f->kvmi, 0xc0000000, WC);
	assert_type(&f->kvmi, 0xcfffffff, WC);
	assert_type(&f->kvmi, 0xd0000000, WP);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
