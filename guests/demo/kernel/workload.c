/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The workload: rounds without end, in batches that are all alike. Nothing in it depends on
 * time, so a batch's checksum is always the same, unless somebody interferes.
 */
#include "workload.h"
#include "printk.h"
#include "sysreg.h"
#include "timer.h"

struct workload workload;

/* Marsaglia's xorshift32, parameters 13, 17, 5. */
noinline u32 next_random(struct workload *w)
{
	u32 x = w->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	w->random = x;
	return x;
}

noinline u64 checksum_mix(u64 sum, u64 value)
{
	sum = (sum ^ value) * 0x100000001b3;
	return sum ^ sum >> 29;
}

void workload_mix(struct workload *w, u64 value)
{
	w->checksum = checksum_mix(w->checksum, value);
}

noinline void workload_check(struct workload *w, bool ok, const char *what)
{
	if (ok)
		return;
	if (!w->failures++)
		w->first_failure = what;
}

/* Wait for an interrupt: at most until the next tick. */
noinline void demo_idle(void)
{
	u64 before = jiffies;

	local_irq_disable();
	while (jiffies == before) {
		asm volatile("dsb sy; wfi" : : : "memory");
		local_irq_enable();
		isb();
		local_irq_disable();
	}
	local_irq_enable();
}

static noinline void batch_start(struct workload *w)
{
	w->round = 0;
	w->random = 0x12345678;
	w->checksum = 0;
	w->failures = 0;
	w->first_failure = "none";
	w->locked_count = 0;
	w->atomic_count.counter = 0;
	w->exclusive_count = 0;
}

static noinline void batch_report(const struct workload *w)
{
	bool ok = !w->failures && w->checksum == BATCH_CHECKSUM;

	printk("workload: batch %lu, %u rounds, %lu ticks, checksum %016lx %s\n",
	       w->batch, w->round, jiffies, w->checksum, ok ? "ok" : "MISMATCH");
	if (!ok)
		printk("workload: expected %016lx, %u checks failed, first: %s\n",
		       BATCH_CHECKSUM, w->failures, w->first_failure);
}

noinline void workload_round(struct workload *w)
{
	slab_round(w);
	list_round(w);
	tree_round(w);
	string_round(w);
	sort_round(w);
	recursion_round(w);
	digest_round(w);
	lock_round(w);
	pcrel_round(w);
	insn_round(w);
	uaccess_round(w);
	task_round(w);
	w->round++;
}

void workload_run(void)
{
	struct workload *w = &workload;

	for (;;) {
		batch_start(w);
		while (w->round < ROUNDS_PER_BATCH) {
			workload_round(w);
			if (w->round % ROUNDS_PER_IDLE == 0)
				demo_idle();
		}
		w->batch++;
		batch_report(w);
	}
}
