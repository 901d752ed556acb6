// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting for the tool: a wait-queue entry on the socket, and the vCPUs that wait
 * for it.
 *
 * The wait-queue entry works like irqfd's: the socket's own callbacks stay as
 * they are.  What it does runs in atomic context and only sets flags and
 * wakes.  No lock is taken but those of the wait queues.
 */
#include <linux/kvm_host.h>
#include <linux/poll.h>
#include <linux/rcuwait.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "conn.h"

static int kvmi_conn_ready(wait_queue_entry_t *wait, unsigned int mode,
			   int sync, void *key)
{
	struct kvmi_conn *conn = container_of(wait, struct kvmi_conn, wait);
	__poll_t events = key_to_poll(key);

	/* A wake-up without a key says nothing: look at everything. */
	if (!events)
		events = EPOLLIN | EPOLLOUT;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		kvmi_conn_set_readable(conn, true);

	/* A peer that reads announces room each time: only who has need of it is woken. */
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) &&
	    READ_ONCE(conn->wants_room))
		kvmi_conn_wake_task(conn);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		kvmi_conn_wake_reader(conn);

	return 0;
}

static void kvmi_conn_queue(struct file *file, wait_queue_head_t *wqh,
			    poll_table *pt)
{
	struct kvmi_conn *conn = container_of(pt, struct kvmi_conn, pt);

	if (conn->wqh) {
		conn->polled_twice = true;
		return;
	}

	conn->wqh = wqh;
	add_wait_queue(wqh, &conn->wait);
}

void kvmi_conn_init_wait(struct kvmi_conn *conn)
{
	init_waitqueue_head(&conn->replies);
	init_waitqueue_func_entry(&conn->wait, kvmi_conn_ready);
	init_poll_funcptr(&conn->pt, kvmi_conn_queue);
}

/* -EOPNOTSUPP: the socket does not wake one queue for everything. */
int kvmi_conn_watch(struct kvmi_conn *conn)
{
	/* Bytes may be waiting already: the first look is unconditional. */
	conn->readable = true;
	vfs_poll(conn->file, &conn->pt);

	return conn->wqh && !conn->polled_twice ? 0 : -EOPNOTSUPP;
}

void kvmi_conn_unwatch(struct kvmi_conn *conn)
{
	if (conn->wqh)
		remove_wait_queue(conn->wqh, &conn->wait);
}

void kvmi_conn_set_readable(struct kvmi_conn *conn, bool readable)
{
	/* Pairs with the barrier of those who check it before they sleep. */
	smp_store_mb(conn->readable, readable);
}

bool kvmi_conn_is_readable(struct kvmi_conn *conn)
{
	return READ_ONCE(conn->readable);
}

/* A full barrier: who has said so looks for room once more. */
void kvmi_conn_want_room(struct kvmi_conn *conn, bool want)
{
	smp_store_mb(conn->wants_room, want);
}

/* A waiting vCPU reads, or the task when none waits. */
void kvmi_conn_wake_reader(struct kvmi_conn *conn)
{
	if (!__wake_up(&conn->replies, TASK_NORMAL, 1, NULL))
		kvmi_task_wake(conn->task);
}

void kvmi_conn_wake_task(struct kvmi_conn *conn)
{
	kvmi_task_wake(conn->task);
}

void kvmi_conn_wake_all(struct kvmi_conn *conn)
{
	wake_up_all(&conn->replies);
	kvmi_task_wake(conn->task);
}

struct wait_queue_head *kvmi_wait_alloc(void)
{
	wait_queue_head_t *wq = kmalloc_obj(*wq, GFP_KERNEL_ACCOUNT);

	if (wq)
		init_waitqueue_head(wq);
	return wq;
}

void kvmi_wait_free(struct wait_queue_head *wq)
{
	kfree(wq);
}

void kvmi_wait_wake(struct wait_queue_head *wq)
{
	wake_up(wq);
}

/* Does a signal, or the VMM's word, end a wait of this vCPU? */
bool kvmi_vcpu_is_cut(struct kvm_vcpu *vcpu)
{
	return signal_pending(current) ||
	       READ_ONCE(vcpu->run->immediate_exit__unsafe);
}

/*
 * Sleep until ready(), on the vCPU's own queue and on the shared one of those
 * who can read the socket; and where KVM wakes a halted vCPU, because of INIT,
 * which ends it with -ECANCELED.  Any signal ends it with -EINTR, and so does
 * immediate_exit: the VMM wants its vCPU back, or the freezer does.  kvm->srcu is
 * dropped meanwhile: a change of the memory slots would wait for the tool
 * otherwise.
 */
int kvmi_conn_wait_vcpu(struct kvmi_conn *conn, struct kvm_vcpu *vcpu,
			struct wait_queue_head *own,
			bool (*ready)(void *data), void *data)
{
	struct rcuwait *wake = kvm_arch_vcpu_get_wait(vcpu);
	DEFINE_WAIT(shared_entry);
	DEFINE_WAIT(own_entry);
	int r = 0;

	kvm_vcpu_srcu_read_unlock(vcpu);
	prepare_to_rcuwait(wake);
	for (;;) {
		/*
		 * A wake-up takes the entry from its queue.  One that comes
		 * before the last of these lines is forgotten by it, and the
		 * next must find us: what is on our own queue stays noted,
		 * what is on the shared one does not.
		 */
		prepare_to_wait(own, &own_entry, TASK_INTERRUPTIBLE);
		prepare_to_wait_exclusive(&conn->replies, &shared_entry,
					  TASK_INTERRUPTIBLE);
		if (ready(data))
			break;
		if (kvmi_vcpu_has_init(vcpu)) {
			r = -ECANCELED;
			break;
		}
		if (kvmi_vcpu_is_cut(vcpu)) {
			r = -EINTR;
			break;
		}
		schedule();
	}
	finish_rcuwait(wake);
	finish_wait(own, &own_entry);
	finish_wait(&conn->replies, &shared_entry);
	kvm_vcpu_srcu_read_lock(vcpu);

	return r;
}
