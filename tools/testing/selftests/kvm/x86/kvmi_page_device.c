// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM stores in a restricted page what a device gave, which a device gives once:
 * nothing of it is lost, whatever the tool says.
 */
#include "kvmi_page.h"

/* No memory is there. */
#define DEVICE	(5ull << 30)
#define PORT	0x5c0
#define WORDS	8

KVMI_SUITE(kvmi_page_device, 1);

enum { INPUT = 1, INPUT_DOWN, PUSH };

static void do_one(u64 it)
{
	u64 to = PAGE + 64, count = WORDS, rsp;

	switch (it) {
	case INPUT:
		asm volatile("cld; rep insw"
			     : "+D"(to), "+c"(count) : "d"(PORT) : "memory");
		GUEST_ASSERT_EQ(to, PAGE + 64 + 2 * WORDS);
		GUEST_ASSERT_EQ(count, 0);
		break;
	case INPUT_DOWN:
		asm volatile("std; rep insw; cld"
			     : "+D"(to), "+c"(count) : "d"(PORT) : "memory");
		GUEST_ASSERT_EQ(to, PAGE + 64 - 2 * WORDS);
		GUEST_ASSERT_EQ(count, 0);
		break;
	case PUSH:
		asm volatile("mov %%rsp, %0; mov %1, %%rsp; pushq (%2); mov %0, %%rsp"
			     : "=&r"(rsp)
			     : "r"(PAGE + 2048), "r"(DEVICE) : "memory");
		break;
	}
}

/* The guest asks the device for words: how many are wanted now. */
static u32 asked(struct kvmi_fixture *f)
{
	struct kvm_run *run = f->vcpu->run;

	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_IO);
	TEST_ASSERT_EQ(run->io.port, PORT);
	TEST_ASSERT_EQ(run->io.direction, KVM_EXIT_IO_IN);
	TEST_ASSERT_EQ(run->io.size, 2);
	return run->io.count;
}

/* The device gives its next words: 0x1100, 0x1101 and so on. */
static void give(struct kvmi_fixture *f, u32 first, u32 count)
{
	u16 *data = (void *)f->vcpu->run + f->vcpu->run->io.data_offset;
	u32 i;

	for (i = 0; i < count; i++)
		data[i] = 0x1100 + first + i;
	kvmi_start(&f->runner, f->vcpu);
}

/* All of them, as KVM asks for them; it does so again only for what is left. */
static void give_all(struct kvmi_fixture *f)
{
	u32 given, count;

	for (given = 0; given < WORDS; given += count) {
		count = asked(f);
		TEST_ASSERT(count && given + count <= WORDS, "%u words more", count);
		give(f, given, count);
	}
}

static void check_words(struct kvmi_fixture *f, int step)
{
	u16 *word = addr_gpa2hva(f->vm, PAGE + 64);
	int i;

	for (i = 0; i < WORDS; i++)
		TEST_ASSERT_EQ(word[step * i], 0x1100 + i);
}

static bool untouched(struct kvmi_fixture *f)
{
	return kvmi_is_zero(addr_gpa2hva(f->vm, PAGE), PAGE_SIZE);
}

/* The tool is asked before the device is. */
static void input(struct kvmi_fixture *f, u64 it, int step)
{
	struct kvmi_event ev;

	start(f);
	restrict_page(f, PAGE, R | X);
	run(f, it);
	expect(f, &ev, PAGE + 64, W, PAGE + 64);
	TEST_ASSERT(!f->runner.done, "The device was asked first");
	proceed(f, &ev);
	give_all(f);
	finish(f, 1);
	check_words(f, step);
}

KVMI_TEST(kvmi_page_device, string_input)
{
	input(f, INPUT, 1);
}

KVMI_TEST(kvmi_page_device, string_input_downwards)
{
	input(f, INPUT_DOWN, -1);
}

/* Nothing is lost by a tool that cannot make up its mind. */
KVMI_TEST(kvmi_page_device, string_input_retried)
{
	struct kvmi_event ev;
	int i;

	start(f);
	restrict_page(f, PAGE, R | X);
	run(f, INPUT);
	for (i = 0; i < 5; i++) {
		expect(f, &ev, PAGE + 64, W, PAGE + 64);
		TEST_ASSERT(!f->runner.done, "The device was asked first");
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	}
	expect(f, &ev, PAGE + 64, W, PAGE + 64);
	proceed(f, &ev);
	give_all(f);
	finish(f, 1);
	check_words(f, 1);
}

/*
 * The device has been asked when the page is restricted.  Nobody can be asked in
 * the completion: nothing is stored.
 */
static u32 input_under_way(struct kvmi_fixture *f)
{
	u32 count;

	start(f);
	run(f, INPUT);
	count = asked(f);
	restrict_page(f, PAGE, R | X);
	TEST_ASSERT_EQ(count, WORDS);
	return count;
}

KVMI_TEST(kvmi_page_device, string_input_under_way)
{
	give(f, 0, input_under_way(f));
	finish(f, 1);
	TEST_ASSERT(untouched(f), "It is stored");
}

/* The session has ended: the words are stored as if nothing were restricted. */
KVMI_TEST(kvmi_page_device, string_input_tool_dies)
{
	u32 count = input_under_way(f);

	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	give(f, 0, count);
	wait_done(f, 1);
	kvmi_stop(&f->runner);
	check_words(f, 1);
}

/* The guest may push what a device gives. */
static void start_with_device(struct kvmi_fixture *f)
{
	virt_map(f->vm, DEVICE, DEVICE, 1);
	start(f);
}

/* It does, and this is what. */
static void push(struct kvmi_fixture *f)
{
	struct kvm_run *run = f->vcpu->run;

	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(run->mmio.phys_addr, DEVICE);
	TEST_ASSERT_EQ(run->mmio.is_write, 0);
	TEST_ASSERT_EQ(run->mmio.len, 8);
	memset(run->mmio.data, 0x5a, 8);
	kvmi_start(&f->runner, f->vcpu);
}

static u64 *pushed(struct kvmi_fixture *f)
{
	return addr_gpa2hva(f->vm, PAGE + 2040);
}

static void expect_push(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	expect(f, ev, PAGE + 2040, W, PAGE + 2040);
	TEST_ASSERT(!f->runner.done, "The device was asked first");
	/* Nothing of it is done yet. */
	TEST_ASSERT_EQ(ev->vcpu.arch.regs.rsp, PAGE + 2048);
	TEST_ASSERT_EQ(*pushed(f), 0);
}

/* The tool is asked before the device is, and lets all of it through. */
KVMI_TEST(kvmi_page_device, push_from_device)
{
	struct kvmi_event ev;

	start_with_device(f);
	restrict_page(f, PAGE, R | X);
	run(f, PUSH);
	expect_push(f, &ev);
	kvmi_kick(&f->runner);
	kvmi_ping(&f->kvmi);
	TEST_ASSERT_EQ(*pushed(f), 0);
	proceed(f, &ev);
	push(f);
	finish(f, 1);
	TEST_ASSERT_EQ(*pushed(f), 0x5a5a5a5a5a5a5a5a);
}

/* The device is not asked as long as the tool wants it done anew. */
KVMI_TEST(kvmi_page_device, push_retried)
{
	struct kvmi_event ev;
	int i;

	start_with_device(f);
	restrict_page(f, PAGE, R | X);
	run(f, PUSH);
	for (i = 0; i < 5; i++) {
		expect_push(f, &ev);
		kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	}
	expect_push(f, &ev);
	restrict_page(f, PAGE, R | W | X);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	push(f);
	finish(f, 1);
	TEST_ASSERT_EQ(*pushed(f), 0x5a5a5a5a5a5a5a5a);
}

/* What the VMM writes behind the device's back ends what was granted. */
KVMI_TEST(kvmi_page_device, push_state_written)
{
	struct kvmi_event ev;
	struct kvm_regs regs;

	start_with_device(f);
	restrict_page(f, PAGE, R | X);
	run(f, PUSH);
	expect_push(f, &ev);
	proceed(f, &ev);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_MMIO);
	vcpu_regs_get(f->vcpu, &regs);
	vcpu_regs_set(f->vcpu, &regs);
	memset(f->vcpu->run->mmio.data, 0x5a, 8);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, 1);
	TEST_ASSERT_EQ(*pushed(f), 0);
}

/* KVM_RUN completes the instruction, and returns at once if it is told to. */
KVMI_TEST(kvmi_page_device, push_immediate_exit)
{
	struct kvm_run *run_page = f->vcpu->run;
	struct kvmi_event ev;

	start_with_device(f);
	restrict_page(f, PAGE, R | X);
	run(f, PUSH);
	expect_push(f, &ev);
	proceed(f, &ev);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_MMIO);
	memset(run_page->mmio.data, 0x5a, 8);
	run_page->immediate_exit = 1;
	TEST_ASSERT(__vcpu_run(f->vcpu) == -1 && errno == EINTR, "errno %d", errno);
	run_page->immediate_exit = 0;
	TEST_ASSERT_EQ(*pushed(f), 0x5a5a5a5a5a5a5a5a);
	kvmi_start(&f->runner, f->vcpu);
	finish(f, 1);
}

/* Nobody asks to be asked: it is let through. */
KVMI_TEST(kvmi_page_device, push_nobody_asks)
{
	start_with_device(f);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 0), 0);
	restrict_page(f, PAGE, R | X);
	run(f, PUSH);
	push(f);
	finish(f, 1);
	TEST_ASSERT_EQ(*pushed(f), 0x5a5a5a5a5a5a5a5a);
}

KVMI_TEST_MAIN
