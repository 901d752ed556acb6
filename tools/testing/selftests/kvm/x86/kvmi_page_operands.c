// SPDX-License-Identifier: GPL-2.0-only
/*
 * Before an instruction accesses a device, the tool is asked for its memory: its
 * operands and its stack.  What it lets through is done with the instruction.
 */
#include "kvmi_page.h"

/* No memory is there. */
#define DEVICE	(5ull << 30)
#define VALUE	0x5a5a5a5a5a5a5a5a

KVMI_SUITE(kvmi_page_operands, 1);

enum { PUSH = 1, POP, CALL, MOVE_IN, MOVE_OUT, COMPARE, EXCHANGE, MANY };

extern const char called[];
static u64 equal;

static void do_one(u64 it)
{
	u64 rsp, to = PAGE + 64, from = DEVICE, count = 4;
	u8 eq;

	switch (it) {
	case PUSH:
		asm volatile("mov %%rsp, %0; mov %1, %%rsp; pushq (%2); mov %0, %%rsp"
			     : "=&r"(rsp) : "r"(PAGE + 72), "r"(DEVICE) : "memory");
		break;
	case POP:
		asm volatile("mov %%rsp, %0; mov %1, %%rsp; popq (%2); mov %0, %%rsp"
			     : "=&r"(rsp) : "r"(PAGE + 64), "r"(DEVICE) : "memory");
		break;
	case CALL:
		asm volatile("mov %%rsp, %0; mov %1, %%rsp; call *(%2)\n\t"
			     ".globl called\ncalled: mov %0, %%rsp"
			     : "=&r"(rsp) : "r"(PAGE + 72), "r"(DEVICE) : "memory");
		break;
	case MOVE_IN:
		asm volatile("cld; movsq" : "+D"(to), "+S"(from) : : "memory");
		break;
	case MOVE_OUT:
		asm volatile("cld; movsq" : "+D"(from), "+S"(to) : : "memory");
		break;
	case COMPARE:
		asm volatile("cld; cmpsq; sete %2"
			     : "+S"(from), "+D"(to), "=qm"(eq) : : "memory", "cc");
		WRITE_ONCE(equal, eq);
		break;
	case EXCHANGE:
		asm volatile("xchg %0, (%1)" : "+r"(count) : "r"(DEVICE) : "memory");
		break;
	case MANY:
		to = PAGE - 16;
		asm volatile("cld; rep movsq"
			     : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	}
}

static void start_with_device(struct kvmi_fixture *f)
{
	virt_map(f->vm, DEVICE, DEVICE, 1);
	start(f);
}

static u64 *word(struct kvmi_fixture *f)
{
	return addr_gpa2hva(f->vm, PAGE + 64);
}

static void wait_device(struct kvmi_fixture *f, bool write)
{
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(f->vcpu->run->mmio.is_write, write);
	TEST_ASSERT_EQ(f->vcpu->run->mmio.len, 8);
}

static void give(struct kvmi_fixture *f, u64 value)
{
	wait_device(f, false);
	memcpy(f->vcpu->run->mmio.data, &value, 8);
	kvmi_start(&f->runner, f->vcpu);
}

static void take(struct kvmi_fixture *f, u64 value)
{
	wait_device(f, true);
	TEST_ASSERT(!memcmp(f->vcpu->run->mmio.data, &value, 8), "Another value");
	kvmi_start(&f->runner, f->vcpu);
}

/* Asked once, before the device; a kick in the middle changes nothing. */
static void ask(struct kvmi_fixture *f, u64 it, u8 access, u8 denied)
{
	struct kvmi_event ev;

	start_with_device(f);
	restrict_page(f, PAGE, access);
	run(f, it);
	/* Not every processor that faults there says which address that is. */
	kvmi_recv_pf(&f->kvmi, &ev, PAGE + 64, denied);
	TEST_ASSERT(!f->runner.done, "The device was accessed first");
	kvmi_kick(&f->runner);
	proceed(f, &ev);
}

KVMI_TEST(kvmi_page_operands, push)
{
	ask(f, PUSH, R | X, W);
	give(f, VALUE);
	finish(f, 1);
	TEST_ASSERT_EQ(*word(f), VALUE);
}

KVMI_TEST(kvmi_page_operands, pop)
{
	ask(f, POP, 0, R);
	take(f, 0);
	finish(f, 1);
}

KVMI_TEST(kvmi_page_operands, call)
{
	ask(f, CALL, R | X, W);
	give(f, (u64)called);
	finish(f, 1);
	TEST_ASSERT_EQ(*word(f), (u64)called);
}

KVMI_TEST(kvmi_page_operands, move_in)
{
	ask(f, MOVE_IN, R | X, W);
	give(f, VALUE);
	finish(f, 1);
	TEST_ASSERT_EQ(*word(f), VALUE);
}

KVMI_TEST(kvmi_page_operands, move_out)
{
	ask(f, MOVE_OUT, 0, R);
	take(f, 0);
	finish(f, 1);
}

KVMI_TEST(kvmi_page_operands, compare)
{
	ask(f, COMPARE, 0, R);
	give(f, 0);
	finish(f, 1);
	TEST_ASSERT_EQ(*ON_HOST(f, equal), 1);
}

/* A device alone is nobody's page. */
KVMI_TEST(kvmi_page_operands, exchange)
{
	start_with_device(f);
	restrict_page(f, PAGE, 0);
	run(f, EXCHANGE);
	give(f, VALUE);
	take(f, 4);
	finish(f, 1);
}

/* A string that gets into a restricted page with a device's next word. */
KVMI_TEST(kvmi_page_operands, string)
{
	struct kvmi_event ev;
	u64 *at, i;

	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE - 4096,
				    SLOT + 1, 1, 0);
	virt_map(f->vm, PAGE - 4096, PAGE - 4096, 1);
	start_with_device(f);
	restrict_page(f, PAGE, R | X);
	run(f, MANY);
	for (i = 0; i < 4; i++) {
		if (i >= 2) {
			expect(f, &ev, PAGE + 8 * (i - 2), W, PAGE + 8 * (i - 2));
			TEST_ASSERT(!f->runner.done, "The device was accessed first");
			TEST_ASSERT_EQ(ev.vcpu.arch.regs.rcx, 4 - i);
			proceed(f, &ev);
		}
		give(f, VALUE + i);
	}
	finish(f, 1);
	for (i = 0; i < 4; i++) {
		at = addr_gpa2hva(f->vm, PAGE - 16 + 8 * i);
		TEST_ASSERT_EQ(*at, VALUE + i);
	}
}

KVMI_TEST_MAIN
