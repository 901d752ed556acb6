// SPDX-License-Identifier: GPL-2.0-only
/* The guest of the soak.  See kvmi_soak.h. */
#include "kvmi_soak.h"

struct soak soak;

enum { PLAIN, LOCKED, VECTOR, CROSS, CALL, CHECK, REP, SHARED, UPPER, NR_DEEDS };

static volatile u64 *at(u64 page, u64 offset)
{
	return (void *)(SOAK_GPA + page * PAGE_SIZE + offset);
}

/* Everything of a page but what crosses, which is two pages'. */
static void check(u64 page, const struct soak_page *own)
{
	u64 i;

	GUEST_ASSERT_EQ(*at(page, SOAK_PLAIN), own->plain);
	GUEST_ASSERT_EQ(*at(page, SOAK_LOCKED), own->locked);
	GUEST_ASSERT_EQ(*at(page, SOAK_VECTOR), own->vector);
	GUEST_ASSERT_EQ(*at(page, SOAK_VECTOR + 8), own->vector);
	for (i = 0; i < SOAK_REP_WORDS; i++)
		GUEST_ASSERT_EQ(*at(page, SOAK_REP + 8 * i), own->rep);
}

/*
 * The upper slot, at either of its places; it is found at one, or at none.
 * Plain loads and stores: the VMM may have to do them.
 */
static void upper(struct soak_vcpu *v, u64 me, u64 r)
{
	u64 page = (r >> 16) % SOAK_UPPER_OWN;
	u64 gpa = (r >> 32) & 1 ? SOAK_UPPER_GPA : SOAK_MOVED_GPA;
	volatile u64 *word = (void *)(gpa + (me * SOAK_UPPER_OWN + page) *
				      PAGE_SIZE + SOAK_PLAIN);
	u64 seen, next = v->upper[page] + 1;

	asm volatile("mov %1, %0" : "=r"(seen) : "m"(*word));
	GUEST_ASSERT_EQ(seen, v->upper[page]);
	asm volatile("mov %1, %0" : "=m"(*word) : "r"(next));
	v->upper[page] = next;
}

static void store_vector(volatile u64 *word, u64 value)
{
	asm volatile("movq %1, %%xmm0\n\tpunpcklqdq %%xmm0, %%xmm0\n\t"
		     "movaps %%xmm0, %0"
		     : "=m"(*(u64 (*)[2])word) : "r"(value) : "xmm0");
}

static void store_repeated(volatile u64 *word, u64 value)
{
	u64 count = SOAK_REP_WORDS;

	asm volatile("rep stosq" : "+D"(word), "+c"(count) : "a"(value) : "memory");
}

/* Returns the number of writes to pages, one that crosses being two. */
static u64 do_one(struct soak_vcpu *v, u64 me, u64 nr, u64 deed)
{
	struct soak_page *own = &v->own[nr];
	u64 page = me * SOAK_OWN + nr, old = 1;
	bool counted = nr < SOAK_COUNTED;

	switch (deed) {
	case PLAIN:
		GUEST_ASSERT_EQ(*at(page, SOAK_PLAIN), own->plain);
		*at(page, SOAK_PLAIN) = own->plain + 1;
		own->plain++;
		return 1;
	case LOCKED:
		asm volatile("lock xaddq %0, %1"
			     : "+r"(old), "+m"(*at(page, SOAK_LOCKED)) : : "cc");
		GUEST_ASSERT_EQ(old, own->locked);
		own->locked++;
		return 1;
	case VECTOR:
		store_vector(at(page, SOAK_VECTOR), own->vector + 1);
		own->vector++;
		return 1;
	case CROSS:
		/* Into a page of the same kind. */
		if (nr == SOAK_COUNTED - 1 || nr == SOAK_OWN - 1)
			return 0;
		GUEST_ASSERT_EQ(*at(page, SOAK_CROSS), own->cross);
		*at(page, SOAK_CROSS) = own->cross + 0x100000001ull;
		own->cross += 0x100000001ull;
		return 2;
	case CALL:
		((void (*)(void))at(page, SOAK_CODE))();
		return 0;
	case REP:
		/* One event an iteration, or less. */
		if (counted)
			return 0;
		store_repeated(at(page, SOAK_REP), own->rep + 1);
		own->rep++;
		return SOAK_REP_WORDS;
	default:
		check(page, own);
		return 0;
	}
}

static void park(struct soak_vcpu *v)
{
	u64 turn = READ_ONCE(soak.park);

	if (!(turn & 1))
		return;
	WRITE_ONCE(v->parked, turn);
	while (READ_ONCE(soak.park) == turn)
		cpu_relax();
}

void soak_guest(u64 me)
{
	struct soak_vcpu *v = &soak.vcpus[me];
	u64 r, deed, nr, writes;

	for (;;) {
		park(v);
		r = soak_random(&v->random);
		deed = r % NR_DEEDS;
		nr = (r >> 16) % SOAK_OWN;
		switch (deed) {
		case SHARED:
			asm volatile("lock incq %0"
				     : "+m"(*at(SOAK_SHARED, SOAK_LOCKED)) : : "cc");
			v->shared++;
			break;
		case UPPER:
			upper(v, me, r);
			break;
		default:
			writes = do_one(v, me, nr, deed);
			if (nr < SOAK_COUNTED)
				v->counted += writes;
			break;
		}
		WRITE_ONCE(kvmi_progress[me], kvmi_progress[me] + 1);
	}
}
