/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_SYSCALL_H
#define DEMO_SYSCALL_H

#include "ptrace.h"
#include "types.h"
#include "unistd.h"

typedef long (*syscall_fn_t)(const struct pt_regs *regs);

extern const syscall_fn_t sys_call_table[NR_SYSCALLS];

void do_el0_svc(struct pt_regs *regs);
void el0_svc_common(struct pt_regs *regs, int scno, int sc_nr, const syscall_fn_t table[]);
void invoke_syscall(struct pt_regs *regs, unsigned int scno, unsigned int sc_nr, const syscall_fn_t table[]);

long sys_read(unsigned int fd, char *buf, size_t count);
long sys_write(unsigned int fd, const char *buf, size_t count);
long sys_getpid(void);
long sys_sched_yield(void);

#endif
