// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_GET_XSAVE and VCPU_SET_XSAVE. */
#include "kvmi_test.h"

#define PATTERN		0x1122334455667788ull
#define OTHER		0x99aabbccddeeff00ull

/* Byte offsets in the legacy area and the header. */
#define FCW		0
#define MXCSR		24
#define XMM(n)		(160 + 16 * (n))
#define XSTATE_BV	512

static u64 xmm15;

static void guest(void)
{
	u64 turn = 0;

	asm volatile("movq %0, %%xmm15" : : "r"(PATTERN));
	for (;;) {
		asm volatile("movq %%xmm15, %0" : "=m"(xmm15));
		turn++;
		asm volatile("movq %0, %%xmm14" : : "r"(turn) : "memory");
		WRITE_ONCE(kvmi_progress[0], turn);
	}
}

KVMI_SUITE_OF(kvmi_xsave, vm_create_with_vcpus(1, guest, f->vcpus),
	      kvmi_hook(&f->kvmi, f->vm));

static int get_xsave(struct kvmi *k, struct kvm_xsave *xsave)
{
	return kvmi_vcpu_command(k, 0, KVMI_VCPU_GET_XSAVE, NULL, 0, xsave,
				 sizeof(*xsave));
}

static int set_xsave(struct kvmi *k, const struct kvm_xsave *xsave)
{
	return kvmi_vcpu_command(k, 0, KVMI_VCPU_SET_XSAVE, xsave,
				 sizeof(*xsave), NULL, 0);
}

static void *at(struct kvm_xsave *xsave, unsigned int offset)
{
	return (u8 *)xsave + offset;
}

static void wait_xmm15(struct kvmi_fixture *f, u64 value)
{
	u64 *p = addr_gva2hva(f->vm, (gva_t)&xmm15);

	kvmi_wait_until(READ_ONCE(*p) == value);
}

/* What is in the registers of the guest, and what the VMM reads later. */
KVMI_TEST(kvmi_xsave, get)
{
	struct kvm_xsave tool, vmm;
	struct kvmi_event ev;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	wait_xmm15(f, PATTERN);
	for (i = 0; i < 10; i++) {
		kvmi_assert_err(get_xsave(&f->kvmi, &tool), 0);
		TEST_ASSERT_EQ(*(u64 *)at(&tool, XMM(15)), PATTERN);
	}
	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_assert_err(get_xsave(&f->kvmi, &tool), 0);
	TEST_ASSERT(*(u32 *)at(&tool, MXCSR) & 0x1f80, "MXCSR masks nothing");
	kvmi_stop(&f->runner);
	vcpu_ioctl(f->vcpu, KVM_GET_XSAVE, &vmm);
	TEST_ASSERT(!memcmp(&tool, &vmm, sizeof(tool)),
		    "Tool and VMM do not read the same");
}

/* What they hold now, not what was saved of them at some time. */
KVMI_TEST(kvmi_xsave, get_while_the_guest_runs)
{
	u64 before, now, after;
	struct kvm_xsave xsave;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	for (i = 0; i < 100; i++) {
		before = kvmi_read_progress(f->vm, 0);
		kvmi_assert_err(get_xsave(&f->kvmi, &xsave), 0);
		after = kvmi_read_progress(f->vm, 0);
		now = *(u64 *)at(&xsave, XMM(14));
		TEST_ASSERT(now >= before && now <= after + 1,
			    "The guest went from %#lx to %#lx, its register is %#lx",
			    (unsigned long)before, (unsigned long)after,
			    (unsigned long)now);
	}
	kvmi_stop(&f->runner);
}

/* At once, no event is needed. */
KVMI_TEST(kvmi_xsave, set)
{
	struct kvm_xsave xsave, again;
	unsigned int i;

	kvmi_start(&f->runner, f->vcpu);
	wait_xmm15(f, PATTERN);
	kvmi_assert_err(get_xsave(&f->kvmi, &xsave), 0);
	for (i = 0; i < 10; i++) {
		*(u64 *)at(&xsave, XMM(15)) = OTHER + i;
		kvmi_assert_err(set_xsave(&f->kvmi, &xsave), 0);
		wait_xmm15(f, OTHER + i);
		kvmi_assert_err(get_xsave(&f->kvmi, &again), 0);
		TEST_ASSERT_EQ(*(u64 *)at(&again, XMM(15)), OTHER + i);
	}
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_xsave, refused)
{
	struct kvm_xsave good, bad;

	kvmi_start(&f->runner, f->vcpu);
	wait_xmm15(f, PATTERN);
	kvmi_assert_err(get_xsave(&f->kvmi, &good), 0);

	bad = good;
	*(u64 *)at(&bad, XMM(15)) = OTHER;
	*(u32 *)at(&bad, MXCSR) = 0xffffffff;
	kvmi_assert_err(set_xsave(&f->kvmi, &bad), -KVMI_EINVAL);

	if (kvm_cpu_has(X86_FEATURE_XSAVE)) {
		bad = good;
		*(u64 *)at(&bad, XMM(15)) = OTHER;
		*(u64 *)at(&bad, XSTATE_BV) |= BIT_ULL(62);
		kvmi_assert_err(set_xsave(&f->kvmi, &bad), -KVMI_EINVAL);
	}

	/* Nothing of it was loaded. */
	kvmi_wait_progress(f->vm, 0);
	wait_xmm15(f, PATTERN);
	kvmi_assert_err(get_xsave(&f->kvmi, &bad), 0);
	/* The guest counts in this one. */
	*(u64 *)at(&bad, XMM(14)) = *(u64 *)at(&good, XMM(14));
	TEST_ASSERT(!memcmp(&good, &bad, sizeof(good)), "The state changed");
	kvmi_stop(&f->runner);
}

/* More state than a message has room for: nothing is read beyond it. */
KVMI_TEST(kvmi_xsave, too_large)
{
	struct kvm_xsave xsave = {};
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct kvmi k;

	if (!kvm_cpu_has(X86_FEATURE_AMX_TILE))
		SKIP(return, "no AMX, and nothing else is so large");

	vm_xsave_require_permission(XFEATURE_MASK_XTILE_DATA);
	vm = kvmi_create_vm(1, &vcpu);
	TEST_ASSERT(vm_check_cap(vm, KVM_CAP_XSAVE2) > sizeof(xsave),
		    "The state with AMX is not larger");
	kvmi_hook(&k, vm);
	kvmi_start(&f->runner, vcpu);
	kvmi_assert_err(get_xsave(&k, &xsave), -KVMI_EOPNOTSUPP);
	kvmi_assert_err(set_xsave(&k, &xsave), -KVMI_EOPNOTSUPP);
	kvmi_wait_progress(vm, 0);
	kvmi_stop(&f->runner);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

KVMI_TEST_MAIN
