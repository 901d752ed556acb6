// SPDX-License-Identifier: GPL-2.0-only
/* vCPUs that run in threads of their own, and the guest in them.  See kvmi_util.h. */
#include "kvmi_util.h"

static void no_op(int sig)
{
}

static void *run_vcpu(void *arg)
{
	struct kvmi_runner *r = arg;
	struct kvm_vcpu *vcpu = r->vcpu;
	struct ucall uc;

	for (;;) {
		if (__vcpu_run(vcpu)) {
			r->err = errno;
			/* A vCPU that waits for its SIPI: run it again. */
			if (r->err == EAGAIN)
				continue;
			if (r->err != EINTR)
				break;
			/* With immediate_exit KVM leaves the last reason there. */
			TEST_ASSERT(vcpu->run->exit_reason == KVM_EXIT_INTR ||
				    vcpu->run->immediate_exit,
				    "EINTR, and the reason is %u (%s)",
				    vcpu->run->exit_reason,
				    exit_reason_str(vcpu->run->exit_reason));
			__atomic_add_fetch(&r->eintr, 1, __ATOMIC_SEQ_CST);
			if (__atomic_load_n(&r->stop, __ATOMIC_SEQ_CST))
				break;
			r->err = 0;
			continue;
		}

		r->exit_reason = vcpu->run->exit_reason;
		if (r->handle && r->handle(vcpu))
			continue;
		if (r->exit_reason != KVM_EXIT_IO)
			break;
		r->ucall = get_ucall(vcpu, &uc);
		if (r->ucall == UCALL_ABORT)
			REPORT_GUEST_ASSERT(uc);
		if (r->ucall != UCALL_SYNC)
			break;
	}
	__atomic_store_n(&r->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

void kvmi_start_with(struct kvmi_runner *r, struct kvm_vcpu *vcpu,
		     bool (*handle)(struct kvm_vcpu *vcpu))
{
	/* Without SA_RESTART: the signal is there to interrupt. */
	struct sigaction sa = { .sa_handler = no_op };

	TEST_ASSERT(!sigaction(SIGUSR1, &sa, NULL), "sigaction() failed");
	memset(r, 0, sizeof(*r));
	r->vcpu = vcpu;
	r->handle = handle;
	vcpu->run->immediate_exit = 0;
	kvm_pthread_create(&r->thread, NULL, run_vcpu, r);
}

void kvmi_start(struct kvmi_runner *r, struct kvm_vcpu *vcpu)
{
	kvmi_start_with(r, vcpu, NULL);
}

void kvmi_join(struct kvmi_runner *r)
{
	kvmi_wait_until(__atomic_load_n(&r->done, __ATOMIC_SEQ_CST));
	kvm_pthread_join(r->thread, NULL);
}

void kvmi_stop(struct kvmi_runner *r)
{
	__atomic_store_n(&r->stop, true, __ATOMIC_SEQ_CST);
	/* Also when the signal comes just before the thread enters KVM_RUN. */
	WRITE_ONCE(r->vcpu->run->immediate_exit, 1);
	kvmi_kick(r);
	kvmi_join(r);
	r->vcpu->run->immediate_exit = 0;
	TEST_ASSERT(r->err == EINTR,
		    "KVM_RUN ended before it was asked to: errno %d, exit %u (%s)",
		    r->err, r->exit_reason, exit_reason_str(r->exit_reason));
}

void kvmi_kick(struct kvmi_runner *r)
{
	TEST_ASSERT(!pthread_kill(r->thread, SIGUSR1), "pthread_kill() failed");
}

u64 kvmi_progress[KVMI_MAX_COUNTERS];

void kvmi_guest_count(u64 index)
{
	for (;;)
		WRITE_ONCE(kvmi_progress[index], kvmi_progress[index] + 1);
}

u64 kvmi_read_progress(struct kvm_vm *vm, unsigned int index)
{
	u64 *counter = addr_gva2hva(vm, (gva_t)&kvmi_progress[index]);

	return READ_ONCE(*counter);
}

void kvmi_wait_progress(struct kvm_vm *vm, unsigned int index)
{
	u64 before = kvmi_read_progress(vm, index);

	kvmi_wait_until(kvmi_read_progress(vm, index) != before);
}

struct kvm_vm *kvmi_create_vm(unsigned int nr_vcpus, struct kvm_vcpu **vcpus)
{
	struct kvm_vm *vm;
	unsigned int i;

	TEST_ASSERT(nr_vcpus && nr_vcpus <= KVMI_MAX_COUNTERS,
		    "%u vCPUs", nr_vcpus);
	vm = vm_create_with_vcpus(nr_vcpus, kvmi_guest_count, vcpus);
	for (i = 0; i < nr_vcpus; i++)
		vcpu_args_set(vcpus[i], 1, i);
	return vm;
}
