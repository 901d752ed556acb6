// SPDX-License-Identifier: GPL-2.0-only
/*
 * INIT and SIPI take nothing away from a tool: what it wanted of the vCPU it
 * gets from the code that starts there.
 */
#include "apic.h"
#include "kvmi_test.h"

/* Nothing of the library's is in the lowest two pages. */
#define AP_VECTOR	1
#define AP_CODE		(AP_VECTOR << 12)
#define AP_COUNTER	(AP_CODE + 0x800)
#define AP_IRET		(AP_CODE + 0x900)

/* 16-bit code; one of each, in the order of the events in expect_round(). */
static const u8 ap_code[] = {
	0x0f, 0x20, 0xd8,			/* mov %cr3, %eax */
	0x34, 0x08,				/* xor $CR3_PWT, %al */
	0x0f, 0x22, 0xd8,			/* mov %eax, %cr3 */
	0x0f, 0x20, 0xc0,			/* mov %cr0, %eax */
	0x34, X86_CR0_MP,			/* xor $X86_CR0_MP, %al */
	0x0f, 0x22, 0xc0,			/* mov %eax, %cr0 */
	0x0f, 0x20, 0xe0,			/* mov %cr4, %eax */
	0x34, X86_CR4_TSD,			/* xor $X86_CR4_TSD, %al */
	0x0f, 0x22, 0xe0,			/* mov %eax, %cr4 */
	0x66, 0xb9, 0x82, 0x00, 0x00, 0xc0,	/* mov $MSR_LSTAR, %ecx */
	0x0f, 0x32,				/* rdmsr */
	0x66, 0x35, 0x00, 0x10, 0x00, 0x00,	/* xor $0x1000, %eax */
	0x0f, 0x30,				/* wrmsr */
	0x0f, 0x01, 0x06, 0x00, 0x0c,		/* sgdt 0xc00 */
	0x66, 0x31, 0xc0,			/* xor %eax, %eax */
	0x66, 0x31, 0xc9,			/* xor %ecx, %ecx */
	0x0f, 0xa2,				/* cpuid */
	0xcc,					/* int3 */
	0xff, 0x06, AP_COUNTER & 0xff, AP_COUNTER >> 8,	/* incw AP_COUNTER */
	0xeb, -(58 + 2),			/* jmp to the beginning */
};
_Static_assert(sizeof(ap_code) == 58 + 2, "the last jump");

static bool bp_exits, descriptor_exits;

/* How often the BSP shall start the AP. */
static u64 starts;

static void guest_bsp(u64 index)
{
	const u64 to_ap = 1ull << 32;
	u64 done = 0;

	x2apic_enable();
	for (;;) {
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		if (READ_ONCE(starts) == done)
			continue;
		x2apic_write_reg(APIC_ICR, to_ap | APIC_DM_INIT |
					   APIC_INT_ASSERT);
		x2apic_write_reg(APIC_ICR, to_ap | APIC_DM_STARTUP | AP_VECTOR);
		done++;
	}
}

static void prepare(struct kvmi_fixture *f)
{
	u16 *vectors = addr_gpa2hva(f->vm, 0);

	memcpy(addr_gpa2hva(f->vm, AP_CODE), ap_code, sizeof(ap_code));
	*(u8 *)addr_gpa2hva(f->vm, AP_IRET) = 0xcf;
	vectors[2 * BP_VECTOR] = AP_IRET - AP_CODE;
	vectors[2 * BP_VECTOR + 1] = AP_CODE >> 4;
	vcpu_arch_set_entry_point(f->vcpus[0], guest_bsp);
	kvmi_hook(&f->kvmi, f->vm);
}

KVMI_SUITE_OF(kvmi_init_intercepts, kvmi_create_vm(2, f->vcpus), prepare(f));

static void start_ap(struct kvmi_fixture *f)
{
	u64 *p = addr_gva2hva(f->vm, (gva_t)&starts);

	WRITE_ONCE(*p, *p + 1);
}

static u16 ap_rounds(struct kvmi_fixture *f)
{
	return READ_ONCE(*(u16 *)addr_gpa2hva(f->vm, AP_COUNTER));
}

static void want_all(struct kvmi_fixture *f, bool want)
{
	kvmi_want_all(&f->kvmi, 1, want, descriptor_exits);
}

static void expect(struct kvmi *k, struct kvmi_event *ev, u16 event, u8 cr)
{
	u32 seq = ev->seq;

	kvmi_recv_event(k, ev);
	TEST_ASSERT_EQ(ev->event, event);
	TEST_ASSERT_EQ(ev->vcpu.vcpu, 1);
	TEST_ASSERT_EQ(ev->seq, seq + 1);
	TEST_ASSERT_EQ(ev->vcpu.arch.mode, 2);
	TEST_ASSERT_EQ(ev->vcpu.arch.sregs.cs.base, AP_CODE);
	if (event == KVMI_VCPU_EVENT_CR)
		TEST_ASSERT_EQ(ev->specific[0], cr);
}

/* Those of @ap_code, each once, the first being there and all answered. */
static void finish_round(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	static const struct {
		u16 event;
		u8 cr;
	} all[] = {
		{ KVMI_VCPU_EVENT_CR, 0 }, { KVMI_VCPU_EVENT_CR, 4 },
		{ KVMI_VCPU_EVENT_MSR }, { KVMI_VCPU_EVENT_DESCRIPTOR },
		{ KVMI_VCPU_EVENT_CPUID }, { KVMI_VCPU_EVENT_BREAKPOINT },
	};
	unsigned int i;

	kvmi_continue(&f->kvmi, ev);
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		if (all[i].event == KVMI_VCPU_EVENT_DESCRIPTOR &&
		    !descriptor_exits)
			continue;
		if (all[i].event == KVMI_VCPU_EVENT_BREAKPOINT && !bp_exits)
			continue;
		expect(&f->kvmi, ev, all[i].event, all[i].cr);
		kvmi_continue(&f->kvmi, ev);
	}
}

/* In 64-bit code all is wanted, in 16-bit code all comes, again and again. */
KVMI_TEST(kvmi_init_intercepts, sipi)
{
	struct kvmi_runner runners[2];
	struct kvmi_event ev = {};
	unsigned int i, j;
	u16 before;

	kvmi_start(&runners[0], f->vcpus[0]);
	kvmi_start(&runners[1], f->vcpus[1]);
	kvmi_wait_progress(f->vm, 1);
	want_all(f, true);
	for (i = 0; i < 3; i++) {
		/* Of the second and third time the first event is over. */
		start_ap(f);
		expect(&f->kvmi, &ev, KVMI_VCPU_EVENT_CR, 3);
		TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, 5);
		TEST_ASSERT_EQ(ev.vcpu.arch.sregs.cr3, 0);
		/*
		 * An even number, so that CR3 is 0 at INIT: KVM does not give
		 * VMX the CR3 of an INIT that comes without paging.
		 */
		for (j = 0; j < 4; j++) {
			before = ap_rounds(f);
			finish_round(f, &ev);
			expect(&f->kvmi, &ev, KVMI_VCPU_EVENT_CR, 3);
			TEST_ASSERT_EQ(ap_rounds(f), before + 1);
		}
	}
	kvmi_expect_quiet(&f->kvmi);

	/* And what is not wanted any more is not. */
	want_all(f, false);
	kvmi_continue(&f->kvmi, &ev);
	before = ap_rounds(f);
	kvmi_wait_until((u16)(ap_rounds(f) - before) > 2);
	start_ap(f);
	before = ap_rounds(f);
	kvmi_wait_until((u16)(ap_rounds(f) - before) > 2);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

/* The tool dies: the AP starts and runs, and no event comes of it. */
KVMI_TEST(kvmi_init_intercepts, tool_is_gone)
{
	struct kvmi_runner runners[2];
	u16 before;

	kvmi_start(&runners[0], f->vcpus[0]);
	kvmi_start(&runners[1], f->vcpus[1]);
	kvmi_wait_progress(f->vm, 1);
	want_all(f, true);
	kvmi_close(&f->kvmi);
	start_ap(f);
	before = ap_rounds(f);
	kvmi_wait_until((u16)(ap_rounds(f) - before) > 2);
	kvmi_hook(&f->kvmi, f->vm);
	before = ap_rounds(f);
	kvmi_wait_until((u16)(ap_rounds(f) - before) > 2);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	bp_exits = kvmi_has_bp_exits();
	descriptor_exits = kvmi_has_descriptor_exits();
	return test_harness_run(argc, argv);
}
