// SPDX-License-Identifier: GPL-2.0-only
/*
 * Restrictions hold whatever the VMM does to the memory behind the frames: it
 * takes a slot away and makes it again, moves it, logs what is written, maps
 * ahead of the guest, lets the host merge pages.
 */
#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define SLOT	10
#define GPA	(4ull << 30)
#define MOVED	(6ull << 30)
#define PAGES	16
#define ALL	((1ull << PAGES) - 1)

KVMI_SUITE(kvmi_page_slots, 1);

/* The guest writes the round's number to each page in the mask. */
static u64 base = GPA, mask, round_nr, done;

static void guest(void)
{
	u64 i, now;

	for (;;) {
		now = READ_ONCE(round_nr);
		if (now == done)
			continue;
		for (i = 0; i < PAGES; i++)
			if (READ_ONCE(mask) >> i & 1)
				*(volatile u64 *)(base + i * PAGE_SIZE) = now;
		WRITE_ONCE(done, now);
	}
}

static void add(struct kvmi_fixture *f)
{
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT,
				    PAGES, 0);
}

static void start(struct kvmi_fixture *f)
{
	add(f);
	virt_map(f->vm, GPA, GPA, PAGES);
	virt_map(f->vm, MOVED, MOVED, PAGES);
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
}

static void restrict_pages(struct kvmi_fixture *f, u64 which, u8 access)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		if (which >> i & 1)
			kvmi_assert_err(kvmi_set_page_access(&f->kvmi,
				GPA + i * PAGE_SIZE, access), 0);
}

/* One round: the pages in @seen are events, and hold its number at the end. */
static void write_round(struct kvmi_fixture *f, u64 at, u64 which, u64 seen)
{
	u64 *nr = addr_gva2hva(f->vm, (gva_t)&round_nr), now = *nr + 1;
	u64 *end = addr_gva2hva(f->vm, (gva_t)&done);
	struct kvmi_event ev;
	unsigned int i;

	*(u64 *)addr_gva2hva(f->vm, (gva_t)&base) = at;
	*(u64 *)addr_gva2hva(f->vm, (gva_t)&mask) = which;
	WRITE_ONCE(*nr, now);
	for (i = 0; i < PAGES; i++) {
		if (!(which & seen & (1ull << i)))
			continue;
		kvmi_recv_pf(&f->kvmi, &ev, at + i * PAGE_SIZE, W);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	}
	kvmi_wait_until(READ_ONCE(*end) == now);
	for (i = 0; i < PAGES; i++)
		if (which & (1ull << i))
			TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(f->vm, at + i * PAGE_SIZE),
				       now);
}

KVMI_TEST(kvmi_page_slots, made_again)
{
	u64 which = BIT(3) | BIT(7);

	start(f);
	restrict_pages(f, which, R | X);
	write_round(f, GPA, ALL, which);
	vm_mem_region_delete(f->vm, SLOT);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, GPA, R), -KVM_EINVAL);
	/* Forgotten although there is nothing now. */
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, GPA + 7 * PAGE_SIZE,
					     R | W | X), 0);
	add(f);
	write_round(f, GPA, ALL, BIT(3));
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* A restriction is the frame's, not the slot's. */
KVMI_TEST(kvmi_page_slots, moved)
{
	start(f);
	restrict_pages(f, BIT(5), R | X);
	write_round(f, GPA, ALL, BIT(5));
	vm_mem_region_move(f->vm, SLOT, MOVED);
	write_round(f, MOVED, ALL, 0);
	vm_mem_region_move(f->vm, SLOT, GPA);
	write_round(f, GPA, ALL, BIT(5));
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* There is no slot: a device that forgets. */
static bool handle_mmio(struct kvm_vcpu *vcpu)
{
	return vcpu->run->exit_reason == KVM_EXIT_MMIO;
}

/* KVM remembers MMIO where there was no slot; then there is one, restricted. */
KVMI_TEST(kvmi_page_slots, made_again_over_mmio)
{
	u64 *end = addr_gva2hva(f->vm, (gva_t)&done);

	start(f);
	kvmi_stop(&f->runner);
	kvmi_start_with(&f->runner, f->vcpu, handle_mmio);
	vm_mem_region_delete(f->vm, SLOT);
	*(u64 *)addr_gva2hva(f->vm, (gva_t)&mask) = ALL;
	WRITE_ONCE(*(u64 *)addr_gva2hva(f->vm, (gva_t)&round_nr), 1);
	kvmi_wait_until(READ_ONCE(*end) == 1);
	add(f);
	restrict_pages(f, BIT(1), R);
	restrict_pages(f, BIT(2), 0);
	write_round(f, GPA, ALL, BIT(1) | BIT(2));
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/*
 * What was logged is what the guest wrote, and nothing is logged twice.  What
 * the processor logged is KVM's once KVM_RUN has ended.
 */
static void assert_dirty(struct kvmi_fixture *f, u64 want)
{
	u64 got = 0;

	kvmi_stop(&f->runner);
	kvm_vm_get_dirty_log(f->vm, SLOT, &got);
	kvmi_start(&f->runner, f->vcpu);
	TEST_ASSERT(got == want, "Dirty pages %#lx, not %#lx",
		    (unsigned long)got, (unsigned long)want);
}

/*
 * With PML the processor logs, but not for a guest whose pages are restricted;
 * both kinds of mappings are there while a tool comes and goes.
 */
KVMI_TEST(kvmi_page_slots, dirty_log)
{
	static const u64 masks[] = { 0x0f0f, 0xffff, 0x1111, 0, 0x8421 };
	unsigned int i, step;

	start(f);
	write_round(f, GPA, ALL, 0);
	vm_mem_region_set_flags(f->vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	write_round(f, GPA, 0x00ff, 0);
	assert_dirty(f, 0x00ff);
	for (step = 0; step < 4; step++) {
		u64 seen = step == 1 ? 0xaaaa : step == 2 ? ALL : 0;

		restrict_pages(f, ALL, R | W | X);
		restrict_pages(f, seen, R | X);
		for (i = 0; i < ARRAY_SIZE(masks); i++) {
			write_round(f, GPA, masks[i], seen);
			assert_dirty(f, masks[i]);
		}
	}
	/* The tool goes in the middle of logging. */
	restrict_pages(f, 0x5555, R | X);
	write_round(f, GPA, 0x00ff, 0x5555);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_unhook(f->vm);
	write_round(f, GPA, 0xf000, 0);
	assert_dirty(f, 0xf0ff);
	write_round(f, GPA, 0x0ff0, 0);
	assert_dirty(f, 0x0ff0);
	vm_mem_region_set_flags(f->vm, SLOT, 0);
	write_round(f, GPA, ALL, 0);
	kvmi_stop(&f->runner);
}

/* Logging is switched on and off while pages are restricted. */
KVMI_TEST(kvmi_page_slots, dirty_log_on_and_off)
{
	unsigned int i;

	start(f);
	restrict_pages(f, 0x00f0, R | X);
	for (i = 0; i < 5; i++) {
		write_round(f, GPA, ALL, 0x00f0);
		vm_mem_region_set_flags(f->vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES);
		assert_dirty(f, 0);
		write_round(f, GPA, 0x0ff0, 0x00f0);
		assert_dirty(f, 0x0ff0);
		vm_mem_region_set_flags(f->vm, SLOT, 0);
	}
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static int prefault(struct kvmi_fixture *f, u64 gpa, u64 size)
{
	struct kvm_pre_fault_memory range = { .gpa = gpa, .size = size };

	return __vcpu_ioctl(f->vcpu, KVM_PRE_FAULT_MEMORY, &range) ? -errno : 0;
}

/* Mapped ahead: what allows something, as far as it does; else -ENOENT. */
KVMI_TEST(kvmi_page_slots, mapped_ahead)
{
	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		SKIP(return, "no KVM_PRE_FAULT_MEMORY");
	start(f);
	restrict_pages(f, BIT(2), R | X);
	restrict_pages(f, BIT(3), 0);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(prefault(f, GPA, 3 * PAGE_SIZE), 0);
	TEST_ASSERT_EQ(prefault(f, GPA + 3 * PAGE_SIZE, PAGE_SIZE), -ENOENT);
	TEST_ASSERT_EQ(prefault(f, GPA + 4 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
	kvmi_start(&f->runner, f->vcpu);
	write_round(f, GPA, ALL, BIT(2) | BIT(3));
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static u64 read_number(const char *path)
{
	u64 value = 0;
	FILE *file = fopen(path, "r");

	TEST_ASSERT(file && fscanf(file, "%lu", &value) == 1, "Cannot read %s", path);
	fclose(file);
	return value;
}

static bool write_number(const char *path, u64 value)
{
	FILE *file = fopen(path, "w");
	bool ok = file && fprintf(file, "%lu\n", value) > 0;

	return file && !fclose(file) && ok;
}

#define KSM	"/sys/kernel/mm/ksm/"

/* The host makes one page of equal ones: they are written apart, each seen. */
KVMI_TEST(kvmi_page_slots, merged)
{
	u64 was, before;
	void *hva;

	if (access(KSM "run", W_OK))
		SKIP(return, "the host does not merge pages");
	start(f);
	write_round(f, GPA, ALL, 0);
	hva = addr_gpa2hva(f->vm, GPA);
	was = read_number(KSM "run");
	before = read_number(KSM "pages_sharing");
	TEST_ASSERT(!madvise(hva, PAGES * PAGE_SIZE, MADV_MERGEABLE), "madvise()");
	write_number(KSM "sleep_millisecs", 1);
	TEST_ASSERT(write_number(KSM "run", 1), "Cannot start KSM");
	kvmi_wait_until(read_number(KSM "pages_sharing") > before);
	restrict_pages(f, 0x0ff0, R | X);
	write_round(f, GPA, 0x00ff, 0x0ff0);
	write_round(f, GPA, 0xffff, 0x0ff0);
	TEST_ASSERT(write_number(KSM "run", was), "Cannot stop KSM");
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
