// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU gets INIT while it is inside a PAUSE event: the event is over, what
 * the tool stored for it is dropped, and its late reply is ignored.
 */
#include "apic.h"
#include "kvmi_test.h"

/* Nothing of the library's is in the lowest two pages. */
#define AP_VECTOR	1
#define AP_CODE		(AP_VECTOR << 12)
#define AP_COUNTER	(AP_CODE + 0x800)

/* inc word [AP_COUNTER]; jmp back to it */
static const u8 ap_code[] = {
	0xff, 0x06, AP_COUNTER & 0xff, AP_COUNTER >> 8, 0xeb, 0xfa,
};

KVMI_SUITE(kvmi_init, 2);

enum order {
	NOTHING,
	SEND_INIT,
	SEND_SIPI,
};

/* What the host wants vCPU 0 to have done. */
static u64 order;

static void guest_bsp(u64 index)
{
	const u64 to_ap = 1ull << 32;

	x2apic_enable();
	while (READ_ONCE(order) < SEND_INIT)
		;
	x2apic_write_reg(APIC_ICR, to_ap | APIC_DM_INIT | APIC_INT_ASSERT);
	while (READ_ONCE(order) < SEND_SIPI)
		;
	x2apic_write_reg(APIC_ICR, to_ap | APIC_DM_STARTUP | AP_VECTOR);
	kvmi_guest_count(index);
}

static void give_order(struct kvm_vm *vm, enum order what)
{
	WRITE_ONCE(*(u64 *)addr_gva2hva(vm, (gva_t)&order), what);
}

static void start_bsp(struct kvmi_fixture *f, struct kvmi_runner *r)
{
	memcpy(addr_gpa2hva(f->vm, AP_CODE), ap_code, sizeof(ap_code));
	vcpu_arch_set_entry_point(f->vcpus[0], guest_bsp);
	kvmi_start(r, f->vcpus[0]);
}

/* The AP runs what its SIPI told it to. */
static void wait_ap(struct kvm_vm *vm)
{
	u16 *counter = addr_gpa2hva(vm, AP_COUNTER);
	u16 before = READ_ONCE(*counter);

	kvmi_wait_until(READ_ONCE(*counter) != before);
}

/* Inside an event of the AP, with registers stored that must not come. */
static void stop_ap(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	struct kvm_regs regs;

	kvmi_stop_vcpu(&f->kvmi, 1, ev);
	regs = ev->vcpu.arch.regs;
	regs.r15 = 0xbad;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 1, &regs), 0);
}

/* Both run, and the AP waits for the reply to @ev. */
static void start_and_stop_ap(struct kvmi_fixture *f,
			      struct kvmi_runner *runners, struct kvmi_event *ev)
{
	start_bsp(f, &runners[0]);
	kvmi_start(&runners[1], f->vcpus[1]);
	kvmi_wait_progress(f->vm, 1);
	stop_ap(f, ev);
}

/* INIT and SIPI come together: the AP starts anew, nobody having replied. */
KVMI_TEST(kvmi_init, ipi)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev, next;

	start_and_stop_ap(f, runners, &ev);
	give_order(f->vm, SEND_SIPI);
	wait_ap(f->vm);

	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_expect_quiet(&f->kvmi);
	wait_ap(f->vm);

	kvmi_stop_vcpu(&f->kvmi, 1, &next);
	TEST_ASSERT_EQ(next.seq, ev.seq + 1);
	TEST_ASSERT_EQ(next.vcpu.arch.mode, 2);
	TEST_ASSERT_EQ(next.vcpu.arch.sregs.cs.base, AP_CODE);
	TEST_ASSERT_EQ(next.vcpu.arch.regs.r15, 0);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	wait_ap(f->vm);
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

/* INIT alone: the AP waits for its SIPI, and a new event can come there. */
KVMI_TEST(kvmi_init, ipi_without_sipi)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev, next;

	start_and_stop_ap(f, runners, &ev);
	give_order(f->vm, SEND_INIT);
	kvmi_stop_vcpu(&f->kvmi, 1, &next);
	TEST_ASSERT_EQ(next.seq, ev.seq + 1);
	TEST_ASSERT_EQ(next.vcpu.arch.regs.r15, 0);

	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	give_order(f->vm, SEND_SIPI);
	wait_ap(f->vm);
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

/* The VMM resets the AP. */
static void mp_state(struct kvmi_fixture *f, u32 state)
{
	struct kvm_mp_state reset = { .mp_state = state };
	struct kvmi_event ev, next;

	kvmi_start(&f->runner, f->vcpus[1]);
	stop_ap(f, &ev);
	kvmi_stop(&f->runner);
	vcpu_mp_state_set(f->vcpus[1], &reset);

	kvmi_start(&f->runner, f->vcpus[1]);
	kvmi_stop_vcpu(&f->kvmi, 1, &next);
	TEST_ASSERT_EQ(next.seq, ev.seq + 1);
	TEST_ASSERT(next.vcpu.arch.regs.r15 != 0xbad,
		    "The registers of an event that is over were written");
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_ping(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_init, mp_state)
{
	mp_state(f, KVM_MP_STATE_UNINITIALIZED);
	mp_state(f, KVM_MP_STATE_INIT_RECEIVED);
	mp_state(f, KVM_MP_STATE_RUNNABLE);
}

KVMI_TEST_MAIN
