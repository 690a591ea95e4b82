// SPDX-License-Identifier: GPL-2.0-or-later
/* Functions with something about them that the kernel keeps probes away from, or has patched. */

#include <linux/bug.h>
#include <linux/jump_label.h>
#include <linux/kprobes.h>

u64 oracle_traced(u64 x);
u64 oracle_marked(u64 x);
u64 oracle_in_section(u64 x);
u64 oracle_switched(u64 x);
u64 oracle_warns(u64 x);
u64 oracle_value = 1;

/* ftrace has a place to put a call in at the start of every C function */
noinline u64 oracle_traced(u64 x)
{
	return x * READ_ONCE(oracle_value);
}

/* on the kernel's blacklist by name */
noinline u64 oracle_marked(u64 x)
{
	return x + READ_ONCE(oracle_value);
}
NOKPROBE_SYMBOL(oracle_marked);

/* and by its section */
noinline __kprobes u64 oracle_in_section(u64 x)
{
	return x - READ_ONCE(oracle_value);
}

static DEFINE_STATIC_KEY_FALSE(key);

/* with a branch that is patched */
noinline u64 oracle_switched(u64 x)
{
	if (static_branch_unlikely(&key))
		return oracle_traced(x);
	return x;
}

/* with a breakpoint of its own */
noinline u64 oracle_warns(u64 x)
{
	WARN_ON(!x);
	return x;
}
