/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs one engine by blocks of code, counts instructions exactly, and takes the exceptions that nobody claims.
 *
 * Unicorn calls `on_block` at the start of each block of straight-line code, with its size. So the count is that of
 * the blocks that have ended, and the place in the block under way. A run ends before a block that would pass its
 * limit. The rest of the run ends at an exit: an address at which Unicorn ends a translated block (see
 * `breakpoints.py`).
 *
 * The count is of the guest's own instructions. Code of the machine's own does not count, except for an instruction
 * that stands for one of the guest's, and no run ends for its limit or an interrupt there: see `is_own`.
 */
#include <string.h>

#include "core.h"
#include "devices.h"

#define UC_CTL_EXITS UC_CTL_WRITE(6, 2)
enum { UC_ERR_FETCH_UNMAPPED = 8, UC_ERR_FETCH_PROT = 14 };
#define WFI 0xD503207Fu

/* The numbers with which Unicorn announces an exception (QEMU's EXCP_ numbers). */
enum raised { UNDEFINED = 1, SVC = 2, PREFETCH_ABORT = 3, DATA_ABORT = 4, BREAKPOINT = 7, HVC = 11, SMC = 13 };
/* Kinds of exceptions, as offsets in each of the vectors' four groups (D1.3.1). */
enum kind { SYNCHRONOUS = 0, IRQ = 0x80, FIQ = 0x100 };
/* Exception classes, ESR_EL1.EC (Arm ARM, D19.2.37). */
enum class {
    EC_WFX = 0x01,
    EC_SVC = 0x15,
    EC_FETCH_LOWER = 0x20,
    EC_FETCH = 0x21,
    EC_DATA_LOWER = 0x24,
    EC_DATA = 0x25,
    EC_STEP_LOWER = 0x32,
    EC_STEP = 0x33,
    EC_BRK = 0x3C,
};

/* The fault status of an abort, but for the level of the table (D19.2.37). */
enum { FSC_TYPE = 0x3C, FSC_TRANSLATION = 0x04 };
#define TABLE 0xFFFFFFFFF000u /* TTBR1_EL1.BADDR */

/* Have the engine compute again what it derives from PSTATE and the system registers. */
ARMPROBE_EXPORT void armprobe_refresh(struct core *core)
{
    if (core->rebuild)
        core->rebuild(core->cpu);
    else /* writing a system register does that, too */
        core->reg_write(core->uc, core->cp_reg, &core->refreshed);
}

static void stop(struct core *core, enum end why)
{
    core->why = why;
    core->emu_stop(core->uc);
}

/* After an exception that was handled here: end the run if that was asked for. */
static void stop_if_asked(struct core *core)
{
    if (core->ends || core->interrupting)
        core->emu_stop(core->uc);
}

/* The ends of slices in a run, and the length of a run in slices, after which Python looks for signals and input. */
enum { MOST_SLICES = 1000, MOST_IN_A_ROW = 4 };

/* Steps aside in a row, at one count. More of them count, so that every run ends; a trampoline takes some 100. */
enum { MOST_ASIDE = 1000 };

static const uint64_t *borrowed(const struct core *core, uint64_t pc)
{
    uint64_t first = first_from(core->borrowed, core->borrowed_count, pc);
    return first < core->borrowed_count && core->borrowed[first] == pc ? &core->borrowed[first] : NULL;
}

/* Whether the instruction at `pc` is code of the machine's own, which the guest executes in place of or beside its
 * own. */
static bool is_own(const struct core *core, uint64_t pc)
{
    if (pc - core->own < core->own_size)
        return core->roles[(pc - core->own) / 4] != ROLE_NONE;
    return borrowed(core, pc) != NULL;
}

/* One more step aside: a block of the machine's own code, or a breakpoint. False if there were too many to be free. */
static bool free_step(struct core *core)
{
    if (core->base != core->aside_base) {
        core->aside_base = core->base;
        core->aside = 0;
    }
    return ++core->aside <= MOST_ASIDE;
}

/* Whether a run does not end at `pc`, after `now` instructions, because it is in the midst of the machine's own
 * code. */
ARMPROBE_EXPORT bool armprobe_is_aside(const struct core *core, uint64_t now, uint64_t pc)
{
    return is_own(core, pc) && (now != core->aside_base || core->aside <= MOST_ASIDE);
}

static bool is_aside(const struct core *core, uint64_t pc)
{
    return armprobe_is_aside(core, core->base, pc);
}

/* The instructions of the guest's that a block of the machine's own code stands for: 1 or 0. */
static uint64_t stands_for(const struct core *core, uint64_t pc)
{
    if (pc - core->own < core->own_size)
        return core->roles[(pc - core->own) / 4] == ROLE_STANDS;
    /* a copied instruction and the branch behind it */
    return !((borrowed(core, pc) - core->borrowed) & 1);
}

/* Whether the interrupt that the GIC signals would be taken now. */
static bool interrupted(struct core *core)
{
    return core->irq && !(*core_u32(core, core->layout.daif) & core->mask);
}

static void set_limit(struct core *core)
{
    core->limit = core->irq || core->framed || core->shows ? 0 : core->hard;
}

/* The machine's own memory is mapped by an entry of the guest's table that is there only while the engine walks the
 * tables: the guest, which may read them, never finds it. The engine keeps the translation in its TLB. Where it has
 * been dropped from there, an access faults, is made again with the entry in place, and the entry is taken away at the
 * start of a block. Returns whether the fault at `address` is such a one. `during` is the blocks begun meanwhile. */
static bool show_own(struct core *core, uint64_t address, uint32_t during)
{
    uint64_t at = (*core_u64(core, core->layout.ttbr1_el1) & TABLE) + core->own_offset, there;

    if (!core->own_descriptor || core->shown || address - core->own >= core->own_size)
        return false;
    if (core->mem_read(core->uc, at, &there, sizeof there) || there)
        return false;
    core->mem_write(core->uc, at, &core->own_descriptor, sizeof there);
    core->shown = at;
    core->shows = during + 1;
    set_limit(core);
    return true;
}

static void hide_own(struct core *core)
{
    const uint64_t none = 0;
    if (core->shown)
        core->mem_write(core->uc, core->shown, &none, sizeof none);
    core->shown = core->shows = 0;
    set_limit(core);
}

/* Drop translated code. The engine translates the address: the entry for the machine's own memory must be there. */
static void forget(struct core *core, uint64_t first, uint64_t end)
{
    bool shown = show_own(core, first, 0);
    core_forget(core, first, end - first);
    if (shown)
        hide_own(core);
}

/* The guest enters code of the machine's own that uses its stack: keep what is there. */
static void keep_frame(struct core *core)
{
    load(core);
    core->frame_sp = core_x(core)[31] + core->frame_lowered;
    core->frame_base = core->base;
    uint64_t frame = core->frame_sp - core->frame_size;
    core->framed = !core->vmem_read(core->uc, frame, UC_PROT_READ, core->frame, core->frame_size);
    set_limit(core);
}

/* The guest is back: put back what was on its stack, unless it has executed something meanwhile, as in a call. */
static void put_back_frame(struct core *core)
{
    load(core);
    if (core->base == core->frame_base && core_x(core)[31] == core->frame_sp)
        core->vmem_write(core->uc, core->frame_sp - core->frame_size, UC_PROT_WRITE, core->frame, core->frame_size);
    core->framed = false;
    set_limit(core);
}

/* A block of the machine's own code, or that would pass the limit, which is 0 while an interrupt is pending. Returns
 * whether it is executed. */
static bool look(struct core *core, uint64_t pc, uint64_t base, uint64_t count)
{
    core->base = base;
    core->count = 0;
    if (core->shows && !--core->shows)
        hide_own(core);
    if (is_own(core, pc)) {
        if (base <= core->hard && free_step(core)) {
            core->block = pc;
            core->count = stands_for(core, pc);
            if (core->frame_size && pc == core->frame_entry)
                keep_frame(core);
            return true;
        }
    } else if (core->framed) {
        put_back_frame(core);
    }
    if (core->irq && !core->exact) { /* an access that has been made already completes first */
        load(core);
        if (interrupted(core)) {
            stop(core, END_INTERRUPT);
            return false;
        }
    }
    if (base + count > core->hard) {
        stop(core, END_LIMIT);
        return false;
    }
    if (is_own(core, pc))
        core->aside_base = base + count; /* what follows is no more free than this */
    core->block = pc;
    core->count = count;
    return true;
}

/* A block that `on_block` does not see to at once. */
static __attribute__((noinline)) void inspect(struct core *core, uint64_t pc, uint64_t base, uint64_t count)
{
    if (base + count > core->limit || pc - core->own < core->own_size || core->borrowed_count) {
        if (!look(core, pc, base, count))
            return;
    } else {
        core->base = base;
        core->block = pc;
        core->count = count;
    }
    if (core->functions)
        functions_in_block(core, pc, count);
}

static void on_block(void *uc, uint64_t pc, uint32_t size, void *user)
{
    (void)uc;
    struct core *core = user;
    uint64_t base = core->base + core->count, count = size / 4;
    if (__builtin_expect(base + count > core->limit || pc - core->own < core->own_size || core->inspects, 0)) {
        inspect(core, pc, base, count);
        return;
    }
    core->base = base;
    core->block = pc;
    core->count = count;
}

/* The count is that before the block under way, and of `instructions` of it. The block is over. */
static void settle(struct core *core, uint64_t instructions)
{
    core->base += instructions < core->count ? instructions : core->count;
    core->count = 0;
}

/* Settle with all instructions before `pc` executed, and with the whole block if `pc` is not in it. */
static void settle_before(struct core *core, uint64_t pc)
{
    settle(core, pc - core->block < 4 * core->count ? (pc - core->block) / 4 : core->count);
}

/* Settle at a breakpoint in front of an instruction: it does not count, except after many without an instruction. */
static void settle_at_breakpoint(struct core *core, uint64_t pc)
{
    settle_before(core, pc);
    if (!free_step(core))
        core->aside_base = ++core->base;
}

static uint32_t word_at(struct core *core, uint64_t pc)
{
    uint32_t word = 0;
    return core->vmem_read(core->uc, pc, UC_PROT_EXEC, &word, 4) ? 0 : word;
}

/* The address in EL1's vectors for the kind of exception at offset `kind` in each of their four groups. */
static uint64_t vector(const struct core *core, uint32_t kind)
{
    uint32_t pstate = core_pstate(core);
    return *core_u64(core, core->layout.vbar_el1) + (!(pstate & 0xC) ? 0x400 : pstate & 1 ? 0x200 : 0) + kind;
}

/* Enter EL1's vector for an exception (Arm ARM, D1.3, AArch64.TakeException); as `exceptions.enter` does. */
static void enter(struct core *core, uint32_t kind)
{
    const struct layout *at = &core->layout;
    uint64_t *x = core_x(core), to = vector(core, kind);
    uint32_t before = core_pstate(core), kept = before & PSTATE_PAN;

    *core_u64(core, at->spsr_el1) = before;
    *core_u64(core, at->elr_el1) = x[32];
    if (!(before & 1)) {
        *core_u64(core, at->sp_el0) = x[31];
        x[31] = *core_u64(core, at->sp_el1);
    }
    if (core->pan && !(*core_u64(core, at->sctlr_el1) & SCTLR_SPAN))
        kept = PSTATE_PAN;
    *core_u32(core, at->daif) = DAIF;
    *core_u32(core, at->btype) = 0;
    *core_u32(core, at->pstate) = EL1H | kept; /* NZCV are kept apart, and stay */
    x[32] = to;
    store(core);
    armprobe_refresh(core);
}

/* Enter it for a synchronous exception. */
static void enter_synchronous(struct core *core, uint32_t syndrome, bool far)
{
    *core_u64(core, core->layout.esr_el1) = syndrome;
    if (far)
        *core_u64(core, core->layout.far_el1) = *core_u64(core, core->layout.fault_address);
    enter(core, SYNCHRONOUS);
}

static void set_exits(struct core *core, bool with_own)
{
    uint64_t exits[core->exit_count + 1];
    for (uint64_t i = 0; i < core->exit_count; i++)
        exits[i] = core->exits[i];
    exits[core->exit_count] = core->exit_at;
    core->ctl(core->uc, UC_CTL_EXITS, exits, (size_t)(core->exit_count + with_own));
}

/* Whether there is an exit at a breakpoint. */
static bool is_exit(const struct core *core, uint64_t pc)
{
    for (uint64_t i = 0; i < core->exit_count; i++)
        if (core->exits[i] == pc)
            return true;
    return false;
}

/* The guest has executed WFI. False if Python is to see to it: at a breakpoint, and where the guest traps it. */
static bool waits(struct core *core, uint64_t pc)
{
    bool trapped = !(core_pstate(core) & 0xC) && !(*core_u64(core, core->layout.sctlr_el1) & SCTLR_NTWI);
    if (trapped || core->slot_running || is_exit(core, pc + 4))
        return false;
    core_x(core)[32] = pc + 4;
    *core_u32(core, core->layout.pstate) &= ~(uint32_t)PSTATE_SS; /* the WFI has been stepped */
    store(core);
    core->waiting = true;
    stop(core, END_WAIT);
    return true;
}

/* A trapped WFI: the guest's own, or an exit, which Unicorn makes one, 4 bytes before the exit. True if it is over. */
static bool at_exit(struct core *core, uint64_t pc)
{
    uint64_t target = pc + 4;
    bool last = core->count && pc == core->block + 4 * (core->count - 1);
    if (last && word_at(core, pc) == WFI) {
        settle(core, core->count);
        return waits(core, pc);
    }
    settle_before(core, target);
    if (core->exiting && target == core->exit_at) {
        core_x(core)[32] = target;
        store(core);
        /* Unicorn drops the blocks at the exits that there are when a run ends. */
        core->exiting = false;
        set_exits(core, false);
        stop(core, END_EXIT);
        return true;
    }
    if (is_exit(core, target))
        return false;
    /* Code with an exit that has been taken away since, the engine's own or one of another address space. */
    core_x(core)[32] = target;
    store(core);
    forget(core, pc, target + 4);
    return true;
}

/* Python has handled an exception, and an instruction is to be executed out of line. */
static void slot_begins(struct core *core)
{
    const struct slot *slot = core->slot;
    uint32_t *daif = core_u32(core, core->layout.daif);
    core->slot = NULL;
    core->slot_running = slot;
    core->slot_daif = *daif;
    *daif = (*daif | slot->sets) & ~slot->clears;
    core_x(core)[32] = slot->start;
}

/* It has been executed, and nobody wants to know. */
static void slot_ends(struct core *core)
{
    const struct slot *slot = core->slot_running;
    uint32_t *daif = core_u32(core, core->layout.daif);
    core->slot_running = NULL;
    *daif = (*daif & ~slot->restores) | (core->slot_daif & slot->restores);
    core_x(core)[32] = slot->next;
    store(core);
    stop_if_asked(core);
}

/* Something else comes before its end, which Python sees to now. */
static void leave_slot(struct core *core)
{
    if (core->slot_running) {
        core->slot_running = NULL;
        core->slot_left = true;
    }
}

static void on_exception(void *uc, uint32_t number, void *user)
{
    struct core *core = user;
    load(core);
    uint64_t pc = core_x(core)[32];
    uint32_t syndrome = *core_u32(core, core->layout.syndrome), class = syndrome >> 26;

    if ((syndrome & FSC_TYPE) == FSC_TRANSLATION &&
        ((number == PREFETCH_ABORT && class == EC_FETCH) || (number == DATA_ABORT && class == EC_DATA)) &&
        show_own(core, *core_u64(core, core->layout.fault_address), number == DATA_ABORT)) {
        settle(core, number == DATA_ABORT ? (pc - core->block) / 4 : core->count);
        return;
    }
    if (number == UNDEFINED && class == EC_WFX) {
        if (at_exit(core, pc))
            return;
    } else if (number == SVC || number == HVC || number == SMC) {
        settle(core, (pc - core->block) / 4); /* the PC is behind the instruction */
    } else if (number == BREAKPOINT && syndrome == core->uncounted) {
        settle_at_breakpoint(core, pc);
    } else if (number == PREFETCH_ABORT || class == EC_STEP_LOWER || class == EC_STEP) {
        settle(core, core->count);
    } else {
        settle(core, (pc - core->block) / 4 + 1);
    }
    const struct slot *slot = core->slot_running;
    if (slot && pc == slot->start + 4 && syndrome == slot->brk) {
        slot_ends(core);
        return;
    }
    if (class == EC_BRK && core_brk(core, pc, syndrome & 0xFFFF)) {
        store(core);
        stop_if_asked(core);
        return;
    }
    if (!core->ends && !core->interrupting && !(pc & 3)) {
        bool taken = (number == SVC && class == EC_SVC) || (number == DATA_ABORT && class == EC_DATA_LOWER) ||
                     (number == DATA_ABORT && class == EC_DATA && !core->faults_claimed) ||
                     (number == PREFETCH_ABORT && class == EC_FETCH_LOWER && !core->exiting && !core->exit_count);
        if (taken) {
            enter_synchronous(core, syndrome, number != SVC);
            return;
        }
    }
    leave_slot(core);
    core->handling = core->called = true;
    enum after after = core->raised(number, syndrome);
    core->handling = false;
    if (core->slot)
        slot_begins(core);
    store(core);
    if (after == AFTER_END)
        core->emu_stop(uc);
    else if (after == AFTER_LOOK)
        stop_if_asked(core);
}

ARMPROBE_EXPORT uint64_t armprobe_executed(struct core *core)
{
    if (!core->count)
        return core->base;
    load(core);
    return core_executed(core, core_x(core)[32]);
}

/* In a hook of an instruction that is not to be executed: end the run before it. */
ARMPROBE_EXPORT void armprobe_stop_before(struct core *core)
{
    load(core);
    settle_before(core, core_x(core)[32]);
    core->emu_stop(core->uc);
}

/* Does nothing. With any hook there, the engine looks for a request to stop before the instruction. */
ARMPROBE_EXPORT void armprobe_on_check(void *uc, uint64_t pc, uint32_t size, void *user)
{
    (void)uc, (void)pc, (void)size, (void)user;
}

/* Call `callback` with `user` before each instruction at `address`. */
ARMPROBE_EXPORT int armprobe_hook_code(const struct core *core, size_t *hook, void *callback, void *user,
                                       uint64_t address)
{
    return core->hook_add(core->uc, hook, UC_HOOK_CODE, callback, user, address, address);
}

/* Let the run under way go on for `count` instructions at most. Only for hooks. */
ARMPROBE_EXPORT void armprobe_limit(struct core *core, uint64_t count)
{
    if (core->accessing && !core->exact) { /* the place in the block is not known */
        core->ends_after_access = true;
        return;
    }
    uint64_t end = armprobe_executed(core) + count;
    if (end < core->hard)
        core->hard = end;
    set_limit(core);
}

/* Run from `pc`, until `exit` if `exiting`. The count is settled afterwards. Returns Unicorn's error.
 *
 * The block that ends at an exit of the core's own stays translated (`at_exit` sees to it where it is executed
 * without the exit), because a step is often followed by the same step: `stepped` are the addresses of blocks of one
 * instruction.
 */
static int go(struct core *core, uint64_t pc, bool exiting, uint64_t exit)
{
    core->why = END_OTHER;
    core->whole = false;
    core->exiting = exiting;
    core->exit_at = exit;
    if (exiting) {
        uint64_t *stepped = &core->stepped[pc / 4 % STEPPED];
        set_exits(core, true);
        if (exit != pc + 4 || *stepped != pc)
            forget(core, pc, exit);
        *stepped = exit == pc + 4 ? pc : 0;
        core->any_stepped = true;
    } else if (core->any_stepped) {
        memset(core->stepped, 0, sizeof core->stepped);
        core->any_stepped = false;
    }
    int error = core->emu_start(core->uc, pc, 0, 0, 0);
    if (core->exiting) {
        core->exiting = false;
        set_exits(core, false);
    }
    load(core);
    pc = core_x(core)[32];
    if (error == UC_ERR_FETCH_UNMAPPED || error == UC_ERR_FETCH_PROT || core->whole)
        settle(core, core->count);
    else if (error) /* the instruction counts, as one that faults does */
        settle(core, (pc - core->block) / 4 + 1);
    else
        settle_before(core, pc);
    return error;
}

/* Follow what the GIC signals. */
static void follow_signal(struct core *core)
{
    uint32_t signal = armprobe_gic_signal(core->interface);
    core->irq = signal != GIC_NONE;
    core->mask = signal == GIC_FIQ ? PSTATE_F : PSTATE_I;
    set_limit(core);
}

/* The generic timer's count at which a timer or a device acts next, after `now`; TIMER_NEVER for none. */
static uint64_t next_deadline(const struct core *core, uint64_t now)
{
    uint64_t next = core->deadline;
    for (int i = 0; i < 2; i++) {
        uint64_t deadline = armprobe_timer_deadline(core->timers[i]);
        if (deadline > now && deadline < next)
            next = deadline;
    }
    return next;
}

/* Drive the timers' lines. A guest that waits is given the time until the next interrupt is pending. False if Python
 * has to see to something: a device, or a guest that waits for good. */
static bool update_time(struct core *core)
{
    for (;;) {
        uint64_t now = core_ticks(core, core->base);
        if (core->deadline <= now || ++core->slices > MOST_SLICES)
            return false;
        for (int i = 0; i < 2; i++)
            armprobe_timer_update(core->timers[i], now);
        follow_signal(core);
        if (!core->waiting || core->irq)
            break;
        uint64_t next = next_deadline(core, now);
        if (next == TIMER_NEVER)
            return false;
        *core->idle += next - now;
    }
    core->waiting = false;
    return true;
}

/* Between two slices, do what Python would do there (`Scheduler._look_up`, `RunLoop.slice`). If it may have more to do,
 * such as after a call, return false: it goes on from any of these states as from the end of a slice. */
static bool next_slice(struct core *core)
{
    if (!core->slice || core->called || core->ends || core->interrupting || core->watching || core->slot_running ||
        core->base >= core->end || core->base - core->begin >= MOST_IN_A_ROW * core->slice)
        return false;
    uint64_t pc = core_x(core)[32];
    if (core->framed && !is_own(core, pc))
        put_back_frame(core);
    hide_own(core);
    if (core->recorder && core->running == 1)
        armprobe_places_settle(core->recorder, core->base);
    if (!update_time(core))
        return false;
    bool taken = interrupted(core) && !is_aside(core, pc);
    uint32_t kind = core->mask == PSTATE_F ? FIQ : IRQ;
    if (core->exit_count && is_exit(core, taken ? vector(core, kind) : pc))
        return false;
    if (taken) {
        enter(core, kind);
        core->irq = 0; /* until the guest has acknowledged it: an access to the GIC follows the signal again */
    }
    core->hard = core->base + core->slice < core->end ? core->base + core->slice : core->end;
    uint64_t next = next_deadline(core, core_ticks(core, core->base));
    if (next - *core->idle < core->hard)
        core->hard = next - *core->idle;
    set_limit(core);
    return true;
}

/* Run up to `count` instructions from `pc`, after `now` instructions, and further slices up to the count `end` while
 * Python has nothing to do between them. Returns Unicorn's error.
 *
 * A hook may call this: for the run that is under way then, the instructions of the inner run count before its
 * block. */
ARMPROBE_EXPORT int armprobe_run(struct core *core, uint64_t now, uint64_t pc, uint64_t count)
{
    hide_own(core);
    const struct core outer = *core;

    core->running++;
    core->begin = core->base = now;
    core->count = core->slices = 0;
    core->called = false;
    core->hard = core->base + count;
    set_limit(core);
    core->redo = core->exact = core->ends_after_access = core->handling = core->accessing = false;
    int error = go(core, pc, count == 1 && !is_aside(core, pc), pc + 4);
    while (!error) {
        load(core);
        uint64_t *x = core_x(core);
        if (core->redo) {
            /* An access to a device that ends the run, or that takes place at an exact time: Unicorn has gone back to
             * its instruction, which is executed again, alone. */
            core->redo = false;
            memcpy(x, core->saved, sizeof core->saved);
            store(core);
            core->exact = true;
            error = go(core, x[32], true, x[32] + 4);
            core->exact = core->replay = false;
            if (core->why != END_EXIT || core->ends_after_access)
                break;
        }
        if (core->why == END_OTHER)
            break;
        bool over = core->base > core->hard || (core->base == core->hard && !is_aside(core, x[32]));
        if (over || core->why == END_INTERRUPT || core->why == END_WAIT) {
            if (!next_slice(core))
                break;
            error = go(core, x[32], false, 0);
        } else if (core->why == END_LIMIT) {
            error = go(core, x[32], true, x[32] + 4 * (core->hard - core->base));
        } else {
            error = go(core, x[32], false, 0);
        }
    }
    if (core->framed && !is_own(core, core_x(core)[32]))
        put_back_frame(core);
    hide_own(core);
    core->running--;
    leave_slot(core);
    core->ended = core->base;
    core->executed = core->base - core->begin;
    core->base = outer.base + core->executed;
    core->begin = outer.begin, core->hard = outer.hard, core->block = outer.block, core->count = outer.count;
    set_limit(core);
    core->called = outer.called, core->slices = outer.slices;
    core->why = outer.why, core->whole = outer.whole, core->exiting = outer.exiting, core->exit_at = outer.exit_at;
    core->handling = outer.handling, core->accessing = outer.accessing, core->exact = outer.exact;
    core->redo = outer.redo, core->replay = outer.replay, core->ends_after_access = outer.ends_after_access;
    return error;
}

/* Devices. */

/* In a callback of a device: have the instruction executed again, alone, with its own count. */
static void again(struct core *core)
{
    load(core);
    memcpy(core->saved, core_x(core), sizeof core->saved);
    core->redo = true;
    core->emu_stop(core->uc);
}

/* The timer whose register that is, or NULL. */
static struct timer *timer_of(const struct core *core, const struct cp_reg *which)
{
    bool is_timer = which->op0 == 3 && which->op1 == 3 && which->crn == 14 && which->crm >> 1 == 1 && which->op2 <= 2;
    return is_timer ? core->timers[which->crm & 1] : NULL;
}

static bool is_counter(const struct cp_reg *which)
{
    return which->op0 == 3 && which->op1 == 3 && which->crn == 14 && which->crm == 0 && 1 << which->op2 & 0x66;
}

/* An MRS. `user` is a `struct site`; `destination` is Unicorn's number. EL0's accesses are trapped by the CPU
 * itself. */
static uint32_t on_mrs(void *uc, int destination, const struct cp_reg *which, void *user)
{
    const struct site *site = user;
    struct core *core = site->core;
    load(core);
    if (!(core_pstate(core) & 0xC))
        return 0;
    uint64_t value = core_ticks(core, core_executed(core, site->address));
    const struct timer *timer = timer_of(core, which);
    if (timer) {
        value = armprobe_timer_read(timer, value, which->op2);
    } else if (!is_counter(which)) { /* CNTPCT or CNTVCT */
        core->called = true;
        return core->read_register(uc, destination, which, NULL);
    }
    if ((uint32_t)destination != core->xzr)
        core->reg_write(uc, destination, &value);
    return 1;
}

/* An MSR, likewise. */
static uint32_t on_msr(void *uc, int source, const struct cp_reg *which, void *user)
{
    const struct site *site = user;
    struct core *core = site->core;
    load(core);
    if (!(core_pstate(core) & 0xC))
        return 0;
    struct timer *timer = timer_of(core, which);
    if (!timer) {
        core->called = true;
        return core->write_register(uc, source, which, NULL);
    }
    uint64_t value = 0, count = core_ticks(core, core_executed(core, site->address));
    if ((uint32_t)source != core->xzr)
        core->reg_read(uc, source, &value);
    armprobe_timer_write(timer, count, which->op2, value);
    follow_signal(core);
    uint64_t deadline = armprobe_timer_deadline(timer);
    if (deadline != TIMER_NEVER) /* the run was to end at an earlier one */
        armprobe_limit(core, deadline > count ? deadline - count : 0);
    return 1;
}

/* Whether the instruction is executed again and has made this access already; `value` is what it gave then. The last
 * access made is the instruction's, too, and those of one instruction are at different places. */
static bool replayed(struct core *core, const struct window *window, uint64_t offset, uint64_t *value)
{
    if (!core->replay)
        return false;
    for (uint64_t i = core->access_count; i-- && i + CORE_ACCESSES >= core->access_count;) {
        const struct access *access = &core->accesses[i % CORE_ACCESSES];
        if (access->window == window && access->offset == offset) {
            core->replay = i + 1 < core->access_count;
            *value = access->value;
            return true;
        }
    }
    return false;
}

/* After an access of a device's function: it may have raised an interrupt, or the guest has enabled one. */
static void accessed(const struct window *window, uint64_t offset, uint64_t value)
{
    struct core *core = window->core;
    core->accesses[core->access_count++ % CORE_ACCESSES] = (struct access){window, offset, value};
    if (core->running) {
        follow_signal(core);
        if (core->ends || core->interrupting)
            armprobe_limit(core, 0);
    }
    core->accessing = false;
    load(core);
    if (core->running && !core->exact && !core->handling && (core->ends_after_access || interrupted(core))) {
        core->replay = true;
        again(core);
    }
}

/* Whether an access of the guest has to be made at the count of its instruction, which is not known yet. */
static bool timed(const struct window *window)
{
    const struct core *core = window->core;
    return window->timed && core->running && !core->exact && !core->handling;
}

static uint64_t on_read(void *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc;
    struct window *window = user;
    struct core *core = window->core;
    if (core->redo)
        return 0;
    uint64_t value;
    if (replayed(core, window, offset, &value))
        return value;
    if (timed(window)) {
        again(core);
        return 0;
    }
    core->accessing = true;
    core->called |= !window->device;
    value = window->read(window->device, offset, size);
    accessed(window, offset, value);
    return value;
}

static void on_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    struct window *window = user;
    struct core *core = window->core;
    if (core->redo)
        return;
    uint64_t before;
    if (replayed(core, window, offset, &before))
        return;
    if (timed(window)) {
        again(core);
        return;
    }
    core->accessing = true;
    core->called |= !window->device;
    window->write(window->device, offset, size, value);
    accessed(window, offset, 0);
}

/* Code. */

/* The instructions that register_access.py follows, as masks and values (Arm ARM, C5.2 and chapter D19). */
static const uint32_t followed[][2] = {
    /* MRS and MSR, without L (bit 21) and Rt */
    {0xFFDFF000, 0xD51BE000}, /* of CNT*_EL0 */
    {0xFFDFFFE0, 0xD518E100}, /* of CNTKCTL_EL1 */
    {0xFFDFF000, 0xD51B9000}, /* of PM*_EL0; PMEVCNTR<n>_EL0 and PMEVTYPER<n>_EL0 are where CNT*_EL0 are */
    {0xFFDFFF00, 0xD5189E00}, /* of PMINTENSET_EL1 and PMINTENCLR_EL1 */
    {0xFFDFE000, 0xD5100000}, /* of the debug registers at op1 0, CRn 0 and 1 */
    {0xFFFFF8FF, 0xD50348FF}, /* MSR DAIFClr, #8, alone or with others */
    {0xFFFFFFFF, 0xD69F03E0}, /* ERET */
};

static bool is_followed(uint32_t word)
{
    if (word >> 24 != 0xD5 && word >> 24 != 0xD6)
        return false;
    for (size_t i = 0; i < sizeof followed / sizeof followed[0]; i++)
        if ((word & followed[i][0]) == followed[i][1])
            return true;
    return false;
}

/* The index of the first of `count` words, from `first` on, that is an instruction to follow; `count` if none is. */
ARMPROBE_EXPORT uint64_t armprobe_next_followed(const uint32_t *words, uint64_t first, uint64_t count)
{
    while (first < count && !is_followed(words[first]))
        first++;
    return first;
}

/* Whether an instruction accesses memory in a function of the engine, which does not look for a request to stop behind
 * it: DC ZVA; STXP and STLXP; SVE's loads and stores (Arm ARM, C4.1). */
ARMPROBE_EXPORT bool armprobe_is_unchecked(uint32_t word)
{
    return (word & 0xFFFFFFE0) == 0xD50B7420 || (word & 0xBFE08000) == 0x88200000 ||
           (word & 0xBFE08000) == 0x88208000 || (word & 0x9E000000) == 0x84000000;
}

/* A block has been translated, and is not executed yet: `found` is called if it has an instruction to follow. */
static void on_translated(void *uc, const struct block *block, const struct block *previous, void *user)
{
    (void)previous;
    struct core *core = user;
    uint32_t words[1024];
    size_t size = block->size < sizeof words ? block->size : sizeof words;
    if (core->vmem_read(uc, block->pc, UC_PROT_EXEC, words, size) &&
        core->vmem_read(uc, block->pc, UC_PROT_READ, words, size))
        return;
    load(core);
    bool follows = core->following && core_pstate(core) & 0xC; /* the CPU itself allows or traps accesses of EL0 */
    for (size_t i = 0; i < size / 4; i++)
        if ((follows && is_followed(words[i])) || (core->watching && armprobe_is_unchecked(words[i]))) {
            core->called = true;
            if (core->found(block->pc, block->size)) {
                core->whole = true;
                core->emu_stop(uc);
            }
            return;
        }
}

ARMPROBE_EXPORT int armprobe_start(struct core *core)
{
    size_t hook;
    const struct {
        int type;
        void *callback;
    } hooks[] = {{UC_HOOK_BLOCK, (void *)on_block}, {UC_HOOK_INTR, (void *)on_exception},
                 {UC_HOOK_EDGE_GENERATED, (void *)on_translated}};
    int error = 0;
    for (int i = 0; i < 3 && !error; i++) /* an empty range means all addresses */
        error = core->hook_add(core->uc, &hook, hooks[i].type, hooks[i].callback, core, (uint64_t)1, (uint64_t)0);
    return error;
}

/* `site` is an MRS, or an MSR if `writes`; `instruction` is Unicorn's number of that. */
ARMPROBE_EXPORT int armprobe_hook_register(struct site *site, bool writes, int instruction)
{
    size_t hook;
    struct core *core = site->core;
    return core->hook_add(core->uc, &hook, UC_HOOK_INSN, writes ? (void *)on_msr : (void *)on_mrs, site, site->address,
                          site->address, instruction);
}

ARMPROBE_EXPORT int armprobe_attach(struct window *window, uint64_t base, uint64_t size)
{
    struct core *core = window->core;
    return core->mmio_map(core->uc, base, size, (void *)on_read, window, (void *)on_write, window);
}
