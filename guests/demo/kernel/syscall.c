/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the SVC to the system call: the names and the shape are those of Linux on arm64. */
#include "syscall.h"
#include "file.h"
#include "sched.h"

long noinline sys_read(unsigned int fd, char *buf, size_t count)
{
	struct file *file = fget(fd);

	return file ? vfs_read(file, buf, count) : -EBADF;
}

long noinline sys_write(unsigned int fd, const char *buf, size_t count)
{
	struct file *file = fget(fd);

	return file ? vfs_write(file, buf, count) : -EBADF;
}

long noinline sys_getpid(void)
{
	return current->pid;
}

long noinline sys_sched_yield(void)
{
	schedule();
	return 0;
}

/* The table's functions take their arguments out of pt_regs. */
static noinline long __arm64_sys_read(const struct pt_regs *regs)
{
	return sys_read(regs->regs[0], (char *)regs->regs[1], regs->regs[2]);
}

static noinline long __arm64_sys_write(const struct pt_regs *regs)
{
	return sys_write(regs->regs[0], (const char *)regs->regs[1], regs->regs[2]);
}

static noinline long __arm64_sys_getpid(const struct pt_regs *regs)
{
	(void)regs;
	return sys_getpid();
}

static noinline long __arm64_sys_sched_yield(const struct pt_regs *regs)
{
	(void)regs;
	return sys_sched_yield();
}

const syscall_fn_t sys_call_table[NR_SYSCALLS] = {
	[__NR_read] = __arm64_sys_read,
	[__NR_write] = __arm64_sys_write,
	[__NR_sched_yield] = __arm64_sys_sched_yield,
	[__NR_getpid] = __arm64_sys_getpid,
};

noinline void invoke_syscall(struct pt_regs *regs, unsigned int scno, unsigned int sc_nr, const syscall_fn_t table[])
{
	long ret = -ENOSYS;

	if (scno < sc_nr && table[scno])
		ret = table[scno](regs);
	regs->regs[0] = ret;
}

noinline void el0_svc_common(struct pt_regs *regs, int scno, int sc_nr, const syscall_fn_t table[])
{
	regs->orig_x0 = regs->regs[0];
	regs->syscallno = scno;
	current->nr_syscalls++;
	invoke_syscall(regs, scno, sc_nr, table);
}

noinline void do_el0_svc(struct pt_regs *regs)
{
	el0_svc_common(regs, regs->regs[8], NR_SYSCALLS, sys_call_table);
}
