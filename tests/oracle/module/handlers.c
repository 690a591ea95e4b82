// SPDX-License-Identifier: GPL-2.0-or-later
/* The handlers: each writes down what it is given, and then does what its action says. */

#include <linux/string.h>
#include <linux/version.h>
#include <asm/sysreg.h>

#include "oracle.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0)
#define get_kretprobe(instance) ((instance)->rp)
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 16, 0)
#define get_kretprobe_retaddr(instance) ((unsigned long)(instance)->ret_addr)
#endif

static struct event lost;

/* The next event of the journal, empty; one that nobody reads if the journal is full. */
struct event *note(enum what what, u64 probe)
{
	u64 number = journal->events++;
	struct event *event = number < EVENTS ? &journal->event[number] : &lost;

	memset(event, 0, sizeof(*event));
	event->what = what;
	event->probe = probe;
	event->daif = read_sysreg(daif);
	event->mdscr = read_sysreg(mdscr_el1);
	if (probe < PROBES) {
		event->nmissed = kprobe_of(&probes[probe])->nmissed;
		event->missed_returns = probes[probe].returns ? probes[probe].r.nmissed : 0;
	}
	return event;
}

static struct event *note_hit(enum what what, struct probe *probe, struct pt_regs *regs)
{
	struct event *event = note(what, probe - probes);

	memcpy(event->regs, regs, sizeof(event->regs));
	event->below_sp = regs->sp - (u64)regs;
	return event;
}

static int act(struct event *event, struct action *action, struct pt_regs *regs)
{
	if (action->call)
		event->nested = ((u64(*)(u64))action->call)(action->argument);
	event->daif_after = read_sysreg(daif);
	if (action->set < REGISTERS)
		((u64 *)regs)[action->set] = action->value;
	return action->result;
}

static int pre(struct kprobe *k, struct pt_regs *regs)
{
	struct probe *probe = container_of(k, struct probe, k);

	return act(note_hit(PRE, probe, regs), &probe->before, regs);
}

static void post(struct kprobe *k, struct pt_regs *regs, unsigned long flags)
{
	struct probe *probe = container_of(k, struct probe, k);
	struct event *event = note_hit(POST, probe, regs);

	event->more[0] = flags;
	act(event, &probe->after, regs);
}

/* The data of an instance, if it has room for a doubleword. */
static u64 *data_of(struct probe *probe, struct kretprobe_instance *instance)
{
	return probe->r.data_size >= sizeof(u64) ? (u64 *)instance->data : NULL;
}

static int entry(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct probe *probe = container_of(get_kretprobe(instance), struct probe, r);
	u64 *data = data_of(probe, instance);

	/* ret_addr and fp are set only after this handler, so that they are not written down. */
	if (data)
		*data = ~regs->regs[0];
	return act(note_hit(ENTRY, probe, regs), &probe->before, regs);
}

static int returned(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct probe *probe = container_of(get_kretprobe(instance), struct probe, r);
	struct event *event = note_hit(RETURN, probe, regs);
	u64 *data = data_of(probe, instance);

	event->more[0] = get_kretprobe_retaddr(instance);
	event->more[1] = (u64)instance->fp;
	event->more[2] = data ? *data : 0;
	return act(event, &probe->after, regs);
}

void set_handlers(struct probe *probe)
{
	if (probe->returns) {
		probe->r.entry_handler = probe->before.present ? entry : NULL;
		probe->r.handler = probe->after.present ? returned : NULL;
	} else {
		probe->k.pre_handler = probe->before.present ? pre : NULL;
		probe->k.post_handler = probe->after.present ? post : NULL;
	}
}
