/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The EL0 task: the same system calls every pass, then it gives way. It has a stack but no data. */
#include "types.h"
#include "unistd.h"
#include "workload.h"

#define STDOUT	1
#define PIPE	2

#define NO_SUCH_SYSCALL	200

void user_main(void) __noreturn;
long user_syscall(long a0, long a1, long a2, long number);

static noinline long user_write(int fd, const char *s, size_t len)
{
	return user_syscall(fd, (long)s, len, __NR_write);
}

static noinline long user_getpid(void)
{
	return user_syscall(0, 0, 0, __NR_getpid);
}

static noinline void user_yield(void)
{
	user_syscall(0, 0, 0, __NR_sched_yield);
}

/* Append s, return the new end. */
static char *append(char *end, const char *s)
{
	while (*s)
		*end++ = *s++;
	return end;
}

static noinline char *append_number(char *end, unsigned long value)
{
	if (value >= 10)
		end = append_number(end, value / 10);
	*end++ = '0' + value % 10;
	return end;
}

/* What the kernel gets through the pipe: "pid 1 pass 17 bad -14 none -38 read 5" and such. */
static noinline size_t user_report(char *line, unsigned int pass)
{
	char small[8];
	char *end = line;

	end = append(end, "pid ");
	end = append_number(end, user_getpid());
	end = append(end, " pass ");
	end = append_number(end, pass);
	end = append(end, " bad -");
	end = append_number(end, -user_write(PIPE, (const char *)0xdead0000, 8));
	end = append(end, " none -");
	end = append_number(end, -user_syscall(0, 0, 0, NO_SUCH_SYSCALL));
	user_write(PIPE, "hello", 5);
	end = append(end, " read ");
	end = append_number(end, user_syscall(PIPE, (long)small, sizeof(small), __NR_read));
	return end - line;
}

void user_main(void)
{
	unsigned int pass = 0;
	char line[64];

	user_write(STDOUT, "init: hello from EL0\n", 21);
	for (;;) {
		user_write(PIPE, line, user_report(line, pass));
		pass = (pass + 1) % ROUNDS_PER_BATCH;
		user_yield();
	}
}
