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

/* Where the kernel has all threads, and those of the sessions. */
static void print_stacks(void)
{
	char path[64], name[64] = "";
	size_t i;
	glob_t g;
	FILE *f;

	if (glob("/proc/self/task/*/stack", 0, NULL, &g))
		return;
	for (i = 0; i < g.gl_pathc; i++)
		print_file(g.gl_pathv[i]);
	globfree(&g);
	if (glob("/proc/[0-9]*/comm", 0, NULL, &g))
		return;
	for (i = 0; i < g.gl_pathc; i++) {
		f = fopen(g.gl_pathv[i], "r");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strncmp(name, "kvmi/", 5)) {
			snprintf(path, sizeof(path), "%.*s/stack",
				 (int)strlen(g.gl_pathv[i]) - 5, g.gl_pathv[i]);
			print_file(path);
		}
		fclose(f);
	}
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
