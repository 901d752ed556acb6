// SPDX-License-Identifier: GPL-2.0
/*
 * What the frames of a VM allow, and what becomes of that: the store, who may
 * change it, and how it ends.
 *
 * Everybody reads it, under mmu_lock too.  It is changed by whoever runs the
 * commands of the VM, one at a time, and taken away as a whole, without any lock
 * that a vCPU may hold for long.
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
	/* Pairs with kvmi_make_pages(). */
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
	/* Whoever finds it finds it made. */
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
 * What the session needs for its messages must not go into restrictions: it could
 * not be told that there is no room.  So many frames need a quarter of what is
 * looked for.
 */
#define KVMI_ROOM_ORDER		3
#define KVMI_ROOM_FRAMES	16

static bool kvmi_has_room(struct kvmi_store *store)
{
	unsigned long room;

	if (store->frames % KVMI_ROOM_FRAMES)
		return true;

	room = __get_free_pages(KVMI_GFP_STORE, KVMI_ROOM_ORDER);
	if (!room)
		return false;

	free_pages(room, KVMI_ROOM_ORDER);
	return true;
}

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
	if ((store->frames >= READ_ONCE(kvmi_max_frames) || !kvmi_has_room(store)) &&
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
bool kvmi_take_store(struct kvm *kvm, enum kvmi_left seen)
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
		/* Pages that hardware was kept from are mapped again. */
		kvmi_access_changed(kvm, NULL, 0);
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
	/* Pairs with kvmi_make_pages(). */
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
