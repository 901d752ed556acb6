// SPDX-License-Identifier: GPL-2.0
/*
 * The connection: a stream socket, taken from a file descriptor and given
 * back.  Who waits for it is in wait.c.
 *
 * conn->lock guards the pointer to the file, so that a session can be shut
 * down from anywhere while its thread drops the file.  kvmi_conns_lock guards
 * the list of all connections and is taken alone.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <net/sock.h>

#include "conn.h"

static LIST_HEAD(kvmi_conns);
static DEFINE_SPINLOCK(kvmi_conns_lock);

static int kvmi_conn_check(struct socket *sock)
{
	if (sock->type != SOCK_STREAM)
		return -EINVAL;

	switch (sock->sk->sk_family) {
	case AF_UNIX:
	case AF_VSOCK:
	case AF_INET:
	case AF_INET6:
		break;
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

/*
 * Take the socket behind a file descriptor of the caller.  -EINVAL: no
 * socket, not a stream, not connected; -EOPNOTSUPP: a family whose readiness
 * is not known to work; -EBUSY: another session has it; -ENOMEM.
 */
int kvmi_conn_open(int fd, struct kvmi_conn **out)
{
	struct kvmi_conn *conn;
	int r;

	conn = kzalloc_obj(*conn, GFP_KERNEL_ACCOUNT);
	if (!conn)
		return -ENOMEM;

	INIT_LIST_HEAD(&conn->list);
	spin_lock_init(&conn->lock);
	kvmi_conn_init_wait(conn);

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
	if (conn->sock->sk->sk_family == AF_UNIX) {
		lock_sock(conn->sock->sk);
		conn->sock->sk->sk_scm_rights = 0;
		release_sock(conn->sock->sk);
	}

	conn->cred = get_current_cred();

	r = kvmi_conn_watch(conn);
	if (r) {
		kvmi_conn_free(conn);
		return r;
	}

	*out = conn;
	return 0;

put_file:
	fput(conn->file);
free:
	kfree(conn);
	return r;
}

/* Let go of the socket.  Nobody receives or sends at the same time. */
void kvmi_conn_drop_file(struct kvmi_conn *conn)
{
	struct file *file;

	spin_lock(&conn->lock);
	file = conn->file;
	conn->file = NULL;
	spin_unlock(&conn->lock);

	if (!file)
		return;

	kvmi_conn_unwatch(conn);
	kvmi_conn_unregister(conn);
	fput(file);
}

void kvmi_conn_free(struct kvmi_conn *conn)
{
	kvmi_conn_drop_file(conn);
	if (conn->cred)
		put_cred(conn->cred);
	kfree(conn);
}

/* Shut both directions.  May be called at any time, and more than once. */
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

	kernel_sock_shutdown(sock_from_file(file), SHUT_RDWR);
	fput(file);
}

/*
 * Both directions run under the credentials of whoever handed the socket
 * over: a vCPU thread carries the label of a confined VMM.
 */
long kvmi_conn_recv(struct kvmi_conn *conn, void *buf, size_t len)
{
	struct kvec vec = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	const struct cred *old;
	long r;

	if (!conn->file)
		return -EPIPE;

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

	if (!conn->file)
		return -EPIPE;

	old = override_creds(conn->cred);
	r = kernel_sendmsg(conn->sock, &msg, &vec, 1, len);
	revert_creds(old);
	return r;
}

/* Asked after -EAGAIN; the poll also makes TCP announce room again. */
bool kvmi_conn_writable(struct kvmi_conn *conn)
{
	return conn->file && (vfs_poll(conn->file, NULL) & EPOLLOUT);
}

/* Asked after a short read, which need not have emptied the socket. */
bool kvmi_conn_has_data(struct kvmi_conn *conn)
{
	return conn->file &&
	       (vfs_poll(conn->file, NULL) & (EPOLLIN | EPOLLHUP | EPOLLERR));
}

/* Is nobody at the other end any more? */
bool kvmi_conn_hung_up(struct kvmi_conn *conn)
{
	return conn->file &&
	       (vfs_poll(conn->file, NULL) & (EPOLLHUP | EPOLLERR));
}
