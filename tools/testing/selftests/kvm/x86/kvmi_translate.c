// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_TRANSLATE_GVA. */
#include "kvmi_test.h"

#define UNMAPPED (~0ull)

KVMI_SUITE(kvmi_translate, 1);

static u64 translate(struct kvmi *k, u64 gva)
{
	struct kvmi_vcpu_translate_gva req = { .gva = gva };
	struct kvmi_vcpu_translate_gva_reply reply;

	kvmi_assert_err(kvmi_vcpu_command(k, 0, KVMI_VCPU_TRANSLATE_GVA, &req,
					  sizeof(req), &reply, sizeof(reply)),
			0);
	return reply.gpa;
}

KVMI_TEST(kvmi_translate, mapped)
{
	gva_t page = vm_alloc_page(f->vm), gva;
	gva_t code = (gva_t)kvmi_guest_count;

	kvmi_start(&f->runner, f->vcpu);
	TEST_ASSERT_EQ(translate(&f->kvmi, code), addr_gva2gpa(f->vm, code));
	for (gva = page; gva < page + PAGE_SIZE; gva += 511)
		TEST_ASSERT_EQ(translate(&f->kvmi, gva),
			       addr_gva2gpa(f->vm, gva));
	kvmi_stop(&f->runner);
}

/* Page tables count, not memory slots. */
KVMI_TEST(kvmi_translate, mapped_to_nothing)
{
	const u64 gva = 0x7f0000000000, gpa = 0x3f00000000;

	virt_pg_map(f->vm, gva, gpa);
	kvmi_start(&f->runner, f->vcpu);
	TEST_ASSERT_EQ(translate(&f->kvmi, gva + 0x123), gpa + 0x123);
	kvmi_stop(&f->runner);
}

/* Nor do access rights: supervisor-only, read-only and no-execute pages. */
KVMI_TEST(kvmi_translate, access_rights_do_not_matter)
{
	gva_t gva = vm_alloc_page(f->vm);
	u64 *pte = vm_get_pte(f->vm, gva);
	gpa_t gpa = addr_gva2gpa(f->vm, gva);

	*pte &= ~(PTE_WRITABLE_MASK(&f->vm->mmu) | PTE_USER_MASK(&f->vm->mmu));
	*pte |= PTE_NX_MASK(&f->vm->mmu);
	kvmi_start(&f->runner, f->vcpu);
	TEST_ASSERT_EQ(translate(&f->kvmi, gva), gpa);
	kvmi_stop(&f->runner);
}

/* SMAP keeps a kernel from its programs' pages, and no tool. */
KVMI_TEST(kvmi_translate, smap)
{
	gva_t gva = vm_alloc_page(f->vm);
	struct kvm_sregs sregs;

	if (!kvm_cpu_has(X86_FEATURE_SMAP))
		SKIP(return, "the processor has no SMAP");

	kvmi_map_for_users(f->vm);
	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.cr4 |= X86_CR4_SMAP;
	vcpu_sregs_set(f->vcpu, &sregs);
	/* Not run: it would not get far. */
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	TEST_ASSERT_EQ(translate(&f->kvmi, gva), addr_gva2gpa(f->vm, gva));
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_translate, unmapped)
{
	gva_t gva = vm_alloc_page(f->vm);
	u64 *pte = vm_get_pte(f->vm, gva);

	kvmi_start(&f->runner, f->vcpu);
	TEST_ASSERT(translate(&f->kvmi, gva) != UNMAPPED, "Not mapped");
	*pte &= ~PTE_PRESENT_MASK(&f->vm->mmu);
	TEST_ASSERT_EQ(translate(&f->kvmi, gva), UNMAPPED);
	TEST_ASSERT_EQ(translate(&f->kvmi, 0x7e0000000000), UNMAPPED);
	kvmi_stop(&f->runner);
}

/* Without paging an address is its own translation. */
KVMI_TEST(kvmi_translate, no_paging)
{
	struct kvm_sregs sregs;
	struct kvmi_event ev;

	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.cr0 &= ~X86_CR0_PG;
	sregs.efer &= ~(EFER_LMA | EFER_LME);
	sregs.cs.l = 0;
	sregs.cs.db = 1;
	vcpu_sregs_set(f->vcpu, &sregs);

	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, &ev);
	TEST_ASSERT_EQ(translate(&f->kvmi, 0), 0);
	TEST_ASSERT_EQ(translate(&f->kvmi, 0xfffff123), 0xfffff123);
	/* There is no code for this mode. */
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
}

KVMI_TEST_MAIN
