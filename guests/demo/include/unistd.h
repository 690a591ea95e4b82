/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System call numbers, those of Linux on arm64; the number goes in x8, the result comes in x0. */
#ifndef DEMO_UNISTD_H
#define DEMO_UNISTD_H

#define __NR_read		63
#define __NR_write		64
#define __NR_sched_yield	124
#define __NR_getpid		172

#define NR_SYSCALLS		256

#endif
