/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The harness of the introspection tests: each case is a process of its own
 * with a fresh VM, hooked unless the suite says otherwise.
 */
#ifndef SELFTEST_KVM_KVMI_TEST_H
#define SELFTEST_KVM_KVMI_TEST_H

#include "kselftest_harness.h"
#include "kvmi_util.h"

/*
 * An emulated machine is slow, and this is no measure of anything: beyond it
 * a case hangs.  It is longer than KVMI_HANG_SECONDS, which can say where.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 3600

#define KVMI_MAX_VCPUS KVMI_MAX_COUNTERS

struct kvmi_fixture {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[KVMI_MAX_VCPUS];
	struct kvm_vcpu *vcpu;
	struct kvmi kvmi;
	struct kvmi_runner runner;
};

/*
 * A suite over the VM that @create makes with vCPUs @f->vcpus; @prepare is
 * done to the fixture @f before each case.
 */
#define KVMI_SUITE_OF(name, create, prepare)				\
FIXTURE(name) {								\
	struct kvmi_fixture f;						\
};									\
									\
FIXTURE_SETUP(name)							\
{									\
	struct kvmi_fixture *f = &self->f;				\
									\
	f->vm = create;							\
	f->vcpu = f->vcpus[0];						\
	f->kvmi.fd = -1;						\
	prepare;							\
}									\
									\
FIXTURE_TEARDOWN(name)							\
{									\
	kvmi_close(&self->f.kvmi);					\
	kvm_vm_free(self->f.vm);					\
}

/* A suite over a VM of @nr vCPUs that nobody has hooked. */
#define KVMI_UNHOOKED_SUITE(name, nr)					\
	KVMI_SUITE_OF(name, kvmi_create_vm(nr, f->vcpus), (void)0)

/* A suite over a hooked VM of @nr vCPUs. */
#define KVMI_SUITE(name, nr)						\
	KVMI_SUITE_OF(name, kvmi_create_vm(nr, f->vcpus),		\
		      kvmi_hook(&f->kvmi, f->vm))

/* A case of either; its body sees the fixture as @f. */
#define KVMI_TEST(suite, test)						\
static void __##suite##_##test(struct __test_metadata *_metadata,	\
			       struct kvmi_fixture *f);			\
									\
TEST_F(suite, test)							\
{									\
	__##suite##_##test(_metadata, &self->f);			\
}									\
static void __##suite##_##test(struct __test_metadata *_metadata,	\
			       struct kvmi_fixture *f)

#define KVMI_TEST_MAIN							\
int main(int argc, char *argv[])					\
{									\
	kvmi_require();							\
	return test_harness_run(argc, argv);				\
}

#endif /* SELFTEST_KVM_KVMI_TEST_H */
