// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another descriptor of the session's socket is in use by somebody who keeps the
 * socket's own lock: recv() into a page that does not come.  Whoever reads for
 * the session waits for that lock.  Nobody who ends it does.
 */
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kvmi_test.h"

KVMI_UNHOOKED_SUITE(kvmi_held_socket, 1);

/* Who holds the lock, and the page that he waits for. */
struct holder {
	int fd;
	int uffd;
	void *page;
	ssize_t received;
	pthread_t thread;
};

static void tcp_pair(int sv[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);

	TEST_ASSERT(!bind(listener, (void *)&addr, len) && !listen(listener, 1) &&
		    !getsockname(listener, (void *)&addr, &len), "No listener");
	sv[0] = socket(AF_INET, SOCK_STREAM, 0);
	TEST_ASSERT(!connect(sv[0], (void *)&addr, len), "Not connected");
	sv[1] = accept(listener, NULL, NULL);
	TEST_ASSERT(sv[1] >= 0, "Not accepted");
	close(listener);
}

/* A page of this process that nobody supplies; false: there is no userfaultfd. */
static bool make_page(struct holder *h)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };

	h->uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (h->uffd < 0)
		return false;
	h->page = kvm_mmap(PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1);
	reg.range.start = (u64)h->page;
	reg.range.len = PAGE_SIZE;
	TEST_ASSERT(!ioctl(h->uffd, UFFDIO_API, &api), "UFFDIO_API failed");
	TEST_ASSERT(!ioctl(h->uffd, UFFDIO_REGISTER, &reg),
		    "UFFDIO_REGISTER failed");
	return true;
}

static void *hold(void *arg)
{
	struct holder *h = arg;

	h->received = recv(h->fd, h->page, 8, 0);
	return NULL;
}

/* The lock of the VMM's end is held when this returns. */
static void take_lock(struct holder *h, int sv[2])
{
	struct pollfd pollfd = { .fd = h->uffd, .events = POLLIN };

	h->fd = sv[0];
	TEST_ASSERT_EQ(send(sv[1], "8 bytes", 8, 0), 8);
	kvm_pthread_create(&h->thread, NULL, hold, h);
	TEST_ASSERT_EQ(poll(&pollfd, 1, 60000), 1);
}

static void give_lock(struct holder *h)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (u64)h->page, .len = PAGE_SIZE },
	};

	TEST_ASSERT(!ioctl(h->uffd, UFFDIO_ZEROPAGE, &zero),
		    "UFFDIO_ZEROPAGE failed");
	kvm_pthread_join(h->thread, NULL);
	TEST_ASSERT_EQ(h->received, 8);
	close(h->uffd);
	close(h->fd);
}

/* A session whose task waits for the lock. */
static bool begin(struct kvmi_fixture *f, struct holder *h,
		  void (*pair)(int sv[2]))
{
	int sv[2];

	if (!make_page(h))
		return false;
	pair(sv);
	take_lock(h, sv);
	TEST_ASSERT_EQ(kvmi_ioctl_hook(f->vm->fd, sv[0]), 0);
	kvmi_init(&f->kvmi, f->vm, sv[1]);
	kvmi_allow_all(f->vm);
	kvmi_send(&f->kvmi, KVMI_GET_VERSION, NULL, 0);
	return true;
}

static void unhook(struct kvmi_fixture *f, struct holder *h)
{
	/* None of the five, nor the end, waits for who reads. */
	TEST_ASSERT_EQ(kvmi_ioctl_preunhook(f->vm->fd), -ENOENT);
	kvmi_unhook(f->vm);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_NONE);
	kvmi_close(&f->kvmi);

	kvmi_hook(&f->kvmi, f->vm);
	TEST_ASSERT_EQ(kvmi_state(f->vm->fd), KVMI_ACTIVE);
	give_lock(h);
	kvmi_ping(&f->kvmi);
	kvmi_unhook(f->vm);
	kvmi_close(&f->kvmi);
}

KVMI_TEST(kvmi_held_socket, unhook_unix)
{
	struct holder h;

	if (!begin(f, &h, kvmi_socketpair))
		SKIP(return, "no userfaultfd");
	unhook(f, &h);
}

KVMI_TEST(kvmi_held_socket, unhook_tcp)
{
	struct holder h;

	if (!begin(f, &h, tcp_pair))
		SKIP(return, "no userfaultfd");
	unhook(f, &h);
}

/* The VM ends at once, and its task when it can. */
static void destroy(struct kvmi_fixture *f, struct holder *h)
{
	pid_t task;

	kvm_vm_free(f->vm);
	kvmi_close(&f->kvmi);
	f->vm = kvmi_create_vm(1, f->vcpus);
	f->vcpu = f->vcpus[0];
	TEST_ASSERT_EQ(kvmi_vm_tasks(getpid(), &task), 2);
	give_lock(h);
	kvmi_wait_until(kvmi_vm_tasks(getpid(), &task) == 1);
}

KVMI_TEST(kvmi_held_socket, vm_ends_unix)
{
	struct holder h;

	if (!begin(f, &h, kvmi_socketpair))
		SKIP(return, "no userfaultfd");
	destroy(f, &h);
}

KVMI_TEST(kvmi_held_socket, vm_ends_tcp)
{
	struct holder h;

	if (!begin(f, &h, tcp_pair))
		SKIP(return, "no userfaultfd");
	destroy(f, &h);
}

KVMI_TEST_MAIN
