/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the module share; journal.py has the same layout. */
#ifndef ORACLE_H
#define ORACLE_H

#define CALL_INPUT	0		/* x0 to x28, then NZCV */
#define CALL_FUNCTION	(30 * 8)
#define CALL_OUTPUT	(31 * 8)	/* x0 to x30, sp, pc, NZCV */

#ifndef __ASSEMBLY__

#include <linux/kprobes.h>
#include <linux/types.h>

enum { REGISTERS = 34, PROBES = 64, EVENTS = 2048, SWEPT = 1 << 16, COMMANDS = 1 << 16 };

enum what { PRE, POST, ENTRY, RETURN, REGISTER, UNREGISTER, ENABLE, DISABLE, CALL, PEEK, REGISTER_MANY };

struct event {
	u64 what;
	u64 probe;
	u64 regs[REGISTERS];	/* x0 to x30, sp, pc, pstate: the start of struct pt_regs */
	u64 daif, daif_after;	/* of the handler itself, and after it has called a function */
	u64 mdscr;		/* MDSCR_EL1: whether the hardware steps */
	u64 below_sp;		/* how far below the sp in it the struct pt_regs is */
	u64 nmissed;		/* of the struct kprobe */
	u64 missed_returns;	/* nmissed of the struct kretprobe */
	u64 nested;		/* what the function that the handler called returned */
	u64 more[8];		/* by what: see the writers */
};

/* Read and written from outside the guest. */
struct journal {
	char commands[COMMANDS];
	u64 events;		/* how many there are; those beyond EVENTS are not kept */
	u64 swept;
	struct event event[EVENTS];
	s32 sweep[SWEPT];	/* what register_kprobe() returned, address by address */
};

/* What a handler does besides writing to the journal. */
struct action {
	bool present;		/* or there is no handler */
	int result;
	u64 call, argument;	/* a function to call with one argument, 0 for none */
	u64 set, value;		/* a register to change, REGISTERS for none */
};

struct probe {
	bool returns;		/* r is the probe, else k */
	union {
		struct kprobe k;
		struct kretprobe r;
	};
	struct action before, after;	/* pre or entry; post or return */
	char symbol[64];
};

struct call {
	u64 in[29], nzcv, function, out[REGISTERS];
};

extern struct probe probes[PROBES];
extern struct journal *journal;

struct event *note(enum what what, u64 probe);
void set_handlers(struct probe *probe);
void oracle_call(struct call *call);

static inline struct kprobe *kprobe_of(struct probe *probe)
{
	return probe->returns ? &probe->r.kp : &probe->k;
}

#endif
#endif
