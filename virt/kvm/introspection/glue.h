/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVMI_GLUE_H
#define __KVMI_GLUE_H

/*
 * The border between KVM's C and the Rust of the introspection subsystem, in
 * both directions.  bindgen reads this file, so that neither side can drift.
 *
 * Only plain types cross: pointers to KVM's structures are opaque.
 */

#include <linux/types.h>
#include <uapi/linux/kvmi.h>

struct file;
struct kvm;
struct kvm_vcpu;
struct mem_cgroup;
struct pid;
struct wait_queue_head;
struct workqueue_struct;
struct kvmi_conn;
struct kvmi_task;

/* Where what may take time, or wait, is done after all else: nobody waits for it. */
extern struct workqueue_struct *kvmi_wq;
/* How many frames of a VM may be restricted (module parameter). */
extern unsigned int kvmi_max_frames;

/* Who handed the socket over, and to which VM. */
struct kvmi_hooker {
	struct pid *pid;
	char comm[16];
	__u8 uuid[16];
	__u8 foreign;
};

/* What fdinfo shows. */
struct kvmi_status {
	__u32 state;	/* enum kvmi_state */
	__u8 padding[4];
	struct kvmi_hooker hooker;
};

enum kvmi_state {
	KVMI_STATE_NONE,
	KVMI_STATE_ACTIVE,
	KVMI_STATE_DEAD,
	/* No tool is there, and what one restricted still is. */
	KVMI_STATE_FROZEN,
};

/*
 * From Rust to C: the connection (conn.c).
 *
 * A connection is a stream socket with one wait-queue entry on it.  Nothing
 * here sleeps for the peer.
 */
int kvmi_conn_open(int fd, struct kvmi_task *task, struct kvmi_conn **conn);
void kvmi_conn_put_half(struct kvmi_conn *conn);
void kvmi_conn_put(struct kvmi_conn *conn);
void kvmi_conn_shutdown(struct kvmi_conn *conn);
long kvmi_conn_recv(struct kvmi_conn *conn, void *buf, size_t len);
long kvmi_conn_send(struct kvmi_conn *conn, const void *buf, size_t len);
bool kvmi_conn_writable(struct kvmi_conn *conn);
bool kvmi_conn_has_data(struct kvmi_conn *conn);
void kvmi_conn_set_readable(struct kvmi_conn *conn, bool readable);
bool kvmi_conn_is_readable(struct kvmi_conn *conn);
void kvmi_conn_want_room(struct kvmi_conn *conn, bool want);
void kvmi_conn_wake_reader(struct kvmi_conn *conn);
void kvmi_conn_wake_task(struct kvmi_conn *conn);
void kvmi_conn_wake_all(struct kvmi_conn *conn);

/* Waiting (wait.c).  ready() is called in a sleeping state: it must not block. */
struct wait_queue_head *kvmi_wait_alloc(void);
void kvmi_wait_free(struct wait_queue_head *wq);
void kvmi_wait_wake(struct wait_queue_head *wq);
int kvmi_conn_wait_vcpu(struct kvmi_conn *conn, struct kvm_vcpu *vcpu,
			struct wait_queue_head *own,
			bool (*ready)(void *data), void *data);
bool kvmi_vcpu_is_cut(struct kvm_vcpu *vcpu);

/*
 * The task of a VM: a thread of its VMM (task.c).  turn() runs in it and does
 * one portion; it never waits.  killed() is called, from a work item, when a
 * signal has ended the task; released() when nothing calls the others any more.
 */
struct kvmi_task_ops {
	/* 0: nothing is left to do; 1: more is; else: again in so many milliseconds. */
	unsigned int (*turn)(void *data);
	void (*killed)(void *data);
	void (*released)(void *data);
};

int kvmi_task_create(const struct kvmi_task_ops *ops, void *data,
		     struct kvmi_task **task);
void kvmi_task_wake(struct kvmi_task *task);
bool kvmi_task_is_alive(struct kvmi_task *task);
void kvmi_task_end(struct kvmi_task *task);
void kvmi_task_get(struct kvmi_task *task);
void kvmi_task_put(struct kvmi_task *task);

/* Speculation, too, keeps an index below its limit. */
size_t kvmi_index_nospec(size_t index, size_t size);

/* The VM. */
void kvmi_vm_set_private(struct kvm *kvm, void *private);
void *kvmi_vm_private(struct kvm *kvm);
__u32 kvmi_vm_vcpu_count(struct kvm *kvm);
bool kvmi_vm_is_protected(struct kvm *kvm);
bool kvmi_vm_max_gfn(struct kvm *kvm, __u64 *gfn);
bool kvmi_vm_needs_vcpu_to_write(struct kvm *kvm);
int kvmi_vm_read(struct kvm *kvm, __u64 gpa, void *buf, size_t len);
int kvmi_vm_write(struct kvm *kvm, __u64 gpa, const void *buf, size_t len);
void kvmi_vm_kick(struct kvm *kvm, __u32 vcpu, bool wait);
bool kvmi_vm_has_mm(struct kvm *kvm);
struct mem_cgroup *kvmi_vm_memcg(struct kvm *kvm);
struct mem_cgroup *kvmi_memcg_get(struct mem_cgroup *memcg);
struct mem_cgroup *kvmi_memcg_enter(struct mem_cgroup *memcg);
void kvmi_memcg_leave(struct mem_cgroup *old);
void kvmi_memcg_put(struct mem_cgroup *memcg);

void kvmi_in_use_inc(void);
void kvmi_in_use_dec(void);

void kvmi_hooker_fill(struct kvmi_hooker *hooker, const __u8 *uuid,
		      bool foreign);
void kvmi_hooker_copy(struct kvmi_hooker *to, const struct kvmi_hooker *from);
void kvmi_hooker_put(struct kvmi_hooker *hooker);
void kvmi_log_hook(struct kvm *kvm, const struct kvmi_hooker *hooker);

/* The guest's MTRRs; fixed: one of 64 KiB ranges, two of 16, eight of 4. */
struct kvmi_mtrrs {
	__u64 variable[16];
	__u64 fixed[11];
	__u64 deftype;
	__u8 present;
	__u8 padding[7];
};

/* The vCPU, from its own thread (arch/x86/kvm/introspection/glue.c). */
struct kvm *kvmi_vcpu_vm(struct kvm_vcpu *vcpu);
__u32 kvmi_vcpu_index(struct kvm_vcpu *vcpu);
void kvmi_vcpu_request(struct kvm_vcpu *vcpu);
bool kvmi_vcpu_take_request(struct kvm_vcpu *vcpu);
bool kvmi_vcpu_has_init(struct kvm_vcpu *vcpu);
bool kvmi_ioctl_writes_state(unsigned int ioctl);
void kvmi_vcpu_exit_shutdown(struct kvm_vcpu *vcpu);
void kvmi_vcpu_exit_intr(struct kvm_vcpu *vcpu);
__u64 kvmi_vcpu_tsc_hz(struct kvm_vcpu *vcpu);
void kvmi_vcpu_get_regs(struct kvm_vcpu *vcpu, struct kvm_regs *regs);
void kvmi_vcpu_set_regs(struct kvm_vcpu *vcpu, const struct kvm_regs *regs);
void kvmi_vcpu_get_sregs(struct kvm_vcpu *vcpu, struct kvm_sregs *sregs);
__u8 kvmi_vcpu_mode(struct kvm_vcpu *vcpu);
int kvmi_vcpu_get_msr(struct kvm_vcpu *vcpu, __u32 index, __u64 *data);
void kvmi_vcpu_get_event_msrs(struct kvm_vcpu *vcpu,
			      struct kvmi_vcpu_event_arch_msrs *msrs);
bool kvmi_vcpu_get_cpuid(struct kvm_vcpu *vcpu, __u32 function, __u32 index,
			 struct kvmi_vcpu_get_cpuid_reply *reply);
__u64 kvmi_vcpu_xcr0(struct kvm_vcpu *vcpu);
int kvmi_vcpu_translate(struct kvm_vcpu *vcpu, __u64 gva, __u64 *gpa);
int kvmi_vcpu_get_xsave(struct kvm_vcpu *vcpu, void *area);
int kvmi_vcpu_set_xsave(struct kvm_vcpu *vcpu, const void *area);
void kvmi_vcpu_get_mtrrs(struct kvm_vcpu *vcpu, struct kvmi_mtrrs *mtrrs);
__u64 kvmi_vcpu_rip(struct kvm_vcpu *vcpu);
__u64 kvmi_vcpu_linear_rip(struct kvm_vcpu *vcpu);
__u64 kvmi_vcpu_cr3(struct kvm_vcpu *vcpu);

/*
 * What is wanted of the vCPU (wishes.c, up to the injection).  -ENOMEM;
 * -EOPNOTSUPP: hardware cannot tell; -EBUSY: the VMM owns it; -EPERM: the VMM
 * wants it for itself.
 */
int kvmi_vcpu_want_event(struct kvm_vcpu *vcpu, __u16 event, bool want);
int kvmi_vcpu_want_cr(struct kvm_vcpu *vcpu, __u8 cr, bool want);
int kvmi_vcpu_want_msr(struct kvm_vcpu *vcpu, __u32 msr, bool want);
int kvmi_vcpu_want_step(struct kvm_vcpu *vcpu, bool want);
bool kvmi_vcpu_take_step(struct kvm_vcpu *vcpu);
bool kvmi_vcpu_take_written(struct kvm_vcpu *vcpu, __u64 *gpa);
int kvmi_vcpu_step_over(struct kvm_vcpu *vcpu);
bool kvmi_has_singlestep(void);
void kvmi_vcpu_settle_pass(struct kvm_vcpu *vcpu);
int kvmi_vcpu_prepare_pass(struct kvm_vcpu *vcpu);

/*
 * What guest frames allow.  -EINVAL: no frame, or what nothing can express;
 * -EOPNOTSUPP: this hardware cannot; -ENOMEM.  It counts once it is applied.
 */
int kvmi_vm_set_access(struct kvm *kvm, __u64 gfn, __u8 access);
void kvmi_vm_apply_access(struct kvm *kvm, const __u64 *gfns, __u32 nr);
void kvmi_vm_release_access(struct kvm *kvm);
void kvmi_vm_leave_access(struct kvm *kvm, __u32 on_exit);
void kvmi_vm_inherit_access(struct kvm *kvm);
bool kvmi_vm_is_frozen(struct kvm *kvm);
void kvmi_vcpu_release(struct kvm_vcpu *vcpu, bool keep);
void kvmi_vcpu_adopt(struct kvm_vcpu *vcpu, __u64 owner);
void kvmi_vcpu_claim(struct kvm_vcpu *vcpu, __u64 owner);
bool kvmi_vcpu_is_due(struct kvm_vcpu *vcpu);

/* What a hook site is to do. */
enum kvmi_verdict {
	/* Nobody wanted to be asked. */
	KVMI_UNASKED,
	/* As if nobody had asked, with the value that came back. */
	KVMI_PROCEED,
	/* The same, but the registers are the tool's: none may be written back. */
	KVMI_REWRITTEN,
	/* Nothing: the guest goes on where its RIP is. */
	KVMI_RETRY,
	/* What the guest wanted is refused. */
	KVMI_REFUSED,
};

/* An answered event waits to recur, the guest having been entered. */
enum kvmi_hold {
	KVMI_HOLD_NONE,
	KVMI_HOLD_ON,
	/* The guest went on elsewhere. */
	KVMI_HOLD_MISSED,
};

void kvmi_vcpu_hold(struct kvm_vcpu *vcpu, bool hold);
enum kvmi_hold kvmi_vcpu_held(struct kvm_vcpu *vcpu, __u64 rip);
void kvmi_vcpu_note_moved(struct kvm_vcpu *vcpu, bool moved);
void kvmi_vcpu_note_crash(struct kvm_vcpu *vcpu);
bool kvmi_vcpu_take_crash(struct kvm_vcpu *vcpu);

/* Queue an exception; false: something else is being injected. */
struct kvmi_injection {
	__u8 nr;
	__u8 has_error_code;
	__u8 padding[2];
	__u32 error_code;
	__u64 address;
};

bool kvmi_vcpu_inject(struct kvm_vcpu *vcpu, const struct kvmi_injection *wanted,
		      struct kvmi_injection *done);
bool kvmi_vcpu_was_injected(struct kvm_vcpu *vcpu);
void kvmi_vcpu_told(struct kvm_vcpu *vcpu);
bool kvmi_vcpu_forget(struct kvm_vcpu *vcpu);
void kvmi_vcpu_forget_interrupt(struct kvm_vcpu *vcpu);

/* Tracepoints (kvmi:*). */
void kvmi_trace_hook(struct kvm *kvm, const struct kvmi_hooker *hooker);
void kvmi_trace_unhook(struct kvm *kvm);
void kvmi_trace_command(struct kvm *kvm, const struct kvmi_msg_hdr *hdr);
void kvmi_trace_reply(struct kvm *kvm, const struct kvmi_msg_hdr *hdr,
		      __s32 err);
void kvmi_trace_event(struct kvm *kvm, __u32 vcpu, __u16 event, __u32 seq);
void kvmi_trace_event_reply(struct kvm *kvm, __u32 vcpu, __u8 event,
			    __u32 seq, __u8 action);

/* From C to Rust (ffi.rs).  All of them may sleep. */
int kvmi_rs_create_vm(struct kvm *kvm);
void kvmi_rs_pre_destroy_vm(struct kvm *kvm);
void kvmi_rs_destroy_vm(struct kvm *kvm);
void kvmi_rs_mm_release(struct kvm *kvm);
int kvmi_rs_vcpu_postcreate(struct kvm *kvm);
int kvmi_rs_protect_vm(struct kvm *kvm);
int kvmi_rs_hook(struct kvm *kvm, const struct kvm_introspection_hook *hook,
		 bool foreign);
int kvmi_rs_unhook(struct kvm *kvm, bool foreign);
int kvmi_rs_allow_command(struct kvm *kvm,
			  const struct kvm_introspection_feature *feature,
			  bool foreign);
int kvmi_rs_allow_event(struct kvm *kvm,
			const struct kvm_introspection_feature *feature,
			bool foreign);
int kvmi_rs_preunhook(struct kvm *kvm);
void kvmi_rs_status(struct kvm *kvm, struct kvmi_status *status);
int kvmi_rs_handle_requests(struct kvm_vcpu *vcpu);
void kvmi_rs_state_written(struct kvm_vcpu *vcpu);

/* Events (from events.c); enum kvmi_verdict comes back. */
bool kvmi_rs_hears(struct kvm_vcpu *vcpu, __u16 event);
bool kvmi_rs_lives(struct kvm_vcpu *vcpu);
bool kvmi_rs_end_if_dead(struct kvm_vcpu *vcpu);
int kvmi_rs_hypercall(struct kvm_vcpu *vcpu);
int kvmi_rs_breakpoint(struct kvm_vcpu *vcpu, __u8 insn_len);
int kvmi_rs_cr(struct kvm_vcpu *vcpu, __u8 cr, __u64 old_value, __u64 *value);
int kvmi_rs_xsetbv(struct kvm_vcpu *vcpu, __u64 old_value, __u64 value);
int kvmi_rs_descriptor(struct kvm_vcpu *vcpu, __u8 descriptor, bool write);
int kvmi_rs_msr(struct kvm_vcpu *vcpu, __u32 msr, __u64 old_value, __u64 *value);
int kvmi_rs_pf(struct kvm_vcpu *vcpu, __u64 gva, __u64 gpa, __u8 access);
int kvmi_rs_cpuid(struct kvm_vcpu *vcpu, __u32 function, __u32 index,
		  __u8 insn_len);

#endif /* __KVMI_GLUE_H */
