/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32 and Adler-32 as in RFC 1952 and RFC 1950, FNV-1a (32 bits), each behind a struct of operations. */
#include "digest.h"

#define ADLER_MODULUS	65521

static u32 crc32_init(void)
{
	return 0xffffffff;
}

static u32 crc32_update(u32 crc, const void *data, size_t len)
{
	/* The remainders of the 16 values of four bits, for the reversed polynomial 0xedb88320. */
	static const u32 table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	const u8 *p = data;

	for (; len; len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return crc;
}

static u32 crc32_final(u32 crc)
{
	return ~crc;
}

static u32 adler32_init(void)
{
	return 1;
}

static u32 adler32_update(u32 state, const void *data, size_t len)
{
	u32 a = state & 0xffff, b = state >> 16;
	const u8 *p = data;

	for (; len; len--) {
		a = (a + *p++) % ADLER_MODULUS;
		b = (b + a) % ADLER_MODULUS;
	}
	return b << 16 | a;
}

static u32 fnv1a_init(void)
{
	return 0x811c9dc5;
}

static u32 fnv1a_update(u32 hash, const void *data, size_t len)
{
	const u8 *p = data;

	for (; len; len--)
		hash = (hash ^ *p++) * 0x01000193;
	return hash;
}

static u32 digest_unchanged(u32 state)
{
	return state;
}

const struct digest_ops crc32_ops = { "crc32", crc32_init, crc32_update, crc32_final };
const struct digest_ops adler32_ops = { "adler32", adler32_init, adler32_update, digest_unchanged };
const struct digest_ops fnv1a_ops = { "fnv1a", fnv1a_init, fnv1a_update, digest_unchanged };

const struct digest_ops *const digests[NR_DIGESTS] = { &crc32_ops, &adler32_ops, &fnv1a_ops };

noinline u32 digest(const struct digest_ops *ops, const void *data, size_t len)
{
	return ops->final(ops->update(ops->init(), data, len));
}
