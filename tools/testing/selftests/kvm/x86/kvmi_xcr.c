// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_GET_XCR. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_xcr, 1);

static int get_xcr(struct kvmi *k, u8 xcr, u64 *value)
{
	struct kvmi_vcpu_get_xcr req = { .xcr = xcr };
	struct kvmi_vcpu_get_xcr_reply reply = { .value = -1ull };
	int err = kvmi_vcpu_command(k, 0, KVMI_VCPU_GET_XCR, &req, sizeof(req),
				    &reply, sizeof(reply));

	*value = reply.value;
	return err;
}

KVMI_TEST(kvmi_xcr, xcr0)
{
	struct kvm_xcrs xcrs;
	u64 value;

	if (!kvm_has_cap(KVM_CAP_XCRS))
		SKIP(return, "no XSAVE");
	vcpu_xcrs_get(f->vcpu, &xcrs);
	TEST_ASSERT_EQ(xcrs.nr_xcrs, 1);

	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(get_xcr(&f->kvmi, 0, &value), 0);
	TEST_ASSERT_EQ(value, xcrs.xcrs[0].value);
	kvmi_stop(&f->runner);

	/* x87 alone is always allowed. */
	xcrs.xcrs[0].value = 1;
	vcpu_xcrs_set(f->vcpu, &xcrs);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(get_xcr(&f->kvmi, 0, &value), 0);
	TEST_ASSERT_EQ(value, 1);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_xcr, no_other)
{
	unsigned int xcr;
	u64 value;

	kvmi_start(&f->runner, f->vcpu);
	for (xcr = 1; xcr <= 0xff; xcr++)
		kvmi_assert_err(get_xcr(&f->kvmi, xcr, &value), -KVMI_EINVAL);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
