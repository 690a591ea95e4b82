/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_WORKLOAD_H
#define DEMO_WORKLOAD_H

#include "spinlock.h"
#include "types.h"

#define ROUNDS_PER_BATCH	512
#define ROUNDS_PER_IDLE		64

/*
 * What a batch's checksum must be. It is not our own output: the model of the workload in
 * tests/guests/test_demo_workload.py computes it from what the functions are for.
 */
#define BATCH_CHECKSUM		0x903633a79a51e750UL

struct workload {
	u32 round;			/* in the batch */
	u32 random;			/* state of the random numbers */
	u64 checksum;			/* of the batch so far */
	u64 batch;			/* batches completed */
	u32 failures;			/* checks of the batch that failed */
	const char *first_failure;	/* the check that failed first in the batch */
	spinlock_t lock;
	u64 locked_count;
	atomic_t atomic_count;
	u64 exclusive_count;
};

u32 next_random(struct workload *w);
u64 checksum_mix(u64 sum, u64 value);
void workload_mix(struct workload *w, u64 value);
void workload_check(struct workload *w, bool ok, const char *what);

/* The parts of a round. */
void slab_round(struct workload *w);
void list_round(struct workload *w);
void tree_round(struct workload *w);
void string_round(struct workload *w);
void sort_round(struct workload *w);
void recursion_round(struct workload *w);
void digest_round(struct workload *w);
void lock_round(struct workload *w);
void pcrel_round(struct workload *w);
void insn_round(struct workload *w);
void uaccess_round(struct workload *w);
void task_round(struct workload *w);

void workload_round(struct workload *w);
void workload_run(void) __noreturn;
void demo_idle(void);

/* nokprobe.c */
u64 kprobes_text_mix(u64 a, u64 b);
u64 nokprobe_symbol_mix(u64 a, u64 b);

#endif
