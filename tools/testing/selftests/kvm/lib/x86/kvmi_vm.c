// SPDX-License-Identifier: GPL-2.0-only
/* What a device manager does to a VM: the five ioctls, and fdinfo.  See kvmi_util.h. */
#include "kvmi_util.h"

void kvmi_require(void)
{
	int cap = kvm_check_cap(KVM_CAP_INTROSPECTION);

	if (cap == KVMI_VERSION)
		return;
	TEST_ASSERT(!cap, "KVM_CAP_INTROSPECTION is %d, wanted 0 or %d", cap,
		    KVMI_VERSION);
	__TEST_REQUIRE(!access("/sys/module/kvm/parameters/introspection", F_OK),
		       "kvm.ko was built without CONFIG_KVM_INTROSPECTION");
	__TEST_REQUIRE(false, "the module parameter kvm.introspection is off");
}

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

int kvmi_ioctl_hook_uuid(int vm_fd, int fd, const u8 *uuid, u32 padding)
{
	struct kvm_introspection_hook hook = {
		.fd = fd,
		.padding = padding,
	};

	if (uuid)
		memcpy(hook.uuid, uuid, sizeof(hook.uuid));
	return result(ioctl(vm_fd, KVM_INTROSPECTION_HOOK, &hook));
}

int kvmi_ioctl_hook(int vm_fd, int fd)
{
	return kvmi_ioctl_hook_uuid(vm_fd, fd, NULL, 0);
}

int kvmi_ioctl_unhook(int vm_fd)
{
	return result(ioctl(vm_fd, KVM_INTROSPECTION_UNHOOK, NULL));
}

int kvmi_ioctl_command(int vm_fd, s32 id, u32 allow)
{
	struct kvm_introspection_feature feature = {
		.allow = allow,
		.id = id,
	};

	return result(ioctl(vm_fd, KVM_INTROSPECTION_COMMAND, &feature));
}

int kvmi_ioctl_event(int vm_fd, s32 id, u32 allow)
{
	struct kvm_introspection_feature feature = {
		.allow = allow,
		.id = id,
	};

	return result(ioctl(vm_fd, KVM_INTROSPECTION_EVENT, &feature));
}

int kvmi_ioctl_preunhook(int vm_fd)
{
	return result(ioctl(vm_fd, KVM_INTROSPECTION_PREUNHOOK, NULL));
}

void kvmi_allow_all(struct kvm_vm *vm)
{
	kvmi_assert_err(kvmi_ioctl_command(vm->fd, -1, 1), 0);
	kvmi_assert_err(kvmi_ioctl_event(vm->fd, -1, 1), 0);
}

void kvmi_hook(struct kvmi *k, struct kvm_vm *vm)
{
	int sv[2];

	kvmi_socketpair(sv);
	kvmi_attach(k, vm, sv[0], sv[1]);
	kvmi_allow_all(vm);
}

void kvmi_unhook(struct kvm_vm *vm)
{
	kvmi_assert_err(kvmi_ioctl_unhook(vm->fd), 0);
}

char *kvmi_fdinfo(int vm_fd, const char *key)
{
	char path[64], line[256], *value = NULL;
	size_t len = strlen(key);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", vm_fd);
	f = fopen(path, "r");
	TEST_ASSERT(f, "Cannot open %s", path);

	while (!value && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len) || strncmp(line + len, ":\t", 2))
			continue;
		line[strcspn(line, "\n")] = '\0';
		value = strdup(line + len + 2);
	}
	fclose(f);
	return value;
}

enum kvmi_state kvmi_state(int vm_fd)
{
	static const char * const names[] = {
		[KVMI_NONE] = "none",
		[KVMI_ACTIVE] = "active",
		[KVMI_DEAD] = "dead",
		[KVMI_FROZEN] = "frozen",
	};
	char *value = kvmi_fdinfo(vm_fd, "kvmi");
	unsigned int i;

	TEST_ASSERT(value, "fdinfo of the VM has no line \"kvmi:\"");
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]))
			continue;
		free(value);
		return i;
	}
	TEST_FAIL("fdinfo of the VM says \"kvmi:\t%s\"", value);
}

static void map_for_users(struct kvm_vm *vm, gpa_t table, int level)
{
	u64 *entries = addr_gpa2hva(vm, table);
	int i;

	for (i = 0; i < 512; i++) {
		if (!is_present_pte(&vm->mmu, &entries[i]))
			continue;
		entries[i] |= PTE_USER_MASK(&vm->mmu);
		if (level > 1 && !is_huge_pte(&vm->mmu, &entries[i]))
			map_for_users(vm, PTE_GET_PA(entries[i]), level - 1);
	}
}

void kvmi_map_for_users(struct kvm_vm *vm)
{
	map_for_users(vm, vm->mmu.pgd, vm->mmu.pgtable_levels);
}
