// SPDX-License-Identifier: GPL-2.0-only
/* GET_VERSION: what it says, and that nothing can take it away. */
#include "kvmi_test.h"

KVMI_SUITE(kvmi_version, 1);

static struct kvmi_get_version_reply version(struct kvmi *k)
{
	struct kvmi_get_version_reply reply;

	memset(&reply, 0xff, sizeof(reply));
	kvmi_assert_err(kvmi_command(k, KVMI_GET_VERSION, NULL, 0, &reply,
				     sizeof(reply)), 0);
	return reply;
}

KVMI_TEST(kvmi_version, contents)
{
	struct kvmi_get_version_reply reply = version(&f->kvmi);
	unsigned int i;

	TEST_ASSERT_EQ(reply.version, KVMI_VERSION);
	TEST_ASSERT_EQ(reply.max_msg_size, KVMI_MAX_MSG_SIZE);
	TEST_ASSERT(reply.features.singlestep <= 1, "singlestep is %u",
		    reply.features.singlestep);
	/* Stepping is announced exactly when its command is there. */
	TEST_ASSERT_EQ(reply.features.singlestep,
		       !!kvmi_find_message(KVMI_VCPU_CONTROL_SINGLESTEP));
	/* So is the choice of what a death means. */
	TEST_ASSERT_EQ(reply.features.on_exit,
		       !!kvmi_find_message(KVMI_VM_SET_ON_EXIT));
	for (i = 0; i < ARRAY_SIZE(reply.features.padding); i++)
		TEST_ASSERT_EQ(reply.features.padding[i], 0);
}

KVMI_TEST(kvmi_version, equals_the_capability)
{
	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_INTROSPECTION),
		       version(&f->kvmi).version);
	TEST_ASSERT_EQ(vm_check_cap(f->vm, KVM_CAP_INTROSPECTION),
		       version(&f->kvmi).version);
}

KVMI_TEST(kvmi_version, always_allowed)
{
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, -1, 0), 0);
	version(&f->kvmi);
	kvmi_assert_err(kvmi_ioctl_command(f->vm->fd, KVMI_GET_VERSION, 0),
			-EPERM);
	version(&f->kvmi);
}

/* Sequence numbers are the tool's affair: any, and any twice. */
KVMI_TEST(kvmi_version, sequence_numbers_are_echoed)
{
	static const u32 seqs[] = { 0, 1, 1, 0x80000000, 0xffffffff, 0 };
	struct kvmi_msg_hdr hdr = { .id = KVMI_GET_VERSION };
	struct kvmi_msg *msg;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(seqs); i++) {
		hdr.seq = seqs[i];
		kvmi_send_raw(&f->kvmi, &hdr, sizeof(hdr));
		msg = kvmi_recv(&f->kvmi);
		TEST_ASSERT(msg, "The session ended");
		TEST_ASSERT_EQ(msg->hdr.id, KVMI_GET_VERSION);
		TEST_ASSERT_EQ(msg->hdr.seq, seqs[i]);
		free(msg);
	}
}

KVMI_TEST_MAIN
