/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New code, as it is translated: the instructions in it that Python follows. */
#include "run.h"

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
    {0xFFFFFBFF, 0xD508711F}, /* IC IALLUIS and IC IALLU */
    {0xFFFFFFE0, 0xD50B7520}, /* IC IVAU */
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

void code_translated(void *uc, const struct block *block, const struct block *previous, void *user)
{
    (void)previous;
    struct core *core = user;
    uint32_t copy[1024];
    size_t size = block->size < sizeof copy ? block->size : sizeof copy;
    if (core->recorder)
        core->recorder->translated++;
    load(core);
    translated_mark(core, block->pc, block->size);
    bool follows = core->following && core_pstate(core) & 0xC; /* the CPU itself allows or traps accesses of EL0 */
    if (!follows && !core->watching)
        return;
    const uint32_t *words = (const void *)core_in_kernel(core, block->pc, size);
    if (!words) {
        words = copy;
        if (core->vmem_read(uc, block->pc, UC_PROT_EXEC, copy, size) &&
            core->vmem_read(uc, block->pc, UC_PROT_READ, copy, size))
            return;
    }
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
