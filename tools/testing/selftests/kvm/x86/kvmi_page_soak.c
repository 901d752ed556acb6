// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once, in random order: pages are restricted and released while
 * two vCPUs write to them, memory slots go, move and come back, writes are
 * logged, vCPUs are kicked and stopped, tools leave, die and come back.
 *
 * Without options this is a test: so many operations from a fixed seed.  With
 * -s SECONDS it goes on for that long; -r SEED gives other operations.  What
 * the vCPUs do meanwhile is as random as the host's scheduler.
 */
#include <poll.h>
#include <time.h>

#include "kvmi_soak.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X
#define ALL	(R | W | X)

#define OPERATIONS	400
#define REPORT_SECONDS	30

/* Each place where a page can be. */
static const struct {
	u64 gpa, pages;
} areas[] = {
	{ SOAK_GPA, SOAK_PAGES },
	{ SOAK_UPPER_GPA, SOAK_UPPER },
	{ SOAK_MOVED_GPA, SOAK_UPPER },
};

static struct {
	u64 seed;
	/* Of operations, and of answers. */
	u64 random, mood;
	struct soak_vm vm;
	struct kvmi_runner runners[SOAK_VCPUS];
	struct kvmi k;
	/* By area: what is denied now, and what was since all were parked. */
	u8 denied[ARRAY_SIZE(areas)][SOAK_PAGES], since[ARRAY_SIZE(areas)][SOAK_PAGES];

	/* Counted pages: are they restricted, since when, how many events. */
	bool counting;
	u64 counted_before, counted;

	/* PAUSE events that are still to come. */
	unsigned int pauses;

	/* For the report. */
	u64 operations, events, retries, checks, hooks, deaths, slots, toggles;
} s;

static u64 next_below(u64 *state, u64 limit)
{
	return (soak_random(state) >> 8) % limit;
}

/* What is done depends on the seed alone, and not on what happens meanwhile. */
static u64 random_below(u64 limit)
{
	return next_below(&s.random, limit);
}

/* Events. */

static u8 *find_page(u8 (*map)[SOAK_PAGES], u64 gpa)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(areas); i++)
		if (gpa >= areas[i].gpa &&
		    gpa < areas[i].gpa + areas[i].pages * PAGE_SIZE)
			return &map[i][(gpa - areas[i].gpa) / PAGE_SIZE];
	TEST_FAIL("An event at %#lx, where nothing was ever restricted",
		  (unsigned long)gpa);
}

static void answer(const struct kvmi_msg *msg)
{
	struct kvmi_event ev;
	const struct kvmi_vcpu_event_pf *pf = (const void *)ev.specific;
	u8 action = KVMI_EVENT_ACTION_CONTINUE;
	u64 page;

	kvmi_parse_event(msg, &ev);
	s.events++;
	if (ev.event == KVMI_VCPU_EVENT_PF) {
		TEST_ASSERT(pf->access && !(pf->access & ~*find_page(s.since, pf->gpa)),
			    "Access %u at %#llx, where %u was denied", pf->access,
			    pf->gpa, *find_page(s.since, pf->gpa));
		page = (pf->gpa - SOAK_GPA) / PAGE_SIZE;
		if (!next_below(&s.mood, 16)) {
			action = KVMI_EVENT_ACTION_RETRY;
			s.retries++;
		} else if (soak_is_counted(page)) {
			s.counted++;
		}
	} else {
		TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PAUSE);
		s.pauses--;
	}
	kvmi_reply(&s.k, &ev, action);
}

/* Answer what is there, without waiting. */
static void answer_all(void)
{
	struct pollfd pfd = { .fd = s.k.fd, .events = POLLIN };
	struct kvmi_msg *msg;

	while (s.k.fd >= 0 && (!list_empty(&s.k.stash) || poll(&pfd, 1, 0) > 0)) {
		msg = __kvmi_recv_event(&s.k);
		TEST_ASSERT(msg, "The session ended");
		answer(msg);
		free(msg);
	}
}

static u64 progress(void)
{
	return kvmi_read_progress(s.vm.vm, 0) + kvmi_read_progress(s.vm.vm, 1);
}

static void report(void)
{
	printf("seed %lu: %lu operations, %lu steps of the guest\n", s.seed,
	       s.operations, progress());
	printf("    %lu events, %lu retried; %lu checks, %lu hooks, %lu deaths\n",
	       s.events, s.retries, s.checks, s.hooks, s.deaths);
	printf("    %lu changes of slots, %lu of logging\n", s.slots, s.toggles);
	fflush(stdout);
}

/* Nothing came for so long that it is as good as for ever. */
static void still_alive(u64 deadline, const char *what)
{
	unsigned int cpu;

	if (kvmi_deadline() <= deadline + KVMI_HANG_SECONDS)
		return;
	report();
	for (cpu = 0; cpu < SOAK_VCPUS; cpu++)
		printf("vCPU %u: %lu exits, %lu steps, parked %lu of %lu; fd %d, %u pauses\n",
		       cpu, vcpu_get_stat(s.vm.vcpus[cpu], exits),
		       kvmi_read_progress(s.vm.vm, cpu),
		       s.vm.guest->vcpus[cpu].parked, s.vm.guest->park, s.k.fd, s.pauses);
	kvmi_still_alive(deadline, what);
}

#define answer_until(cond)						\
do {									\
	u64 __deadline = kvmi_deadline();				\
									\
	while (!(cond)) {						\
		still_alive(__deadline, #cond);				\
		answer_all();						\
		sched_yield();						\
	}								\
} while (0)

/* The guest, parked. */

static void park(void)
{
	u64 turn = s.vm.guest->park + 1;

	WRITE_ONCE(s.vm.guest->park, turn);
	answer_until(soak_is_parked(&s.vm, turn) && !s.pauses);
	if (s.k.fd >= 0)
		kvmi_expect_quiet(&s.k);
}

static void go_on(void)
{
	memcpy(s.since, s.denied, sizeof(s.since));
	WRITE_ONCE(s.vm.guest->park, s.vm.guest->park + 1);
}

/* All that must be right while nobody writes. */
static void check_all(void)
{
	u64 writes;

	park();
	soak_check_memory(&s.vm);
	soak_check_log(&s.vm);
	writes = soak_counted(&s.vm) - s.counted_before;
	if (s.counting)
		TEST_ASSERT(s.counted == writes, "%lu events of %lu writes",
			    s.counted, writes);
	s.checks++;
	go_on();
}

/* Operations. */

static u8 random_access(void)
{
	static const u8 some[] = { 0, R, R | W, R | X, ALL, ALL };

	return some[random_below(ARRAY_SIZE(some))];
}

static void set_access(unsigned int area, u64 first, u64 nr, u8 access)
{
	bool there = !area || s.vm.upper == areas[area].gpa;
	int want = there || access == ALL ? 0 : -KVM_EINVAL;
	u64 i;

	for (i = first; i < first + nr && !want; i++)
		s.since[area][i] |= ALL & ~access;
	kvmi_assert_err(kvmi_set_pages_access(&s.k, areas[area].gpa + first * PAGE_SIZE,
					      nr, access), want);
	if (!want)
		memset(&s.denied[area][first], ALL & ~access, nr);
}

/* Some pages, but never the counted ones. */
static void restrict_some(void)
{
	unsigned int area = random_below(ARRAY_SIZE(areas)), cpu = random_below(SOAK_VCPUS);
	u64 first, last = SOAK_UPPER;

	if (s.k.fd < 0)
		return;
	first = random_below(SOAK_UPPER);
	if (!area) {
		first = cpu * SOAK_OWN + SOAK_COUNTED + random_below(SOAK_OWN - SOAK_COUNTED);
		last = (cpu + 1) * SOAK_OWN + (cpu == SOAK_VCPUS - 1);
	}
	set_access(area, first, 1 + random_below(last - first), random_access());
}

static void release_all(void)
{
	unsigned int cpu;

	if (s.k.fd < 0)
		return;
	for (cpu = 0; cpu < SOAK_VCPUS; cpu++)
		set_access(0, cpu * SOAK_OWN + SOAK_COUNTED, SOAK_OWN - SOAK_COUNTED, ALL);
	set_access(0, SOAK_SHARED, 1, ALL);
	set_access(1, 0, SOAK_UPPER, ALL);
	set_access(2, 0, SOAK_UPPER, ALL);
}

/* The upper slot goes, comes, or moves. */
static void change_slot(void)
{
	u64 other = s.vm.upper == SOAK_UPPER_GPA ? SOAK_MOVED_GPA : SOAK_UPPER_GPA;

	s.slots++;
	if (s.vm.upper && random_below(2)) {
		soak_move_upper(&s.vm, 0);
		return;
	}
	if (!s.vm.upper)
		other = random_below(2) ? SOAK_UPPER_GPA : SOAK_MOVED_GPA;
	soak_move_upper(&s.vm, other);
}

static void toggle_log(void)
{
	s.toggles++;
	soak_log(&s.vm, !s.vm.logging);
}

static void kick(void)
{
	kvmi_kick(&s.runners[random_below(SOAK_VCPUS)]);
}

static void pause_one(void)
{
	struct kvmi_vcpu_get_registers_reply regs;
	u16 cpu = random_below(SOAK_VCPUS);

	if (s.k.fd < 0)
		return;
	/* It is answered among the other events. */
	kvmi_assert_err(kvmi_pause(&s.k, cpu, 0), 0);
	s.pauses++;
	kvmi_assert_err(kvmi_get_regs(&s.k, cpu, &regs), 0);
}

static void hook(void)
{
	unsigned int cpu;

	/* That the last one died has to be noticed. */
	kvmi_wait_until(kvmi_state(s.vm.vm->fd) != KVMI_ACTIVE);
	kvmi_hook(&s.k, s.vm.vm);
	for (cpu = 0; cpu < SOAK_VCPUS; cpu++)
		kvmi_assert_err(kvmi_control_event(&s.k, cpu, KVMI_VCPU_EVENT_PF, 1), 0);
	park();
	for (cpu = 0; cpu < SOAK_VCPUS; cpu++)
		set_access(0, cpu * SOAK_OWN, SOAK_COUNTED, R | X);
	s.counting = true;
	s.counted = 0;
	s.counted_before = soak_counted(&s.vm);
	s.hooks++;
	go_on();
}

/* Politely, or not at all, and in the middle of everything. */
static void leave(void)
{
	if (random_below(2))
		kvmi_unhook(s.vm.vm);
	else
		s.deaths++;
	kvmi_close(&s.k);
	s.counting = false;
	s.pauses = 0;
	memset(s.denied, 0, sizeof(s.denied));
	memset(s.since, 0, sizeof(s.since));
}

static void come_or_go(void)
{
	if (s.k.fd < 0)
		hook();
	else if (!random_below(4))
		leave();
}

static void operate(void)
{
	u64 before = progress(), some = random_below(16);

	switch (random_below(16)) {
	case 0 ... 5:
		restrict_some();
		break;
	case 6:
		release_all();
		break;
	case 7 ... 8:
		change_slot();
		break;
	case 9:
		toggle_log();
		break;
	case 10:
		if (s.vm.logging)
			soak_read_log(&s.vm);
		break;
	case 11:
		kick();
		break;
	case 12:
		pause_one();
		break;
	case 13 ... 14:
		come_or_go();
		break;
	default:
		check_all();
		break;
	}
	s.operations++;
	answer_until(progress() >= before + some);
}

static void create(void)
{
	unsigned int i;

	soak_create(&s.vm, s.seed);
	for (i = 0; i < SOAK_VCPUS; i++)
		kvmi_start_with(&s.runners[i], s.vm.vcpus[i], soak_handle_mmio);
	s.k.fd = -1;
	hook();
}

static u64 seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

int main(int argc, char *argv[])
{
	u64 end = 0, told = seconds();
	unsigned int i;
	int option;

	s.seed = 1;
	while ((option = getopt(argc, argv, "r:s:")) != -1) {
		if (option == 'r')
			s.seed = strtoull(optarg, NULL, 0);
		else if (option == 's')
			end = seconds() + strtoull(optarg, NULL, 0);
		else
			TEST_FAIL("usage: %s [-r SEED] [-s SECONDS]", argv[0]);
	}
	kvmi_require();
	s.random = s.seed * 0x9e3779b97f4a7c15ull | 1;
	s.mood = s.random;
	printf("seed %lu\n", s.seed);
	create();
	while (end ? seconds() < end : s.operations < OPERATIONS) {
		operate();
		if (end && seconds() >= told + REPORT_SECONDS) {
			told = seconds();
			report();
		}
	}
	check_all();
	for (i = 0; i < SOAK_VCPUS; i++)
		kvmi_stop(&s.runners[i]);
	report();
	TEST_ASSERT(s.events && s.retries && s.deaths && s.slots && s.toggles,
		    "Some of it never happened");
	kvmi_close(&s.k);
	kvm_vm_free(s.vm.vm);
	return 0;
}
