// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM's own paravirtual features write to memory that the guest names in an MSR
 * or in a hypercall: that write is the guest's, and where it comes later it is
 * refused and counted.
 */
#include <asm/kvm_para.h>
#include <asm/pvclock-abi.h>

#include "apic.h"
#include "kvmi_own.h"

#define OFFSET	128
#define VECTOR	0x40

enum { WALL_CLOCK = 1, OLD_WALL_CLOCK, SYSTEM_TIME, OLD_SYSTEM_TIME, STEAL_TIME,
	PV_EOI, ASYNC_PF, CLOCK_PAIRING, INTERRUPT, NR_WHAT };

/* How a page is named to KVM, and what is wanted of it. */
static const struct {
	u32 msr;
	u32 flags;
	u8 access;
	u8 bytes;
} features[NR_WHAT] = {
	[WALL_CLOCK] = { MSR_KVM_WALL_CLOCK_NEW, 0, R | W,
			 sizeof(struct pvclock_wall_clock) },
	[OLD_WALL_CLOCK] = { MSR_KVM_WALL_CLOCK, 0, R | W,
			     sizeof(struct pvclock_wall_clock) },
	[SYSTEM_TIME] = { MSR_KVM_SYSTEM_TIME_NEW, 1, R | W,
			  sizeof(struct pvclock_vcpu_time_info) },
	[OLD_SYSTEM_TIME] = { MSR_KVM_SYSTEM_TIME, 1, R | W,
			      sizeof(struct pvclock_vcpu_time_info) },
	[STEAL_TIME] = { MSR_KVM_STEAL_TIME, KVM_MSR_ENABLED, R | W,
			 sizeof(struct kvm_steal_time) },
	[PV_EOI] = { MSR_KVM_PV_EOI_EN, KVM_MSR_ENABLED, R | W, 1 },
	[ASYNC_PF] = { MSR_KVM_ASYNC_PF_EN,
		       KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT,
		       R | W, 8 },
	[CLOCK_PAIRING] = { 0, 0, W, sizeof(struct kvm_clock_pairing) },
};

KVMI_SUITE(kvmi_own_clock, 1);

static u64 result;

static void on_interrupt(struct ex_regs *regs)
{
	x2apic_write_reg(APIC_EOI, 0);
}

static void do_one(u64 it)
{
	switch (it) {
	case CLOCK_PAIRING:
		result = kvm_hypercall(KVM_HC_CLOCK_PAIRING, PAGE + OFFSET,
				       KVM_CLOCK_PAIRING_WALLCLOCK, 0, 0);
		break;
	case INTERRUPT:
		x2apic_enable();
		x2apic_write_reg(APIC_ICR, APIC_DEST_SELF | VECTOR);
		asm volatile("sti; nop; cli");
		break;
	default:
		wrmsr(features[it].msr, (PAGE + OFFSET) | features[it].flags);
	}
}

/* Nothing but what belongs to the feature was written. */
static bool is_written(struct kvmi_fixture *f, u64 it)
{
	u8 *bytes = page(f);
	bool written = false;
	unsigned int i;

	for (i = 0; i < PAGE_SIZE; i++) {
		if (bytes[i] == UNTOUCHED)
			continue;
		TEST_ASSERT(i >= OFFSET && i < OFFSET + features[it].bytes,
			    "Byte %u", i);
		written = true;
	}
	return written;
}

/* Restricted before the guest names the page: the tool decides. */
static void asked(struct kvmi_fixture *f, u64 it, u8 allowed, bool writes_now)
{
	u64 before;

	start(f);
	fill(f);
	restrict_page(f, PAGE, allowed);
	before = refused(f);
	run(f, it);
	expect_asked(f, PAGE + OFFSET, features[it].access & ~allowed);
	wait_done(f, 1);
	if (writes_now)
		TEST_ASSERT(is_written(f, it), "Allowed, but not written");
	/* The others are written again by themselves, when that is refused. */
	if (it == WALL_CLOCK || it == OLD_WALL_CLOCK)
		TEST_ASSERT_EQ(refused(f), before);
	finish(f, 1);
}

/* The answer is that it is not to be done: the tool moves RIP. */
static void denied(struct kvmi_fixture *f, u64 it)
{
	struct kvmi_event ev;
	struct kvm_regs regs;

	start(f);
	fill(f);
	restrict_page(f, PAGE, R | X);
	run(f, it);
	expect(f, &ev, PAGE + OFFSET, W, NO_GVA);
	TEST_ASSERT(is_untouched(f), "Written before the answer");
	regs = ev.vcpu.arch.regs;
	regs.rip += 2;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	proceed(f, &ev);
	wait_done(f, 1);
	leave_and_enter(f);
	TEST_ASSERT(is_untouched(f), "Written although it was denied");
	finish(f, 1);
}

#define CASES(name, it, now)						\
KVMI_TEST(kvmi_own_clock, name) { asked(f, it, R | X, now); }		\
KVMI_TEST(kvmi_own_clock, name##_of_nothing) { asked(f, it, 0, now); }	\
KVMI_TEST(kvmi_own_clock, name##_denied) { denied(f, it); }

CASES(wall_clock, WALL_CLOCK, true)
CASES(old_wall_clock, OLD_WALL_CLOCK, true)
CASES(system_time, SYSTEM_TIME, true)
CASES(old_system_time, OLD_SYSTEM_TIME, true)
CASES(steal_time, STEAL_TIME, true)
CASES(pv_eoi, PV_EOI, false)
CASES(async_pf, ASYNC_PF, false)

KVMI_TEST(kvmi_own_clock, clock_pairing)
{
	asked(f, CLOCK_PAIRING, R | X, false);
	/* Whether the host's clock is one for it is the host's. */
	if (!(s64)*ON_HOST(f, result))
		TEST_ASSERT(is_written(f, CLOCK_PAIRING), "Not written");
}

/* A page that is not restricted is nobody's business. */
KVMI_TEST(kvmi_own_clock, unrestricted)
{
	u64 before;

	start(f);
	fill(f);
	restrict_page(f, addr_gva2gpa(f->vm, f->vm->arch.gdt), R | W);
	before = refused(f);
	run(f, SYSTEM_TIME);
	wait_done(f, 1);
	kvmi_wait_progress(f->vm, 0);
	TEST_ASSERT(is_written(f, SYSTEM_TIME), "Not written");
	TEST_ASSERT_EQ(refused(f), before);
	finish(f, 1);
}

/* Restricted after the guest named it: nothing is written until it is lifted. */
static void refused_later(struct kvmi_fixture *f, u64 it,
			  void (*cause)(struct kvmi_fixture *f))
{
	u64 before;

	vm_install_exception_handler(f->vm, VECTOR, on_interrupt);
	start(f);
	fill(f);
	run(f, it);
	wait_done(f, 1);
	cause(f);
	TEST_ASSERT(is_written(f, it), "Not written");

	restrict_page(f, PAGE, R | X);
	kvmi_wait_progress(f->vm, 0);
	fill(f);
	before = refused(f);
	cause(f);
	TEST_ASSERT(refused(f) > before, "Not counted");
	TEST_ASSERT(is_untouched(f), "Written although it is restricted");

	/* Without anybody's answer: KVM did that of its own accord. */
	kvmi_expect_quiet(&f->kvmi);
	restrict_page(f, PAGE, R | W | X);
	cause(f);
	TEST_ASSERT(is_written(f, it), "Not written any more");
	finish(f, *ON_HOST(f, done));
}

/* What a VMM says after it has stopped the guest for long. */
static void paused(struct kvmi_fixture *f)
{
	kvmi_stop(&f->runner);
	vcpu_ioctl(f->vcpu, KVM_KVMCLOCK_CTRL, NULL);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
}

KVMI_TEST(kvmi_own_clock, system_time_later)
{
	refused_later(f, SYSTEM_TIME, paused);
}

KVMI_TEST(kvmi_own_clock, old_system_time_later)
{
	refused_later(f, OLD_SYSTEM_TIME, paused);
}

KVMI_TEST(kvmi_own_clock, steal_time_later)
{
	refused_later(f, STEAL_TIME, leave_and_enter);
}

/* An interrupt that the guest may end without its APIC. */
static void interrupted(struct kvmi_fixture *f)
{
	u64 times = *ON_HOST(f, done);

	run(f, INTERRUPT);
	wait_done(f, times + 1);
}

KVMI_TEST(kvmi_own_clock, pv_eoi_later)
{
	refused_later(f, PV_EOI, interrupted);
}

KVMI_TEST_MAIN
