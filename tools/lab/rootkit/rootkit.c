// SPDX-License-Identifier: GPL-2.0
/*
 * What a rootkit does to a kernel, for the tests of `kvmi protect`. Loading it
 * does what its parameters say, unloading undoes it:
 *
 * - ops, the address of cpuinfo_op: /proc/cpuinfo says "rooted", by a pointer
 *   in a table of read-only data that is written through another mapping;
 * - text, the address of a function: it returns 0 at once, by its first bytes
 *   that are written through another mapping;
 * - wp, the address of a function: the same, by the kernel's own mapping, with
 *   CR0.WP cleared.
 */

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>
#include <asm/processor-flags.h>

/* xor %eax,%eax; ret; nop */
#define RETURN_0	0x90c3c031

static unsigned long ops;
module_param(ops, ulong, 0);
static unsigned long text;
module_param(text, ulong, 0);
static unsigned long wp;
module_param(wp, ulong, 0);

static unsigned long old_show;
static u32 old_text;
static u32 old_wp;

static int show(struct seq_file *file, void *data)
{
	/* Once for each CPU, as the original. */
	seq_puts(file, "rooted\n");
	return 0;
}

/* A writable mapping of the page of a kernel address; the address in there. */
static void *alias(unsigned long address)
{
	struct page *page = virt_to_page((void *)address);
	void *mapping = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	return mapping ? mapping + offset_in_page(address) : NULL;
}

static void unalias(void *address)
{
	vunmap((void *)((unsigned long)address & PAGE_MASK));
}

static void write_table(unsigned long value)
{
	unsigned long *pointer = alias(ops + offsetof(struct seq_operations, show));

	if (pointer) {
		old_show = *pointer;
		WRITE_ONCE(*pointer, value);
		unalias(pointer);
	}
}

static void write_text(u32 value)
{
	u32 *code = alias(text);

	if (code) {
		old_text = *code;
		WRITE_ONCE(*code, value);
		unalias(code);
	}
}

static void load_cr0(unsigned long cr0)
{
	/* The kernel's own function keeps WP set. */
	asm volatile("mov %0, %%cr0" : : "r" (cr0) : "memory");
}

static void write_protected(u32 value)
{
	u32 *code = (u32 *)wp;
	unsigned long flags, cr0;

	local_irq_save(flags);
	asm volatile("mov %%cr0, %0" : "=r" (cr0));
	load_cr0(cr0 & ~X86_CR0_WP);
	old_wp = *code;
	WRITE_ONCE(*code, value);
	load_cr0(cr0);
	local_irq_restore(flags);
}

static int __init rootkit_init(void)
{
	if (ops)
		write_table((unsigned long)show);
	if (text)
		write_text(RETURN_0);
	if (wp)
		write_protected(RETURN_0);
	return 0;
}

static void __exit rootkit_exit(void)
{
	if (ops)
		write_table(old_show);
	if (text)
		write_text(old_text);
	if (wp)
		write_protected(old_wp);
}

module_init(rootkit_init);
module_exit(rootkit_exit);
MODULE_DESCRIPTION("What a rootkit does, for tests of introspection");
MODULE_LICENSE("GPL");
