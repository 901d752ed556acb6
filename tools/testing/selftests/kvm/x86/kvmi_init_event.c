// SPDX-License-Identifier: GPL-2.0-only
/*
 * INIT comes while the tool is asked about an instruction: the instruction is not
 * done, and nothing of what the tool says later, or had granted, counts.
 */
#include "apic.h"
#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define SLOT	10
#define PAGE	(4ull << 30)
#define IOAPIC	0xfec00000ull

/* Nothing of the library's is in the lowest two pages. */
#define AP_VECTOR	1
#define AP_CODE		(AP_VECTOR << 12)
#define AP_COUNTER	0x800

/* inc word [AP_COUNTER]; jmp back to it */
static const u8 ap_code[] = {
	0xff, 0x06, AP_COUNTER & 0xff, AP_COUNTER >> 8, 0xeb, 0xfa,
};

KVMI_SUITE(kvmi_init_event, 2);

enum { WRITE_MSR = 1, STORE, PUSH_DEVICE, STORE_LOW };

static u64 what, order;

static void bsp(u64 index)
{
	x2apic_enable();
	while (!READ_ONCE(order))
		;
	x2apic_write_reg(APIC_ICR, (1ull << 32) | APIC_DM_INIT | APIC_INT_ASSERT);
	x2apic_write_reg(APIC_ICR, (1ull << 32) | APIC_DM_STARTUP | AP_VECTOR);
	kvmi_guest_count(index);
}

static void ap(void)
{
	u64 rsp, it;

	while (!(it = READ_ONCE(what)))
		WRITE_ONCE(kvmi_progress[1], kvmi_progress[1] + 1);
	switch (it) {
	case WRITE_MSR:
		wrmsr(MSR_LSTAR, 0xffffffffdeadb000ull);
		break;
	case STORE:
		*(volatile u64 *)(PAGE + 2040) = 1;
		break;
	case PUSH_DEVICE:
		asm volatile("mov %%rsp, %0; mov %1, %%rsp; pushq (%2); mov %0, %%rsp"
			     : "=&r"(rsp)
			     : "r"(PAGE + 2048), "r"(IOAPIC + 0x10) : "memory");
		break;
	case STORE_LOW:
		*(volatile u16 *)AP_COUNTER = 1;
		break;
	}
	for (;;)
		;
}

static void start(struct kvmi_fixture *f, struct kvmi_runner *r, u16 event)
{
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, 1, 0);
	virt_map(f->vm, PAGE, PAGE, 1);
	virt_map(f->vm, IOAPIC, IOAPIC, 1);
	virt_map(f->vm, 0, 0, 1);
	memcpy(addr_gpa2hva(f->vm, AP_CODE), ap_code, sizeof(ap_code));
	vcpu_arch_set_entry_point(f->vcpus[0], bsp);
	vcpu_arch_set_entry_point(f->vcpus[1], ap);
	kvmi_start(&r[0], f->vcpus[0]);
	kvmi_start(&r[1], f->vcpus[1]);
	kvmi_wait_progress(f->vm, 1);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 1, event, 1), 0);
}

static void set(struct kvmi_fixture *f, u64 *variable, u64 value)
{
	WRITE_ONCE(*(u64 *)addr_gva2hva(f->vm, (gva_t)variable), value);
}

static void recv_from_ap(struct kvmi_fixture *f, struct kvmi_event *ev, u16 event)
{
	kvmi_recv_event(&f->kvmi, ev);
	TEST_ASSERT_EQ(ev->event, event);
	TEST_ASSERT_EQ(ev->vcpu.vcpu, 1);
}

static void wait_ap(struct kvmi_fixture *f)
{
	u16 *counter = addr_gpa2hva(f->vm, AP_COUNTER), before = READ_ONCE(*counter);

	kvmi_wait_until(READ_ONCE(*counter) != before);
}

static void stop(struct kvmi_runner *r)
{
	kvmi_stop(&r[0]);
	kvmi_stop(&r[1]);
}

KVMI_TEST(kvmi_init_event, msr)
{
	u64 before = vcpu_get_msr(f->vcpus[1], MSR_LSTAR);
	struct kvmi_runner r[2];
	struct kvmi_event ev;

	start(f, r, KVMI_VCPU_EVENT_MSR);
	kvmi_assert_err(kvmi_control_msr(&f->kvmi, 1, MSR_LSTAR, 1), 0);
	set(f, &what, WRITE_MSR);
	recv_from_ap(f, &ev, KVMI_VCPU_EVENT_MSR);
	set(f, &order, 1);
	wait_ap(f);
	/* Too late. */
	kvmi_reply_value(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE, 0x1000);
	kvmi_expect_quiet(&f->kvmi);
	stop(r);
	TEST_ASSERT_EQ(vcpu_get_msr(f->vcpus[1], MSR_LSTAR), before);
}

/* Where the processor faults, and where KVM's emulator stores. */
static void page(struct kvmi_fixture *f, u64 it)
{
	u64 *word = addr_gpa2hva(f->vm, 0), *at;
	struct kvmi_runner r[2];
	struct kvmi_event ev;

	*word = 0;
	start(f, r, KVMI_VCPU_EVENT_PF);
	at = addr_gpa2hva(f->vm, PAGE + 2040);
	*at = 0xb0b0b0b0;
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, PAGE, R | X), 0);
	set(f, &what, it);
	recv_from_ap(f, &ev, KVMI_VCPU_EVENT_PF);
	set(f, &order, 1);
	wait_ap(f);
	TEST_ASSERT_EQ(*at, 0xb0b0b0b0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_expect_quiet(&f->kvmi);
	wait_ap(f);
	TEST_ASSERT_EQ(*at, 0xb0b0b0b0);
	stop(r);
}

KVMI_TEST(kvmi_init_event, fault)
{
	page(f, STORE);
}

KVMI_TEST(kvmi_init_event, emulator)
{
	page(f, PUSH_DEVICE);
}

/* The first instruction after SIPI has the grant of none before it. */
KVMI_TEST(kvmi_init_event, grant)
{
	struct kvmi_runner r[2];
	struct kvmi_event ev;
	u16 *counter;

	start(f, r, KVMI_VCPU_EVENT_PF);
	counter = addr_gpa2hva(f->vm, AP_COUNTER);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, 0, R | X), 0);
	set(f, &what, STORE_LOW);
	recv_from_ap(f, &ev, KVMI_VCPU_EVENT_PF);
	set(f, &order, 1);
	kvmi_recv_event(&f->kvmi, &ev);
	TEST_ASSERT_EQ(ev.event, KVMI_VCPU_EVENT_PF);
	TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, 0);
	TEST_ASSERT_EQ(ev.vcpu.arch.sregs.cs.base, AP_CODE);
	TEST_ASSERT_EQ(*counter, 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, 0, R | W | X), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	wait_ap(f);
	stop(r);
}

KVMI_TEST_MAIN
