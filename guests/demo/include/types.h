/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fixed-width names and the few compiler attributes the kernel uses. */
#ifndef DEMO_TYPES_H
#define DEMO_TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
typedef long ssize_t;

/*
 * noipa keeps every call a real call that obeys AAPCS64: no inlining, no clone with other
 * arguments, no result assumed from the body. A probe may then change arguments and results.
 */
#define noinline	__attribute__((noipa))
#define __noreturn	__attribute__((noreturn))
#define __section(name)	__attribute__((section(name)))
#define __printf(f, a)	__attribute__((format(printf, f, a)))

/* Text in which kprobes are refused; the sections are the ones Linux uses. */
#define __kprobes	__section(".kprobes.text") noinline
#define noinstr		__section(".entry.text") noinline
#define __irq_entry	__section(".irqentry.text") noinline

/* One address in _kprobe_blacklist forbids probes in the function that starts there. */
#define NOKPROBE_SYMBOL(fn)						\
	static const unsigned long _kbl_addr_##fn			\
	__attribute__((used)) __section("_kprobe_blacklist") = (unsigned long)(fn)

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member)	((type *)((char *)(ptr) - offsetof(type, member)))

#define ENOENT	2
#define E2BIG	7
#define EBADF	9
#define ENOMEM	12
#define EFAULT	14
#define EINVAL	22
#define ENOSYS	38

#endif
