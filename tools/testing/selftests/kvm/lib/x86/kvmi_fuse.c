// SPDX-License-Identifier: GPL-2.0-only
/* A FUSE daemon that answers reads only when it is told to.  See kvmi_fuse.h. */
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kvmi_fuse.h"

#define FILE_NODE	2
#define FILE_SIZE	(KVMI_FUSE_PAGES * PAGE_SIZE)
#define VALID_SECONDS	100000
#define MAX_KEPT	64

/* A test that hangs so long is over: the daemon's end lets it go on, and fail. */
#define DAEMON_SECONDS	(2 * KVMI_HANG_SECONDS)

/* The guests of all tests have what is static here in their memory, too. */
#define MAX_REQUEST	(1 << 18)
#define MAX_ANSWER	(1 << 17)

static struct kept {
	u64 unique, offset;
	u32 size;
} kept[MAX_KEPT];
static unsigned int nr_kept;

static void answer(int fd, u64 unique, int error, const void *data, size_t size)
{
	struct fuse_out_header *out = malloc(sizeof(*out) + size);

	TEST_ASSERT(out, "No memory");
	*out = (struct fuse_out_header) {
		.len = sizeof(*out) + size,
		.error = error,
		.unique = unique,
	};
	if (size)
		memcpy(out + 1, data, size);
	/* ENOENT: whoever asked was killed. */
	TEST_ASSERT(write(fd, out, out->len) == out->len || errno == ENOENT,
		    "FUSE refuses an answer: %d", errno);
	free(out);
}

static struct fuse_attr attributes(u64 node)
{
	bool file = node == FILE_NODE;

	return (struct fuse_attr) {
		.ino = node,
		.mode = file ? S_IFREG | 0666 : S_IFDIR | 0755,
		.nlink = 1,
		.size = file ? FILE_SIZE : 0,
		.blksize = PAGE_SIZE,
		.uid = getuid(),
		.gid = getgid(),
	};
}

static void answer_read(int fd, const struct kept *read)
{
	u64 i, size = min_t(u64, read->size, MAX_ANSWER);
	u8 *content = malloc(size);

	TEST_ASSERT(content, "No memory");
	for (i = 0; i < size; i++)
		content[i] = kvmi_fuse_byte((read->offset + i) / PAGE_SIZE);
	answer(fd, read->unique, 0, content, size);
	free(content);
}

static void handle(int fd, struct kvmi_fuse_shared *shared,
		   const struct fuse_in_header *in)
{
	const struct fuse_read_in *read = (const void *)(in + 1);
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.max_write = PAGE_SIZE,
	};
	struct fuse_entry_out entry = {
		.nodeid = FILE_NODE,
		.attr_valid = VALID_SECONDS,
		.entry_valid = VALID_SECONDS,
		.attr = attributes(FILE_NODE),
	};
	struct fuse_attr_out attr = {
		.attr_valid = VALID_SECONDS,
		.attr = attributes(in->nodeid),
	};
	struct fuse_open_out open = { .fh = 1 };

	switch (in->opcode) {
	case FUSE_INIT:
		answer(fd, in->unique, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		answer(fd, in->unique, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		answer(fd, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		answer(fd, in->unique, 0, &open, sizeof(open));
		break;
	case FUSE_READ:
		TEST_ASSERT(nr_kept < MAX_KEPT, "Too many reads");
		kept[nr_kept++] = (struct kept) {
			.unique = in->unique,
			.offset = read->offset,
			.size = read->size,
		};
		__atomic_add_fetch(&shared->asked, 1, __ATOMIC_SEQ_CST);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		answer(fd, in->unique, -ENOSYS, NULL, 0);
	}
}

static void serve(int fd, struct kvmi_fuse_shared *shared)
{
	struct fuse_in_header *in = malloc(MAX_REQUEST);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	ssize_t n;

	TEST_ASSERT(in, "No memory");
	alarm(DAEMON_SECONDS);
	for (;;) {
		/* The flag is no event: look at it now and then. */
		if (poll(&pfd, 1, 10) == 1) {
			n = read(fd, in, MAX_REQUEST);
			if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
				continue;
			if (n < (ssize_t)sizeof(*in))
				return;
			handle(fd, shared, in);
		}
		while (nr_kept && READ_ONCE(shared->answers))
			answer_read(fd, &kept[--nr_kept]);
	}
}

static void become(uid_t uid)
{
	if (uid)
		TEST_ASSERT(!setgid(uid) && !setuid(uid), "setuid() failed");
	/* The change of user has undone it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

const char *kvmi_fuse_start(struct kvmi_fuse *fuse, uid_t uid)
{
	char options[128], dir[64], path[80];
	int fd, file;

	if (getuid())
		return "not root";
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return "no FUSE";
	snprintf(dir, sizeof(dir), "/tmp/kvmi_fuse.%d", getpid());
	snprintf(path, sizeof(path), "%s/file", dir);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd, uid, uid);
	TEST_ASSERT(!unshare(CLONE_NEWNS) &&
		    !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL),
		    "No mount namespace");
	TEST_ASSERT(!mkdir(dir, 0755), "mkdir() failed");
	TEST_ASSERT(!mount("kvmi", dir, "fuse", 0, options), "mount() failed");

	fuse->shared = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(fuse->shared != MAP_FAILED, "mmap() failed");
	fflush(NULL);
	fuse->daemon = fork();
	TEST_ASSERT(fuse->daemon >= 0, "fork() failed");
	if (!fuse->daemon) {
		become(uid);
		serve(fd, fuse->shared);
		_exit(0);
	}
	kvm_close(fd);
	become(uid);

	file = open(path, O_RDONLY | O_CLOEXEC);
	TEST_ASSERT(file >= 0, "The file cannot be opened: %d", errno);
	fuse->mem = kvm_mmap(FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
	kvm_madvise(fuse->mem, FILE_SIZE, MADV_RANDOM);
	kvm_close(file);
	return NULL;
}

void kvmi_fuse_answer(struct kvmi_fuse *fuse)
{
	WRITE_ONCE(fuse->shared->answers, true);
}

void kvmi_fuse_end(struct kvmi_fuse *fuse)
{
	int status;

	kill(fuse->daemon, SIGKILL);
	TEST_ASSERT(waitpid(fuse->daemon, &status, 0) == fuse->daemon,
		    "waitpid() failed");
	TEST_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		    "The daemon ended before it was asked to: status %#x", status);
}
