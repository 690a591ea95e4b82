/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What picolibc asks of the machine under it: the console and a heap. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <signal.h>
#include <unistd.h>

#define UART	((volatile uint32_t *)0x09000000)	/* the PL011 of QEMU's "virt" board, and of armprobe's */

static int put(char c, FILE *file)
{
	(void)file;
	UART[0] = (unsigned char)c;
	return (unsigned char)c;
}

static int get(FILE *file)
{
	(void)file;
	return _FDEV_EOF;
}

static FILE console = FDEV_SETUP_STREAM(put, get, NULL, _FDEV_SETUP_RW);
FILE *const stdin = &console, *const stdout = &console, *const stderr = &console;

extern char __heap_start[], __heap_end[];

void *sbrk(ptrdiff_t size)
{
	static char *end = __heap_start;
	char *old = end;

	if (size > __heap_end - end)
		return (void *)-1;
	end += size;
	return old;
}

ssize_t write(int file, const void *data, size_t size)
{
	(void)file;
	for (size_t i = 0; i < size; i++)
		put(((const char *)data)[i], NULL);
	return size;
}

ssize_t read(int file, void *data, size_t size)
{
	(void)file;
	(void)data;
	(void)size;
	return 0;
}

int isatty(int file)
{
	(void)file;
	return 1;
}

/* There are no processes. */
int kill(pid_t pid, int signal)
{
	(void)pid;
	(void)signal;
	return -1;
}

pid_t getpid(void)
{
	return 1;
}
