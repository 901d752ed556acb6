// SPDX-License-Identifier: GPL-2.0-only
/* Deadlines that turn a hang into a failure.  See kvmi_util.h. */
#include <time.h>

#include "kvmi_util.h"

static u64 now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

u64 kvmi_deadline(void)
{
	return now_seconds() + KVMI_HANG_SECONDS;
}

void kvmi_still_alive(u64 deadline, const char *what)
{
	TEST_ASSERT(now_seconds() <= deadline,
		    "The test hangs: waited %d seconds for: %s",
		    KVMI_HANG_SECONDS, what);
}
