/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two tasks that give way to each other: the kernel's own, which runs the workload, and the
 * one at EL0. No interrupt ever switches them, so their order is always the same.
 */
#include "sched.h"
#include "memory.h"
#include "printk.h"
#include "string.h"

char init_stack[THREAD_SIZE] __attribute__((aligned(PAGE_SIZE)));
static char user_task_stack[THREAD_SIZE] __attribute__((aligned(PAGE_SIZE)));

struct task_struct user_task = { .pid = 1, .comm = "init", .stack = user_task_stack, .next = &init_task };
struct task_struct init_task = { .pid = 0, .comm = "workload", .stack = init_stack, .next = &init_task };

/* current, for the vectors: SP_EL0 is the task's own while it runs. */
struct task_struct *__entry_task = &init_task;

NOKPROBE_SYMBOL(cpu_switch_to);

noinline struct task_struct *__switch_to(struct task_struct *prev, struct task_struct *next)
{
	__entry_task = next;
	return cpu_switch_to(prev, next);
}

/* Give way to the next task; returns when this one's turn comes again. */
noinline void schedule(void)
{
	struct task_struct *prev = current, *next = prev->next;

	prev->nr_switches++;
	__switch_to(prev, next);
}

/* The first thing a new task does. */
noinline void schedule_tail(void)
{
	printk("init: pid %d enters EL0 at %x\n", current->pid, USER_TEXT);
}

/* Make the EL0 task, to start at the beginning of its text when it is first switched to. */
void start_user_task(void)
{
	struct pt_regs *regs = (struct pt_regs *)(user_task_stack + THREAD_SIZE) - 1;

	memset(regs, 0, sizeof(*regs));
	regs->pc = USER_TEXT;
	regs->sp = USER_STACK_TOP;
	regs->pstate = PSR_MODE_EL0t;
	user_task.cpu_context.sp = (u64)regs;
	user_task.cpu_context.pc = (u64)ret_from_fork;
	init_task.next = &user_task;
}
