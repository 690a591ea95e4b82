/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The exceptions of one core. Those that nobody claims are taken here, into the guest's vectors; Python is asked about
 * the others.
 */
#include "run.h"

#define WFI 0xD503207Fu

/* The numbers with which Unicorn announces an exception (QEMU's EXCP_ numbers). */
enum raised { UNDEFINED = 1, SVC = 2, PREFETCH_ABORT = 3, DATA_ABORT = 4, BREAKPOINT = 7, HVC = 11, SMC = 13 };

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

/* Settle at a breakpoint in front of an instruction: it does not count, except after many without an instruction. */
static void settle_at_breakpoint(struct core *core, uint64_t pc)
{
    core_settle_before(core, pc);
    if (!own_free_step(core))
        core->aside_base = ++core->base;
}

static uint32_t word_at(struct core *core, uint64_t pc)
{
    uint32_t word = 0;
    return core->vmem_read(core->uc, pc, UC_PROT_EXEC, &word, 4) ? 0 : word;
}

uint64_t exception_vector(const struct core *core, uint32_t kind)
{
    uint32_t pstate = core_pstate(core);
    return *core_u64(core, core->layout.vbar_el1) + (!(pstate & 0xC) ? 0x400 : pstate & 1 ? 0x200 : 0) + kind;
}

void exception_enter(struct core *core, uint32_t kind)
{
    const struct layout *at = &core->layout;
    uint64_t *x = core_x(core), to = exception_vector(core, kind);
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
    exception_enter(core, SYNCHRONOUS);
}

/* The guest has executed WFI. False if Python is to see to it: at a breakpoint, and where the guest traps it. */
static bool waits(struct core *core, uint64_t pc)
{
    bool trapped = !(core_pstate(core) & 0xC) && !(*core_u64(core, core->layout.sctlr_el1) & SCTLR_NTWI);
    if (trapped || core->slot_running || core_is_exit(core, pc + 4))
        return false;
    core_x(core)[32] = pc + 4;
    *core_u32(core, core->layout.pstate) &= ~(uint32_t)PSTATE_SS; /* the WFI has been stepped */
    store(core);
    core->waiting = true;
    core_stop(core, END_WAIT);
    return true;
}

/* A trapped WFI: the guest's own, or an exit, which Unicorn makes one, 4 bytes before the exit. True if it is over. */
static bool at_exit(struct core *core, uint64_t pc)
{
    uint64_t target = pc + 4;
    bool last = core->count && pc == core->block + 4 * (core->count - 1);
    if (last && word_at(core, pc) == WFI) {
        core_settle(core, core->count);
        return waits(core, pc);
    }
    core_settle_before(core, target);
    if (core->exiting && target == core->exit_at) {
        core_x(core)[32] = target;
        store(core);
        /* Unicorn drops the blocks at the exits that there are when a run ends. */
        core->exiting = false;
        core_set_exits(core, false);
        core_stop(core, END_EXIT);
        return true;
    }
    if (core_is_exit(core, target))
        return false;
    /* Code with an exit that has been taken away since, the engine's own or one of another address space. */
    core_x(core)[32] = target;
    store(core);
    own_forget(core, pc, target + 4);
    return true;
}

/* Python has handled an exception: go on in the slot that it has named, if it has. */
static void begin_named_slot(struct core *core)
{
    if (core->slot)
        slot_begin(core, core->slot);
    core->slot = NULL;
}

void exception_raised(void *uc, uint32_t number, void *user)
{
    struct core *core = user;
    load(core);
    uint64_t pc = core_x(core)[32];
    uint32_t syndrome = *core_u32(core, core->layout.syndrome), class = syndrome >> 26;

    if ((syndrome & FSC_TYPE) == FSC_TRANSLATION &&
        ((number == PREFETCH_ABORT && class == EC_FETCH) || (number == DATA_ABORT && class == EC_DATA)) &&
        own_show(core, *core_u64(core, core->layout.fault_address), number == DATA_ABORT)) {
        core_settle(core, number == DATA_ABORT ? (pc - core->block) / 4 : core->count);
        return;
    }
    if (class == EC_STEP && core->returning && core->block == core->ret) {
        *core_u32(core, core->layout.pstate) |= PSTATE_SS; /* the guest steps its own instructions, and has no such RET */
        store(core);
        return;
    }
    if (number == UNDEFINED && class == EC_WFX) {
        if (at_exit(core, pc))
            return;
    } else if (number == SVC || number == HVC || number == SMC) {
        core_settle(core, (pc - core->block) / 4); /* the PC is behind the instruction */
    } else if (number == BREAKPOINT && syndrome == core->uncounted) {
        settle_at_breakpoint(core, pc);
    } else if (number == PREFETCH_ABORT || class == EC_STEP_LOWER || class == EC_STEP) {
        core_settle(core, core->count);
    } else {
        core_settle(core, (pc - core->block) / 4 + 1);
    }
    if (core->recorder && core->recorder->following)
        places_raised(core->recorder, pc, core->base);
    if (class == EC_BRK) {
        enum handled handled = slot_end(core, pc, syndrome) ? HANDLED : core_brk(core, pc, syndrome & 0xFFFF);
        if (handled != NOT_HANDLED) {
            begin_named_slot(core);
            store(core);
            if (handled == HANDLED_END)
                core->emu_stop(uc);
            else
                core_stop_if_asked(core);
            return;
        }
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
    slot_leave(core);
    core->handling = core->called = true;
    enum after after = core->raised(number, syndrome);
    core->handling = false;
    begin_named_slot(core);
    store(core);
    if (after == AFTER_END)
        core->emu_stop(uc);
    else if (after == AFTER_LOOK)
        core_stop_if_asked(core);
}
