// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it costs to restrict pages: the command, the guest's walks through a
 * restricted page table, and large pages.  See kvmi_bench.h.
 */
#include "kvmi_bench.h"

#define SLOT	10
#define GPA	(4ull << 30)
#define PAGES	65536
#define BATCH	511
#define BATCHES	(PAGES / BATCH + 1)

#define ALL	(KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W | KVMI_PAGE_ACCESS_X)
#define NO_W	(KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_X)

#define LARGE	(2ull << 20)
#define LARGES	4

static u64 pages;

/* Touches all pages each time it is run. */
static void guest_touch(void)
{
	u64 i;

	for (;;) {
		for (i = 0; i < pages; i++)
			*(volatile u64 *)(GPA + i * PAGE_SIZE) = i;
		GUEST_DONE();
	}
}

#define WALKED	512

/* The first touch of each, and later one walk of the page tables each. */
static u64 first_touches[WALKED];

static void guest_walk(void)
{
	u64 i, start, gva;

	for (i = 0; i < WALKED; i++) {
		start = bench_now();
		*(volatile u64 *)(GPA + i * PAGE_SIZE) = i;
		first_touches[i] = bench_now() - start;
	}
	GUEST_SYNC(0);
	for (i = 0; i < BENCH_ITEMS; i++) {
		gva = GPA + i % WALKED * PAGE_SIZE;
		/* The translation is forgotten before what is counted. */
		asm volatile("invlpg (%0)" : : "r"(gva) : "memory");
		start = bench_now();
		(void)*(volatile u64 *)gva;
		bench_note(i, start);
	}
	GUEST_DONE();
}

static struct kvm_vm *create(struct kvm_vcpu **vcpu, void *guest, u64 nr, bool large)
{
	/* With room for the guest's page tables. */
	struct kvm_vm *vm = __vm_create_with_one_vcpu(vcpu, nr / 128, guest);

	vm_userspace_mem_region_add(vm, large ? VM_MEM_SRC_ANONYMOUS_THP :
						VM_MEM_SRC_ANONYMOUS,
				    GPA, SLOT, nr, 0);
	memset(addr_gpa2hva(vm, GPA), 0, nr * PAGE_SIZE);
	virt_map(vm, GPA, GPA, nr);
	*(u64 *)addr_gva2hva(vm, (gva_t)&pages) = nr;
	return vm;
}

static u64 flushes(struct kvm_vm *vm)
{
	return vm_get_stat(vm, remote_tlb_flush_requests);
}

static u64 set_access(struct kvmi *k, u64 page, u16 nr, u8 access)
{
	u64 start = bench_now();

	kvmi_assert_err(kvmi_set_pages_access(k, GPA + page * PAGE_SIZE, nr,
					      access), 0);
	return bench_now() - start;
}

/* All pages, one a command. */
static void one_by_one(struct kvmi *k, const char *key, u8 access)
{
	u64 i, before = flushes(k->vm);
	char name[64];

	for (i = 0; i < BENCH_ITEMS; i++)
		bench_samples[i] = set_access(k, i, 1, access);
	bench_print_samples(key, bench_samples, BENCH_ITEMS);
	snprintf(name, sizeof(name), "%s.flushes", key);
	bench_print(name, flushes(k->vm) - before, BENCH_ITEMS);
}

/* As many a command as there can be. */
static void in_batches(struct kvmi *k, const char *key, u8 access)
{
	u64 batch, nr, all = 0, before = flushes(k->vm);
	char name[64];

	for (batch = 0; batch < BATCHES; batch++) {
		nr = min_t(u64, BATCH, PAGES - batch * BATCH);
		bench_samples[batch] = set_access(k, batch * BATCH, nr, access);
		all += bench_samples[batch];
	}
	/* The last is shorter. */
	snprintf(name, sizeof(name), "%s.511", key);
	bench_print_samples(name, bench_samples, BATCHES - 1);
	snprintf(name, sizeof(name), "%s.65536", key);
	bench_print(name, all, PAGES);
	snprintf(name, sizeof(name), "%s.65536.flushes", key);
	bench_print(name, flushes(k->vm) - before, BATCHES);
}

static void measure_set_access(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = create(&vcpu, guest_touch, PAGES, false);
	struct kvmi k;

	kvmi_hook(&k, vm);
	/* The first restriction makes other tables, with EPT. */
	set_access(&k, PAGES - 1, 1, NO_W);
	bench_run(vcpu);
	one_by_one(&k, "set.1", NO_W);
	one_by_one(&k, "forget.1", ALL);
	bench_run(vcpu);
	in_batches(&k, "set", NO_W);
	/* Nothing of it is mapped now. */
	in_batches(&k, "set.unmapped", KVMI_PAGE_ACCESS_R);
	in_batches(&k, "forget", ALL);
	kvmi_close(&k);
	kvm_vm_free(vm);
	bench_ping_pong("pingpong.set.1", sizeof(struct kvmi_msg_hdr) + 8 + 16, 16);
	bench_ping_pong("pingpong.set.511", sizeof(struct kvmi_msg_hdr) + 8 + 511 * 16,
			16);
}

static void measure_walks(const char *key, bool restricted)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = create(&vcpu, guest_walk, WALKED, false);
	u64 table = addr_hva2gpa(vm, vm_get_pte(vm, GPA)), other, exits;
	char name[64];
	struct kvmi k;

	kvmi_hook(&k, vm);
	/* The guest's tables are those of a restricted VM from the beginning. */
	other = addr_gva2gpa(vm, vm_alloc_pages(vm, 1));
	kvmi_assert_err(kvmi_set_page_access(&k, other, NO_W), 0);
	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &(struct ucall){}), UCALL_SYNC);
	snprintf(name, sizeof(name), "%s.first", key);
	bench_print_samples(name, addr_gva2hva(vm, (gva_t)first_touches), WALKED);
	if (restricted)
		kvmi_assert_err(kvmi_set_page_access(&k, table, NO_W), 0);
	exits = vcpu_get_stat(vcpu, exits);
	bench_run(vcpu);
	bench_print_guest(vm, key);
	snprintf(name, sizeof(name), "%s.exits", key);
	bench_print(name, vcpu_get_stat(vcpu, exits) - exits, BENCH_ITEMS);
	kvmi_expect_quiet(&k);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

static void print_large(struct kvm_vm *vm, const char *key)
{
	bench_print(key, vm_get_stat(vm, pages_2m), LARGES);
}

static void measure_large(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = create(&vcpu, guest_touch, LARGES * LARGE / PAGE_SIZE, true);
	struct kvmi k;

	kvmi_hook(&k, vm);
	/* The first restriction makes other tables, with EPT. */
	kvmi_assert_err(kvmi_set_page_access(&k, GPA, KVMI_PAGE_ACCESS_R), 0);
	kvmi_assert_err(kvmi_set_page_access(&k, GPA, ALL), 0);
	bench_run(vcpu);
	print_large(vm, "large.before");
	kvmi_assert_err(kvmi_set_page_access(&k, GPA + LARGE, NO_W), 0);
	bench_run(vcpu);
	print_large(vm, "large.one");
	kvmi_assert_err(kvmi_set_page_access(&k, GPA + LARGE, ALL), 0);
	bench_run(vcpu);
	print_large(vm, "large.after");
	kvmi_close(&k);
	kvm_vm_free(vm);
}

int main(void)
{
	kvmi_require();
	measure_set_access();
	measure_walks("walk.free", false);
	measure_walks("walk.restricted", true);
	measure_large();
	return 0;
}
