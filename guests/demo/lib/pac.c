/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compiled with -mbranch-protection=standard: pac_sum begins with PACIASP and ends with
 * AUTIASP, bti_mix begins with BTI C. All are HINTs, without effect on a CPU that lacks them.
 */
#include "pac.h"

noinline u32 bti_mix(u32 a, u32 b)
{
	return (a ^ b) * 0x9e3779b1 + (a >> 3);
}

noinline u32 pac_sum(const u32 *values, size_t count)
{
	u32 sum = 0;
	size_t i;

	for (i = 0; i < count; i++)
		sum = bti_mix(sum, values[i]);
	return sum;
}
