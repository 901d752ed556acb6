// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_GET_CPUID: what CPUID gives the guest. */
#include "kvmi_test.h"

/* The leaves with bits that follow the guest's state. */
static const struct leaf {
	u32 function;
	u32 index;
} leaves[] = {
	{ 0x1, 0 }, { 0x7, 0 }, { 0xd, 0 }, { 0xd, 1 },
};

#define NR_LEAVES	ARRAY_SIZE(leaves)

/* What CPUID gave the guest. */
static struct kvmi_vcpu_get_cpuid_reply seen[NR_LEAVES];

/* What the guest does before it asks. */
enum change {
	NOTHING, SET_OSXSAVE, CLEAR_OSXSAVE, SET_PKE, CLEAR_PKE, SET_XCR0,
	CLEAR_XCR0, SET_XSS, CLEAR_XSS, DISABLE_APIC, ENABLE_APIC, SET_MWAIT,
	CLEAR_MWAIT,
};

static u64 ordered, done, change;

static void guest_change(void)
{
	u64 apic_base;

	switch (change) {
	case SET_OSXSAVE:
		set_cr4(get_cr4() | X86_CR4_OSXSAVE);
		break;
	case CLEAR_OSXSAVE:
		set_cr4(get_cr4() & ~X86_CR4_OSXSAVE);
		break;
	case SET_PKE:
		set_cr4(get_cr4() | X86_CR4_PKE);
		break;
	case CLEAR_PKE:
		set_cr4(get_cr4() & ~X86_CR4_PKE);
		break;
	case SET_XCR0:
		xsetbv(0, XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM);
		break;
	case CLEAR_XCR0:
		xsetbv(0, XFEATURE_MASK_FP);
		break;
	case SET_XSS:
		wrmsr(MSR_IA32_XSS, XFEATURE_MASK_CET_USER | XFEATURE_MASK_CET_KERNEL);
		break;
	case CLEAR_XSS:
		wrmsr(MSR_IA32_XSS, 0);
		break;
	case DISABLE_APIC:
	case ENABLE_APIC:
		apic_base = rdmsr(MSR_IA32_APICBASE) & ~MSR_IA32_APICBASE_ENABLE;
		if (change == ENABLE_APIC)
			apic_base |= MSR_IA32_APICBASE_ENABLE;
		wrmsr(MSR_IA32_APICBASE, apic_base);
		break;
	case SET_MWAIT:
		wrmsr(MSR_IA32_MISC_ENABLE, rdmsr(MSR_IA32_MISC_ENABLE) |
		      MSR_IA32_MISC_ENABLE_MWAIT);
		break;
	case CLEAR_MWAIT:
		wrmsr(MSR_IA32_MISC_ENABLE, rdmsr(MSR_IA32_MISC_ENABLE) &
		      ~MSR_IA32_MISC_ENABLE_MWAIT);
		break;
	}
}

static void guest(void)
{
	struct kvmi_vcpu_get_cpuid_reply *reply;
	unsigned int i;
	u64 order = 0;

	for (;;) {
		while (READ_ONCE(ordered) == order)
			WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		order++;
		barrier();
		guest_change();
		for (i = 0; i < NR_LEAVES; i++) {
			reply = &seen[i];
			__cpuid(leaves[i].function, leaves[i].index, &reply->eax,
				&reply->ebx, &reply->ecx, &reply->edx);
		}
		WRITE_ONCE(done, order);
	}
}

KVMI_SUITE_OF(kvmi_cpuid, vm_create_with_vcpus(1, guest, f->vcpus),
	      kvmi_hook(&f->kvmi, f->vm));

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

/* The table that vcpu_get_cpuid() read. */
static bool has_leaf(struct kvmi_fixture *f, const struct leaf *leaf)
{
	const struct kvm_cpuid_entry2 *e;
	unsigned int i;

	for (i = 0; i < f->vcpu->cpuid->nent; i++) {
		e = &f->vcpu->cpuid->entries[i];
		if (e->function == leaf->function && e->index == leaf->index)
			return true;
	}
	return false;
}

static void start(struct kvmi_fixture *f)
{
	vcpu_get_cpuid(f->vcpu);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_CPUID, 1),
			0);
}

static struct kvmi_vcpu_get_cpuid_reply *guest_saw(struct kvmi_fixture *f,
						   unsigned int leaf)
{
	return addr_gva2hva(f->vm, (gva_t)&seen[leaf]);
}

/*
 * Has the guest make a change and ask for each leaf.  The tool asks in the event
 * of each CPUID, which is before KVM answers the guest, and gets the same.
 */
static void compare(struct kvmi_fixture *f, enum change what)
{
	u64 *order = addr_gva2hva(f->vm, (gva_t)&ordered);
	u64 *ready = addr_gva2hva(f->vm, (gva_t)&done);
	struct kvmi_vcpu_get_cpuid_reply told[NR_LEAVES], *got;
	bool has[NR_LEAVES];
	const struct kvmi_vcpu_event_cpuid *cpuid;
	struct kvmi_event ev;
	unsigned int i;

	*(u64 *)addr_gva2hva(f->vm, (gva_t)&change) = what;
	WRITE_ONCE(*order, *order + 1);
	for (i = 0; i < NR_LEAVES; i++) {
		kvmi_recv_this(&f->kvmi, &ev, KVMI_VCPU_EVENT_CPUID,
			       sizeof(*cpuid));
		cpuid = (const void *)ev.specific;
		TEST_ASSERT_EQ(cpuid->function, leaves[i].function);
		TEST_ASSERT_EQ(cpuid->index, leaves[i].index);
		has[i] = has_leaf(f, &leaves[i]);
		kvmi_assert_err(get_cpuid(&f->kvmi, leaves[i].function,
					  leaves[i].index, &told[i]),
				has[i] ? 0 : -KVMI_ENOENT);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_wait_until(READ_ONCE(*ready) == READ_ONCE(*order));
	got = addr_gva2hva(f->vm, (gva_t)seen);
	for (i = 0; i < NR_LEAVES; i++)
		TEST_ASSERT(!has[i] || !memcmp(&got[i], &told[i], sizeof(told[i])),
			    "Change %u, leaf %#x.%u: the tool was told %#x %#x %#x %#x, the guest %#x %#x %#x %#x",
			    what, leaves[i].function, leaves[i].index,
			    told[i].eax, told[i].ebx, told[i].ecx, told[i].edx,
			    got[i].eax, got[i].ebx, got[i].ecx, got[i].edx);
}

static bool osxsave(struct kvmi_fixture *f)
{
	return guest_saw(f, 0)->ecx & BIT(X86_FEATURE_OSXSAVE.bit);
}

KVMI_TEST(kvmi_cpuid, guest_changes_osxsave)
{
	unsigned int i;

	if (!kvm_cpu_has(X86_FEATURE_XSAVE))
		SKIP(return, "the guest has no XSAVE");
	start(f);
	for (i = 0; i < 3; i++) {
		compare(f, CLEAR_OSXSAVE);
		TEST_ASSERT(!osxsave(f), "OSXSAVE stays");
		compare(f, SET_OSXSAVE);
		TEST_ASSERT(osxsave(f), "OSXSAVE does not come");
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_cpuid, guest_changes_pke)
{
	const u32 ospke = BIT(X86_FEATURE_OSPKE.bit);

	if (!kvm_cpu_has(X86_FEATURE_PKU))
		SKIP(return, "the guest has no protection keys");
	start(f);
	compare(f, SET_PKE);
	TEST_ASSERT(guest_saw(f, 1)->ecx & ospke, "OSPKE does not come");
	compare(f, CLEAR_PKE);
	TEST_ASSERT(!(guest_saw(f, 1)->ecx & ospke), "OSPKE stays");
	kvmi_stop(&f->runner);
}

/* The sizes in leaf 0xD. */
KVMI_TEST(kvmi_cpuid, guest_changes_extended_state)
{
	u32 less;

	if (!(kvm_cpu_property(X86_PROPERTY_SUPPORTED_XCR0_LO) &
	      XFEATURE_MASK_YMM))
		SKIP(return, "the guest has no AVX");
	start(f);
	compare(f, SET_OSXSAVE);
	compare(f, CLEAR_XCR0);
	less = guest_saw(f, 2)->ebx;
	compare(f, SET_XCR0);
	TEST_ASSERT(guest_saw(f, 2)->ebx > less, "The size stays %u", less);
	compare(f, CLEAR_XCR0);
	TEST_ASSERT_EQ(guest_saw(f, 2)->ebx, less);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_cpuid, guest_changes_supervisor_state)
{
	if (!kvm_cpu_has(X86_FEATURE_XSAVES) || !kvm_cpu_has(X86_FEATURE_SHSTK))
		SKIP(return, "the guest has no supervisor state");
	start(f);
	compare(f, SET_XSS);
	compare(f, CLEAR_XSS);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_cpuid, guest_switches_apic)
{
	const u32 apic = BIT(X86_FEATURE_APIC.bit);

	start(f);
	compare(f, DISABLE_APIC);
	TEST_ASSERT(!(guest_saw(f, 0)->edx & apic), "The APIC stays");
	compare(f, ENABLE_APIC);
	TEST_ASSERT(guest_saw(f, 0)->edx & apic, "The APIC does not come");
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_cpuid, guest_switches_mwait)
{
	const u32 mwait = BIT(X86_FEATURE_MWAIT.bit);

	vm_enable_cap(f->vm, KVM_CAP_DISABLE_QUIRKS2,
		      KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT);
	start(f);
	compare(f, SET_MWAIT);
	TEST_ASSERT(guest_saw(f, 0)->ecx & mwait, "MWAIT does not come");
	compare(f, CLEAR_MWAIT);
	TEST_ASSERT(!(guest_saw(f, 0)->ecx & mwait), "MWAIT stays");
	kvmi_stop(&f->runner);
}

/* The VMM's bits that follow the guest's state count for nothing. */
KVMI_TEST(kvmi_cpuid, vmm_sets_cpuid)
{
	struct kvm_cpuid_entry2 *e;

	if (!kvm_cpu_has(X86_FEATURE_XSAVE))
		SKIP(return, "the guest has no XSAVE");
	vcpu_get_cpuid(f->vcpu);
	e = vcpu_get_cpuid_entry(f->vcpu, 1);
	e->ecx ^= BIT(X86_FEATURE_OSXSAVE.bit);
	e->edx ^= BIT(X86_FEATURE_APIC.bit);
	e->ebx ^= 0xff00;
	vcpu_set_cpuid(f->vcpu);
	start(f);
	compare(f, NOTHING);
	compare(f, CLEAR_OSXSAVE);
	compare(f, SET_OSXSAVE);
	kvmi_stop(&f->runner);
}

/* What the VMM does to the guest's state is seen, too. */
KVMI_TEST(kvmi_cpuid, vmm_sets_cr4)
{
	struct kvm_sregs sregs;
	unsigned int i;

	if (!kvm_cpu_has(X86_FEATURE_XSAVE))
		SKIP(return, "the guest has no XSAVE");
	start(f);
	compare(f, SET_OSXSAVE);
	for (i = 0; i < 4; i++) {
		kvmi_stop(&f->runner);
		vcpu_sregs_get(f->vcpu, &sregs);
		sregs.cr4 ^= X86_CR4_OSXSAVE;
		vcpu_sregs_set(f->vcpu, &sregs);
		kvmi_start(&f->runner, f->vcpu);
		compare(f, NOTHING);
		TEST_ASSERT_EQ(osxsave(f), !!(sregs.cr4 & X86_CR4_OSXSAVE));
	}
	kvmi_stop(&f->runner);
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
