/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest of the soak: each vCPU writes to pages of its own, in many ways,
 * and checks all that it finds there against what it remembers.
 */
#ifndef SELFTEST_KVM_KVMI_SOAK_H
#define SELFTEST_KVM_KVMI_SOAK_H

#include "kvmi_util.h"

#define SOAK_VCPUS	2

/*
 * The lower slot is always there.  Each vCPU owns some of its pages, and all
 * share the last one.  The first pages of each are those whose accesses are
 * counted exactly.
 */
#define SOAK_SLOT	10
#define SOAK_GPA	(4ull << 30)
#define SOAK_OWN	32
#define SOAK_COUNTED	4
#define SOAK_SHARED	(SOAK_VCPUS * SOAK_OWN)
#define SOAK_PAGES	(SOAK_SHARED + 1)

/*
 * The upper slot comes and goes, and moves between two places.  While it is
 * not where the guest looks for it the VMM does the access, so only what that
 * can do is done there.
 */
#define SOAK_UPPER_SLOT	11
#define SOAK_UPPER_GPA	(6ull << 30)
#define SOAK_MOVED_GPA	(7ull << 30)
#define SOAK_UPPER_OWN	16
#define SOAK_UPPER	(SOAK_VCPUS * SOAK_UPPER_OWN)

/* Where in a page; what crosses into the next one is at its end. */
#define SOAK_PLAIN	16
#define SOAK_LOCKED	64
#define SOAK_VECTOR	128
#define SOAK_REP	256
#define SOAK_REP_WORDS	8
#define SOAK_CODE	512
#define SOAK_CROSS	4092

/* What a page must hold. */
struct soak_page {
	u64 plain;
	u64 locked;
	u64 vector;
	u64 rep;
	u64 cross;
};

/* In memory that is never restricted and never goes. */
struct soak_vcpu {
	u64 random;
	struct soak_page own[SOAK_OWN];
	u64 upper[SOAK_UPPER_OWN];
	/* Additions to the shared counter. */
	u64 shared;
	/* Writes to counted pages: one event each, or two that cross. */
	u64 counted;
	u64 parked;
};

struct soak {
	struct soak_vcpu vcpus[SOAK_VCPUS];
	/* A vCPU waits while this is odd, once it has told so. */
	u64 park;
};

extern struct soak soak;

/* Marsaglia's xorshift: the next number. */
static inline u64 soak_random(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* kvmi_soak.c */
void soak_guest(u64 me);

/* The VM, and what is known of it outside. */
struct soak_vm {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[SOAK_VCPUS];
	struct soak *guest;
	/* What is behind the slots, also while they are gone. */
	u8 *memory, *upper_memory;
	/* Where the upper slot is, or 0. */
	u64 upper;
	/* Writes to the lower slot are logged; since all were parked once. */
	bool logging, logged;
	/* What was logged, and what pages held when that began. */
	u64 dirty[DIV_ROUND_UP(SOAK_PAGES, 64)];
	struct soak was;
};

/* kvmi_soak_vm.c */
void soak_create(struct soak_vm *s, u64 seed);
/* What is not in a slot now is done by the VMM: for kvmi_start_with(). */
bool soak_handle_mmio(struct kvm_vcpu *vcpu);
/* Have the upper slot at @gpa; at 0 it is gone. */
void soak_move_upper(struct soak_vm *s, u64 gpa);
/* Have writes to the lower slot logged, or not. */
void soak_log(struct soak_vm *s, bool on);
void soak_read_log(struct soak_vm *s);
/* Of a page of the lower slot: are accesses to it counted? */
bool soak_is_counted(u64 page);
/* What all vCPUs have counted. */
u64 soak_counted(struct soak_vm *s);
/* Have all vCPUs told that they wait at this turn? */
bool soak_is_parked(struct soak_vm *s, u64 turn);
/* While all vCPUs are parked: what they remember is there, and was logged. */
void soak_check_memory(struct soak_vm *s);
void soak_check_log(struct soak_vm *s);

#endif /* SELFTEST_KVM_KVMI_SOAK_H */
