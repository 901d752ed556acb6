// SPDX-License-Identifier: GPL-2.0-only
/* What the benchmarks share.  See kvmi_bench.h. */
#include "kvmi_bench.h"

u64 bench_samples[BENCH_ITEMS];

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

void bench_print_samples(const char *key, const u64 *samples, unsigned int nr)
{
	u64 *sorted = malloc(nr * sizeof(*sorted));

	TEST_ASSERT(sorted, "No memory");
	memcpy(sorted, samples, nr * sizeof(*sorted));
	qsort(sorted, nr, sizeof(*sorted), compare);
	printf("bench %s %lu %lu %lu %u\n", key, sorted[nr / 2],
	       sorted[nr / 10], sorted[nr - 1 - nr / 10], nr);
	fflush(stdout);
	free(sorted);
}

void bench_print_guest(struct kvm_vm *vm, const char *key)
{
	u64 *samples = addr_gva2hva(vm, (gva_t)bench_samples);

	bench_print_samples(key, samples, BENCH_ITEMS);
	memset(samples, 0, sizeof(bench_samples));
}

void bench_print(const char *key, u64 count, u64 items)
{
	printf("bench %s %lu / %lu\n", key, count, items);
	fflush(stdout);
}

void bench_run(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	for (;;) {
		vcpu_run(vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_DONE:
			return;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
		default:
			break;
		}
	}
}

struct ping_pong {
	int fd;
	size_t there, back;
};

/* Reads return what one write wrote, as the socket's buffer holds it all. */
static void *pong(void *arg)
{
	struct ping_pong *pp = arg;
	static u8 buf[KVMI_MAX_MSG_SIZE + 8];
	unsigned int i;

	for (i = 0; i < BENCH_ITEMS; i++) {
		TEST_ASSERT(read(pp->fd, buf, sizeof(buf)) == pp->there, "read()");
		TEST_ASSERT(write(pp->fd, buf, pp->back) == pp->back, "write()");
	}
	return NULL;
}

void bench_ping_pong(const char *key, size_t there, size_t back)
{
	static u8 buf[KVMI_MAX_MSG_SIZE + 8];
	struct ping_pong pp = { .there = there, .back = back };
	pthread_t thread;
	unsigned int i;
	u64 start;
	int sv[2];

	kvmi_socketpair(sv);
	pp.fd = sv[1];
	kvm_pthread_create(&thread, NULL, pong, &pp);
	for (i = 0; i < BENCH_ITEMS; i++) {
		start = bench_now();
		TEST_ASSERT(write(sv[0], buf, there) == there, "write()");
		TEST_ASSERT(read(sv[0], buf, sizeof(buf)) == back, "read()");
		bench_note(i, start);
	}
	kvm_pthread_join(thread, NULL);
	kvm_close(sv[0]);
	kvm_close(sv[1]);
	bench_print_samples(key, bench_samples, BENCH_ITEMS);
}
