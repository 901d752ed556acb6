/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory behind a file whose pages another process supplies, or does not: a
 * FUSE file system of one file.
 */
#ifndef SELFTEST_KVM_KVMI_FUSE_H
#define SELFTEST_KVM_KVMI_FUSE_H

#include "kvmi_util.h"

#define KVMI_FUSE_PAGES		512

/* What daemon and test share. */
struct kvmi_fuse_shared {
	/* The daemon answers reads, those included that came before. */
	bool answers;
	/* So many reads have come. */
	unsigned int asked;
};

struct kvmi_fuse {
	pid_t daemon;
	struct kvmi_fuse_shared *shared;
	/* The file, mapped privately and without any read-ahead. */
	u8 *mem;
};

/*
 * Mount it in a mount namespace of this process, which becomes the user @uid.
 * Only the daemon, a process of the same user, has the file system's
 * descriptor: when it ends, all who wait for a page are told that there is
 * none.  Returns why not, or NULL.
 */
const char *kvmi_fuse_start(struct kvmi_fuse *fuse, uid_t uid);
/* From now on pages are supplied. */
void kvmi_fuse_answer(struct kvmi_fuse *fuse);
/* Fails if the daemon had to end by itself because the test hangs. */
void kvmi_fuse_end(struct kvmi_fuse *fuse);

/* What each byte of this page of the file is. */
static inline u8 kvmi_fuse_byte(unsigned int page)
{
	return 0x40 + page;
}

#endif /* SELFTEST_KVM_KVMI_FUSE_H */
