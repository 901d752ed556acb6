/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What KVM accesses for a guest in a restricted page: asked for, or refused and
 * counted.  The guest is that of kvmi_page.h.
 */
#ifndef SELFTEST_KVM_KVMI_OWN_H
#define SELFTEST_KVM_KVMI_OWN_H

#include "kvmi_page.h"

/* KVM knows no linear address of what it accesses itself. */
#define NO_GVA	(~0ull)

/* What the page is full of before KVM has written to it. */
#define UNTOUCHED	0xee

static u8 *page(struct kvmi_fixture *f)
{
	return addr_gpa2hva(f->vm, PAGE);
}

static void fill(struct kvmi_fixture *f)
{
	memset(page(f), UNTOUCHED, PAGE_SIZE);
}

static bool is_untouched(struct kvmi_fixture *f)
{
	unsigned int i;

	for (i = 0; i < PAGE_SIZE; i++)
		if (READ_ONCE(page(f)[i]) != UNTOUCHED)
			return false;

	return true;
}

static u64 refused(struct kvmi_fixture *f)
{
	return vm_get_stat(f->vm, kvmi_refused_accesses);
}

/* The tool hears of it, nothing is done before it answers, and then it is. */
static void expect_asked(struct kvmi_fixture *f, u64 gpa, u8 access)
{
	u64 before = refused(f);
	struct kvmi_event ev, again;

	expect(f, &ev, gpa, access, NO_GVA);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_RETRY);
	expect(f, &again, gpa, access, NO_GVA);
	TEST_ASSERT_EQ(ev.vcpu.arch.regs.rip, again.vcpu.arch.regs.rip);
	TEST_ASSERT_EQ(refused(f), before);
	proceed(f, &again);
}

/* KVM_RUN is left and entered again. */
static void leave_and_enter(struct kvmi_fixture *f)
{
	kvmi_stop(&f->runner);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
}

#endif /* SELFTEST_KVM_KVMI_OWN_H */
