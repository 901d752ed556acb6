// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen's hypercall page is written by KVM because the guest says where, in an MSR
 * that the VMM chose: the tool is asked.  What the VMM names for a vCPU is
 * written by KVM of its own accord: that is refused and counted.
 */
#include "kvmi_own.h"

#define XEN_MSR		0x40000200

enum { HYPERCALL_PAGE = 1 };

static void do_one(u64 it)
{
	wrmsr(XEN_MSR, PAGE);
}

static void prepare(struct kvmi_fixture *f)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
		.msr = XEN_MSR,
	};

	vm_ioctl(f->vm, KVM_XEN_HVM_CONFIG, &config);
	kvmi_hook(&f->kvmi, f->vm);
}

KVMI_SUITE_OF(kvmi_own_xen, kvmi_create_vm(1, f->vcpus), prepare(f));

static void asked(struct kvmi_fixture *f, u8 allowed)
{
	u64 before;

	start(f);
	fill(f);
	restrict_page(f, PAGE, allowed);
	before = refused(f);
	run(f, HYPERCALL_PAGE);
	expect_asked(f, PAGE, W);
	wait_done(f, 1);
	/* mov imm32, %eax */
	TEST_ASSERT_EQ(page(f)[0], 0xb8);
	TEST_ASSERT_EQ(refused(f), before);
	finish(f, 1);
}

KVMI_TEST(kvmi_own_xen, hypercall_page) { asked(f, R | X); }
KVMI_TEST(kvmi_own_xen, hypercall_page_of_nothing) { asked(f, 0); }

static int set_attr(struct kvmi_fixture *f, u16 type)
{
	struct kvm_xen_vcpu_attr attr = { .type = type, .u.gpa = PAGE };

	return __vcpu_ioctl(f->vcpu, KVM_XEN_VCPU_SET_ATTR, &attr);
}

/* Out of KVM_RUN and back; the page's time is due with its name. */
static void cause(struct kvmi_fixture *f, u16 type)
{
	kvmi_stop(&f->runner);
	if (type == KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO)
		TEST_ASSERT_EQ(set_attr(f, type), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);
}

/* The page that says how long the vCPU ran, and that of its time. */
static void refused_later(struct kvmi_fixture *f, u16 type)
{
	u64 before;

	start(f);
	kvmi_stop(&f->runner);
	TEST_ASSERT_EQ(set_attr(f, type), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_wait_progress(f->vm, 0);

	restrict_page(f, PAGE, R | X);
	kvmi_wait_progress(f->vm, 0);
	fill(f);
	before = refused(f);
	cause(f, type);
	TEST_ASSERT(refused(f) > before, "Not counted");
	TEST_ASSERT(is_untouched(f), "Written although it is restricted");

	restrict_page(f, PAGE, R | W | X);
	cause(f, type);
	TEST_ASSERT(!is_untouched(f), "Not written any more");
	kvmi_expect_quiet(&f->kvmi);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_own_xen, vcpu_time_info)
{
	refused_later(f, KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO);
}

KVMI_TEST(kvmi_own_xen, runstate)
{
	refused_later(f, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR);
}

int main(int argc, char *argv[])
{
	kvmi_require();
	__TEST_REQUIRE(kvm_has_cap(KVM_CAP_XEN_HVM), "KVM has no Xen");
	return test_harness_run(argc, argv);
}
