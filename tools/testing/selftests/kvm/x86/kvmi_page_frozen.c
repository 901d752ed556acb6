// SPDX-License-Identifier: GPL-2.0-only
/* What the VMM can do with a VM that a tool has left frozen. */
#include "apic.h"
#include "kvmi_on_exit.h"

KVMI_SUITE(kvmi_page_frozen, NR);

/* Both vCPUs are frozen, or only vCPU 0. */
static void freeze(struct kvmi_fixture *f, unsigned int nr)
{
	unsigned int i;

	start(f);
	restrict_pages(f);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, FREEZE), 0);
	die(f, KVMI_FROZEN);
	for (i = 0; i < nr; i++)
		order(f, i);
	for (i = 0; i < nr; i++)
		expect_frozen(f, i);
	expect_state(f, KVMI_FROZEN, NR);
}

/* UNHOOK gives everything back, also to those that wait. */
KVMI_TEST(kvmi_page_frozen, unhook)
{
	freeze(f, NR);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	expect_stored(f, 1);
	expect_state(f, KVMI_NONE, 0);
	stop();
}

/* The VMM of a session that another process has made may do that too. */
static void attach(struct kvmi_fixture *f, int fd)
{
	int vm_fd = kvmi_take_vm_fd(getppid(), f->vm->fd), sv[2];
	struct kvmi k;

	kvmi_socketpair(sv);
	kvmi_assert_err(kvmi_ioctl_hook(vm_fd, sv[0]), 0);
	kvm_close(sv[0]);
	kvmi_assert_err(kvmi_ioctl_command(vm_fd, -1, 1), 0);
	kvmi_assert_err(kvmi_ioctl_event(vm_fd, -1, 1), 0);
	kvm_close(vm_fd);
	kvm_close(f->vm->fd);
	kvmi_init(&k, f->vm, sv[1]);
	kvmi_assert_err(kvmi_set_pages_access(&k, PAGES, NR, R | X), 0);
	kvmi_assert_err(kvmi_set_on_exit(&k, FREEZE), 0);
}

KVMI_TEST(kvmi_page_frozen, unhook_of_a_foreign_session)
{
	kvmi_unhook(f->vm);
	kvmi_close(&f->kvmi);
	start(f);
	kvmi_run_process(attach, f, -1);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_FROZEN);
	order(f, 0);
	expect_frozen(f, 0);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	expect_state(f, KVMI_NONE, 0);
	stop();
}

/* The ioctls of a session say as to a dead one that there is none. */
KVMI_TEST(kvmi_page_frozen, other_ioctls)
{
	int preunhook, command, event;

	kvmi_close(&f->kvmi);
	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	preunhook = kvmi_ioctl_preunhook(f->vm->fd);
	command = kvmi_ioctl_command(f->vm->fd, -1, 1);
	event = kvmi_ioctl_event(f->vm->fd, -1, 1);
	kvmi_hook(&f->kvmi, f->vm);
	freeze(f, 1);
	kvmi_assert_err(kvmi_ioctl_preunhook(f->vm->fd), preunhook);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 1), command);
	kvmi_assert_err(kvmi_ioctl_event(f->vm->fd, -1, 1), event);
	expect_frozen(f, 0);
	kvmi_unhook(f->vm);
	stop();
}

/* immediate_exit, when KVM_RUN is called and nothing is pending. */
KVMI_TEST(kvmi_page_frozen, immediate_exit)
{
	unsigned int i;

	freeze(f, 1);
	kvmi_stop(&runners[0]);
	f->vcpu->run->immediate_exit = 1;
	for (i = 0; i < 10; i++) {
		TEST_ASSERT(__vcpu_run(f->vcpu) == -1 && errno == EINTR,
			    "KVM_RUN does not return");
		expect_nothing_stored(f, 0);
	}
	f->vcpu->run->immediate_exit = 0;
	kvmi_start(&runners[0], f->vcpu);
	expect_frozen(f, 0);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	stop();
}

/* What the VMM reads of a frozen vCPU is what it is: at its store. */
KVMI_TEST(kvmi_page_frozen, registers)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	freeze(f, 1);
	kvmi_stop(&runners[0]);
	vcpu_regs_get(f->vcpu, &regs);
	TEST_ASSERT_EQ(regs.rip, (u64)kvmi_on_exit_store);
	vcpu_sregs_get(f->vcpu, &sregs);
	TEST_ASSERT_EQ(sregs.cr3, f->vm->mmu.pgd);
	vcpu_mp_state_get(f->vcpu, &mp_state);
	TEST_ASSERT_EQ(mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
	vcpu_events_get(f->vcpu, &events);
	TEST_ASSERT(!events.exception.injected && !events.exception.pending,
		    "An exception is under way");
	kvmi_start(&runners[0], f->vcpu);
	expect_frozen(f, 0);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	stop();
}

/* The VMM sends the vCPU elsewhere: it runs there, and the page stays denied. */
KVMI_TEST(kvmi_page_frozen, set_regs)
{
	struct kvm_regs regs;

	freeze(f, 1);
	kvmi_stop(&runners[0]);
	expect_nothing_stored(f, 0);
	WRITE_ONCE(ON_HOST(f, ordered)[0], 0);
	vcpu_regs_get(f->vcpu, &regs);
	regs.rip = (u64)guest;
	regs.rdi = 0;
	vcpu_regs_set(f->vcpu, &regs);
	kvmi_start(&runners[0], f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	expect_nothing_stored(f, 0);
	order(f, 0);
	expect_frozen(f, 0);
	expect_state(f, KVMI_FROZEN, NR);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	stop();
}

/* A reset by the VMM: the store is not done, and the restrictions stay. */
KVMI_TEST(kvmi_page_frozen, mp_state)
{
	struct kvm_mp_state init = { .mp_state = KVM_MP_STATE_INIT_RECEIVED };

	freeze(f, 1);
	kvmi_stop(&runners[0]);
	vcpu_mp_state_set(f->vcpu, &init);
	kvmi_start(&runners[0], f->vcpu);
	kvmi_wait_progress(f->vm, 1);
	expect_nothing_stored(f, 0);
	expect_state(f, KVMI_FROZEN, NR);
	kvmi_unhook(f->vm);
	kvmi_wait_progress(f->vm, 1);
	expect_nothing_stored(f, 0);
	stop();
}

/* The other vCPU sends INIT: what waits is over, and not done. */
static void guest_bsp(u64 index)
{
	x2apic_enable();
	while (!READ_ONCE(ordered[index]))
		WRITE_ONCE(kvmi_progress[index], kvmi_progress[index] + 1);
	x2apic_write_reg(APIC_ICR, 1ull << 32 | APIC_DM_INIT | APIC_INT_ASSERT);
	WRITE_ONCE(done[index], 1);
	kvmi_guest_count(index);
}

KVMI_TEST(kvmi_page_frozen, init)
{
	struct kvm_mp_state mp_state;

	start(f);
	kvmi_stop(&runners[0]);
	vcpu_arch_set_entry_point(f->vcpu, guest_bsp);
	vcpu_args_set(f->vcpu, 1, 0);
	kvmi_start(&runners[0], f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	restrict_pages(f);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, FREEZE), 0);
	order(f, 1);
	die(f, KVMI_FROZEN);
	expect_frozen(f, 1);

	order(f, 0);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, done)) == 1);
	do {
		kvmi_stop(&runners[1]);
		vcpu_mp_state_get(f->vcpus[1], &mp_state);
		kvmi_start(&runners[1], f->vcpus[1]);
	} while (mp_state.mp_state == KVM_MP_STATE_RUNNABLE);
	TEST_ASSERT_EQ(mp_state.mp_state, KVM_MP_STATE_INIT_RECEIVED);
	expect_nothing_stored(f, 1);
	expect_state(f, KVMI_FROZEN, NR);
	kvmi_unhook(f->vm);
	kvmi_wait_progress(f->vm, 0);
	expect_nothing_stored(f, 1);
	kvmi_stop(&runners[0]);
	kvmi_stop(&runners[1]);
}

/* A vCPU that is made while the VM is frozen. */
KVMI_TEST(kvmi_page_frozen, a_new_vcpu)
{
	struct kvmi_runner late;
	struct kvm_vcpu *vcpu;

	freeze(f, 1);
	kvmi_stop(&runners[1]);
	vcpu = vm_vcpu_add(f->vm, NR, guest);
	vcpu_args_set(vcpu, 1, 1);
	kvmi_start(&late, vcpu);
	kvmi_wait_progress(f->vm, 1);
	order(f, 1);
	/* It takes the place of vCPU 1, which does not run. */
	kvmi_stop(&late);
	runners[1] = late;
	f->vcpus[1] = vcpu;
	kvmi_start(&runners[1], vcpu);
	expect_frozen(f, 1);
	kvmi_unhook(f->vm);
	expect_stored(f, 1);
	expect_stored(f, 0);
	stop();
}

#define VECTOR	0x40

static u64 interrupts;

static void on_interrupt(struct ex_regs *regs)
{
	WRITE_ONCE(interrupts, interrupts + 1);
	x2apic_write_reg(APIC_EOI, 0);
}

static void guest_with_interrupts(u64 index)
{
	x2apic_enable();
	asm volatile("sti");
	guest(index);
}

static void interrupt(struct kvmi_fixture *f)
{
	struct kvm_msi msi = { .address_lo = APIC_DEFAULT_GPA, .data = VECTOR };

	TEST_ASSERT(__vm_ioctl(f->vm, KVM_SIGNAL_MSI, &msi) == 1,
		    "No interrupt was sent");
}

/* An interrupt takes no vCPU past its store, nor is one lost. */
KVMI_TEST(kvmi_page_frozen, interrupts)
{
	struct kvmi_event ev;

	start(f);
	kvmi_stop(&runners[0]);
	vm_install_exception_handler(f->vm, VECTOR, on_interrupt);
	vcpu_arch_set_entry_point(f->vcpu, guest_with_interrupts);
	vcpu_args_set(f->vcpu, 1, 0);
	kvmi_start(&runners[0], f->vcpu);
	kvmi_wait_progress(f->vm, 0);
	interrupt(f);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, interrupts)) == 1);
	restrict_pages(f);
	kvmi_assert_err(kvmi_set_on_exit(&f->kvmi, FREEZE), 0);

	/* While a tool is asked. */
	order(f, 0);
	expect_pf(f, &ev, 0);
	interrupt(f);
	TEST_ASSERT_EQ(peek_rip(f, 0), (u64)kvmi_on_exit_store);
	TEST_ASSERT_EQ(READ_ONCE(*ON_HOST(f, interrupts)), 1);
	proceed(f, &ev);
	expect_stored(f, 0);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, interrupts)) == 2);

	/* While nobody is. */
	die(f, KVMI_FROZEN);
	order(f, 0);
	expect_frozen(f, 0);
	interrupt(f);
	expect_frozen(f, 0);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	kvmi_wait_until(READ_ONCE(*ON_HOST(f, interrupts)) == 3);
	stop();
}

/* Restrictions are of frames, not of slots: the VMM makes the slot anew. */
KVMI_TEST(kvmi_page_frozen, the_slot_is_made_anew)
{
	freeze(f, 1);
	vm_mem_region_delete(f->vm, SLOT);
	expect_state(f, KVMI_FROZEN, NR);
	kvmi_wait_progress(f->vm, 1);
	vm_userspace_mem_region_add(f->vm, VM_MEM_SRC_ANONYMOUS, PAGES, SLOT,
				    NR, 0);
	*page(f, 0) = OLD;
	expect_frozen(f, 0);
	order(f, 1);
	expect_frozen(f, 1);
	kvmi_unhook(f->vm);
	expect_stored(f, 0);
	expect_stored(f, 1);
	stop();
}

/* The VM ends frozen: nothing waits for a tool. */
KVMI_TEST(kvmi_page_frozen, the_vm_ends)
{
	freeze(f, NR);
	stop();
}

/* Its VMM is killed while both vCPUs wait. */
static void doomed(struct kvmi_fixture *f, int fd)
{
	struct kvmi_fixture own = {};

	own.vm = kvmi_create_vm(NR, own.vcpus);
	own.vcpu = own.vcpus[0];
	kvmi_hook(&own.kvmi, own.vm);
	freeze(&own, NR);
	kvmi_step(fd);
	for (;;)
		pause();
}

KVMI_TEST(kvmi_page_frozen, the_vmm_is_killed)
{
	int sv[2], status;
	pid_t pid;

	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM, 0, sv), "socketpair()");
	pid = kvmi_start_process(doomed, f, sv[1]);
	kvm_close(sv[1]);
	kvmi_wait_step(sv[0]);
	kill(pid, SIGKILL);
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed");
	TEST_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		    "It ended otherwise: %#x", status);
}

KVMI_TEST_MAIN
