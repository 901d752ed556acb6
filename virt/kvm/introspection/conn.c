// SPDX-License-Identifier: GPL-2.0
/*
 * The connection: a stream socket, a wait-queue entry on it, and the two
 * queues of those who wait for it.
 *
 * conn->lock guards the pointer to the file, so that a session can be shut
 * down from anywhere while its thread drops the file.  kvmi_conns_lock guards
 * the list of all connections and is taken alone.
 *
 * The wait-queue entry works like irqfd's: the socket's own callbacks stay as
 * they are.  What it does runs in atomic context and only sets flags and
 * wakes.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/kvm_host.h>
#include <linux/list.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/rcuwait.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <net/sock.h>

#include "glue.h"

struct kvmi_conn {
	struct list_head list;
	/* Protects file, for those who shut down. */
	spinlock_t lock;
	struct file *file;
	struct socket *sock;
	const struct cred *cred;

	poll_table pt;
	wait_queue_head_t *wqh;
	wait_queue_entry_t wait;
	bool polled_twice;

	/* vCPUs that wait for a reply, woken one at a time. */
	wait_queue_head_t replies;
	/* The connection thread. */
	wait_queue_head_t thread;

	/* There may be something to read; room to send may have come. */
	bool readable;
	bool writable;
};

static LIST_HEAD(kvmi_conns);
static DEFINE_SPINLOCK(kvmi_conns_lock);

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

	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
		WRITE_ONCE(conn->writable, true);
		kvmi_conn_wake_thread(conn);
	}

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
	init_waitqueue_head(&conn->replies);
	init_waitqueue_head(&conn->thread);
	init_waitqueue_func_entry(&conn->wait, kvmi_conn_ready);
	init_poll_funcptr(&conn->pt, kvmi_conn_queue);

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

	/* Bytes may be waiting already: the first look is unconditional. */
	conn->readable = true;
	vfs_poll(conn->file, &conn->pt);
	if (!conn->wqh || conn->polled_twice) {
		r = -EOPNOTSUPP;
		goto drop;
	}

	*out = conn;
	return 0;

drop:
	kvmi_conn_free(conn);
	return r;
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

	if (conn->wqh)
		remove_wait_queue(conn->wqh, &conn->wait);
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

void kvmi_conn_set_readable(struct kvmi_conn *conn, bool readable)
{
	/* Pairs with the barrier of those who check it before they sleep. */
	smp_store_mb(conn->readable, readable);
}

bool kvmi_conn_is_readable(struct kvmi_conn *conn)
{
	return READ_ONCE(conn->readable);
}

bool kvmi_conn_take_writable(struct kvmi_conn *conn)
{
	return xchg(&conn->writable, false);
}

/* A waiting vCPU reads, or the thread when none waits. */
void kvmi_conn_wake_reader(struct kvmi_conn *conn)
{
	if (!__wake_up(&conn->replies, TASK_NORMAL, 1, NULL))
		wake_up(&conn->thread);
}

void kvmi_conn_wake_thread(struct kvmi_conn *conn)
{
	wake_up(&conn->thread);
}

void kvmi_conn_wake_all(struct kvmi_conn *conn)
{
	wake_up_all(&conn->replies);
	wake_up(&conn->thread);
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

/*
 * Sleep until ready(), on the vCPU's own queue and on the shared one of those
 * who can read the socket; and where KVM wakes a halted vCPU, because of INIT,
 * which ends it with -ECANCELED.  Any signal ends it with -EINTR: the VMM wants
 * its vCPU back, or the freezer does.  kvm->srcu is dropped meanwhile: a change
 * of the memory slots would wait for the tool otherwise.
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
		if (signal_pending(current)) {
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

/* The thread's wait; a time-out of 0 means none. */
void kvmi_conn_wait_thread(struct kvmi_conn *conn,
			   bool (*ready)(void *data), void *data,
			   unsigned int timeout_ms)
{
	long left = timeout_ms ? msecs_to_jiffies(timeout_ms) :
				 MAX_SCHEDULE_TIMEOUT;
	DEFINE_WAIT(entry);

	for (;;) {
		prepare_to_wait(&conn->thread, &entry, TASK_IDLE);
		if (kthread_should_stop() || ready(data) || !left)
			break;
		left = schedule_timeout(left);
	}
	finish_wait(&conn->thread, &entry);
}

struct task_struct *kvmi_thread_start(int (*fn)(void *data), void *data,
				      int vm_pid)
{
	struct task_struct *thread;

	thread = kthread_create(fn, data, "kvmi/%d", vm_pid);
	if (IS_ERR(thread))
		return NULL;

	/* It may end by itself before it is asked to. */
	get_task_struct(thread);
	wake_up_process(thread);
	return thread;
}

void kvmi_thread_stop(struct task_struct *thread)
{
	kthread_stop_put(thread);
}

bool kvmi_thread_should_stop(void)
{
	return kthread_should_stop();
}
