// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /proc/oracle: reading it gives the address of the journal; writing to it has the commands there done, line by line.
 *
 *	clear						forget all probes and events
 *	define PROBE RETURNS SYMBOL ADDRESS OFFSET FLAGS MAXACTIVE DATA_SIZE
 *							a struct kprobe or kretprobe; SYMBOL may be -
 *	action PROBE AFTER RESULT CALL ARGUMENT SET VALUE
 *							what one of its handlers does; without one there is no handler
 *	register PROBE, unregister PROBE, enable PROBE, disable PROBE
 *	address PROBE ADDRESS				change addr of one that was registered
 *	flags PROBE FLAGS				and its flags
 *	many COUNT					register_kprobes() with that many
 *	call FUNCTION ARGUMENT...			with known values in all other registers
 *	user FUNCTION					call it with an address in user memory not touched before
 *	nothing FUNCTION				call it with an address that leads to neither memory nor a device, for good
 *	peek ADDRESS					a word
 *	sweep ADDRESS COUNT				try to register at so many instructions
 *
 * Numbers are as kstrtou64() reads them.
 */

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#include "oracle.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define SLOT(k) ((k)->ainsn.api.insn)
#else
#define SLOT(k) ((k)->ainsn.xol_insn)
#endif

enum { LINE = 8, BATCH = 64, NOTHING = 0x0b000000 };

struct probe probes[PROBES];
struct journal *journal;

static void define(u64 *number, const char *symbol)
{
	struct probe *probe = &probes[number[0]];
	struct kprobe *k;

	memset(probe, 0, sizeof(*probe));
	probe->returns = number[1];
	probe->before.set = probe->after.set = REGISTERS;
	k = kprobe_of(probe);
	strscpy(probe->symbol, symbol, sizeof(probe->symbol));
	k->symbol_name = strcmp(symbol, "-") ? probe->symbol : NULL;
	k->addr = (kprobe_opcode_t *)number[3];
	k->offset = number[4];
	k->flags = number[5];
	if (probe->returns) {
		probe->r.maxactive = (int)number[6];
		probe->r.data_size = number[7];
	}
}

static void define_action(u64 *number)
{
	struct probe *probe = &probes[number[0]];
	struct action *action = number[1] ? &probe->after : &probe->before;

	*action = (struct action){ true, number[2], number[3], number[4], number[5], number[6] };
	set_handlers(probe);
}

static void change(enum what what, u64 number)
{
	struct probe *probe = &probes[number];
	struct kprobe *k = kprobe_of(probe);
	struct event *event;
	int result = 0;

	if (what == REGISTER)
		result = probe->returns ? register_kretprobe(&probe->r) : register_kprobe(k);
	else if (what == UNREGISTER && probe->returns)
		unregister_kretprobe(&probe->r);
	else if (what == UNREGISTER)
		unregister_kprobe(k);
	else if (what == ENABLE)
		result = enable_kprobe(k);
	else
		result = disable_kprobe(k);
	event = note(what, number);
	event->more[0] = result;
	event->more[1] = (u64)k->addr;
	event->more[2] = k->flags;
	event->more[7] = (u64)k;
	event->more[3] = probe->returns ? probe->r.maxactive : 0;
	if (what == REGISTER && !result) {
		event->more[4] = k->opcode;
		event->more[5] = (u64)SLOT(k);
		if (SLOT(k))
			memcpy(&event->more[6], SLOT(k), 8);
	}
}

static void register_many(int count)
{
	struct kprobe *none[1] = { NULL };

	note(REGISTER_MANY, PROBES)->more[0] = register_kprobes(none, count);
}

static void call(u64 *number, int count)
{
	static struct call call;
	int i;

	for (i = 0; i < 29; i++)
		call.in[i] = i + 1 < count ? number[i + 1] : 0xa0b0c0d0e0f00000 + i * 0x101;
	call.nzcv = 0x90000000;
	call.function = number[0];
	oracle_call(&call);
	memcpy(note(CALL, PROBES)->regs, call.out, sizeof(call.out));
}

static void call_with_user_memory(u64 *number)
{
	u64 address = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	u64 numbers[] = { number[0], address };

	uaccess_ttbr0_enable();
	call(numbers, 2);
	uaccess_ttbr0_disable();
	vm_munmap(address, PAGE_SIZE);
}

static void call_with_nothing(u64 *number)
{
	u64 numbers[] = { number[0], (u64)ioremap(NOTHING, PAGE_SIZE) };

	call(numbers, 2);
}

static void sweep(u64 address, u64 count)
{
	static struct kprobe tried[BATCH];
	static struct kprobe *registered[BATCH];
	int i, taken, result;

	while (count && journal->swept < SWEPT) {
		memset(tried, 0, sizeof(tried));
		for (i = taken = 0; i < BATCH && count && journal->swept < SWEPT; i++, count--, address += 4) {
			/* disabled, so that no text is changed, which takes stopping the machine */
			tried[i].addr = (kprobe_opcode_t *)address;
			tried[i].flags = KPROBE_FLAG_DISABLED;
			result = register_kprobe(&tried[i]);
			journal->sweep[journal->swept++] = result;
			if (!result)
				registered[taken++] = &tried[i];
		}
		unregister_kprobes(registered, taken);
	}
}

static void clear(void)
{
	journal->events = journal->swept = 0;
	memset(probes, 0, sizeof(probes));
}

static int obey(char *line)
{
	u64 number[LINE + 2] = { 0 };
	char *word = strsep(&line, " "), *symbol = "-", *next;
	int count = 0;

	while ((next = strsep(&line, " ")) && count < LINE + 1)
		if (kstrtou64(next, 0, &number[count++]))
			symbol = next;
	if (!strcmp(word, "call"))
		call(number, count);
	else if (!strcmp(word, "user"))
		call_with_user_memory(number);
	else if (!strcmp(word, "nothing"))
		call_with_nothing(number);
	else if (!strcmp(word, "peek"))
		note(PEEK, PROBES)->more[0] = *(u32 *)number[0];
	else if (!strcmp(word, "sweep"))
		sweep(number[0], number[1]);
	else if (!strcmp(word, "many"))
		register_many((int)number[0]);
	else if (!strcmp(word, "clear"))
		clear();
	else if (number[0] >= PROBES)
		return -EINVAL;
	else if (!strcmp(word, "define"))
		define(number, symbol);
	else if (!strcmp(word, "action"))
		define_action(number);
	else if (!strcmp(word, "register"))
		change(REGISTER, number[0]);
	else if (!strcmp(word, "unregister"))
		change(UNREGISTER, number[0]);
	else if (!strcmp(word, "enable"))
		change(ENABLE, number[0]);
	else if (!strcmp(word, "disable"))
		change(DISABLE, number[0]);
	else if (!strcmp(word, "address"))
		kprobe_of(&probes[number[0]])->addr = (kprobe_opcode_t *)number[1];
	else if (!strcmp(word, "flags"))
		kprobe_of(&probes[number[0]])->flags = number[1];
	else
		return -EINVAL;
	return 0;
}

static ssize_t oracle_write(struct file *file, const char __user *text, size_t size, loff_t *position)
{
	char *rest = journal->commands, *line;
	int result = 0;

	while (!result && (line = strsep(&rest, "\n")))
		if (*line)
			result = obey(line);
	return result ?: size;
}

static int oracle_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%px\n", journal);
	return 0;
}

static int oracle_open(struct inode *inode, struct file *file)
{
	return single_open(file, oracle_show, NULL);
}

static const struct proc_ops operations = {
	.proc_open = oracle_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = oracle_write,
};

static int __init oracle_init(void)
{
	journal = vzalloc(sizeof(*journal));
	if (!journal)
		return -ENOMEM;
	if (!proc_create("oracle", 0600, NULL, &operations)) {
		vfree(journal);
		return -ENOMEM;
	}
	return 0;
}

static void __exit oracle_exit(void)
{
	remove_proc_entry("oracle", NULL);
	vfree(journal);
}

module_init(oracle_init);
module_exit(oracle_exit);
MODULE_DESCRIPTION("Registers kprobes and kretprobes on its own functions, and writes down what they are given");
MODULE_LICENSE("GPL");
