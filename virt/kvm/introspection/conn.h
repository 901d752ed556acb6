/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVMI_CONN_H
#define __KVMI_CONN_H

/*
 * A connection as its two halves see it: the socket (conn.c), and those who
 * wait for it (wait.c).  Everybody else goes through glue.h.
 */

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "glue.h"

struct kvmi_conn {
	refcount_t refs;
	/* Who receives, and who sends: the file is let go of with the last of them. */
	refcount_t halves;
	struct list_head list;
	struct work_struct shutdown;
	/* What that is to shut. */
	struct file *closing;
	/* Protects file, for those who shut down. */
	spinlock_t lock;
	struct file *file;
	struct socket *sock;
	bool is_unix;
	const struct cred *cred;

	/* wait.c's, from here on: our entry on the socket's queue. */
	poll_table pt;
	wait_queue_head_t *wqh;
	wait_queue_entry_t wait;
	bool polled_twice;

	/* vCPUs that wait for a reply, woken one at a time. */
	wait_queue_head_t replies;
	/* Who reads when no vCPU does, and sends what is left. */
	struct kvmi_task *task;

	/* There may be something to read. */
	bool readable;
	/* Something is unsent: the task wants to hear of room for it. */
	bool wants_room;
};

/* From wait.c, for the life of the socket. */
void kvmi_conn_init_wait(struct kvmi_conn *conn);
int kvmi_conn_watch(struct kvmi_conn *conn);
void kvmi_conn_unwatch(struct kvmi_conn *conn);

#endif /* __KVMI_CONN_H */
