/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_DIGEST_H
#define DEMO_DIGEST_H

#include "types.h"

/* A way to digest bytes: reached only through these pointers. */
struct digest_ops {
	const char *name;
	u32 (*init)(void);
	u32 (*update)(u32 state, const void *data, size_t len);
	u32 (*final)(u32 state);
};

#define NR_DIGESTS	3

extern const struct digest_ops crc32_ops, adler32_ops, fnv1a_ops;
extern const struct digest_ops *const digests[NR_DIGESTS];

u32 digest(const struct digest_ops *ops, const void *data, size_t len);

#endif
