/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The introspection tool's side of a test: hook a VM, speak the protocol over
 * a socket, and run vCPUs meanwhile.
 *
 * A test's main thread is the tool and the VMM's control thread at once; each
 * vCPU runs in a thread of its own (struct kvmi_runner).  Nothing here depends
 * on time: the one time-out only turns a hang into a failure.
 *
 * Each part names the file of lib/x86/ that it is in.
 */
#ifndef SELFTEST_KVM_KVMI_UTIL_H
#define SELFTEST_KVM_KVMI_UTIL_H

#include <linux/kvmi.h>
#include <linux/list.h>
#include <sys/socket.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"

/* After so long without a byte or a change the test hangs. */
#define KVMI_HANG_SECONDS	60

/* PAUSE requests that one vCPU may have pending, and queued commands. */
#define KVMI_MAX_PAUSES		1002
#define KVMI_MAX_QUEUED		1024

/* MSRs that fit one reply of GET_REGISTERS. */
#define KVMI_MAX_MSRS		481

/* One whole message, as it came or goes. */
struct kvmi_msg {
	struct list_head list;
	struct kvmi_msg_hdr hdr;
	u8 data[KVMI_MAX_MSG_SIZE];
};

/* The tool's end of a session. */
struct kvmi {
	struct kvm_vm *vm;
	int fd;
	u32 seq;
	/* Arrived while something else was waited for, oldest first. */
	struct list_head stash;
};

/* A vCPU event, parsed. */
struct kvmi_event {
	u32 seq;
	u16 event;
	struct kvmi_vcpu_event vcpu;
	u8 specific[64];
	size_t specific_size;
};

/*
 * kvmi_messages.c
 *
 * The table of messages: what negative tests are generated from.  Sizes and
 * offsets count from the start of the payload, struct kvmi_vcpu_hdr included.
 */
enum kvmi_short_request {
	KVMI_SHORT_EXTENDED,	/* reads as if followed by zeros */
	KVMI_SHORT_EINVAL,	/* -KVM_EINVAL */
	KVMI_SHORT_CLOSES,	/* ends the session */
};

struct kvmi_padding {
	u16 offset;
	u16 size;
};

struct kvmi_message {
	const char *name;
	u16 id;
	bool always_allowed;
	enum kvmi_short_request shorter;
	/* A request that succeeds inside a PAUSE event of vCPU 0. */
	u16 request;
	u8 sample[sizeof(struct kvmi_vcpu_hdr) + sizeof(struct kvm_xsave)];
	/* Reply to that, error code included. */
	u16 reply;
	struct kvmi_padding padding[3];
	/* Done once, it is refused until the event is over. */
	bool once;
};

extern const struct kvmi_message kvmi_messages[];
extern const size_t kvmi_nr_messages;

#define kvmi_for_each_message(m) \
	for ((m) = kvmi_messages; (m) < kvmi_messages + kvmi_nr_messages; (m)++)

static inline bool kvmi_is_vcpu_message(u16 id)
{
	return id & 1;
}

const struct kvmi_message *kvmi_find_message(u16 id);
/* Is this event known to the build under test? */
bool kvmi_known_event(u16 id);

/* kvmi_hang.c: deadlines that only say "it hangs". */
u64 kvmi_deadline(void);
void kvmi_still_alive(u64 deadline, const char *what);

#define kvmi_wait_until(cond)						\
do {									\
	u64 __deadline = kvmi_deadline();				\
									\
	while (!(cond)) {						\
		kvmi_still_alive(__deadline, #cond);			\
		sched_yield();						\
	}								\
} while (0)

/*
 * kvmi_vm.c
 *
 * Skips the whole test, with a reason, unless introspection is there.
 */
void kvmi_require(void);

/* The five ioctls on a VM fd; 0 or -errno. */
int kvmi_ioctl_hook(int vm_fd, int fd);
int kvmi_ioctl_hook_uuid(int vm_fd, int fd, const u8 *uuid, u32 padding);
int kvmi_ioctl_unhook(int vm_fd);
int kvmi_ioctl_command(int vm_fd, s32 id, u32 allow);
int kvmi_ioctl_event(int vm_fd, s32 id, u32 allow);
int kvmi_ioctl_preunhook(int vm_fd);

/* Hook @vm through a new socket pair and allow everything. */
void kvmi_hook(struct kvmi *k, struct kvm_vm *vm);
/* The same without the allow lists, over a pair whose tool end is @tool. */
void kvmi_attach(struct kvmi *k, struct kvm_vm *vm, int vmm, int tool);
void kvmi_allow_all(struct kvm_vm *vm);
void kvmi_unhook(struct kvm_vm *vm);

/* Every page that is mapped now is user mode's too. */
void kvmi_map_for_users(struct kvm_vm *vm);

/* fdinfo of the VM fd. */
enum kvmi_state {
	KVMI_NONE,
	KVMI_ACTIVE,
	KVMI_DEAD,
	/* Dead, and what it restricted stays. */
	KVMI_FROZEN,
};

enum kvmi_state kvmi_state(int vm_fd);
/* Value of the line "@key:\t", or NULL; the caller frees it. */
char *kvmi_fdinfo(int vm_fd, const char *key);

/* kvmi_conn.c */
void kvmi_socketpair(int sv[2]);
/* The tool's side alone: the VM was, or will be, hooked elsewhere. */
void kvmi_init(struct kvmi *k, struct kvm_vm *vm, int tool);
/* The tool goes away. */
void kvmi_close(struct kvmi *k);

/* Bytes. */
void kvmi_send_raw(struct kvmi *k, const void *data, size_t size);
/* false: the session's other end is gone. */
bool __kvmi_send_raw(struct kvmi *k, const void *data, size_t size);
void kvmi_recv_raw(struct kvmi *k, void *data, size_t size);
bool __kvmi_recv_raw(struct kvmi *k, void *data, size_t size);
/* Bytes, and the descriptor @fd along with them; 0 or -errno. */
int kvmi_send_fd(int sock, const void *data, size_t size, int fd);
/* Not one byte more, then end of file. */
void kvmi_expect_closed(struct kvmi *k);
/* End of file, whatever comes before it; returns the number of messages. */
unsigned int kvmi_drain_until_closed(struct kvmi *k);

/* Messages.  Send functions return the sequence number. */
u32 kvmi_send(struct kvmi *k, u16 id, const void *payload, size_t size);
u32 kvmi_send_parts(struct kvmi *k, u16 id, const void *head, size_t head_size,
		    const void *body, size_t size);
u32 kvmi_send_vcpu(struct kvmi *k, u16 vcpu, u16 id, const void *body,
		   size_t size);
struct kvmi_msg *kvmi_recv(struct kvmi *k);
/* Any reply; NULL when the session has ended. */
struct kvmi_msg *__kvmi_recv_reply(struct kvmi *k, u32 seq);
/* The next event; NULL when the session has ended. */
struct kvmi_msg *__kvmi_recv_event(struct kvmi *k);
bool kvmi_is_event(const struct kvmi_msg *msg);

/*
 * kvmi_command.c
 *
 * Receive the reply to @seq.  Returns its error code; if that is 0 the reply
 * behind it has exactly @size bytes, copied to @reply.
 */
int kvmi_recv_reply(struct kvmi *k, u16 id, u32 seq, void *reply, size_t size);
/* Send and receive. */
int kvmi_command(struct kvmi *k, u16 id, const void *payload, size_t size,
		 void *reply, size_t reply_size);
int kvmi_vcpu_command(struct kvmi *k, u16 vcpu, u16 id, const void *body,
		      size_t size, void *reply, size_t reply_size);

#define kvmi_assert_err(got, want)					\
do {									\
	int __got = (got), __want = (want);				\
									\
	TEST_ASSERT(__got == __want, "%s: %d, wanted %d", #got,		\
		    __got, __want);					\
} while (0)

/* A round trip that needs no permission: proves the session is alive. */
void kvmi_ping(struct kvmi *k);
/* Nothing has been sent that was not received. */
void kvmi_expect_quiet(struct kvmi *k);

/* Commands that many tests use. */
int kvmi_pause(struct kvmi *k, u16 vcpu, u8 wait);
u32 kvmi_vcpu_count(struct kvmi *k);
int kvmi_read_physical(struct kvmi *k, u64 gpa, u16 size, void *data);
int kvmi_write_physical(struct kvmi *k, u64 gpa, u16 size, const void *data);
int kvmi_get_regs(struct kvmi *k, u16 vcpu,
		  struct kvmi_vcpu_get_registers_reply *reply);
int kvmi_set_regs(struct kvmi *k, u16 vcpu, const struct kvm_regs *regs);
int kvmi_control_event(struct kvmi *k, u16 vcpu, u16 event, u8 enable);
int kvmi_set_on_exit(struct kvmi *k, u8 action);
int kvmi_control_cr(struct kvmi *k, u16 vcpu, u8 cr, u8 enable);
int kvmi_control_msr(struct kvmi *k, u16 vcpu, u32 msr, u8 enable);
int kvmi_set_page_access(struct kvmi *k, u64 gpa, u8 access);
/* The same for @count pages from @gpa on, in one command. */
int kvmi_set_pages_access(struct kvmi *k, u64 gpa, u16 count, u8 access);

/*
 * Writes to CR0, CR3, CR4 and LSTAR, CPUID, INT3 and, if @descriptor,
 * descriptor tables: events of this vCPU, or none any more.
 */
void kvmi_want_all(struct kvmi *k, u16 vcpu, bool want, bool descriptor);

/* kvmi_event.c */
bool kvmi_is_zero(const void *data, size_t size);
void kvmi_recv_event(struct kvmi *k, struct kvmi_event *ev);
void kvmi_parse_event(const struct kvmi_msg *msg, struct kvmi_event *ev);
/* The next event is PAUSE of @vcpu. */
void kvmi_recv_pause(struct kvmi *k, u16 vcpu, struct kvmi_event *ev);
void kvmi_recv_unhook_event(struct kvmi *k, u32 seq);
void kvmi_reply(struct kvmi *k, const struct kvmi_event *ev, u8 action);
/* The same with the value of a CR or MSR event behind it. */
void kvmi_reply_value(struct kvmi *k, const struct kvmi_event *ev, u8 action,
		      u64 value);
/* CONTINUE, and if the reply has a value, the guest's own. */
void kvmi_continue(struct kvmi *k, const struct kvmi_event *ev);
/* The next event is this one of vCPU 0, with @size bytes of its own. */
void kvmi_recv_this(struct kvmi *k, struct kvmi_event *ev, u16 event,
		    size_t size);
/*
 * The next event is PF of @access at @gpa.  A write can be seen to read too,
 * where the processor knows.
 */
void kvmi_recv_pf(struct kvmi *k, struct kvmi_event *ev, u64 gpa, u8 access);
/* Pause @vcpu and wait until it is inside the event. */
void kvmi_stop_vcpu(struct kvmi *k, u16 vcpu, struct kvmi_event *ev);

/* What goes out as the reply to a vCPU event. */
struct kvmi_reply_msg {
	struct kvmi_msg_hdr hdr;
	struct kvmi_vcpu_hdr vcpu;
	struct kvmi_vcpu_event_reply reply;
} __packed;

void kvmi_build_reply(struct kvmi_reply_msg *msg, const struct kvmi_event *ev,
		      u8 action);

/* kvmi_runner.c: a vCPU that runs in a thread of its own. */
struct kvmi_runner {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	/* Ends the loop at the next return of KVM_RUN. */
	bool stop;
	/* KVM_RUN returned -EINTR so many times. */
	unsigned int eintr;
	/* How the loop ended: errno of KVM_RUN or 0, exit reason, ucall. */
	int err;
	u32 exit_reason;
	u64 ucall;
	bool done;
	/* Another exit: true, and the guest goes on. */
	bool (*handle)(struct kvm_vcpu *vcpu);
};

void kvmi_start(struct kvmi_runner *r, struct kvm_vcpu *vcpu);
void kvmi_start_with(struct kvmi_runner *r, struct kvm_vcpu *vcpu,
		     bool (*handle)(struct kvm_vcpu *vcpu));
/* Take the vCPU out of KVM_RUN, by a signal, and end the thread. */
void kvmi_stop(struct kvmi_runner *r);
/* Wait until the thread ended by itself. */
void kvmi_join(struct kvmi_runner *r);
/* A signal that KVM_RUN returns for and nothing else. */
void kvmi_kick(struct kvmi_runner *r);

/* Guest code that counts for ever in kvmi_progress[index]. */
#define KVMI_MAX_COUNTERS 16
extern u64 kvmi_progress[KVMI_MAX_COUNTERS];
void kvmi_guest_count(u64 index);
u64 kvmi_read_progress(struct kvm_vm *vm, unsigned int index);
/* Until the guest has counted on. */
void kvmi_wait_progress(struct kvm_vm *vm, unsigned int index);

/* The common VM: @nr_vcpus vCPUs in kvmi_guest_count(). */
struct kvm_vm *kvmi_create_vm(unsigned int nr_vcpus, struct kvm_vcpu **vcpus);

/*
 * kvmi_probe.c
 *
 * Hardware that does not intercept #BP, or has no exits on descriptor tables,
 * shows nothing of the events that need them.
 */
bool kvmi_has_bp_exits(void);
bool kvmi_has_descriptor_exits(void);

/* kvmi_process.c */
struct kvmi_fixture;

/* A process of its own mm; its assertions are the test's. */
pid_t kvmi_start_process(void (*fn)(struct kvmi_fixture *f, int fd),
			 struct kvmi_fixture *f, int fd);
void kvmi_finish_process(pid_t pid);
void kvmi_run_process(void (*fn)(struct kvmi_fixture *f, int fd),
		      struct kvmi_fixture *f, int fd);
/* The VM's fd, taken from its owner as a tool does it. */
int kvmi_take_vm_fd(pid_t owner, int fd);
/* Two processes go by turns, over a socket pair. */
void kvmi_step(int fd);
void kvmi_wait_step(int fd);
/* The number of tasks of introspection that @pid has; the last one is @task. */
unsigned int kvmi_vm_tasks(pid_t pid, pid_t *task);
void kvmi_drop_sys_ptrace(void);
bool kvmi_have_sys_ptrace(void);

/* kvmi_cgroup.c: a memory cgroup (v2) of the test's own. */
struct kvmi_cgroup {
	char path[128];
};

/* Why not, or NULL. */
const char *kvmi_cgroup_make(struct kvmi_cgroup *cg, const char *name);
void kvmi_cgroup_enter(const struct kvmi_cgroup *cg);
/* Back to the root. */
void kvmi_cgroup_leave(void);
void kvmi_cgroup_remove(const struct kvmi_cgroup *cg);
/* Files of the cgroup; the value of a line "key value", or of the only line. */
bool kvmi_cgroup_enable(const char *controller);
void kvmi_cgroup_write(const struct kvmi_cgroup *cg, const char *name,
		       const char *value);
long kvmi_cgroup_read(const struct kvmi_cgroup *cg, const char *name,
		      const char *key);
/* All memory that the kernel holds for it, in bytes. */
long kvmi_cgroup_kernel_memory(const struct kvmi_cgroup *cg);
/* Also work queues free: wait until it is so, or for ever. */
void kvmi_cgroup_wait_below(const struct kvmi_cgroup *cg, long limit);
/* What waits for a grace period is freed after one. */
void kvmi_grace_period(void);

#endif /* SELFTEST_KVM_KVMI_UTIL_H */
