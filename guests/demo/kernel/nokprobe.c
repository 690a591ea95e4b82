/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two functions that may not be probed: one for the section it is in, one for its entry in the blacklist. */
#include "workload.h"

u64 __kprobes kprobes_text_mix(u64 a, u64 b)
{
	return a * 31 + b;
}

noinline u64 nokprobe_symbol_mix(u64 a, u64 b)
{
	return a * 37 + b;
}
NOKPROBE_SYMBOL(nokprobe_symbol_mix);
