// SPDX-License-Identifier: GPL-2.0
/*
 * The x86 half of the glue: a vCPU seen from its own thread, inside KVM_RUN
 * and with its state loaded.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/nospec.h>

#include "x86.h"
#include "cpuid.h"
#include "lapic.h"
#include "mmu.h"
#include "msrs.h"
#include "fpu.h"
#include "regs.h"

#include "hooks.h"

bool kvmi_vm_is_protected(struct kvm *kvm)
{
	return kvm->arch.vm_type != KVM_X86_DEFAULT_VM ||
	       kvm->arch.has_protected_state || kvm_arch_has_private_mem(kvm);
}

/* The index was checked against the number of vCPUs, which never shrinks. */
void kvmi_vm_kick(struct kvm *kvm, __u32 index, bool wait)
{
	u32 online = atomic_read(&kvm->online_vcpus);
	struct kvm_vcpu *vcpu;

	if (index >= online)
		return;

	vcpu = kvm_get_vcpu(kvm, array_index_nospec(index, online));
	if (!vcpu)
		return;

	/* UNBLOCK wakes the thread of a halted vCPU without ending its HLT. */
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
	kvm_make_request(KVM_REQ_UNBLOCK, vcpu);
	__kvm_vcpu_kick(vcpu, wait);
}

struct kvm *kvmi_vcpu_vm(struct kvm_vcpu *vcpu)
{
	return vcpu->kvm;
}

__u32 kvmi_vcpu_index(struct kvm_vcpu *vcpu)
{
	return vcpu->vcpu_idx;
}

void kvmi_vcpu_request(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
}

bool kvmi_vcpu_take_request(struct kvm_vcpu *vcpu)
{
	return kvm_check_request(KVM_REQ_INTROSPECTION, vcpu);
}

/* Has the vCPU got INIT, and is it about to act on it? */
bool kvmi_vcpu_has_init(struct kvm_vcpu *vcpu)
{
	return lapic_in_kernel(vcpu) &&
	       test_bit(KVM_APIC_INIT, &vcpu->arch.apic->pending_events) &&
	       kvm_apic_init_sipi_allowed(vcpu);
}

/* The VMM's ioctls after which the registers that a tool saw are stale. */
bool kvmi_ioctl_writes_state(unsigned int ioctl)
{
	switch (ioctl) {
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
	case KVM_SET_SREGS2:
	case KVM_SET_MSRS:
	case KVM_SET_VCPU_EVENTS:
	case KVM_SET_MP_STATE:
	case KVM_SET_NESTED_STATE:
	case KVM_SET_XSAVE:
	case KVM_SET_FPU:
	case KVM_SET_XCRS:
	case KVM_SET_DEBUGREGS:
		return true;
	default:
		return false;
	}
}

void kvmi_vcpu_exit_shutdown(struct kvm_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
}

void kvmi_vcpu_exit_intr(struct kvm_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_INTR;
	++vcpu->stat.signal_exits;
}

__u64 kvmi_vcpu_tsc_hz(struct kvm_vcpu *vcpu)
{
	if (!kvm_caps.has_tsc_control)
		return 0;

	return 1000ull * vcpu->arch.virtual_tsc_khz;
}

void kvmi_vcpu_get_regs(struct kvm_vcpu *vcpu, struct kvm_regs *regs)
{
	kvm_vcpu_get_regs(vcpu, regs);
}

/* Unlike KVM_SET_REGS this leaves pending exceptions alone. */
void kvmi_vcpu_set_regs(struct kvm_vcpu *vcpu, const struct kvm_regs *regs)
{
	kvm_vcpu_set_regs(vcpu, regs);
}

void kvmi_vcpu_get_sregs(struct kvm_vcpu *vcpu, struct kvm_sregs *sregs)
{
	memset(sregs, 0, sizeof(*sregs));
	kvm_vcpu_get_sregs(vcpu, sregs);
}

/* The size of an address in the current code segment, in bytes. */
__u8 kvmi_vcpu_mode(struct kvm_vcpu *vcpu)
{
	struct kvm_segment cs;

	kvm_get_segment(vcpu, &cs, VCPU_SREG_CS);
	if (is_long_mode(vcpu) && cs.l)
		return 8;

	return cs.db ? 4 : 2;
}

int kvmi_vcpu_get_msr(struct kvm_vcpu *vcpu, __u32 index, __u64 *data)
{
	/*
	 * SVM warns of a read by the host inside KVM_RUN: what it would give
	 * is L1's PAT, and that is here.
	 */
	if (index == MSR_IA32_CR_PAT) {
		*data = vcpu->arch.pat;
		return 0;
	}

	return kvm_msr_read(vcpu, index, data) ? -EINVAL : 0;
}

static __u64 kvmi_read_msr_or_0(struct kvm_vcpu *vcpu, __u32 index)
{
	__u64 data;

	return kvmi_vcpu_get_msr(vcpu, index, &data) ? 0 : data;
}

void kvmi_vcpu_get_event_msrs(struct kvm_vcpu *vcpu,
			      struct kvmi_vcpu_event_arch_msrs *msrs)
{
	msrs->sysenter_cs = kvmi_read_msr_or_0(vcpu, MSR_IA32_SYSENTER_CS);
	msrs->sysenter_esp = kvmi_read_msr_or_0(vcpu, MSR_IA32_SYSENTER_ESP);
	msrs->sysenter_eip = kvmi_read_msr_or_0(vcpu, MSR_IA32_SYSENTER_EIP);
	msrs->efer = kvmi_read_msr_or_0(vcpu, MSR_EFER);
	msrs->star = kvmi_read_msr_or_0(vcpu, MSR_STAR);
	msrs->lstar = kvmi_read_msr_or_0(vcpu, MSR_LSTAR);
	msrs->cstar = kvmi_read_msr_or_0(vcpu, MSR_CSTAR);
	msrs->pat = kvmi_read_msr_or_0(vcpu, MSR_IA32_CR_PAT);
	msrs->shadow_gs = kvmi_read_msr_or_0(vcpu, MSR_KERNEL_GS_BASE);
}

bool kvmi_vcpu_get_cpuid(struct kvm_vcpu *vcpu, __u32 function, __u32 index,
			 struct kvmi_vcpu_get_cpuid_reply *reply)
{
	struct kvm_cpuid_entry2 *e;

	e = kvm_find_cpuid_entry_index(vcpu, function, index);
	if (!e)
		return false;

	reply->eax = e->eax;
	reply->ebx = e->ebx;
	reply->ecx = e->ecx;
	reply->edx = e->edx;
	return true;
}

__u64 kvmi_vcpu_xcr0(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.xcr0;
}

__u64 kvmi_vcpu_translate(struct kvm_vcpu *vcpu, __u64 gva)
{
	return kvm_mmu_gva_to_gpa_system(vcpu, gva, NULL);
}

int kvmi_vcpu_get_xsave(struct kvm_vcpu *vcpu, void *area)
{
	int r;

	if (vcpu->arch.guest_fpu.uabi_size > sizeof(struct kvm_xsave))
		return -EOPNOTSUPP;

	/* The guest's state is in the registers while KVM_RUN runs. */
	kvm_put_guest_fpu(vcpu);
	r = kvm_vcpu_ioctl_x86_get_xsave(vcpu, area);
	kvm_load_guest_fpu(vcpu);

	return r;
}

/* -EINVAL: not a state that KVM would load; -ENOMEM; -EOPNOTSUPP: too large. */
int kvmi_vcpu_set_xsave(struct kvm_vcpu *vcpu, const void *area)
{
	struct kvm_xsave *copy;
	int r;

	if (vcpu->arch.guest_fpu.uabi_size > sizeof(*copy))
		return -EOPNOTSUPP;

	/* KVM changes what it is given. */
	copy = kmemdup(area, sizeof(*copy), GFP_KERNEL_ACCOUNT);
	if (!copy)
		return -ENOMEM;

	kvm_put_guest_fpu(vcpu);
	r = kvm_vcpu_ioctl_x86_set_xsave(vcpu, copy);
	kvm_load_guest_fpu(vcpu);

	kfree(copy);
	return r;
}

void kvmi_vcpu_get_mtrrs(struct kvm_vcpu *vcpu, struct kvmi_mtrrs *mtrrs)
{
	struct kvm_mtrr *state = &vcpu->arch.mtrr_state;

	BUILD_BUG_ON(sizeof(mtrrs->variable) != sizeof(state->var));
	BUILD_BUG_ON(sizeof(mtrrs->fixed) != sizeof(state->fixed_64k) +
		     sizeof(state->fixed_16k) + sizeof(state->fixed_4k));

	memcpy(mtrrs->variable, state->var, sizeof(mtrrs->variable));
	mtrrs->fixed[0] = state->fixed_64k;
	memcpy(&mtrrs->fixed[1], state->fixed_16k, sizeof(state->fixed_16k));
	memcpy(&mtrrs->fixed[3], state->fixed_4k, sizeof(state->fixed_4k));
	mtrrs->deftype = state->deftype;
	mtrrs->present = guest_cpu_cap_has(vcpu, X86_FEATURE_MTRR);
}

__u64 kvmi_vcpu_rip(struct kvm_vcpu *vcpu)
{
	return kvm_rip_read(vcpu);
}

__u64 kvmi_vcpu_linear_rip(struct kvm_vcpu *vcpu)
{
	return kvm_get_linear_rip(vcpu);
}

__u64 kvmi_vcpu_cr3(struct kvm_vcpu *vcpu)
{
	return kvm_read_cr3(vcpu);
}

/* Made at the first wish, by the vCPU's thread. */
static struct kvmi_wishes *kvmi_wishes(struct kvm_vcpu *vcpu)
{
	if (!vcpu->arch.kvmi)
		vcpu->arch.kvmi = kvzalloc_obj(*vcpu->arch.kvmi,
					       GFP_KERNEL_ACCOUNT);

	return vcpu->arch.kvmi;
}

static void kvmi_reprogram(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_RECALC_INTERCEPTS, vcpu);
	kvm_x86_call(update_exception_bitmap)(vcpu);
}

int kvmi_vcpu_want_event(struct kvm_vcpu *vcpu, __u16 event, bool want)
{
	struct kvmi_wishes *wishes = kvmi_wishes(vcpu);

	if (!wishes)
		return -ENOMEM;

	switch (event) {
	case KVMI_VCPU_EVENT_BREAKPOINT:
		if (vcpu->guest_debug & KVM_GUESTDBG_USE_SW_BP)
			return -EBUSY;
		if (want == !!(wishes->events & BIT(event)))
			return -EBUSY;
		break;
	case KVMI_VCPU_EVENT_DESCRIPTOR:
		if (!kvm_caps.has_descriptor_intercepts)
			return -EOPNOTSUPP;
		break;
	}

	__assign_bit(event, &wishes->events, want);
	kvmi_reprogram(vcpu);
	return 0;
}

int kvmi_vcpu_want_cr(struct kvm_vcpu *vcpu, __u8 cr, bool want)
{
	struct kvmi_wishes *wishes = kvmi_wishes(vcpu);

	if (!wishes)
		return -ENOMEM;

	__assign_bit(cr, &wishes->crs, want);
	kvmi_reprogram(vcpu);
	return 0;
}

int kvmi_vcpu_want_msr(struct kvm_vcpu *vcpu, __u32 msr, bool want)
{
	struct kvmi_wishes *wishes;
	int bit = kvmi_msr_bit(msr);

	if (bit < 0)
		return -EINVAL;
	if (want && !kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE))
		return -EPERM;

	wishes = kvmi_wishes(vcpu);
	if (!wishes)
		return -ENOMEM;

	__assign_bit(array_index_nospec(bit, 2 * KVMI_MSRS), wishes->msrs, want);
	kvmi_reprogram(vcpu);
	return 0;
}

/*
 * An answered event waits until the guest does the same again.  It does so at
 * once, unless somebody changed the instruction: a guest that has run and is
 * elsewhere, or that has left so often without it, will not.
 */
#define KVMI_HOLD_EXITS	1000

void kvmi_vcpu_hold(struct kvm_vcpu *vcpu, bool hold)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes || wishes->hold == hold)
		return;

	wishes->hold = hold;
	wishes->hold_exits = vcpu->stat.exits;
	if (!hold)
		kvm_make_request(KVM_REQ_EVENT, vcpu);
}

enum kvmi_hold kvmi_vcpu_held(struct kvm_vcpu *vcpu, __u64 rip)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	u64 exits;

	if (!wishes || !wishes->hold)
		return KVMI_HOLD_NONE;

	exits = vcpu->stat.exits - wishes->hold_exits;
	if ((exits && kvm_rip_read(vcpu) != rip) || exits > KVMI_HOLD_EXITS)
		return KVMI_HOLD_MISSED;

	return KVMI_HOLD_ON;
}

/*
 * A session is over.  What it wanted of this vCPU is given back, or kept; what
 * was under way is forgotten in any case.
 */
void kvmi_vcpu_release(struct kvm_vcpu *vcpu, bool keep)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes)
		return;

	wishes->moved = false;
	wishes->crash = false;
	wishes->injected = false;
	kvmi_vcpu_hold(vcpu, false);
	if (keep || !wishes->owner)
		return;

	wishes->events = 0;
	wishes->crs = 0;
	bitmap_zero(wishes->msrs, 2 * KVMI_MSRS);
	wishes->owner = 0;
	kvmi_reprogram(vcpu);
}

void kvmi_vcpu_note_moved(struct kvm_vcpu *vcpu, bool moved)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->moved = moved;
}

/* The run loop is told at its next turn. */
void kvmi_vcpu_note_crash(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->crash = true;
	kvm_make_request(KVM_REQ_INTROSPECTION, vcpu);
}

bool kvmi_vcpu_take_crash(struct kvm_vcpu *vcpu)
{
	bool crash = vcpu->arch.kvmi && vcpu->arch.kvmi->crash;

	if (crash)
		vcpu->arch.kvmi->crash = false;
	return crash;
}

/*
 * Queue an exception for the next entry, unless another event must be injected
 * first: then that one is told of.
 */
bool kvmi_vcpu_inject(struct kvm_vcpu *vcpu, const struct kvmi_injection *wanted,
		      struct kvmi_injection *done)
{
	struct kvm_queued_exception *ex = &vcpu->arch.exception;

	/* The tool is told when the guest has been entered with it. */
	vcpu->arch.kvmi->injected = true;
	vcpu->arch.kvmi->injected_exits = vcpu->stat.exits;
	kvm_make_request(KVM_REQ_EVENT, vcpu);

	*done = *wanted;
	if (ex->injected || ex->pending) {
		done->nr = ex->vector;
		done->error_code = ex->has_error_code ? ex->error_code : 0;
		return false;
	}
	if (vcpu->arch.nmi_injected) {
		done->nr = NMI_VECTOR;
		done->error_code = 0;
		return false;
	}
	if (vcpu->arch.interrupt.injected) {
		done->nr = vcpu->arch.interrupt.nr;
		done->error_code = 0;
		return false;
	}

	/* As if INT3 or INTO were at RIP. */
	if (wanted->nr == BP_VECTOR || wanted->nr == OF_VECTOR)
		vcpu->arch.event_exit_inst_len = 1;

	if (wanted->nr == PF_VECTOR)
		kvm_queue_exception_e_p(vcpu, PF_VECTOR, wanted->error_code,
					wanted->address);
	else if (x86_exception_has_error_code(wanted->nr))
		kvm_queue_exception_e(vcpu, wanted->nr, wanted->error_code);
	else
		kvm_queue_exception(vcpu, wanted->nr);

	if (!x86_exception_has_error_code(wanted->nr))
		done->error_code = 0;
	return true;
}

/*
 * Has the guest got what kvmi_vcpu_inject() queued?  It may have been left in
 * the middle of the delivery, which then begins anew.
 */
bool kvmi_vcpu_was_injected(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	return wishes && wishes->injected &&
	       vcpu->stat.exits != wishes->injected_exits &&
	       !vcpu->arch.exception.pending && !vcpu->arch.exception.injected;
}

void kvmi_vcpu_told(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->injected = false;
}

/* Must the run loop come to us although nobody asked? */
bool kvmi_vcpu_is_due(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (!wishes)
		return false;

	if (wishes->stale && !is_guest_mode(vcpu)) {
		wishes->stale = false;
		kvmi_reprogram(vcpu);
	}

	return wishes->hold || kvmi_vcpu_was_injected(vcpu);
}

/* What an earlier session wanted is not what this one wants. */
void kvmi_vcpu_adopt(struct kvm_vcpu *vcpu, __u64 owner)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	if (wishes && wishes->owner && wishes->owner != owner)
		kvmi_vcpu_release(vcpu, false);
}

/* A command of this session ran: what is wanted now is what it wants. */
void kvmi_vcpu_claim(struct kvm_vcpu *vcpu, __u64 owner)
{
	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->owner = owner;
}

/* Number and sub-function of the call for the tool, in either calling convention. */
static bool kvmi_is_request_hypercall(struct kvm_vcpu *vcpu)
{
	if ((u32)kvm_rax_read(vcpu) != KVM_HC_XEN_HVM_OP)
		return false;

	if (is_64_bit_hypercall(vcpu))
		return kvm_rdi_read(vcpu) == KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT &&
		       !kvm_rsi_read(vcpu);

	return (u32)kvm_rbx_read(vcpu) == KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT &&
	       !(u32)kvm_rcx_read(vcpu);
}

enum kvmi_verdict __kvmi_hypercall(struct kvm_vcpu *vcpu)
{
	if (!kvmi_is_request_hypercall(vcpu))
		return KVMI_UNASKED;

	return kvmi_rs_hypercall(vcpu);
}

bool __kvmi_owns_breakpoints(struct kvm_vcpu *vcpu)
{
	return kvmi_rs_hears(vcpu, KVMI_VCPU_EVENT_BREAKPOINT);
}

enum kvmi_verdict __kvmi_breakpoint(struct kvm_vcpu *vcpu, u8 insn_len)
{
	return kvmi_rs_breakpoint(vcpu, insn_len);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_breakpoint);

/* The bit of CR3 that asks for no flush is no part of its value. */
#define KVMI_CR3_NOFLUSH	BIT_ULL(63)

enum kvmi_verdict __kvmi_cr(struct kvm_vcpu *vcpu, int cr, unsigned long *val)
{
	u64 old, new = *val, asked;
	enum kvmi_verdict verdict;

	switch (cr) {
	case 0:
		old = kvm_read_cr0(vcpu);
		break;
	case 3:
		old = kvm_read_cr3(vcpu);
		new &= ~KVMI_CR3_NOFLUSH;
		break;
	case 4:
		old = kvm_read_cr4(vcpu);
		break;
	default:
		return KVMI_PROCEED;
	}
	if (old == new)
		return KVMI_PROCEED;

	asked = new;
	verdict = kvmi_rs_cr(vcpu, cr, old, &new);
	if (new != asked)
		*val = new;
	return verdict;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_cr);

enum kvmi_verdict __kvmi_xsetbv(struct kvm_vcpu *vcpu, u64 val)
{
	return kvmi_rs_xsetbv(vcpu, vcpu->arch.xcr0, val);
}

enum kvmi_verdict __kvmi_descriptor(struct kvm_vcpu *vcpu, u8 which, bool write)
{
	return kvmi_rs_descriptor(vcpu, which, write);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvmi_descriptor);

enum kvmi_verdict __kvmi_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *val)
{
	u64 old;

	/* The VMM's filter comes first: what it takes is none of ours. */
	if (!kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE) ||
	    kvmi_vcpu_get_msr(vcpu, msr, &old) || old == *val)
		return KVMI_PROCEED;

	return kvmi_rs_msr(vcpu, msr, old, val);
}

enum kvmi_verdict __kvmi_cpuid(struct kvm_vcpu *vcpu, u8 insn_len)
{
	return kvmi_rs_cpuid(vcpu, kvm_eax_read(vcpu), kvm_ecx_read(vcpu),
			     insn_len);
}

void __kvmi_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	kvfree(vcpu->arch.kvmi);
	vcpu->arch.kvmi = NULL;
}
