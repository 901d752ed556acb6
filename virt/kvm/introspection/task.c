// SPDX-License-Identifier: GPL-2.0
/*
 * The task of a VM: a thread of the VMM that serves the VM's session.
 *
 * It is made by the VMM, when it creates the VM, so that its time and memory
 * are the VMM's and SIGKILL of the VMM ends it.  It sleeps until somebody wakes
 * it.  What it does is done by turn(), one portion at a time, which waits for
 * nobody; between two portions, without a lock, the task does what a task does on
 * its way to user mode: it is throttled, and puts the files that it let go of.
 *
 * A stopped or frozen VMM stops its task, too.  So nobody waits for the task but
 * a work item, and that only once the VM is gone.
 */
#include <linux/entry-virt.h>
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/sched/vhost_task.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "glue.h"

struct workqueue_struct *kvmi_wq;

struct kvmi_task {
	refcount_t refs;
	const struct kvmi_task_ops *ops;
	void *data;

	/* Protects vhost, for those who wake. */
	spinlock_t lock;
	struct vhost_task *vhost;

	/* Somebody has something to do for it. */
	bool wanted;
	/* A signal has ended it. */
	bool killed;

	struct timer_list again;
	struct work_struct killed_work;
	struct work_struct stop_work;
};

void kvmi_task_wake(struct kvmi_task *task)
{
	unsigned long flags;

	/* Pairs with the xchg() of the task, which sees it or is woken. */
	smp_store_mb(task->wanted, true);

	spin_lock_irqsave(&task->lock, flags);
	if (task->vhost)
		vhost_task_wake(task->vhost);
	spin_unlock_irqrestore(&task->lock, flags);
}

static void kvmi_task_again(struct timer_list *timer)
{
	struct kvmi_task *task = timer_container_of(task, timer, again);

	kvmi_task_wake(task);
}

/* Called in TASK_INTERRUPTIBLE; false: sleep. */
static bool kvmi_task_fn(void *data)
{
	struct kvmi_task *task = data;
	unsigned int left;

	if (!xchg(&task->wanted, false))
		return false;

	__set_current_state(TASK_RUNNING);
	left = task->ops->turn(task->data);
	if (left == 1)
		WRITE_ONCE(task->wanted, true);
	else if (left)
		mod_timer(&task->again, jiffies + msecs_to_jiffies(left));

	/* A signal is seen by the caller. */
	xfer_to_guest_mode_handle_work();
	return true;
}

static void kvmi_task_killed_later(struct work_struct *work)
{
	struct kvmi_task *task = container_of(work, struct kvmi_task, killed_work);

	task->ops->killed(task->data);
}

/* Called with a mutex held that whoever stops the task takes: it only notes. */
static void kvmi_task_kill(void *data)
{
	struct kvmi_task *task = data;

	WRITE_ONCE(task->killed, true);
	queue_work(kvmi_wq, &task->killed_work);
}

/* The VM is gone.  The task may be stopped by a signal, for as long as that lasts. */
static void kvmi_task_stop(struct work_struct *work)
{
	struct kvmi_task *task = container_of(work, struct kvmi_task, stop_work);
	struct vhost_task *vhost = task->vhost;

	spin_lock_irq(&task->lock);
	task->vhost = NULL;
	spin_unlock_irq(&task->lock);

	vhost_task_stop(vhost);
	timer_shutdown_sync(&task->again);
	cancel_work_sync(&task->killed_work);

	task->ops->released(task->data);
	kvmi_task_put(task);
	/* kvmi_exit() waits for what follows. */
	module_put(THIS_MODULE);
}

/*
 * Make the task of a VM for its VMM, which is the caller; "data" is the task's
 * until released() is called.  A signal gives -ERESTARTNOINTR.
 */
int kvmi_task_create(const struct kvmi_task_ops *ops, void *data,
		     struct kvmi_task **out)
{
	struct vhost_task *vhost;
	struct kvmi_task *task;

	task = kzalloc_obj(*task, GFP_KERNEL_ACCOUNT);
	if (!task)
		return -ENOMEM;

	/* One for the caller, one for the thread. */
	refcount_set(&task->refs, 2);
	spin_lock_init(&task->lock);
	timer_setup(&task->again, kvmi_task_again, 0);
	INIT_WORK(&task->killed_work, kvmi_task_killed_later);
	INIT_WORK(&task->stop_work, kvmi_task_stop);
	task->ops = ops;
	task->data = data;

	vhost = vhost_task_create(kvmi_task_fn, kvmi_task_kill, task, "kvmi-vm");
	if (IS_ERR(vhost)) {
		kfree(task);
		return PTR_ERR(vhost);
	}

	/* The module stays for as long as the thread runs its code. */
	__module_get(THIS_MODULE);
	task->vhost = vhost;
	vhost_task_start(vhost);
	*out = task;
	return 0;
}

/* Has no signal ended it? */
bool kvmi_task_is_alive(struct kvmi_task *task)
{
	return !READ_ONCE(task->killed);
}

/* Nobody wants anything of the task any more.  It may still be in a turn. */
void kvmi_task_end(struct kvmi_task *task)
{
	queue_work(kvmi_wq, &task->stop_work);
}

void kvmi_task_get(struct kvmi_task *task)
{
	refcount_inc(&task->refs);
}

void kvmi_task_put(struct kvmi_task *task)
{
	if (refcount_dec_and_test(&task->refs))
		kfree(task);
}
