// SPDX-License-Identifier: GPL-2.0-only
/* Deadlines that turn a hang into a failure.  See kvmi_util.h. */
#include <glob.h>
#include <time.h>

#include "kvmi_util.h"

static void print_file(const char *path)
{
	char line[256];
	FILE *f = fopen(path, "r");

	printf("%s:\n", path);
	while (f && fgets(line, sizeof(line), f))
		printf("    %s", line);
	if (f)
		fclose(f);
}

/* Where the kernel has all threads, that of the VM included. */
static void print_stacks(void)
{
	size_t i;
	glob_t g;

	if (glob("/proc/self/task/*/stack", 0, NULL, &g))
		return;
	for (i = 0; i < g.gl_pathc; i++)
		print_file(g.gl_pathv[i]);
	globfree(&g);
	fflush(stdout);
}

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
	if (now_seconds() > deadline)
		print_stacks();
	TEST_ASSERT(now_seconds() <= deadline,
		    "The test hangs: waited %d seconds for: %s",
		    KVMI_HANG_SECONDS, what);
}
