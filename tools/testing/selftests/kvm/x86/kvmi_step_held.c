// SPDX-License-Identifier: GPL-2.0-only
/* Interrupts and NMIs wait while a vCPU is stepped, and none is lost. */
#include "apic.h"
#include "kvmi_step.h"

#define VECTOR		0x50
#define MSI_NMI		(4 << 8)
#define ROUNDS		20

/* What the handlers counted. */
static u64 interrupts, nmis;

static void interrupt(struct ex_regs *regs)
{
	WRITE_ONCE(interrupts, interrupts + 1);
	x2apic_write_reg(APIC_EOI, 0);
}

static void nmi(struct ex_regs *regs)
{
	WRITE_ONCE(nmis, nmis + 1);
}

static void guest(void)
{
	x2apic_enable();
	sti();
	kvmi_guest_count(0);
}

FIXTURE(kvmi_step_held) {
	struct kvmi_fixture f;
};

FIXTURE_SETUP(kvmi_step_held)
{
	self->f.vm = vm_create_with_vcpus(1, guest, self->f.vcpus);
	self->f.vcpu = self->f.vcpus[0];
	vm_install_exception_handler(self->f.vm, VECTOR, interrupt);
	vm_install_exception_handler(self->f.vm, NMI_VECTOR, nmi);
	kvmi_hook(&self->f.kvmi, self->f.vm);
}

FIXTURE_TEARDOWN(kvmi_step_held)
{
	kvmi_close(&self->f.kvmi);
	kvm_vm_free(self->f.vm);
}

static void signal_msi(struct kvmi_fixture *f, u32 data)
{
	struct kvm_msi msi = {
		.address_lo = APIC_DEFAULT_GPA,
		.data = data,
	};

	/* Delivered, or merged with one that waits. */
	TEST_ASSERT(__vm_ioctl(f->vm, KVM_SIGNAL_MSI, &msi) >= 0,
		    "KVM_SIGNAL_MSI: %s", strerror(errno));
}

static u64 counted(struct kvmi_fixture *f, u64 *of)
{
	return READ_ONCE(*(u64 *)addr_gva2hva(f->vm, (gva_t)of));
}

static void start(struct kvmi_fixture *f, struct kvmi_stepper *s,
		  const char *code)
{
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_step_from(s, code);
	kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
}

SNIPPET(some, STEP("nop") STEP("mov $1, %eax") STEP("cpuid") STEP("pushfq")
	STEP("popfq") STEP("cli") STEP("sti") STEP("nop") STEP("nop"));

/* One more of them before each step, which is nevertheless a step. */
static void held(struct kvmi_fixture *f, u32 data, u64 *count, u64 least)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	const u64 *step;

	start(f, &s, some);
	for (step = some_steps; step < some_end; step++) {
		signal_msi(f, data);
		kvmi_step_on(&s);
		kvmi_step_to(&s, *step, step - some_steps);
		TEST_ASSERT_EQ(counted(f, count), 0);
	}
	kvmi_step_end(&s);
	kvmi_wait_until(counted(f, count) >= least);
	/* And it is the guest's own again. */
	signal_msi(f, data);
	kvmi_wait_until(counted(f, count) > least);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_step_held, interrupts_)
{
	held(f, VECTOR, &interrupts, 1);
}

KVMI_TEST(kvmi_step_held, nmis_)
{
	held(f, MSI_NMI, &nmis, 1);
}

SNIPPET(halts, STEP("hlt") STEP("nop") STEP("hlt") STEP("nop"));

/* HLT ends like any other; what wakes the guest is there when stepping ends. */
KVMI_TEST(kvmi_step_held, halt)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	struct kvm_mp_state mp_state;

	start(f, &s, halts);
	kvmi_step_on(&s);
	kvmi_step_to(&s, halts_steps[0], 0);
	/* It sleeps until something comes. */
	kvmi_step_on(&s);
	signal_msi(f, VECTOR);
	kvmi_step_to(&s, halts_steps[1], 1);
	TEST_ASSERT_EQ(counted(f, &interrupts), 0);
	kvmi_step_on(&s);
	kvmi_step_to(&s, halts_steps[2], 2);
	kvmi_step_on(&s);
	kvmi_step_to(&s, halts_steps[3], 3);
	kvmi_step_end(&s);
	kvmi_wait_until(counted(f, &interrupts) == 1);
	kvmi_stop(&f->runner);
	vcpu_mp_state_get(f->vcpu, &mp_state);
	TEST_ASSERT_EQ(mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
}

/*
 * Stepping begins wherever the guest is just then, in an interrupt's handler
 * or on the way there; no interrupt is lost and none comes twice.
 */
KVMI_TEST(kvmi_step_held, begins_anywhere)
{
	struct kvmi_stepper s = KVMI_STEPPER(f);
	unsigned int i, j;

	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	for (i = 0; i < ROUNDS; i++) {
		signal_msi(f, VECTOR);
		kvmi_stop_vcpu(&f->kvmi, 0, &s.ev);
		kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
		for (j = 0; j < 3; j++) {
			kvmi_step_on(&s);
			kvmi_recv_singlestep(&f->kvmi, &s.ev);
		}
		kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 0), 0);
		kvmi_step_on(&s);
		kvmi_wait_until(counted(f, &interrupts) == i + 1);
	}
	kvmi_wait_progress(f->vm, 0);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
