// SPDX-License-Identifier: GPL-2.0-only
/* The VM of the soak, and what must be right about it.  See kvmi_soak.h. */
#include "kvmi_soak.h"

void soak_create(struct soak_vm *s, u64 seed)
{
	unsigned int i;

	s->vm = vm_create_with_vcpus(SOAK_VCPUS, soak_guest, s->vcpus);
	vm_userspace_mem_region_add(s->vm, VM_MEM_SRC_ANONYMOUS, SOAK_GPA, SOAK_SLOT,
				    SOAK_PAGES, 0);
	vm_userspace_mem_region_add(s->vm, VM_MEM_SRC_ANONYMOUS, SOAK_UPPER_GPA,
				    SOAK_UPPER_SLOT, SOAK_UPPER, 0);
	s->memory = addr_gpa2hva(s->vm, SOAK_GPA);
	s->upper_memory = addr_gpa2hva(s->vm, SOAK_UPPER_GPA);
	s->upper = SOAK_UPPER_GPA;
	virt_map(s->vm, SOAK_GPA, SOAK_GPA, SOAK_PAGES);
	virt_map(s->vm, SOAK_UPPER_GPA, SOAK_UPPER_GPA, SOAK_UPPER);
	virt_map(s->vm, SOAK_MOVED_GPA, SOAK_MOVED_GPA, SOAK_UPPER);
	s->guest = addr_gva2hva(s->vm, (gva_t)&soak);
	for (i = 0; i < SOAK_PAGES; i++)
		s->memory[i * PAGE_SIZE + SOAK_CODE] = 0xc3;
	for (i = 0; i < SOAK_VCPUS; i++) {
		s->guest->vcpus[i].random = seed * 2 + i + 1;
		vcpu_args_set(s->vcpus[i], 1, i);
	}
}

static void set_slot(struct soak_vm *s, u32 slot, void *memory, u64 gpa, u64 pages,
		     u32 flags)
{
	TEST_ASSERT(!__vm_set_user_memory_region(s->vm, slot, flags, gpa,
						 pages * PAGE_SIZE, memory),
		    "KVM_SET_USER_MEMORY_REGION: %d", errno);
}

void soak_move_upper(struct soak_vm *s, u64 gpa)
{
	set_slot(s, SOAK_UPPER_SLOT, s->upper_memory, gpa ?: s->upper,
		 gpa ? SOAK_UPPER : 0, 0);
	s->upper = gpa;
}

void soak_log(struct soak_vm *s, bool on)
{
	s->logging = on;
	s->logged = false;
	set_slot(s, SOAK_SLOT, s->memory, SOAK_GPA, SOAK_PAGES,
		 on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

/* Where the upper slot is not: the same memory, as a device would be. */
bool soak_handle_mmio(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	u64 gpa = run->mmio.phys_addr, offset;
	u8 *memory;

	if (run->exit_reason != KVM_EXIT_MMIO)
		return false;
	offset = gpa - (gpa < SOAK_MOVED_GPA ? SOAK_UPPER_GPA : SOAK_MOVED_GPA);
	TEST_ASSERT(offset < SOAK_UPPER * PAGE_SIZE && run->mmio.len == sizeof(u64),
		    "MMIO of %u bytes at %#llx", run->mmio.len, run->mmio.phys_addr);
	memory = addr_gpa2hva(vcpu->vm, SOAK_UPPER_GPA) + offset;
	if (run->mmio.is_write)
		memcpy(memory, run->mmio.data, sizeof(u64));
	else
		memcpy(run->mmio.data, memory, sizeof(u64));
	return true;
}

bool soak_is_counted(u64 page)
{
	return page < SOAK_SHARED && page % SOAK_OWN < SOAK_COUNTED;
}

u64 soak_counted(struct soak_vm *s)
{
	return s->guest->vcpus[0].counted + s->guest->vcpus[1].counted;
}

bool soak_is_parked(struct soak_vm *s, u64 turn)
{
	return READ_ONCE(s->guest->vcpus[0].parked) == turn &&
	       READ_ONCE(s->guest->vcpus[1].parked) == turn;
}

static u64 word(struct soak_vm *s, u64 page, u64 offset)
{
	return *(u64 *)(s->memory + page * PAGE_SIZE + offset);
}

void soak_check_memory(struct soak_vm *s)
{
	const struct soak_page *own;
	u64 cpu, i, page;

	for (cpu = 0; cpu < SOAK_VCPUS; cpu++) {
		for (i = 0; i < SOAK_OWN; i++) {
			own = &s->guest->vcpus[cpu].own[i];
			page = cpu * SOAK_OWN + i;
			TEST_ASSERT_EQ(word(s, page, SOAK_PLAIN), own->plain);
			TEST_ASSERT_EQ(word(s, page, SOAK_LOCKED), own->locked);
			TEST_ASSERT_EQ(word(s, page, SOAK_VECTOR), own->vector);
			TEST_ASSERT_EQ(word(s, page, SOAK_REP), own->rep);
			TEST_ASSERT_EQ(word(s, page, SOAK_CROSS), own->cross);
		}
		for (i = 0; i < SOAK_UPPER_OWN; i++) {
			page = cpu * SOAK_UPPER_OWN + i;
			TEST_ASSERT_EQ(*(u64 *)(s->upper_memory + page * PAGE_SIZE +
						SOAK_PLAIN),
				       s->guest->vcpus[cpu].upper[i]);
		}
	}
	TEST_ASSERT_EQ(word(s, SOAK_SHARED, SOAK_LOCKED),
		       s->guest->vcpus[0].shared + s->guest->vcpus[1].shared);
}

void soak_read_log(struct soak_vm *s)
{
	u64 log[ARRAY_SIZE(s->dirty)] = {};
	unsigned int i;

	kvm_vm_get_dirty_log(s->vm, SOAK_SLOT, log);
	for (i = 0; i < ARRAY_SIZE(log); i++)
		s->dirty[i] |= log[i];
}

static void assert_logged(struct soak_vm *s, u64 page)
{
	TEST_ASSERT(s->dirty[page / 64] >> page % 64 & 1,
		    "Page %lu was written, and not logged", page);
}

/* Since the log began, what was written is in it. */
void soak_check_log(struct soak_vm *s)
{
	const struct soak_page *now, *was;
	u64 cpu, i, page;

	if (!s->logging)
		return;
	soak_read_log(s);
	for (cpu = 0; s->logged && cpu < SOAK_VCPUS; cpu++) {
		for (i = 0; i < SOAK_OWN; i++) {
			now = &s->guest->vcpus[cpu].own[i];
			was = &s->was.vcpus[cpu].own[i];
			page = cpu * SOAK_OWN + i;
			if (memcmp(now, was, sizeof(*now)))
				assert_logged(s, page);
			if (now->cross != was->cross)
				assert_logged(s, page + 1);
		}
		if (s->guest->vcpus[cpu].shared != s->was.vcpus[cpu].shared)
			assert_logged(s, SOAK_SHARED);
	}
	memset(s->dirty, 0, sizeof(s->dirty));
	s->was = *s->guest;
	s->logged = true;
}
