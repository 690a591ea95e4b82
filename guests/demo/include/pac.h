/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_PAC_H
#define DEMO_PAC_H

#include "types.h"

u32 pac_sum(const u32 *values, size_t count);
u32 bti_mix(u32 a, u32 b);

#endif
