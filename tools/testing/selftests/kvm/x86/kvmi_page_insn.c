// SPDX-License-Identifier: GPL-2.0-only
/*
 * Instructions and deliveries of every kind through a restricted page: each is
 * let through whole and once, and answered in every way.
 */
#include "kvmi_step.h"
#include "apic.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define SLOT	10
#define PAGE	(4ull << 30)
#define STACK	(PAGE + 2048)
#define TIMES	20
#define VECTOR	0x50
#define BYTES	12

/* Intel SDM volume 2, CPUID. */
#define FEATURE_AVX	KVM_X86_CPU_FEATURE(0x1, 0, ECX, 28)

KVMI_SUITE(kvmi_page_insn, 1);

enum {
	NOTHING, AVX, CMPXCHG16B, XSAVE, REP_MOVSB, REP_STOSB, CALL, RET,
	INT_N, INT3, UD2, INTERRUPT, WRITE,
};

static u64 what, todo, done;
/* Named in assembly. */
u64 deliveries;
u8 source[64] __aligned(64);
u64 acknowledge = APIC_BASE_MSR + (APIC_EOI >> 4);

/* Handlers that leave the stack alone but for what they return to. */
extern const char count_delivery[], count_fault[], count_interrupt[];
asm(".pushsection .text\n"
    "count_delivery: incq deliveries(%rip); iretq\n"
    "count_fault: incq deliveries(%rip); addq $2, (%rsp); iretq\n"
    "count_interrupt: incq deliveries(%rip); mov acknowledge(%rip), %ecx;"
    "xor %eax, %eax; xor %edx, %edx; wrmsr; iretq\n"
    "just_return: ret\n"
    ".popsection");

/* Executed with the stack in the page. */
#define ON_STACK(code)							\
	asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp;" code		\
		     "; mov %%rbx, %%rsp"				\
		     : : "r"(STACK) : "rax", "rbx", "rcx", "rdx", "memory", "cc")

extern const char write_insn[], behind_write[];
static noinline void write_one(u64 value)
{
	asm volatile("write_insn: movq %0, (%1)\nbehind_write:"
		     : : "r"(value), "r"(PAGE + 64) : "memory");
}

static void do_one(u64 it)
{
	u64 from = (u64)source, to = PAGE + 64, count = BYTES;

	switch (it) {
	case AVX:
		asm volatile("vmovdqu (%0), %%ymm0; vmovdqu %%ymm0, (%1)"
			     : : "r"(from), "r"(to) : "memory");
		break;
	case CMPXCHG16B:
		asm volatile("xor %%eax, %%eax; xor %%edx, %%edx; mov $1, %%ebx;"
			     "mov $2, %%ecx; lock cmpxchg16b (%0)"
			     : : "r"(to) : "rax", "rbx", "rcx", "rdx", "memory", "cc");
		break;
	case XSAVE:
		asm volatile("mov $3, %%eax; xor %%edx, %%edx; xsave (%0)"
			     : : "r"(PAGE) : "rax", "rdx", "memory");
		break;
	case REP_MOVSB:
		asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count)
			     : : "memory");
		break;
	case REP_STOSB:
		asm volatile("mov $0x77, %%al; rep stosb" : "+D"(to), "+c"(count)
			     : : "rax", "memory");
		break;
	case CALL:
		ON_STACK("call just_return");
		break;
	case RET:
		/* What is returned to lies there already. */
		ON_STACK("lea 1f(%%rip), %%rax; push %%rax; ret; 1:");
		break;
	case INT_N:
		ON_STACK("int $0x50");
		break;
	case INT3:
		ON_STACK("int3");
		break;
	case UD2:
		ON_STACK("ud2");
		break;
	case INTERRUPT:
		ON_STACK("mov $0x83f, %%ecx; mov $0x50, %%eax; xor %%edx, %%edx;"
			 "wrmsr; sti; nop; nop; cli");
		break;
	case WRITE:
		write_one(0x1234);
		break;
	}
}

static void guest(void)
{
	u64 it;

	x2apic_enable();
	for (;;) {
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		it = READ_ONCE(what);
		if (!it)
			continue;
		while (READ_ONCE(todo)) {
			do_one(it);
			WRITE_ONCE(todo, todo - 1);
		}
		WRITE_ONCE(what, NOTHING);
		WRITE_ONCE(done, done + 1);
	}
}

#define ON_HOST(f, variable) \
	((u64 *)addr_gva2hva((f)->vm, (gva_t)&(variable)))

static u8 *page(struct kvmi_fixture *f)
{
	return addr_gpa2hva(f->vm, PAGE);
}

static void start(struct kvmi_fixture *f, u8 access)
{
	u8 *bytes = addr_gva2hva(f->vm, (gva_t)source);
	unsigned int i;

	for (i = 0; i < sizeof(source); i++)
		bytes[i] = i + 1;
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, 1, 0);
	virt_map(f->vm, PAGE, PAGE, 1);
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, PAGE, access), 0);
}

static void run(struct kvmi_fixture *f, u64 it, u64 times)
{
	WRITE_ONCE(*ON_HOST(f, todo), times);
	WRITE_ONCE(*ON_HOST(f, what), it);
}

/* The next event is one of the page, somewhere in it. */
static void recv_pf(struct kvmi_fixture *f, struct kvmi_event *ev, u8 access)
{
	const struct kvmi_vcpu_event_pf *pf = (const void *)ev->specific;

	kvmi_recv_this(&f->kvmi, ev, KVMI_VCPU_EVENT_PF, sizeof(*pf));
	TEST_ASSERT_EQ(pf->gpa & PAGE_MASK, PAGE);
	TEST_ASSERT((pf->access & access) == access && !(pf->access & X),
		    "Access %#x, not %#x", pf->access, access);
}

static void answer(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_reply(&f->kvmi, ev, KVMI_EVENT_ACTION_CONTINUE);
}

static void finish(struct kvmi_fixture *f)
{
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, done)) == 1);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

/* Each time it is done there are so many events. */
static void each(struct kvmi_fixture *f, u8 allowed, u64 it, u8 access,
		 unsigned int events)
{
	struct kvmi_event ev;
	unsigned int i;

	start(f, allowed);
	run(f, it, TIMES);
	for (i = 0; i < events * TIMES; i++) {
		recv_pf(f, &ev, access);
		answer(f, &ev);
	}
	finish(f);
}

KVMI_TEST(kvmi_page_insn, avx)
{
	if (!kvm_cpu_has(FEATURE_AVX))
		SKIP(return, "the guest has no AVX");
	each(f, R | X, AVX, W, 1);
	TEST_ASSERT(!memcmp(page(f) + 64, addr_gva2hva(f->vm, (gva_t)source), 32),
		    "Something else was stored");
}

KVMI_TEST(kvmi_page_insn, cmpxchg16b)
{
	each(f, R | X, CMPXCHG16B, W, 1);
	TEST_ASSERT_EQ(*(u64 *)(page(f) + 64), 1);
	TEST_ASSERT_EQ(*(u64 *)(page(f) + 72), 2);
}

KVMI_TEST(kvmi_page_insn, xsave)
{
	each(f, R | X, XSAVE, W, 1);
	/* XSTATE_BV, in the header behind the legacy region. */
	TEST_ASSERT(*(u64 *)(page(f) + 512) <= 3, "The header is wrong");
}

/* One for each iteration, as with single-step. */
KVMI_TEST(kvmi_page_insn, rep_movsb)
{
	each(f, R | X, REP_MOVSB, W, BYTES);
	TEST_ASSERT(!memcmp(page(f) + 64, addr_gva2hva(f->vm, (gva_t)source), BYTES),
		    "Something else was stored");
	TEST_ASSERT_EQ(page(f)[64 + BYTES], 0);
}

KVMI_TEST(kvmi_page_insn, rep_stosb)
{
	unsigned int i;

	each(f, R | X, REP_STOSB, W, BYTES);
	for (i = 0; i < BYTES; i++)
		TEST_ASSERT_EQ(page(f)[64 + i], 0x77);
	TEST_ASSERT_EQ(page(f)[64 + BYTES], 0);
}

KVMI_TEST(kvmi_page_insn, call)
{
	each(f, R | X, CALL, W, 1);
}

/* PUSH writes what it cannot read, too; RET reads. */
KVMI_TEST(kvmi_page_insn, ret)
{
	struct kvmi_event ev;
	unsigned int i;

	start(f, 0);
	run(f, RET, TIMES);
	for (i = 0; i < TIMES; i++) {
		recv_pf(f, &ev, W);
		answer(f, &ev);
		recv_pf(f, &ev, R);
		answer(f, &ev);
	}
	finish(f);
}

/*
 * A delivery pushes onto a restricted stack: an event before its handler runs,
 * which does so once.
 */
static void deliveries_of(struct kvmi_fixture *f, u64 it, u8 vector,
			  const void *handler, unsigned int more)
{
	struct kvmi_event ev;
	unsigned int i, j;

	kvmi_set_handler(f, vector, handler);
	start(f, R | X);
	run(f, it, TIMES);
	for (i = 0; i < TIMES; i++) {
		recv_pf(f, &ev, W);
		TEST_ASSERT_EQ(*ON_HOST(f, deliveries), i);
		answer(f, &ev);
		for (j = 0; j < more; j++) {
			recv_pf(f, &ev, W);
			TEST_ASSERT_EQ(*ON_HOST(f, deliveries), i + 1);
			answer(f, &ev);
		}
	}
	finish(f);
	TEST_ASSERT_EQ(*ON_HOST(f, deliveries), TIMES);
}

KVMI_TEST(kvmi_page_insn, int_n)
{
	deliveries_of(f, INT_N, VECTOR, count_delivery, 0);
}

KVMI_TEST(kvmi_page_insn, int3)
{
	deliveries_of(f, INT3, BP_VECTOR, count_delivery, 0);
}

/* The handler writes there as well. */
KVMI_TEST(kvmi_page_insn, fault)
{
	deliveries_of(f, UD2, UD_VECTOR, count_fault, 1);
}

KVMI_TEST(kvmi_page_insn, interrupt)
{
	deliveries_of(f, INTERRUPT, VECTOR, count_interrupt, 0);
}

/* The tool steps over the instruction itself: nothing is let through. */
static void moved(struct kvmi_fixture *f, u8 action)
{
	struct kvmi_event ev;
	struct kvm_regs regs;
	unsigned int i;

	start(f, R | X);
	run(f, WRITE, TIMES);
	for (i = 0; i < TIMES; i++) {
		recv_pf(f, &ev, W);
		regs = ev.vcpu.arch.regs;
		TEST_ASSERT_EQ(regs.rip, (u64)write_insn);
		regs.rip = (u64)behind_write;
		kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
		kvmi_reply(&f->kvmi, &ev, action);
	}
	finish(f);
	TEST_ASSERT_EQ(*(u64 *)(page(f) + 64), 0);
}

KVMI_TEST(kvmi_page_insn, moved_and_continued)
{
	moved(f, KVMI_EVENT_ACTION_CONTINUE);
}

KVMI_TEST(kvmi_page_insn, moved_and_retried)
{
	moved(f, KVMI_EVENT_ACTION_RETRY);
}

/* An action that the event does not have ends the session, and lifts all. */
KVMI_TEST(kvmi_page_insn, unsupported_action)
{
	struct kvmi_event ev;

	start(f, R | X);
	run(f, WRITE, TIMES);
	recv_pf(f, &ev, W);
	kvmi_reply(&f->kvmi, &ev, 77);
	kvmi_expect_closed(&f->kvmi);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, done)) == 1);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(*(u64 *)(page(f) + 64), 0x1234);
}

/* With single-step on, what is let through is one step. */
KVMI_TEST(kvmi_page_insn, stepped)
{
	struct kvmi_event ev;
	unsigned int i;

	start(f, R | X);
	run(f, WRITE, TIMES);
	for (i = 0; i < TIMES; i++) {
		recv_pf(f, &ev, W);
		kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 1), 0);
		answer(f, &ev);
		kvmi_recv_singlestep(&f->kvmi, &ev);
		TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, (u64)behind_write);
		TEST_ASSERT_EQ(*(u64 *)(page(f) + 64), 0x1234);
		*(u64 *)(page(f) + 64) = 0;
		kvmi_assert_err(kvmi_control_step(&f->kvmi, 0, 0), 0);
		answer(f, &ev);
	}
	finish(f);
}

KVMI_TEST_MAIN
