/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions with each kind of argument, and expressions on structs, for test_typed.py: C says what both are. */
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;
typedef signed char s8; typedef short s16; typedef int s32; typedef long s64; typedef _Bool bool;
enum color { RED, GREEN = 5, BLUE = -7 };
struct node { struct node *next; int value; };
struct flags { u32 low : 3; s32 middle : 7; u32 high : 20; u64 wide : 40; s64 rest : 11; u8 byte : 5; bool on : 1; };
struct __attribute__((packed)) packed { u8 first; u32 across : 30; u16 odd; u64 far; };
struct inner { s16 x, y; struct { u8 deep; union { u32 number; s8 bytes[4]; }; }; };
struct all {
	s8 s8; u8 u8; s16 s16; u16 u16; s32 s32; u32 u32; s64 s64; u64 u64; bool yes; enum color color; char text[16];
	struct flags flags; struct packed packed; struct inner inner, many[3]; int grid[2][3]; struct node node, *list;
	struct all *self; const char *name; void *nowhere;
};
struct two { int a; s16 b; u8 c : 4, d : 4; long e; };
struct one { s16 a; s8 b; bool c; };
struct big { long a[3]; };
struct floats { double x, y; };
struct wide { __int128 n; };
struct none {};

long seen[16];
struct all object;
static struct node last = { 0, 30 }, second = { &last, 20 }, first = { &second, 10 };

#define CALLED __attribute__((noipa)) void

CALLED narrow(s8 a, u8 b, s16 c, u16 d, bool e, enum color f, char g, u32 h)
{
	long found[] = { a, b, c, d, e, f, g, h };
	for (int i = 0; i < 8; i++) seen[i] = found[i];
}
CALLED wide(s64 a, u64 b, s32 c, void *d, struct node *e)
{
	seen[0] = a; seen[1] = b; seen[2] = c; seen[3] = (long)d; seen[4] = e->next->value;
}
CALLED stacked(int a, int b, int c, int d, int e, int f, int g, int h, s8 i, u16 j, struct two k, long l)
{
	seen[0] = h; seen[1] = i; seen[2] = j; seen[3] = k.b; seen[4] = k.e; seen[5] = l; seen[6] = k.d;
}
CALLED structs(struct one a, struct two b, struct big c, int d)
{
	seen[0] = a.a; seen[1] = a.b; seen[2] = a.c; seen[3] = b.a; seen[4] = b.b; seen[5] = b.c; seen[6] = b.d;
	seen[7] = b.e; seen[8] = c.a[2]; seen[9] = d;
}
CALLED mixed(int a, double b, struct floats c, int d, struct none e, float f, struct wide g, int h)
{
	seen[0] = a; seen[1] = d; seen[2] = h;
}
CALLED split(int a, int b, int c, int d, int e, int f, int g, struct two h, int i)
{
	seen[0] = g; seen[1] = h.a; seen[2] = h.e; seen[3] = i;
}
__attribute__((noipa)) s8 gives_s8(long a) { return a; }
__attribute__((noipa)) u16 gives_u16(long a) { return a; }
__attribute__((noipa)) struct two gives_two(long a) { return (struct two){ .b = a, .d = 9, .e = -a }; }
__attribute__((noipa)) bool gives_bool(long a) { return a & 2; }

char stack[65536] __attribute__((aligned(16)));
__asm__(".global _start\n_start: mov x0, #3 << 20\nmsr cpacr_el1, x0\nisb\n" /* floating point is not trapped */
	"adrp x0, stack\nadd x0, x0, :lo12:stack\nadd sp, x0, #16, lsl #12\nb begin\n");

static void evaluate(void);
volatile long dirty = 0x8123456789abcdef;

void begin(void)
{
	for (int i = 0; i < sizeof object; i++)
		((u8 *)&object)[i] = i * 37 + 0x91;
	object.self = &object; object.list = &first; object.name = "a name"; object.nowhere = 0; object.yes = 1;
	for (int i = 0; i < 16; i++)
		object.text[i] = "some text"[i < 9 ? i : 9];
	long d = dirty;
	narrow(d, d >> 8, d >> 3, d >> 5, 1, BLUE, d >> 4, d);
	wide(d, d, d, (void *)d, &first);
	stacked(1, 2, 3, 4, 5, 6, 7, d, d, d >> 7, (struct two){ 1, -2, 3, 12, d }, d >> 1);
	structs((struct one){ -5, d, 1 }, (struct two){ d, -2, 3, 12, d }, (struct big){ { 1, 2, d } }, d >> 9);
	mixed(d, 1.5, (struct floats){ 1, 2 }, d >> 2, (struct none){}, 2.5f, (struct wide){ d }, d >> 3);
	split(1, 2, 3, 4, 5, 6, d, (struct two){ d, 1, 2, 3, -d }, d >> 6);
	seen[0] = gives_s8(d); seen[1] = gives_u16(d); seen[2] = gives_bool(d);
	struct two two = gives_two(d);
	seen[3] = two.b; seen[4] = two.d; seen[5] = two.e;
	evaluate();
	for (;;)
		__asm__("wfi");
}

#define container_of(pointer, type, member) ((type *)((char *)(pointer) - __builtin_offsetof(type, member)))

long values[200];

static void evaluate(void)
{
	struct all *p = &object;
	(void)p;
#include "expressions.inc"
}
