// SPDX-License-Identifier: GPL-2.0
/*
 * What KVM accesses for a guest, past the guest's page tables and the MMU.
 *
 * Two layers keep it from restricted frames.  An instruction asks the tool for
 * what KVM will access because of it, before it has done anything; the table of
 * MSRs is here, other instructions ask where they are handled.  Below that each
 * accessor of KVM refuses what is not allowed, as if there were no memory: that
 * takes no lock, never sleeps, and is counted.
 */
#include <linux/kvm_host.h>
#include <linux/kvm_para.h>
#include <linux/kvmi_host.h>

#include <asm/mshyperv.h>
#include <asm/pvclock-abi.h>

#include "x86.h"
#include "cpuid.h"
#include "hyperv.h"
#include "kvm_emulate.h"
#include "regs.h"
#include "mmu.h"
#include "mmu/mmu_internal.h"
#include "mmu/spte.h"
#include "msrs.h"
#include "xen.h"

#include "own_access.h"
#include "pages.h"

/* Returns whether the tool let the guest's own guest be entered with this frame. */
static bool kvmi_is_kept(struct kvm_vcpu *vcpu, gfn_t gfn)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	unsigned int i;

	for (i = 0; wishes && i < wishes->nr_kept; i++)
		if (wishes->kept[i] == gfn)
			return true;

	return false;
}

bool __kvmi_is_refused(struct kvm *kvm, gfn_t gfn, unsigned int access)
{
	struct kvm_vcpu *vcpu;

	if (!(kvmi_denied(kvm) & access) ||
	    !(access & ~kvmi_store_allows(kvm, gfn)))
		return false;

	/* An interrupt has nothing of the vCPU that it came upon. */
	vcpu = in_task() ? kvm_get_running_vcpu() : NULL;
	if (!vcpu || vcpu->kvm != kvm)
		return true;

	return access & ~__kvmi_allowed(vcpu, gfn, true) &&
	       !kvmi_is_kept(vcpu, gfn);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_is_refused);

bool __kvmi_refuses(struct kvm *kvm, gfn_t gfn, unsigned int access)
{
	if (!__kvmi_is_refused(kvm, gfn, access))
		return false;

	atomic64_inc(&kvm->stat.kvmi_refused_accesses);
	return true;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_refuses);

bool __kvmi_is_range_refused(struct kvm *kvm, gpa_t gpa, unsigned int bytes,
			     unsigned int access)
{
	gfn_t gfn;

	for (gfn = gpa_to_gfn(gpa); gfn <= gpa_to_gfn(gpa + bytes - 1); gfn++)
		if (__kvmi_is_refused(kvm, gfn, access))
			return true;

	return false;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_is_range_refused);

/*
 * What KVM keeps of these frames is looked at anew: cached translations, and
 * the pages that hardware writes while a guest's own guest runs.
 */
void kvmi_access_changed(struct kvm *kvm, const gfn_t *gfns, unsigned int nr)
{
	struct kvm_vcpu *vcpu;
	bool nested = false;
	unsigned long i;

	gfn_to_pfn_cache_invalidate_gfns(kvm, gfns, nr);

	kvm_for_each_vcpu(i, vcpu, kvm)
		nested |= is_guest_mode(vcpu);
	/* SVM has no such pages, and maps what it needs when it needs it. */
	if (nested && boot_cpu_has(X86_FEATURE_VMX))
		kvm_make_all_cpus_request(kvm, KVM_REQ_GET_NESTED_STATE_PAGES |
					       KVM_REQUEST_WAIT);
}

void __kvmi_keep_until_exit(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int bytes)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	gfn_t gfn;

	if (!wishes || !bytes)
		return;

	for (gfn = gpa_to_gfn(gpa); gfn <= gpa_to_gfn(gpa + bytes - 1); gfn++) {
		if (kvmi_store_allows(vcpu->kvm, gfn) ==
		    __kvmi_allowed(vcpu, gfn, true) || kvmi_is_kept(vcpu, gfn))
			continue;
		/* What has no room is refused when it comes. */
		if (wishes->nr_kept < KVMI_MAX_KEPT)
			wishes->kept[wishes->nr_kept++] = gfn;
	}
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_keep_until_exit);

/* The memory that KVM accesses because of a write to an MSR. */
struct kvmi_msr_access {
	gpa_t gpa;
	unsigned int bytes;
	unsigned int access;
};

#ifdef CONFIG_KVM_HYPERV
static void kvmi_hyperv_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data,
			    struct kvmi_msr_access *to)
{
	struct kvm_hv *hv = to_kvm_hv(vcpu->kvm);
	struct kvm_vcpu_hv_synic *synic;

	if (!vcpu->arch.hyperv_enabled || !to_hv_vcpu(vcpu))
		return;

	switch (msr) {
	case HV_X64_MSR_HYPERCALL:
		if (!hv->hv_guest_os_id || !(data & HV_X64_MSR_HYPERCALL_ENABLE))
			return;
		to->gpa = data & HV_X64_MSR_HYPERCALL_PAGE_ADDRESS_MASK;
		to->bytes = PAGE_SIZE;
		to->access = KVMI_PAGE_ACCESS_W;
		return;
	case HV_X64_MSR_REFERENCE_TSC:
		if (!(data & HV_X64_MSR_TSC_REFERENCE_ENABLE))
			return;
		to->gpa = gfn_to_gpa(data >> HV_X64_MSR_TSC_REFERENCE_ADDRESS_SHIFT);
		to->bytes = sizeof(struct ms_hyperv_tsc_page);
		break;
	case HV_X64_MSR_VP_ASSIST_PAGE:
		if (!(data & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE))
			return;
		to->gpa = gfn_to_gpa(data >> HV_X64_MSR_VP_ASSIST_PAGE_ADDRESS_SHIFT);
		to->bytes = sizeof(struct hv_vp_assist_page);
		break;
	case HV_X64_MSR_SIMP:
	case HV_X64_MSR_SIEFP:
		BUILD_BUG_ON(HV_SYNIC_SIMP_ENABLE != HV_SYNIC_SIEFP_ENABLE);
		synic = to_hv_synic(vcpu);
		if (!synic->active || !(data & HV_SYNIC_SIMP_ENABLE))
			return;
		to->gpa = data & PAGE_MASK;
		to->bytes = PAGE_SIZE;
		break;
	default:
		return;
	}
	to->access = KVMI_ACCESS_RW;
}
#else
static void kvmi_hyperv_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data,
			    struct kvmi_msr_access *to)
{
}
#endif

#ifdef CONFIG_KVM_XEN
static bool kvmi_xen_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data,
			 struct kvmi_msr_access *to)
{
	u32 page_msr = vcpu->kvm->arch.xen.hvm_config.msr;

	if (!page_msr || msr != page_msr)
		return false;

	to->gpa = data & PAGE_MASK;
	to->bytes = PAGE_SIZE;
	to->access = KVMI_PAGE_ACCESS_W;
	return true;
}
#else
static bool kvmi_xen_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data,
			 struct kvmi_msr_access *to)
{
	return false;
}
#endif

/* False: the guest has no such feature, or the value enables nothing. */
static bool kvmi_pv_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data,
			struct kvmi_msr_access *to)
{
	unsigned int feature;
	u64 enabled = data;

	switch (msr) {
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		feature = msr == MSR_KVM_WALL_CLOCK ? KVM_FEATURE_CLOCKSOURCE :
						      KVM_FEATURE_CLOCKSOURCE2;
		to->gpa = data;
		to->bytes = sizeof(struct pvclock_wall_clock);
		break;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		feature = msr == MSR_KVM_SYSTEM_TIME ? KVM_FEATURE_CLOCKSOURCE :
						       KVM_FEATURE_CLOCKSOURCE2;
		to->gpa = data & ~1ull;
		to->bytes = sizeof(struct pvclock_vcpu_time_info);
		enabled &= 1;
		break;
	case MSR_KVM_STEAL_TIME:
		feature = KVM_FEATURE_STEAL_TIME;
		to->gpa = data & KVM_STEAL_VALID_BITS;
		to->bytes = sizeof(struct kvm_steal_time);
		enabled &= KVM_MSR_ENABLED;
		break;
	case MSR_KVM_ASYNC_PF_EN:
		feature = KVM_FEATURE_ASYNC_PF;
		to->gpa = data & ~0x3full;
		to->bytes = sizeof(u64);
		enabled &= KVM_ASYNC_PF_ENABLED;
		break;
	case MSR_KVM_PV_EOI_EN:
		feature = KVM_FEATURE_PV_EOI;
		to->gpa = data & ~(u64)KVM_MSR_ENABLED;
		to->bytes = sizeof(u8);
		enabled &= KVM_MSR_ENABLED;
		break;
	default:
		return false;
	}
	to->access = KVMI_ACCESS_RW;
	return enabled && guest_pv_has(vcpu, feature);
}

bool __kvmi_may_write_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	struct kvmi_msr_access to = {};

	/* What the VMM's filter takes is no access by KVM. */
	if (!kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE))
		return true;

	if (!kvmi_xen_msr(vcpu, msr, data, &to) &&
	    !kvmi_pv_msr(vcpu, msr, data, &to)) {
		to.access = 0;
		kvmi_hyperv_msr(vcpu, msr, data, &to);
	}

	return !to.access || kvmi_may_access_gpa(vcpu, to.gpa, to.bytes, to.access);
}

bool __kvmi_may_hypercall(struct kvm_vcpu *vcpu)
{
	bool wide = is_64_bit_hypercall(vcpu);
	u64 nr = wide ? kvm_rax_read_raw(vcpu) : kvm_eax_read(vcpu);
	gpa_t gpa = wide ? kvm_rbx_read_raw(vcpu) : kvm_ebx_read(vcpu);

	if (nr != KVM_HC_CLOCK_PAIRING || kvm_x86_call(get_cpl)(vcpu))
		return true;

	return kvmi_may_access_gpa(vcpu, gpa, sizeof(struct kvm_clock_pairing),
				   KVMI_PAGE_ACCESS_W);
}
