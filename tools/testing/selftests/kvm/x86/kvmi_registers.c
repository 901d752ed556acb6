// SPDX-License-Identifier: GPL-2.0-only
/* VCPU_GET_REGISTERS and VCPU_SET_REGISTERS. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_registers, 1);

/* Two places to be, and no register touched in either. */
extern char spin_here[], spin_there[];

static void guest_spin(void)
{
	asm volatile(".global spin_here, spin_there\n"
		     "spin_here: jmp spin_here\n"
		     "spin_there: jmp spin_there\n");
}

/*
 * RF is masked: an exit for a fault of EPT, which the host may cause at any
 * time, shows it set (Intel SDM vol. 3, "Saving RIP, RSP, RFLAGS, and SSP").
 */
static void assert_same(const struct kvm_regs *got, const struct kvm_regs *want,
			const char *claim)
{
	static const char * const names[] = {
		"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8",
		"r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
	};
	const u64 *g = (const u64 *)got, *w = (const u64 *)want;
	unsigned int i;

	static_assert(sizeof(*got) == ARRAY_SIZE(names) * sizeof(u64));
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		bool flags = &g[i] == (const u64 *)&got->rflags;
		u64 ignored = flags ? X86_EFLAGS_RF : 0;

		TEST_ASSERT(!((g[i] ^ w[i]) & ~ignored),
			    "%s: %s is 0x%lx, expected 0x%lx", claim, names[i],
			    g[i], w[i]);
	}
}

/* Everything that has to be inside an event before the first entry. */
static void start_paused(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	kvmi_assert_err(kvmi_pause(&f->kvmi, 0, 0), 0);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_recv_pause(&f->kvmi, 0, ev);
}

static int get_msrs(struct kvmi *k, const u32 *idx, u16 n, size_t sent,
		    void *reply, size_t size)
{
	struct {
		struct kvmi_vcpu_get_registers req;
		u32 idx[KVMI_MAX_MSRS + 1];
	} req = { .req.nmsrs = n };

	memcpy(req.idx, idx, sent * sizeof(u32));
	return kvmi_vcpu_command(k, 0, KVMI_VCPU_GET_REGISTERS, &req,
				 sizeof(req.req) + sent * sizeof(u32), reply,
				 size);
}

KVMI_TEST(kvmi_registers, get)
{
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvmi_event ev;

	vcpu_regs_get(f->vcpu, &regs);
	vcpu_sregs_get(f->vcpu, &sregs);
	memset(&reply, 0xff, sizeof(reply));
	start_paused(f, &ev);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
	TEST_ASSERT_EQ(reply.mode, 8);
	TEST_ASSERT_EQ(reply.padding, 0);
	assert_same(&reply.regs, &regs, "As KVM_GET_REGS");
	TEST_ASSERT(!memcmp(&reply.sregs, &sregs, sizeof(sregs)),
		    "sregs are not those of KVM_GET_SREGS");
	TEST_ASSERT_EQ(reply.msrs.nmsrs, 0);
	TEST_ASSERT_EQ(reply.msrs.pad, 0);
}

/* No event is needed to read. */
KVMI_TEST(kvmi_registers, get_while_running)
{
	struct kvmi_vcpu_get_registers_reply reply;

	vcpu_arch_set_entry_point(f->vcpu, guest_spin);
	kvmi_start(&f->runner, f->vcpu);
	do {
		kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
	} while (reply.regs.rip != (u64)spin_here);
	kvmi_stop(&f->runner);
}

KVMI_TEST(kvmi_registers, msrs)
{
	static const u32 idx[] = {
		MSR_LSTAR, MSR_IA32_SYSENTER_CS, MSR_IA32_CR_PAT, MSR_LSTAR,
		MSR_EFER,
	};
	struct {
		struct kvmi_vcpu_get_registers_reply head;
		struct kvm_msr_entry msrs[ARRAY_SIZE(idx)];
	} reply;
	u64 want[ARRAY_SIZE(idx)];
	struct kvmi_event ev;
	unsigned int i;

	vcpu_set_msr(f->vcpu, MSR_LSTAR, 0x123456789000);
	vcpu_set_msr(f->vcpu, MSR_IA32_SYSENTER_CS, 0x10);
	for (i = 0; i < ARRAY_SIZE(idx); i++)
		want[i] = vcpu_get_msr(f->vcpu, idx[i]);

	memset(&reply, 0xff, sizeof(reply));
	start_paused(f, &ev);
	kvmi_assert_err(get_msrs(&f->kvmi, idx, ARRAY_SIZE(idx),
				 ARRAY_SIZE(idx), &reply, sizeof(reply)), 0);
	TEST_ASSERT_EQ(reply.head.msrs.nmsrs, ARRAY_SIZE(idx));
	TEST_ASSERT_EQ(reply.head.msrs.pad, 0);
	for (i = 0; i < ARRAY_SIZE(idx); i++) {
		TEST_ASSERT_EQ(reply.msrs[i].index, idx[i]);
		TEST_ASSERT_EQ(reply.msrs[i].reserved, 0);
		TEST_ASSERT_EQ(reply.msrs[i].data, want[i]);
	}
}

KVMI_TEST(kvmi_registers, most_msrs)
{
	static struct {
		struct kvmi_vcpu_get_registers_reply head;
		struct kvm_msr_entry msrs[KVMI_MAX_MSRS];
	} reply;
	u32 idx[KVMI_MAX_MSRS + 1];
	struct kvmi_event ev;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(idx); i++)
		idx[i] = i & 1 ? MSR_LSTAR : MSR_EFER;

	start_paused(f, &ev);
	kvmi_assert_err(get_msrs(&f->kvmi, idx, KVMI_MAX_MSRS, KVMI_MAX_MSRS,
				 &reply, sizeof(reply)), 0);
	TEST_ASSERT_EQ(reply.head.msrs.nmsrs, KVMI_MAX_MSRS);
	for (i = 0; i < KVMI_MAX_MSRS; i++)
		TEST_ASSERT_EQ(reply.msrs[i].index, idx[i]);

	/* One more does not fit a reply. */
	kvmi_assert_err(get_msrs(&f->kvmi, idx, KVMI_MAX_MSRS + 1,
				 KVMI_MAX_MSRS + 1, NULL, 0), -KVMI_EINVAL);
	kvmi_ping(&f->kvmi);
}

KVMI_TEST(kvmi_registers, get_errors)
{
	static const u32 bad[] = { MSR_EFER, 0xdeadbeef, MSR_LSTAR };
	struct kvmi_event ev;

	start_paused(f, &ev);
	/* Fewer numbers than announced. */
	kvmi_assert_err(get_msrs(&f->kvmi, bad, 2, 1, NULL, 0), -KVMI_EINVAL);
	kvmi_assert_err(get_msrs(&f->kvmi, bad, 0xffff, 1, NULL, 0),
			-KVMI_EINVAL);
	kvmi_assert_err(get_msrs(&f->kvmi, bad, 1, 0, NULL, 0), -KVMI_EINVAL);

	if (get_kvm_param_bool("ignore_msrs"))
		SKIP(return, "kvm.ignore_msrs makes every MSR readable");
	kvmi_assert_err(get_msrs(&f->kvmi, bad, 2, 2, NULL, 0), -KVMI_EINVAL);
	kvmi_assert_err(get_msrs(&f->kvmi, bad, 3, 3, NULL, 0), -KVMI_EINVAL);
	kvmi_assert_err(get_msrs(&f->kvmi, bad + 1, 1, 1, NULL, 0),
			-KVMI_EINVAL);
}

static void assert_mode(struct kvmi_fixture *f, unsigned int mode)
{
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvmi_event ev;

	start_paused(f, &ev);
	TEST_ASSERT_EQ(ev.vcpu.arch.mode, mode);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
	TEST_ASSERT_EQ(reply.mode, mode);
	/* The guest has no code for this mode: never enter it. */
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
}

KVMI_TEST(kvmi_registers, mode_real)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.cr0 &= ~(X86_CR0_PG | X86_CR0_PE);
	sregs.efer &= ~(EFER_LMA | EFER_LME);
	sregs.cs.l = 0;
	sregs.cs.db = 0;
	vcpu_sregs_set(f->vcpu, &sregs);
	assert_mode(f, 2);
}

KVMI_TEST(kvmi_registers, mode_protected_16)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.cr0 &= ~X86_CR0_PG;
	sregs.efer &= ~(EFER_LMA | EFER_LME);
	sregs.cs.l = 0;
	sregs.cs.db = 0;
	vcpu_sregs_set(f->vcpu, &sregs);
	assert_mode(f, 2);
}

KVMI_TEST(kvmi_registers, mode_protected_32)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.cr0 &= ~X86_CR0_PG;
	sregs.efer &= ~(EFER_LMA | EFER_LME);
	sregs.cs.l = 0;
	sregs.cs.db = 1;
	vcpu_sregs_set(f->vcpu, &sregs);
	assert_mode(f, 4);
}

KVMI_TEST(kvmi_registers, mode_compatibility)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(f->vcpu, &sregs);
	sregs.cs.l = 0;
	sregs.cs.db = 1;
	vcpu_sregs_set(f->vcpu, &sregs);
	assert_mode(f, 4);
}

KVMI_TEST(kvmi_registers, mode_long)
{
	assert_mode(f, 8);
}

static struct kvm_regs pattern(const struct kvm_regs *from, u64 seed)
{
	struct kvm_regs regs = *from;
	u64 *p = (u64 *)&regs;
	unsigned int i;

	/* All sixteen general registers; RIP and RFLAGS are the last two. */
	for (i = 0; i < 16; i++)
		p[i] = seed * 0x0101010101010101ull + i;
	return regs;
}

static void spin(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	vcpu_arch_set_entry_point(f->vcpu, guest_spin);
	kvmi_start(&f->runner, f->vcpu);
	do {
		kvmi_stop_vcpu(&f->kvmi, 0, ev);
		if (ev->vcpu.arch.regs.rip == (u64)spin_here)
			return;
		kvmi_reply(&f->kvmi, ev, KVMI_EVENT_ACTION_CONTINUE);
	} while (true);
}

/* Stored at once, seen by nobody, applied with the reply; the last wins. */
KVMI_TEST(kvmi_registers, set)
{
	struct kvmi_vcpu_get_registers_reply reply;
	struct kvm_regs first, last;
	struct kvmi_event ev, next;

	spin(f, &ev);
	first = pattern(&ev.vcpu.arch.regs, 1);
	last = pattern(&ev.vcpu.arch.regs, 2);
	first.rip = 0;
	last.rip = (u64)spin_there;
	last.rflags |= X86_EFLAGS_CF | X86_EFLAGS_ZF;

	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &first), 0);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &last), 0);
	kvmi_assert_err(kvmi_get_regs(&f->kvmi, 0, &reply), 0);
	assert_same(&reply.regs, &ev.vcpu.arch.regs, "Not applied yet");

	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop_vcpu(&f->kvmi, 0, &next);
	assert_same(&next.vcpu.arch.regs, &last, "As they were set");

	/* Once: the next event starts without any. */
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop_vcpu(&f->kvmi, 0, &next);
	assert_same(&next.vcpu.arch.regs, &last, "Set once");
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/* The bit of RFLAGS that is always set cannot be cleared. */
KVMI_TEST(kvmi_registers, set_rflags)
{
	struct kvmi_event ev, next;
	struct kvm_regs regs;

	spin(f, &ev);
	regs = ev.vcpu.arch.regs;
	regs.rflags = 0;
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop_vcpu(&f->kvmi, 0, &next);
	TEST_ASSERT_EQ(next.vcpu.arch.regs.rflags & ~X86_EFLAGS_RF,
		       X86_EFLAGS_FIXED);
	kvmi_reply(&f->kvmi, &next, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_stop(&f->runner);
}

/* Applied before the action is looked at. */
KVMI_TEST(kvmi_registers, set_and_crash)
{
	struct kvm_regs regs, now;
	struct kvmi_event ev;

	spin(f, &ev);
	regs = pattern(&ev.vcpu.arch.regs, 5);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CRASH);
	kvmi_join(&f->runner);
	TEST_ASSERT_EQ(f->runner.exit_reason, KVM_EXIT_SHUTDOWN);
	vcpu_regs_get(f->vcpu, &now);
	assert_same(&now, &regs, "As they were set");
}

/* Not applied without a valid reply: after an invalid one, or none at all. */
static void assert_not_applied(struct kvmi_fixture *f, struct kvmi_event *ev)
{
	struct kvm_regs now;

	kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
	kvmi_stop(&f->runner);
	vcpu_regs_get(f->vcpu, &now);
	assert_same(&now, &ev->vcpu.arch.regs, "Not set without a valid reply");
}

KVMI_TEST(kvmi_registers, set_invalid_reply)
{
	struct kvmi_reply_msg msg;
	struct kvm_regs regs;
	struct kvmi_event ev;

	spin(f, &ev);
	regs = pattern(&ev.vcpu.arch.regs, 3);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_build_reply(&msg, &ev, KVMI_EVENT_ACTION_CONTINUE);
	msg.reply.padding2 = 1;
	kvmi_send_raw(&f->kvmi, &msg, sizeof(msg));
	kvmi_expect_closed(&f->kvmi);
	assert_not_applied(f, &ev);
}

/* The registers come before the action, also before one that is not allowed. */
KVMI_TEST(kvmi_registers, set_unsupported_action)
{
	static const u8 actions[] = {
		KVMI_EVENT_ACTION_RETRY,
		KVMI_EVENT_ACTION_CRASH + 1,
		0xff,
	};
	struct kvm_regs regs, now;
	struct kvmi_event ev;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		spin(f, &ev);
		regs = pattern(&ev.vcpu.arch.regs, 6);
		kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
		kvmi_reply(&f->kvmi, &ev, actions[i]);
		kvmi_expect_closed(&f->kvmi);
		kvmi_wait_until(kvmi_state(f->vm->fd) == KVMI_DEAD);
		kvmi_stop(&f->runner);
		vcpu_regs_get(f->vcpu, &now);
		assert_same(&now, &regs, "As they were set");
		kvmi_close(&f->kvmi);
		kvmi_hook(&f->kvmi, f->vm);
	}
}

KVMI_TEST(kvmi_registers, set_and_die)
{
	struct kvm_regs regs;
	struct kvmi_event ev;

	spin(f, &ev);
	regs = pattern(&ev.vcpu.arch.regs, 4);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), 0);
	kvmi_close(&f->kvmi);
	assert_not_applied(f, &ev);
}

/* The size first, then whether there is an event. */
KVMI_TEST(kvmi_registers, set_errors)
{
	struct kvm_regs regs;
	struct kvmi_event ev;

	vcpu_regs_get(f->vcpu, &regs);
	vcpu_arch_set_entry_point(f->vcpu, guest_spin);
	kvmi_start(&f->runner, f->vcpu);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), -KVMI_EOPNOTSUPP);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_SET_REGISTERS,
					  &regs, sizeof(regs) - 1, NULL, 0),
			-KVMI_EINVAL);

	kvmi_stop_vcpu(&f->kvmi, 0, &ev);
	kvmi_assert_err(kvmi_vcpu_command(&f->kvmi, 0, KVMI_VCPU_SET_REGISTERS,
					  &regs, sizeof(regs) - 1, NULL, 0),
			-KVMI_EINVAL);
	kvmi_reply(&f->kvmi, &ev, KVMI_EVENT_ACTION_CONTINUE);
	kvmi_assert_err(kvmi_set_regs(&f->kvmi, 0, &regs), -KVMI_EOPNOTSUPP);
	kvmi_stop(&f->runner);
}

KVMI_TEST_MAIN
