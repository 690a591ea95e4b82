// SPDX-License-Identifier: GPL-2.0-or-later
// A small debugger for one child: hardware watchpoints, hardware breakpoints and single steps by ptrace(2).
//
// It prints a line for each stop of each case: the signal, si_code, si_addr, the PC and what is in memory at that
// moment. Addresses are offsets: `buffer+8` of what is watched, `+4` of the code of the case.
//
//     ptrace                  runs the cases
//     ptrace watch PROGRAM..  runs PROGRAM with a watchpoint on a word far down its stack that it never touches
//
// Numbers are hexadecimal. There is no C library: the names are those of Linux's include/uapi (asm-generic/unistd.h,
// linux/ptrace.h, linux/elf.h, asm-generic/siginfo.h) and arch/arm64/include/uapi/asm/ptrace.h (user_hwdebug_state).

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

enum { SYS_pipe2 = 59, SYS_read = 63, SYS_write = 64, SYS_exit = 93, SYS_ptrace = 117, SYS_kill = 129,
	SYS_rt_sigaction = 134, SYS_getpid = 172, SYS_clone = 220, SYS_execve = 221, SYS_wait4 = 260 };
enum { PTRACE_TRACEME = 0, PTRACE_PEEKDATA = 2, PTRACE_CONT = 7, PTRACE_SINGLESTEP = 9,
	PTRACE_GETSIGINFO = 0x4202, PTRACE_GETREGSET = 0x4204, PTRACE_SETREGSET = 0x4205 };
enum { NT_PRSTATUS = 1, NT_ARM_HW_BREAK = 0x402, NT_ARM_HW_WATCH = 0x403 };
enum { SIGKILL = 9, SIGUSR1 = 10, SIGCHLD = 17, SIGSTOP = 19 };
enum { LOAD = 1 << 3, STORE = 2 << 3, EL0 = 2 << 1, ENABLED = 1 << 0 };	// DBGWCR_EL1, as ptrace has it

struct hwdebug { u32 info, pad; struct { u64 address; u32 control, pad; } registers[16]; };
struct regs { u64 x[31], sp, pc, pstate; };
struct iovec { void *base; u64 size; };
struct siginfo { int signo, errno, code, pad; u64 address; u8 rest[104]; };

static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = 0;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}

// What is watched. Each of the last three is a page that nothing touches before its case does.
__attribute__((aligned(4096))) u8 buffer[4096];
__attribute__((aligned(4096))) u8 stored_first[4096], loaded_first[4096], read_first[4096];
int ends[2];	// of a pipe

static char text[512];
static int used;

static void say(const char *string) { while (*string) text[used++] = *string++; }

static void number(u64 value)
{
	int shift = 60;

	while (shift && !(value >> shift & 15)) shift -= 4;
	for (; shift >= 0; shift -= 4) text[used++] = "0123456789abcdef"[value >> shift & 15];
}

static void line(void)
{
	text[used++] = '\n';
	call(SYS_write, 1, (long)text, used, 0);
	used = 0;
}

// The code of the cases. x0 is the address that is watched; each ends with RET.
#define CODE(name, body) void name(u8 *watched); __asm__(".globl " #name "\n" #name ":\n" body "\nret\n");
CODE(store_1, "mov w1, #0xa5\n strb w1, [x0]")
CODE(store_2, "mov w1, #0xa5\n strh w1, [x0]")
CODE(store_4, "mov w1, #0xa5\n str w1, [x0]")
CODE(store_8, "mov x1, #0xa5\n str x1, [x0]")
CODE(load_4, "nop\n ldr w1, [x0]")
CODE(store_and_load, "mov w1, #0xa5\n str w1, [x0]\n ldr w2, [x0]")
CODE(load_and_store, "ldr w2, [x0]\n mov w1, #0xa5\n str w1, [x0]")
CODE(store_beside, "sub x0, x0, #1\n mov w1, #0xa5\n strb w1, [x0]\n strb w1, [x0, #2]")
CODE(store_over, "sub x0, x0, #4\n mov x1, #-1\n stur x1, [x0]")
CODE(store_pair, "sub x0, x0, #8\n mov x1, #0xa5\n stp x1, x1, [x0]")
CODE(load_pair_back, "sub x2, x0, #8\n ldp x3, x4, [x2], #16")
CODE(store_vector, "and x1, x0, #-16\n movi v0.16b, #0x5a\n st1 {v0.16b}, [x1]")
CODE(zero_block, "nop\n dc zva, x0")
CODE(store_twice, "mov w1, #0xa5\n str w1, [x0]\n str w1, [x0, #16]")
CODE(exclusive, "1: ldxr w1, [x0]\n add w1, w1, #1\n stxr w2, w1, [x0]\n cbnz w2, 1b")
CODE(plain, "mov x1, #1\n add x1, x1, #1\n b 1f\n nop\n 1: nop")
CODE(system_call, "mov x8, #172\n svc #0\n nop")
CODE(breakpoint, "nop\n brk #0\n nop")

// More than an instruction or two; what matters is at labels.
CODE(read_into, "mov x9, x0\n adrp x10, ends\n add x10, x10, :lo12:ends\n"
	"ldr w0, [x10, #4]\n adrp x1, buffer+64\n add x1, x1, :lo12:buffer+64\n mov x2, #4\n mov x8, #64\n svc #0\n"
	"ldr w0, [x10]\n mov x1, x9\n mov x2, #4\n mov x8, #63\n svc #0\n"
	"mov w1, #0xa5\n str w1, [x9]")
CODE(write_from, "mov x9, x0\n adrp x10, ends\n add x10, x10, :lo12:ends\n"
	"ldr w0, [x10, #4]\n mov x1, x9\n mov x2, #4\n mov x8, #64\n svc #0\n"
	"ldr w1, [x9]")
// The child that it forks stores first (CLONE_VFORK, and no SIGCHLD), then it does itself.
CODE(store_in_both, "mov x9, x0\n mov x0, #0x4000\n mov x1, #0\n mov x2, #0\n mov x3, #0\n mov x4, #0\n mov x8, #220\n svc #0\n"
	"mov x10, x0\n mov w1, #0xa5\n str w1, [x9]\n cbz x10, 1f\n"
	"mov x0, #-1\n mov x1, #0\n mov x2, #0x40000000\n mov x3, #0\n mov x8, #260\n svc #0\n ret\n"
	"1: mov x0, #0\n mov x8, #94\n svc #0")
CODE(handled, "nop\n nop\n nop")
CODE(handler, "nop\n nop")

static long trace(long request, int child, long address, void *data)
{
	return call(SYS_ptrace, request, child, address, (long)data);
}

static void registers_of(int child, struct regs *regs)
{
	struct iovec vector = { regs, sizeof *regs };

	trace(PTRACE_GETREGSET, child, NT_PRSTATUS, &vector);
}

static struct hwdebug debug;

// What is in `debug`, `count` registers of it, or as many that are disabled.
static long set_debug(int child, int kind, int count, int enabled)
{
	struct iovec vector = { &debug, 8 + 16 * count };
	long result;
	int at;

	for (at = 0; at < count; at++) debug.registers[at].control = (debug.registers[at].control & ~1u) | enabled;
	result = trace(PTRACE_SETREGSET, child, kind, &vector);
	if (result) { say("  set: error "); number(-result); line(); }
	return result;
}

struct test { const char *name; void (*code)(u8 *); u8 *watched; };

static void where(const struct test *test, u64 address)
{
	u64 code = (u64)test->code, data = (u64)test->watched & -4096ul;

	if (address - (u64)handler <= 8) { say("handler+"); number(address - (u64)handler); }
	else if (address - code < 128) { text[used++] = '+'; number(address - code); }
	else if (address - data < 4096) { say("buffer+"); number(address - data); }
	else say("elsewhere");
}

// Wait for the child and print how it stopped; whether it has.
static int stopped(const struct test *test, int child, const char *what)
{
	struct siginfo info;
	struct regs regs;
	u64 value = 0;
	int status;

	call(SYS_wait4, child, (long)&status, 0, 0);
	say(test->name); text[used++] = ' '; say(what); say(": ");
	if ((status & 0x7f) == 0) { say("exit "); number(status >> 8); line(); return 0; }
	if ((status & 0xff) != 0x7f) { say("killed "); number(status & 0x7f); line(); return 0; }
	trace(PTRACE_GETSIGINFO, child, 0, &info);
	registers_of(child, &regs);
	trace(PTRACE_PEEKDATA, child, (long)test->watched & -8, &value);
	say("signal="); number(info.signo);
	say(" code="); number(info.code);
	if (info.code > 0 && info.code < 5) { say(" addr="); where(test, info.address); }
	say(" pc="); where(test, regs.pc);
	say(" value="); number(value);
	line();
	return 1;
}

// A child of its own that stops before the code of the test.
static int start(const struct test *test)
{
	int child, status;
	struct { void (*handler)(u8 *); u64 flags, restorer, mask; } action = { handler, 0, 0, 0 };

	child = call(SYS_clone, SIGCHLD, 0, 0, 0);
	if (child == 0) {
		trace(PTRACE_TRACEME, 0, 0, 0);
		call(SYS_rt_sigaction, SIGUSR1, (long)&action, 0, 8);
		call(SYS_kill, call(SYS_getpid, 0, 0, 0, 0), SIGSTOP, 0, 0);
		test->code(test->watched);
		call(SYS_exit, 0, 0, 0, 0);
	}
	call(SYS_wait4, child, (long)&status, 0, 0);
	return child;
}

// Let it run to its end; where it stops for ever, as at a BRK, end it.
static void go_on(const struct test *test, int child, const char *what)
{
	int at, status;

	for (at = 0; at < 2; at++) {
		trace(PTRACE_CONT, child, 0, 0);
		if (!stopped(test, child, what)) return;
	}
	call(SYS_kill, child, SIGKILL, 0, 0);
	call(SYS_wait4, child, (long)&status, 0, 0);
}

// Stop at what the first `count` registers of `debug` say, step over each, at most four times; then without.
static void run(const struct test *test, int kind, int count)
{
	int child = start(test), stops;

	set_debug(child, kind, count, 1);
	for (stops = 0; stops < 4; stops++) {
		trace(PTRACE_CONT, child, 0, 0);
		if (!stopped(test, child, "stop")) return;
		set_debug(child, kind, count, 0);
		trace(PTRACE_SINGLESTEP, child, 0, 0);
		if (!stopped(test, child, "step")) return;
		set_debug(child, kind, count, 1);
	}
	set_debug(child, kind, count, 0);
	go_on(test, child, "unwatched");
}

static void set(int at, u8 *address, u32 access, int size)
{
	u64 alignment = access ? 8 : 4;	// as gdb does; BAS names the bytes

	debug.registers[at].address = (u64)address & -alignment;
	debug.registers[at].control = access | EL0 | ENABLED | ((1u << size) - 1) << 5 << ((u64)address & (alignment - 1));
}

static void watch(const char *name, void (*code)(u8 *), u8 *watched, u32 access, int size)
{
	struct test test = { name, code, watched };

	set(0, watched, access, size);
	run(&test, NT_ARM_HW_WATCH, 1);
}

static void break_at(const char *name, void (*code)(u8 *), int offset)
{
	struct test test = { name, code, buffer };

	set(0, (u8 *)code + offset, 0, 4);
	run(&test, NT_ARM_HW_BREAK, 1);
}

// Step into the code of the test and `count` instructions of it, the first step with `signal`.
static void step(const char *name, void (*code)(u8 *), int count, long signal)
{
	struct test test = { name, code, buffer };
	int child = start(&test), at;

	set(0, (u8 *)code, 0, 4);
	set_debug(child, NT_ARM_HW_BREAK, 1, 1);
	trace(PTRACE_CONT, child, 0, 0);
	stopped(&test, child, "begin");
	set_debug(child, NT_ARM_HW_BREAK, 1, 0);
	for (at = 0; at < count; at++) {
		trace(PTRACE_SINGLESTEP, child, 0, (void *)(at ? 0 : signal));
		if (!stopped(&test, child, "step")) return;
	}
	go_on(&test, child, "end");
}

static void slots(const char *name, int kind)
{
	struct test test = { name, plain, buffer };
	struct iovec vector = { &debug, sizeof debug };
	int child = start(&test);

	trace(PTRACE_GETREGSET, child, kind, &vector);
	say(name); say(" slots="); number(debug.info & 0xff); say(" arch="); number(debug.info >> 8 & 0xff); line();
	go_on(&test, child, "end");
}

static void cases(void)
{
	u8 *word = buffer + 8;
	struct test test = { "two", store_twice, word };
	int child, at;

	call(SYS_pipe2, (long)ends, 0, 0, 0);
	slots("watch_slots", NT_ARM_HW_WATCH);
	slots("break_slots", NT_ARM_HW_BREAK);

	watch("write_1", store_1, word, STORE, 1);
	watch("write_2", store_2, word, STORE, 2);
	watch("write_4", store_4, word, STORE, 4);
	watch("write_8", store_8, word, STORE, 8);
	watch("write_1_at_3", store_1, word + 3, STORE, 1);
	watch("write_2_at_6", store_2, word + 6, STORE, 2);
	watch("write_3_at_2", store_4, word + 2, STORE, 3);
	watch("write_4_at_4", store_4, word + 4, STORE, 4);
	watch("write_of_load", load_4, word, STORE, 4);
	watch("read_4", load_4, word, LOAD, 4);
	watch("read_of_store_and_load", store_and_load, word, LOAD, 4);
	watch("access_4", load_and_store, word, LOAD | STORE, 4);
	watch("beside", store_beside, word + 1, LOAD | STORE, 1);
	watch("over", store_over, buffer + 20, STORE, 1);
	watch("pair_second", store_pair, buffer + 24, STORE, 8);
	watch("pair_loaded", load_pair_back, buffer + 24, LOAD, 8);
	watch("vector", store_vector, buffer + 36, STORE, 4);
	watch("zva", zero_block, buffer + 0x148, STORE, 4);
	watch("exclusive_load", exclusive, word, LOAD, 4);
	watch("exclusive_store", exclusive, word, STORE, 4);

	set(0, word, STORE, 4);
	set(1, word + 16, STORE, 4);
	run(&test, NT_ARM_HW_WATCH, 2);

	watch("untouched_write", store_4, stored_first + 0x20, STORE, 4);
	watch("untouched_read", load_4, loaded_first + 0x20, LOAD, 4);
	watch("untouched_by_kernel", read_into, read_first + 0x20, STORE, 4);
	watch("kernel_writes", read_into, word, LOAD | STORE, 4);
	watch("kernel_reads", write_from, word, LOAD | STORE, 4);
	watch("fork", store_in_both, word, STORE, 4);

	// Not disabled to go on: it stops there again.
	test = (struct test){ "again", store_4, word };
	set(0, word, STORE, 4);
	child = start(&test);
	set_debug(child, NT_ARM_HW_WATCH, 1, 1);
	for (at = 0; at < 2; at++) { trace(PTRACE_CONT, child, 0, 0); stopped(&test, child, "stop"); }
	trace(PTRACE_SINGLESTEP, child, 0, 0);
	stopped(&test, child, "step");
	set_debug(child, NT_ARM_HW_WATCH, 1, 0);
	go_on(&test, child, "end");

	break_at("break", plain, 4);
	break_at("break_first", plain, 0);
	break_at("break_branched_to", plain, 16);
	break_at("break_jumped_over", plain, 12);
	break_at("break_after_svc", system_call, 8);

	step("step_plain", plain, 4, 0);
	step("step_svc", system_call, 4, 0);
	step("step_exclusive", exclusive, 7, 0);
	step("step_brk", breakpoint, 2, 0);
	step("step_to_handler", handled, 3, SIGUSR1);

	// The step ends at a breakpoint, and begins at a watched store.
	test = (struct test){ "step_to_break", plain, word };
	child = start(&test);
	set(0, (u8 *)plain, 0, 4);
	set(1, (u8 *)plain + 4, 0, 4);
	set_debug(child, NT_ARM_HW_BREAK, 2, 1);
	trace(PTRACE_CONT, child, 0, 0);
	stopped(&test, child, "stop");
	set(0, (u8 *)plain + 8, 0, 4);
	set_debug(child, NT_ARM_HW_BREAK, 2, 1);
	for (at = 0; at < 2; at++) { trace(PTRACE_SINGLESTEP, child, 0, 0); stopped(&test, child, "step"); }
	set_debug(child, NT_ARM_HW_BREAK, 2, 0);
	go_on(&test, child, "end");
}

static long run_watched(char **program)
{
	int child, status;
	struct regs regs;

	child = call(SYS_clone, SIGCHLD, 0, 0, 0);
	if (child == 0) {
		trace(PTRACE_TRACEME, 0, 0, 0);
		call(SYS_execve, (long)program[0], (long)program, 0, 0);
		call(SYS_exit, 127, 0, 0, 0);
	}
	call(SYS_wait4, child, (long)&status, 0, 0);
	registers_of(child, &regs);
	set(0, (u8 *)((regs.sp & -4096ul) - 0x20000), LOAD | STORE, 8);
	set_debug(child, NT_ARM_HW_WATCH, 1, 1);
	trace(PTRACE_CONT, child, 0, 0);
	for (;;) {
		call(SYS_wait4, child, (long)&status, 0, 0);
		if ((status & 0xff) != 0x7f) return status >> 8 & 0xff;
		trace(PTRACE_CONT, child, 0, (void *)(long)(status >> 8 & 0xff));
	}
}

__attribute__((used)) void begin(long *stack)
{
	if (stack[0] > 2) call(SYS_exit, run_watched((char **)stack + 3), 0, 0, 0);
	cases();
	call(SYS_exit, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov x0, sp\n b begin\n");
