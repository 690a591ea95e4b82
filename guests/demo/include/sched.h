/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_SCHED_H
#define DEMO_SCHED_H

#include "ptrace.h"
#include "sysreg.h"
#include "types.h"

#define TASK_COMM_LEN	16

/* What cpu_switch_to saves; the order is known to entry.S. */
struct cpu_context {
	u64 x19_x28[10];
	u64 fp;
	u64 sp;
	u64 pc;
};

struct task_struct {
	struct cpu_context cpu_context;	/* first: entry.S addresses it by the task */
	int pid;
	char comm[TASK_COMM_LEN];
	void *stack;			/* THREAD_SIZE bytes */
	struct task_struct *next;	/* who runs when this one gives way */
	u64 nr_switches;
	u64 nr_syscalls;
};

extern struct task_struct init_task, user_task;
extern struct task_struct *__entry_task;

/* SP_EL0 holds it while in the kernel. */
#define current	((struct task_struct *)read_sysreg(sp_el0))

void schedule(void);
struct task_struct *__switch_to(struct task_struct *prev, struct task_struct *next);
struct task_struct *cpu_switch_to(struct task_struct *prev, struct task_struct *next);
void ret_from_fork(void);
void schedule_tail(void);
void start_user_task(void);

#endif
