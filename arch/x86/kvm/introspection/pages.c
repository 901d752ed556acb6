// SPDX-License-Identifier: GPL-2.0
/*
 * Guest pages that a tool restricts: what frames allow, and who is asked about
 * an access that is denied.  How it is let through is in views.c.
 */
#include <linux/kvm_host.h>
#include <linux/kvmi_host.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "x86.h"
#include "kvm_emulate.h"
#include "regs.h"
#include "mmu.h"
#include "mmu/mmu_internal.h"
#include "mmu/spte.h"

#include "own_access.h"
#include "pages.h"

/* What the store says of a frame. */
static unsigned int kvmi_load_access(struct kvm *kvm, gfn_t gfn)
{
	struct kvmi_store *store;
	void *entry;

	guard(rcu)();

	store = rcu_dereference(kvm->arch.kvmi_pages->store);
	entry = store ? xa_load(&store->access, gfn) : NULL;
	return entry ? xa_to_value(entry) : KVMI_ALL_ACCESS;
}

unsigned int kvmi_store_allows(struct kvm *kvm, gfn_t gfn)
{
	return kvmi_has_pages(kvm) ? kvmi_load_access(kvm, gfn) : KVMI_ALL_ACCESS;
}

unsigned int __kvmi_allowed(struct kvm_vcpu *vcpu, gfn_t gfn, bool granted)
{
	unsigned int allowed = kvmi_load_access(vcpu->kvm, gfn);

	return allowed != KVMI_ALL_ACCESS && granted ?
	       allowed | kvmi_granted(vcpu, gfn) : allowed;
}

bool __kvmi_restricts(struct kvm *kvm, gfn_t gfn, u64 nr)
{
	unsigned long first = gfn;
	struct kvmi_store *store;

	guard(rcu)();

	store = rcu_dereference(kvm->arch.kvmi_pages->store);
	return store && xa_find(&store->access, &first, gfn + nr - 1, XA_PRESENT);
}

/* What some frame denies. */
unsigned int kvmi_denied(struct kvm *kvm)
{
	struct kvmi_pages *pages = smp_load_acquire(&kvm->arch.kvmi_pages);
	struct kvmi_store *store;

	if (!pages)
		return 0;

	guard(rcu)();

	store = rcu_dereference(pages->store);
	return store ? READ_ONCE(store->denied) : 0;
}

bool kvmi_is_restricted(struct kvm *kvm)
{
	return kvmi_denied(kvm);
}

/* Does no frame deny any of this? */
static bool kvmi_all_allow(struct kvm *kvm, unsigned int access)
{
	return !(kvmi_denied(kvm) & access);
}

static struct kvmi_pages *kvmi_make_pages(struct kvm *kvm)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;

	if (pages)
		return pages;

	pages = kzalloc_obj(*pages, GFP_KERNEL_ACCOUNT);
	if (!pages)
		return NULL;

	spin_lock_init(&pages->lock);
	init_waitqueue_head(&pages->queue);
	__set_bit(0, &pages->views_in_use);
	smp_store_release(&kvm->arch.kvmi_pages, pages);
	return pages;
}

static void kvmi_free_store(struct kvmi_store *store)
{
	xa_destroy(&store->access);
	kfree(store);
}

static void kvmi_free_store_later(struct work_struct *work)
{
	kvmi_free_store(container_of(to_rcu_work(work), struct kvmi_store, free));
}

/* Called by the one task that changes the store. */
static struct kvmi_store *kvmi_make_store(struct kvm *kvm)
{
	struct kvmi_pages *pages = kvmi_make_pages(kvm);
	struct kvmi_store *store;

	if (!pages)
		return NULL;

	store = rcu_dereference_protected(pages->store, true);
	if (store)
		return store;

	store = kzalloc_obj(*store, GFP_KERNEL_ACCOUNT);
	if (!store)
		return NULL;

	xa_init_flags(&store->access, XA_FLAGS_ACCOUNT);
	INIT_RCU_WORK(&store->free, kvmi_free_store_later);
	/* It may outlive its session. */
	kvmi_in_use_inc();

	guard(spinlock)(&pages->lock);
	rcu_assign_pointer(pages->store, store);
	return store;
}

/* Roots and interrupts of a VM with restrictions are others than those of one without. */
static void kvmi_restriction_changed(struct kvm *kvm)
{
	kvmi_update_apicv_inhibit(kvm);
	/* Each looks at its role before it enters the guest again. */
	kvm_make_all_cpus_request(kvm, KVM_REQ_INTROSPECTION);
}

static void kvmi_count_frames(struct kvm *kvm, struct kvmi_store *store, int more)
{
	store->frames += more;
	WRITE_ONCE(kvm->stat.kvmi_restricted_frames, store->frames);
}

/*
 * Can hardware express it?  -EINVAL: nothing can; -EOPNOTSUPP: not this.
 */
static int kvmi_check_access(unsigned int access)
{
	if (access & KVMI_PAGE_ACCESS_W && !(access & KVMI_PAGE_ACCESS_R))
		return -EINVAL;
	if (access == KVMI_PAGE_ACCESS_X && !kvm_caps.has_execute_only)
		return -EOPNOTSUPP;

	return 0;
}

static void kvmi_set_allowed(struct kvm *kvm, gfn_t gfn)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;
	struct kvmi_store *store;

	if (!pages)
		return;

	store = rcu_dereference_protected(pages->store, true);
	if (store && xa_erase(&store->access, gfn))
		kvmi_count_frames(kvm, store, -1);
}

/* Memory of a cgroup at its limit is refused: nobody is killed for a restriction. */
#define KVMI_GFP_STORE	(GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

/*
 * Note what a frame allows; it counts from kvmi_vm_apply_access() on.  Called by
 * the one task that runs the commands of the VM.
 */
int kvmi_vm_set_access(struct kvm *kvm, __u64 gfn, __u8 access)
{
	struct kvmi_store *store;
	bool first;
	void *old;
	int r;

	if (access == KVMI_ALL_ACCESS) {
		kvmi_set_allowed(kvm, gfn);
		return 0;
	}

	scoped_guard(srcu, &kvm->srcu) {
		if (!kvm_is_visible_gfn(kvm, gfn))
			return -EINVAL;
	}
	r = kvmi_check_access(access);
	if (r)
		return r;

	store = kvmi_make_store(kvm);
	if (!store)
		return -ENOMEM;
	if (store->frames >= READ_ONCE(kvmi_max_frames) &&
	    !xa_load(&store->access, gfn))
		return -ENOMEM;

	first = !store->denied;
	WRITE_ONCE(store->denied, store->denied | (KVMI_ALL_ACCESS & ~access));
	if (first)
		kvmi_restriction_changed(kvm);

	old = xa_store(&store->access, gfn, xa_mk_value(access), KVMI_GFP_STORE);
	if (xa_err(old))
		return -ENOMEM;
	if (!old)
		kvmi_count_frames(kvm, store, 1);
	return 0;
}

void kvmi_vm_apply_access(struct kvm *kvm, const __u64 *gfns, __u32 nr)
{
	if (!nr || !kvm->arch.kvmi_pages)
		return;

	kvm_mmu_zap_gfns(kvm, gfns, nr);
	kvmi_access_changed(kvm, gfns, nr);
	/* What was frozen may be open now. */
	wake_up_all(&kvm->arch.kvmi_pages->queue);
}

/*
 * Take the store out of a VM, if what is left there is still what the caller
 * saw.  What was narrowed is widened by the next fault, so nothing is zapped.
 */
static bool kvmi_take_store(struct kvm *kvm, enum kvmi_left seen)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;
	struct kvmi_store *store;

	scoped_guard(spinlock, &pages->lock) {
		if (pages->left != seen)
			return false;
		store = rcu_dereference_protected(pages->store, true);
		rcu_assign_pointer(pages->store, NULL);
		WRITE_ONCE(pages->left, KVMI_LEFT_NOTHING);
	}

	if (store) {
		WRITE_ONCE(kvm->stat.kvmi_restricted_frames, 0);
		kvmi_restriction_changed(kvm);
		queue_rcu_work(kvmi_wq, &store->free);
		kvmi_in_use_dec();
	}
	wake_up_all(&pages->queue);
	return true;
}

/* Nothing is restricted any more, whatever a session left. */
void kvmi_vm_release_access(struct kvm *kvm)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;

	while (pages && !kvmi_take_store(kvm, READ_ONCE(pages->left)))
		;
}

/* A session died and leaves its restrictions, as KVMI_ON_EXIT_* says. */
void kvmi_vm_leave_access(struct kvm *kvm, __u32 on_exit)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;

	/* What was lifted again leaves nothing, though it may be noted as denied. */
	if (on_exit == KVMI_ON_EXIT_RELEASE ||
	    !READ_ONCE(kvm->stat.kvmi_restricted_frames)) {
		kvmi_vm_release_access(kvm);
		return;
	}

	guard(spinlock)(&pages->lock);
	WRITE_ONCE(pages->left, on_exit == KVMI_ON_EXIT_CRASH ? KVMI_LEFT_CRASH :
								KVMI_LEFT_FROZEN);
}

/* A session begins: what another one left is its own now, and stays frozen. */
void kvmi_vm_inherit_access(struct kvm *kvm)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;

	if (!pages)
		return;

	guard(spinlock)(&pages->lock);
	if (pages->left == KVMI_LEFT_CRASH)
		WRITE_ONCE(pages->left, KVMI_LEFT_FROZEN);
}

/* Are there restrictions that a session left? */
bool kvmi_vm_is_frozen(struct kvm *kvm)
{
	struct kvmi_pages *pages = smp_load_acquire(&kvm->arch.kvmi_pages);

	return pages && READ_ONCE(pages->left) != KVMI_LEFT_NOTHING;
}

/* The VM is destroyed, its MMU first. */
void __kvmi_destroy_pages(struct kvm *kvm)
{
	struct kvmi_pages *pages = kvm->arch.kvmi_pages;
	struct kvmi_store *store;

	if (!pages)
		return;

	kvm->arch.kvmi_pages = NULL;
	store = rcu_dereference_protected(pages->store, true);
	if (store) {
		queue_rcu_work(kvmi_wq, &store->free);
		kvmi_in_use_dec();
	}
	kfree(pages);
}

/* The bits that a violation of EPT, or a nested page fault, was about. */
static unsigned int kvmi_attempted(struct kvm_vcpu *vcpu, u64 error_code)
{
	if (error_code & PFERR_FETCH_MASK)
		return KVMI_PAGE_ACCESS_X;
	if (error_code & PFERR_WRITE_MASK)
		return KVMI_PAGE_ACCESS_W |
		       (vcpu->arch.kvmi->reads ? KVMI_PAGE_ACCESS_R : 0);

	return KVMI_PAGE_ACCESS_R;
}

/*
 * An access that no tool is asked about, to a frame that a session left
 * restricted.  The wait is over when the frame may have been opened, when there
 * is something for the vCPU to do, and at any signal; the guest then tries again.
 */
static void kvmi_wait_frozen(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int denied)
{
	struct kvmi_pages *pages = vcpu->kvm->arch.kvmi_pages;
	struct rcuwait *wake = kvm_arch_vcpu_get_wait(vcpu);
	DEFINE_WAIT(entry);

	kvm_vcpu_srcu_read_unlock(vcpu);
	prepare_to_rcuwait(wake);
	for (;;) {
		prepare_to_wait(&pages->queue, &entry, TASK_INTERRUPTIBLE);
		if (READ_ONCE(pages->left) != KVMI_LEFT_FROZEN ||
		    !(denied & ~kvmi_load_access(vcpu->kvm, gfn)) ||
		    kvm_request_pending(vcpu) || kvmi_vcpu_has_init(vcpu) ||
		    signal_pending(current))
			break;
		schedule();
	}
	finish_rcuwait(wake);
	finish_wait(&pages->queue, &entry);
	kvm_vcpu_srcu_read_lock(vcpu);
}

/*
 * No living session hears of a denied access.  A session that has died is ended
 * here, if nobody has done so yet.  True: the access is not to be let through.
 */
static bool kvmi_meet_left(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int denied)
{
	bool lives = kvmi_rs_end_if_dead(vcpu);

	switch (READ_ONCE(vcpu->kvm->arch.kvmi_pages->left)) {
	case KVMI_LEFT_FROZEN:
		kvmi_wait_frozen(vcpu, gfn, denied);
		return true;
	case KVMI_LEFT_CRASH:
		if (kvmi_take_store(vcpu->kvm, KVMI_LEFT_CRASH))
			kvmi_vcpu_note_crash(vcpu);
		return true;
	default:
		return !lives;
	}
}

/* Ask a tool, if one wants to be asked, and grant what it says. */
static enum kvmi_verdict kvmi_ask_for_page(struct kvm_vcpu *vcpu, gva_t gva,
					   gpa_t gpa, unsigned int denied)
{
	enum kvmi_verdict verdict;

	/* Others may have the view meanwhile. */
	__kvmi_park(vcpu);

	verdict = kvmi_pf(vcpu, gva, gpa, denied);
	switch (verdict) {
	case KVMI_UNASKED:
		if (kvmi_meet_left(vcpu, gpa_to_gfn(gpa), denied))
			return KVMI_RETRY;
		verdict = KVMI_PROCEED;
		break;
	case KVMI_REWRITTEN:
		if (kvmi_take_moved(vcpu))
			return verdict;
		break;
	case KVMI_PROCEED:
		break;
	default:
		return verdict;
	}

	return kvmi_grant(vcpu, gpa_to_gfn(gpa), denied) ? verdict : KVMI_RETRY;
}

bool __kvmi_page_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 error_code)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;
	gfn_t gfn = gpa_to_gfn(gpa);
	unsigned int allowed, denied;
	gva_t gva;

	if (error_code & PFERR_RSVD_MASK)
		return false;
	/* It waits for its view. */
	if (wishes && wishes->step.passing && !wishes->step.view)
		return true;
	if (kvmi_allowed(vcpu, gfn, kvmi_view(vcpu)) == KVMI_ALL_ACCESS)
		return false;
	/* The first time: have it again, with all that is to be known of it. */
	if (!wishes)
		return kvmi_make_wishes(vcpu);

	allowed = kvmi_allowed(vcpu, gfn, wishes->step.view);
	denied = kvmi_attempted(vcpu, error_code) & ~allowed;
	if (!denied)
		return false;

	/*
	 * A walk of the guest's page tables is nobody's access, as long as it
	 * can be told from what the same instruction reads and stores there.
	 */
	gva = wishes->gva;
	if (error_code & PFERR_GUEST_PAGE_MASK) {
		if (!(allowed & KVMI_PAGE_ACCESS_R) &&
		    kvmi_may_read_frame(vcpu, gfn, &gva, &gpa)) {
			denied = KVMI_PAGE_ACCESS_R;
		} else if (!(denied & KVMI_PAGE_ACCESS_W) ||
			   kvmi_copy_table(vcpu, gfn)) {
			kvmi_grant(vcpu, gfn, denied);
			return true;
		}
	}

	kvmi_ask_for_page(vcpu, gva, gpa, denied);
	return true;
}

/*
 * KVM does something that it cannot take back, whatever the tool says: a device
 * was accessed for it, or it is no instruction.
 */
static bool kvmi_is_past_recall(struct kvm_vcpu *vcpu)
{
	struct kvmi_wishes *wishes = vcpu->arch.kvmi;

	return wishes->mute || (wishes->insn.emulating &&
				vcpu->arch.emulate_ctxt->device_touched);
}

/* False: it is refused, or to be taken back (kvmi_insn::refused says which). */
bool kvmi_emulates_in_page(struct kvm_vcpu *vcpu, gva_t gva, gpa_t gpa,
			   unsigned int wanted)
{
	unsigned int denied = wanted & ~kvmi_allowed(vcpu, gpa_to_gfn(gpa), true);

	if (!denied)
		return true;
	if (!kvmi_make_wishes(vcpu))
		return false;

	if (kvmi_is_past_recall(vcpu)) {
		if (!kvmi_vm_is_frozen(vcpu->kvm) &&
		    !kvmi_rs_hears(vcpu, KVMI_VCPU_EVENT_PF)) {
			/* Else KVM's accessors would refuse it. */
			kvmi_grant(vcpu, gpa_to_gfn(gpa), denied);
			return true;
		}
		kvmi_count_refusal(vcpu->kvm);
		vcpu->arch.kvmi->insn.refused = true;
		return false;
	}

	/* What the tool sees, and what is left to do again, is not half done. */
	vcpu->arch.emulate_regs_need_sync_to_vcpu = false;
	return kvmi_ask_for_page(vcpu, gva, gpa, denied) == KVMI_PROCEED;
}

/*
 * An access by KVM on the guest's behalf, before anything of it is done.  False:
 * it is to be taken back, for the instruction to be executed again; or, where it
 * cannot be, it is refused.
 */
bool __kvmi_emulates(struct kvm_vcpu *vcpu, gva_t gva, unsigned int bytes,
		     u64 access)
{
	unsigned int in_page, wanted = KVMI_PAGE_ACCESS_R, now;
	gpa_t gpa;

	if (vcpu->arch.kvmi)
		vcpu->arch.kvmi->insn.refused = false;

	if (access & PFERR_FETCH_MASK)
		wanted = KVMI_PAGE_ACCESS_X;
	else if (access & PFERR_WRITE_MASK)
		wanted = KVMI_PAGE_ACCESS_W;
	else if (kvmi_modifies(vcpu, gva))
		wanted |= KVMI_PAGE_ACCESS_W;
	if (kvmi_all_allow(vcpu->kvm, wanted))
		return true;

	if (!(access & PFERR_IMPLICIT_ACCESS) &&
	    kvm_x86_call(get_cpl)(vcpu) == 3)
		access |= PFERR_USER_MASK;

	for (; bytes; bytes -= in_page, gva += in_page) {
		in_page = min_t(unsigned int, bytes,
				PAGE_SIZE - offset_in_page(gva));
		/* What cannot be translated is a fault, and the emulator's. */
		gpa = __kvmi_gva_to_gpa(vcpu, gva, access, NULL);
		if (gpa == INVALID_GPA)
			continue;
		now = wanted;
		if (now == (KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W) &&
		    !kvmi_translates_for_write(vcpu, gva, access))
			now = KVMI_PAGE_ACCESS_R;
		if (!kvmi_emulates_in_page(vcpu, gva, gpa, now))
			return false;
	}
	return true;
}

/*
 * Asks about an access by KVM to guest-physical memory, for an instruction of
 * which nothing is done yet.  False: the instruction is to be executed again.
 */
bool kvmi_may_access_gpa(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int bytes,
			 unsigned int wanted)
{
	unsigned int in_page;

	if (!kvmi_has_pages(vcpu->kvm) || kvmi_all_allow(vcpu->kvm, wanted))
		return true;

	for (; bytes; bytes -= in_page, gpa += in_page) {
		in_page = min_t(unsigned int, bytes,
				PAGE_SIZE - offset_in_page(gpa));
		if (!kvmi_emulates_in_page(vcpu, INVALID_GPA, gpa, wanted))
			return false;
	}
	return true;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvmi_may_access_gpa);
