/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that does one thing to a restricted page when it is told to, and what
 * the tool hears of it.  A test says what in do_one().
 */
#ifndef SELFTEST_KVM_KVMI_PAGE_H
#define SELFTEST_KVM_KVMI_PAGE_H

#include "kvmi_test.h"

#define R	KVMI_PAGE_ACCESS_R
#define W	KVMI_PAGE_ACCESS_W
#define X	KVMI_PAGE_ACCESS_X

#define SLOT	10
#define PAGE	(4ull << 30)

/* Nothing is to be done. */
#define NOTHING	0

static u64 what, done;

static void do_one(u64 it);

static void guest(void)
{
	u64 it;

	for (;;) {
		WRITE_ONCE(kvmi_progress[0], kvmi_progress[0] + 1);
		it = READ_ONCE(what);
		if (!it)
			continue;
		do_one(it);
		WRITE_ONCE(what, NOTHING);
		WRITE_ONCE(done, done + 1);
	}
}

#define ON_HOST(f, variable) \
	((u64 *)addr_gva2hva((f)->vm, (gva_t)&(variable)))

static void start(struct kvmi_fixture *f)
{
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGE, SLOT, 1, 0);
	virt_map(f->vm, PAGE, PAGE, 1);
	vcpu_arch_set_entry_point(f->vcpu, guest);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	kvmi_assert_err(kvmi_control_event(&f->kvmi, 0, KVMI_VCPU_EVENT_PF, 1), 0);
}

static void restrict_page(struct kvmi_fixture *f, u64 gpa, u8 access)
{
	kvmi_assert_err(kvmi_set_page_access(&f->kvmi, gpa, access), 0);
}

static void run(struct kvmi_fixture *f, u64 it)
{
	WRITE_ONCE(*ON_HOST(f, what), it);
}

static void wait_done(struct kvmi_fixture *f, u64 times)
{
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, done)) == times);
}

static void finish(struct kvmi_fixture *f, u64 times)
{
	wait_done(f, times);
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

static void expect(struct kvmi_fixture *f, struct kvmi_event *ev, u64 gpa,
		   u8 access, u64 gva)
{
	const struct kvmi_vcpu_event_pf *pf = (const void *)ev->specific;

	kvmi_recv_pf(&f->kvmi, ev, gpa, access);
	TEST_ASSERT_EQ(pf->gva, gva);
}

static void proceed(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_reply(&f->kvmi, ev, KVMI_EVENT_ACTION_CONTINUE);
}

#endif /* SELFTEST_KVM_KVMI_PAGE_H */
