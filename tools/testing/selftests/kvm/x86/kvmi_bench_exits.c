// SPDX-License-Identifier: GPL-2.0-only
/*
 * What exits cost a guest that is not introspected, or in which nothing that it
 * does is of interest.  Runs with KVM modules that know nothing of
 * introspection, too.  See kvmi_bench.h.
 */
#include "kvmi_bench.h"

#define SLOT		10
#define GPA		(4ull << 30)
#define OTHER_SLOT	11
#define OTHER_GPA	(6ull << 30)
#define OTHER_PAGES	(8 * 511)

/* Without a device. */
#define PORT		0x80

#define LOOPS		1000

static u64 cr4, misc;

/* One instruction, and two for each turn. */
static __always_inline void counted_loop(void)
{
	asm volatile("mov %0, %%ecx\n1: dec %%ecx\n\tjnz 1b"
		     : : "i"(LOOPS) : "ecx", "cc");
}

static __always_inline void touch(u64 i)
{
	*(volatile u64 *)(GPA + i * PAGE_SIZE) = i;
}

static __always_inline void touch_again(void)
{
	u64 i;

	for (i = 0; i < 256; i++)
		touch(i);
}

/* Nothing but the measuring, and a known number of instructions. */
BENCH_GUEST(guest_empty, barrier())
BENCH_GUEST(guest_loop, counted_loop())
BENCH_GUEST(guest_mapped, touch_again())
BENCH_GUEST(guest_cpuid, bench_cpuid())
BENCH_GUEST(guest_fault, touch(i))
BENCH_GUEST(guest_cr4, set_cr4(i & 1 ? cr4 : cr4 | X86_CR4_SMEP))
BENCH_GUEST(guest_msr, wrmsr(MSR_IA32_MISC_ENABLE, misc))
BENCH_GUEST(guest_port, asm volatile("out %%al, %0" : : "i"(PORT), "a"(0)))

static const struct {
	const char *key;
	void (*guest)(void);
} items[] = {
	{ "empty", guest_empty },
	{ "loop", guest_loop },
	{ "mapped", guest_mapped },
	{ "cpuid", guest_cpuid },
	{ "msr", guest_msr },
	{ "cr4", guest_cr4 },
	{ "port", guest_port },
	{ "fault", guest_fault },
};

#define ALL	(KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W | KVMI_PAGE_ACCESS_X)

static const struct {
	const char *name;
	bool other, hooked;
	/* What other pages may not do. */
	u8 denied;
} modes[] = {
	{ "unhooked" },
	{ "other", .other = true },
	{ "hooked", .hooked = true },
	{ "protected", .hooked = true, .denied = KVMI_PAGE_ACCESS_W },
	{ "unexecutable", .hooked = true, .denied = KVMI_PAGE_ACCESS_X },
};

static void add(struct kvm_vm *vm, u64 gpa, u32 slot, u64 pages)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, gpa, slot, pages, 0);
	memset(addr_gpa2hva(vm, gpa), 0, pages * PAGE_SIZE);
}

/* Pages that the guest does not even map. */
static void restrict_others(struct kvmi *k, struct kvm_vm *vm, u8 denied)
{
	u64 gpa;

	add(vm, OTHER_GPA, OTHER_SLOT, OTHER_PAGES);
	for (gpa = OTHER_GPA; gpa < OTHER_GPA + OTHER_PAGES * PAGE_SIZE;
	     gpa += 511 * PAGE_SIZE)
		kvmi_assert_err(kvmi_set_pages_access(k, gpa, 511,
						      ALL & ~denied), 0);
}

static void measure(const char *key, void *guest, bool hooked, u8 denied)
{
	struct kvmi k = { .fd = -1 };
	struct kvm_sregs sregs;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, guest);
	char name[64];
	u64 exits;

	add(vm, GPA, SLOT, BENCH_ITEMS);
	virt_map(vm, GPA, GPA, BENCH_ITEMS);
	vcpu_sregs_get(vcpu, &sregs);
	*(u64 *)addr_gva2hva(vm, (gva_t)&cr4) = sregs.cr4;
	*(u64 *)addr_gva2hva(vm, (gva_t)&misc) = vcpu_get_msr(vcpu, MSR_IA32_MISC_ENABLE);
	if (hooked)
		kvmi_hook(&k, vm);
	if (denied)
		restrict_others(&k, vm, denied);
	bench_run(vcpu);
	exits = vcpu_get_stat(vcpu, exits);
	bench_print_guest(vm, key);
	snprintf(name, sizeof(name), "%s.exits", key);
	bench_print(name, exits, BENCH_ITEMS);
	kvmi_close(&k);
	kvm_vm_free(vm);
}

/* The same loop in this program: does the TSC count instructions? */
static void measure_host_loop(void)
{
	u64 i, start;

	for (i = 0; i < BENCH_ITEMS; i++) {
		start = bench_now();
		bench_note(i, start);
	}
	bench_print_samples("host.empty", bench_samples, BENCH_ITEMS);
	for (i = 0; i < BENCH_ITEMS; i++) {
		start = bench_now();
		counted_loop();
		bench_note(i, start);
	}
	bench_print_samples("host.loop", bench_samples, BENCH_ITEMS);
}

int main(int argc, char *argv[])
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *other;
	struct kvmi k;
	unsigned int i, mode;

	for (mode = 0; mode < ARRAY_SIZE(modes); mode++)
		if (argc == 2 && !strcmp(argv[1], modes[mode].name))
			break;
	TEST_ASSERT(mode < ARRAY_SIZE(modes),
		    "usage: %s unhooked|other|hooked|protected|unexecutable", argv[0]);

	measure_host_loop();
	if (modes[mode].other) {
		other = kvmi_create_vm(1, &vcpu);
		kvmi_hook(&k, other);
	}
	for (i = 0; i < ARRAY_SIZE(items); i++)
		measure(items[i].key, items[i].guest, modes[mode].hooked,
			modes[mode].denied);
	return 0;
}
