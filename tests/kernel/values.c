/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One member of each kind of type, for test_value.py. */
typedef unsigned char u8;
typedef int pid_t;
typedef _Bool bool;
struct list_head { struct list_head *next, *prev; };
enum color { RED, GREEN = 5, BLUE };
enum minus { LOW = -3, ZERO = 0 };
struct point { int x, y; };
struct empty {};
struct entry { int x; struct list_head node; };
typedef char name_t[8];
typedef char ch;
typedef int (*fn_t)(const char *, ...);
struct all {
	char c; signed char sc; unsigned char uc; short s; unsigned short us; int i; unsigned u; long l; unsigned long ul;
	long long ll; bool b; float f, large; double d; enum color e1, e2; enum minus m; pid_t pid;
	u8 bytes[6]; char text[16]; name_t nt; ch chs[4]; const char cc[4];
	unsigned low : 3; int mid : 7; unsigned long wide : 40;
	union { int number; struct { char deep; long deeper : 33; }; void *ptr; };
	struct point p; struct point ps[3]; int grid[2][3]; int zeros[4]; int one[3]; long many[40];
	struct { int in; } anon; union { int ua; char ub; } un;
	struct list_head list; int *ip; char *cp; const char *const ccp; void *vp; fn_t fn;
	int (*fp)(int a, char *b); int (*arr)[3]; char **cpp; struct empty em; enum color cols[3];
	const volatile int cvi; unsigned char uct[5]; struct point *pp[2]; struct all *self; int __i;
};
struct all object;
extern struct entry first, second;
struct all object = {
	.c = 'x', .sc = -2, .uc = 254, .s = -3, .us = 65535, .i = -4, .u = 4000000000u, .l = -5, .ul = -1, .ll = 1l << 40,
	.b = 1, .f = 1.5, .large = 1e30, .d = 0.1, .e1 = GREEN, .e2 = 3, .m = LOW, .pid = 42,
	.bytes = { 1, 2 }, .text = "init\0beyond", .nt = "q\"\\\n\1\x80", .chs = "abc", .cc = "abcd",
	.low = 5, .mid = -3, .wide = 0x123456789a, .number = -7,
	.p = { 1, -2 }, .ps = { { 1, 2 }, { 3, 4 } }, .grid = { { 1, 2, 3 }, { 4, 5, 6 } }, .one = { 0, 9 },
	.many = { 1, 22, 333, -4444, 55555, 666666, 7777777, 88888888, 999999999, [30] = 1l << 50 },
	.anon = { 3 }, .un = { 65 }, .list = { &first.node, &second.node }, .ip = &object.i, .cp = "hello", .ccp = "const",
	.vp = &object.p, .arr = &object.grid[1], .cols = { RED, GREEN, 9 }, .cvi = 11, .uct = "u", .pp = { &object.p },
	.self = &object, .__i = 12,
};
struct entry first = { 7, { &second.node, &object.list } }, second = { 8, { &object.list, &first.node } };
