// SPDX-License-Identifier: GPL-2.0
/*
 * The connection: a stream socket, taken from a file descriptor and given
 * back.  Who waits for it is in wait.c.
 *
 * It has two halves, one that receives and one that sends, each in the hands of
 * one caller at a time.  conn->lock guards the pointer to the file, so that the
 * socket can be shut down from anywhere while the halves are let go of.
 * kvmi_conns_lock guards the list of all connections and is taken alone.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>

#include "conn.h"

static LIST_HEAD(kvmi_conns);
static DEFINE_SPINLOCK(kvmi_conns_lock);

static int kvmi_conn_check(struct socket *sock)
{
	if (sock->type != SOCK_STREAM)
		return -EINVAL;

	/* Of the others, and of what lies on TCP, it is not known when they are ready. */
	switch (sock->sk->sk_family) {
	case AF_UNIX:
	case AF_VSOCK:
		break;
	case AF_INET:
	case AF_INET6:
		if (sk_is_tcp(sock->sk) && !inet_csk_has_ulp(sock->sk))
			break;
		fallthrough;
	default:
		return -EOPNOTSUPP;
	}

	/*
	 * The state of a connected socket is TCP_ESTABLISHED in all of these
	 * families; sock->state is not kept up for an accepted vsock.
	 */
	if (READ_ONCE(sock->sk->sk_state) != TCP_ESTABLISHED)
		return -EINVAL;

	return 0;
}

/* One socket carries one session: -EBUSY if it carries one already. */
static int kvmi_conn_register(struct kvmi_conn *conn)
{
	struct kvmi_conn *other;
	int r = 0;

	spin_lock(&kvmi_conns_lock);
	list_for_each_entry(other, &kvmi_conns, list) {
		if (other->sock == conn->sock) {
			r = -EBUSY;
			break;
		}
	}
	if (!r)
		list_add(&conn->list, &kvmi_conns);
	spin_unlock(&kvmi_conns_lock);

	return r;
}

static void kvmi_conn_unregister(struct kvmi_conn *conn)
{
	spin_lock(&kvmi_conns_lock);
	list_del_init(&conn->list);
	conn->sock = NULL;
	spin_unlock(&kvmi_conns_lock);
}

static void kvmi_conn_free(struct kvmi_conn *conn)
{
	if (conn->cred)
		put_cred(conn->cred);
	kvmi_task_put(conn->task);
	kfree(conn);
}

void kvmi_conn_put(struct kvmi_conn *conn)
{
	if (refcount_dec_and_test(&conn->refs))
		kvmi_conn_free(conn);
}

static void kvmi_conn_shut(struct file *file)
{
	kernel_sock_shutdown(sock_from_file(file), SHUT_RDWR);
	fput(file);
}

static void kvmi_conn_shutdown_later(struct work_struct *work)
{
	struct kvmi_conn *conn = container_of(work, struct kvmi_conn, shutdown);

	kvmi_conn_shut(conn->closing);
	kvmi_conn_put(conn);
	/* The module's end waits for the work queue, and so for this. */
	module_put(THIS_MODULE);
}

/*
 * Take the socket behind a file descriptor of the caller, for the caller and for
 * its two halves.  -EINVAL: no socket, not a stream, not connected; -EOPNOTSUPP:
 * a kind whose readiness is not known to work; -EBUSY: another session has it;
 * -ENOMEM.
 */
int kvmi_conn_open(int fd, struct kvmi_task *task, struct kvmi_conn **out)
{
	struct kvmi_conn *conn;
	int r;

	conn = kzalloc_obj(*conn, GFP_KERNEL_ACCOUNT);
	if (!conn)
		return -ENOMEM;

	refcount_set(&conn->refs, 3);
	refcount_set(&conn->halves, 2);
	INIT_LIST_HEAD(&conn->list);
	spin_lock_init(&conn->lock);
	kvmi_task_get(task);
	conn->task = task;
	kvmi_conn_init_wait(conn);
	INIT_WORK(&conn->shutdown, kvmi_conn_shutdown_later);

	r = -EINVAL;
	conn->file = fget(fd);
	if (!conn->file)
		goto free;

	conn->sock = sock_from_file(conn->file);
	if (!conn->sock || !conn->sock->sk)
		goto put_file;

	r = kvmi_conn_check(conn->sock);
	if (r)
		goto put_file;

	r = kvmi_conn_register(conn);
	if (r)
		goto put_file;

	/*
	 * A VM could otherwise park its own descriptor in the queue of a
	 * socket that the VM itself keeps alive.
	 */
	conn->is_unix = conn->sock->sk->sk_family == AF_UNIX;
	if (conn->is_unix) {
		lock_sock(conn->sock->sk);
		conn->sock->sk->sk_scm_rights = 0;
		release_sock(conn->sock->sk);
	}

	conn->cred = get_current_cred();

	r = kvmi_conn_watch(conn);
	if (r) {
		kvmi_conn_unwatch(conn);
		kvmi_conn_unregister(conn);
		goto put_file;
	}

	*out = conn;
	return 0;

put_file:
	fput(conn->file);
free:
	kvmi_conn_free(conn);
	return r;
}

static void kvmi_conn_drop_file(struct kvmi_conn *conn)
{
	struct file *file;

	spin_lock(&conn->lock);
	file = conn->file;
	conn->file = NULL;
	spin_unlock(&conn->lock);

	kvmi_conn_unwatch(conn);
	kvmi_conn_unregister(conn);
	fput(file);
}

/* Nobody receives any more, or nobody sends. */
void kvmi_conn_put_half(struct kvmi_conn *conn)
{
	if (refcount_dec_and_test(&conn->halves))
		kvmi_conn_drop_file(conn);
	kvmi_conn_put(conn);
}

/*
 * Shut both directions, from anywhere, once.  Where that takes the lock of the
 * socket nobody waits for it: another descriptor of the socket may be in use, by
 * somebody who keeps the lock.
 */
void kvmi_conn_shutdown(struct kvmi_conn *conn)
{
	struct file *file;

	spin_lock(&conn->lock);
	file = conn->file;
	if (file)
		get_file(file);
	spin_unlock(&conn->lock);

	if (!file)
		return;
	if (conn->is_unix) {
		kvmi_conn_shut(file);
		return;
	}

	/* The session may let go of the file before the work is done. */
	conn->closing = file;
	__module_get(THIS_MODULE);
	refcount_inc(&conn->refs);
	queue_work(kvmi_wq, &conn->shutdown);
}

/*
 * Both directions run under the credentials of whoever handed the socket
 * over: a vCPU thread carries the label of a confined VMM.  Whoever has a half
 * has the file.
 */
long kvmi_conn_recv(struct kvmi_conn *conn, void *buf, size_t len)
{
	struct kvec vec = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	const struct cred *old;
	long r;

	old = override_creds(conn->cred);
	r = kernel_recvmsg(conn->sock, &msg, &vec, 1, len, msg.msg_flags);
	revert_creds(old);
	return r;
}

long kvmi_conn_send(struct kvmi_conn *conn, const void *buf, size_t len)
{
	struct kvec vec = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	const struct cred *old;
	long r;

	old = override_creds(conn->cred);
	r = kernel_sendmsg(conn->sock, &msg, &vec, 1, len);
	revert_creds(old);
	return r;
}

/* Asked after -EAGAIN; the poll also makes TCP announce room again. */
bool kvmi_conn_writable(struct kvmi_conn *conn)
{
	return vfs_poll(conn->file, NULL) & EPOLLOUT;
}

/* Asked after a short read, which need not have emptied the socket. */
bool kvmi_conn_has_data(struct kvmi_conn *conn)
{
	return vfs_poll(conn->file, NULL) & (EPOLLIN | EPOLLHUP | EPOLLERR);
}
