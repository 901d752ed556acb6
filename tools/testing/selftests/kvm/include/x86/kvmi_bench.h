/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counting instructions instead of time.
 *
 * For machines whose TSC counts them: QEMU with -icount shift=0 on one
 * processor, and Bochs.  Each item is measured by itself, and what is reported
 * is the median of many, so that the host's timer does not show.
 */
#ifndef SELFTEST_KVM_KVMI_BENCH_H
#define SELFTEST_KVM_KVMI_BENCH_H

#include "kvmi_util.h"

#define BENCH_ITEMS	1000

/* The TSC and nothing else: three instructions. */
static __always_inline u64 bench_now(void)
{
	u64 high, low;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return high << 32 | low;
}

/* The TSC of each item; the guest's own, where the guest measures. */
extern u64 bench_samples[BENCH_ITEMS];

/* Guest and host: item @i is what happened since @start. */
static __always_inline void bench_note(u64 i, u64 start)
{
	u64 now = bench_now();

	WRITE_ONCE(bench_samples[i], now - start);
}

/* Print the median of @samples, and where the middle 80 % of them lie. */
void bench_print_samples(const char *key, const u64 *samples, unsigned int nr);
/* The same of what the guest noted. */
void bench_print_guest(struct kvm_vm *vm, const char *key);
/* Print a count of anything, in @items items. */
void bench_print(const char *key, u64 count, u64 items);

/* Run @vcpu in this thread until its guest code is done. */
void bench_run(struct kvm_vcpu *vcpu);

/* Guest code: an item so many times, each noted. */
#define BENCH_GUEST(name, item)						\
static void name(void)							\
{									\
	u64 i, start;							\
									\
	for (i = 0; i < BENCH_ITEMS; i++) {				\
		start = bench_now();					\
		item;							\
		bench_note(i, start);					\
	}								\
	GUEST_DONE();							\
}

/* CPUID of leaf 0. */
static __always_inline void bench_cpuid(void)
{
	u32 eax = 0, ebx, ecx = 0, edx;

	asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
}

/* A round trip between two threads: so many bytes there, so many back. */
void bench_ping_pong(const char *key, size_t there, size_t back);

#endif /* SELFTEST_KVM_KVMI_BENCH_H */
