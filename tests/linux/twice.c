// SPDX-License-Identifier: GPL-2.0-or-later
// Writes to one page of memory through two mappings of it, by turns, and to its stack, until it is killed.
//
// It prints the addresses of the mappings first. There is no C library: the numbers of the system calls are those of
// Linux's include/uapi/asm-generic/unistd.h.

typedef unsigned long u64;

enum { SYS_ftruncate = 46, SYS_write = 64, SYS_pwrite64 = 68, SYS_exit = 93, SYS_mmap = 222, SYS_memfd_create = 279 };
enum { READ_WRITE = 3, MAP_SHARED = 1, PAGE = 4096, WORDS = PAGE / 8 };

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

static void print(u64 number)
{
	char text[17];

	for (int i = 0; i < 16; i++)
		text[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
	text[16] = '\n';
	call(SYS_write, 1, (long)text, sizeof text, 0, 0, 0);
}

void _start(void)
{
	long file = call(SYS_memfd_create, (long)"page", 0, 0, 0, 0, 0);
	volatile u64 *mapped[2], kept[16];

	call(SYS_ftruncate, file, PAGE, 0, 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		mapped[i] = (u64 *)call(SYS_mmap, 0, PAGE, READ_WRITE, MAP_SHARED, file, 0);
		print((u64)mapped[i]);
	}
	for (u64 n = 0;; n = n * 6364136223846793005 + 1442695040888963407) {	// Knuth's MMIX generator
		mapped[n >> 63][n >> 40 & (WORDS - 1)] = n;
		kept[n >> 50 & 15] = n;
		if ((n >> 32 & 255) == 0)	// and through the kernel's own mapping
			call(SYS_pwrite64, file, (long)kept, sizeof kept, n >> 40 & (PAGE - 128), 0, 0);
	}
}
