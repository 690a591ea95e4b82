// SPDX-License-Identifier: GPL-2.0-or-later
// A guest's own hardware watchpoints.

    .include "runtime.inc"

    .set MDE, 1 << 15
    .set KDE, 1 << 13
    // DBGWCR_EL1: E, PAC (EL1, EL0), LSC (load, store), BAS, LBN, WT, MASK
    .set E, 1
    .set EL1, 1 << 1
    .set EL0, 2 << 1
    .set LOAD, 1 << 3
    .set STORE, 2 << 3
    .set BAS, 1 << 5
    .set EIGHT, 0xff << 5

    .macro watch value, control, mdscr=(MDE | KDE)
    ldr x1, =\value
    msr dbgwvr0_el1, x1
    ldr x1, =\control
    msr dbgwcr0_el1, x1
    ldr x1, =\mdscr
    msr mdscr_el1, x1
    isb
    ldr x0, =data
    ldr x2, =0x1122334455667788
    .endm

    .macro written
    msr dbgwcr0_el1, xzr
    isb
    ldr x0, =data
    ldr x1, [x0]
    str xzr, [x0]
    value data, x1
    .endm

main:
    mov x29, x30
    str x29, [sp, #-16]!

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data data=0 | D2.10.1, D2.10.5, D19.2.37: EC 0x35, WnR, DFSC 0x22; taken before the store
    case store_el1
    watch data, (E | EL1 | STORE | EIGHT)
    msr daifclr, #8
    mark
    str x2, [x0]
    end
    written

    //! vector=4 esr=d6000022 elr=0 spsr=1c5 far=data data=0 | D19.2.37: WnR is 0
    case load_el1
    watch data, (E | EL1 | LOAD | EIGHT)
    msr daifclr, #8
    mark
    ldr x2, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.10.3: DBGWCR<n>_EL1.LSC names loads alone
    case store_with_load_watched
    watch data, (E | EL1 | LOAD | EIGHT)
    msr daifclr, #8
    mark
    str x2, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.4.1: PSTATE.D masks it
    case masked_by_D
    watch data, (E | EL1 | STORE | EIGHT)
    mark
    str x2, [x0]
    end
    written

    //! vector=8 esr=d2000062 elr=0 spsr=0 far=data data=0 | D19.2.37: EC 0x34; D2.4.1: from EL0 KDE does not matter
    case el0
    watch data, (E | EL0 | STORE | EIGHT), MDE
    mark
    at_el0 1f
1:  mark
    str x2, [x0]
    svc #0
    end
    written

    //! count=0 data=1122334455667788 | D2.10.3: PAC names EL0 alone
    case el1_with_el0_watched
    watch data, (E | EL0 | STORE | EIGHT)
    msr daifclr, #8
    str x2, [x0]
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data data=0 | D2.10.3: STTR is as an access of EL0's
    case unprivileged_store
    watch data, (E | EL0 | STORE | EIGHT)
    msr daifclr, #8
    mark
    sttr x2, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.10.3: PAC names EL1 alone
    case el0_with_el1_watched
    watch data, (E | EL1 | STORE | EIGHT)
    at_el0 1f
1:  str x2, [x0]
    svc #0
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data+2 data=88008800 | D2.10.4: BAS selects one byte
    case byte
    watch data, (E | EL1 | STORE | (BAS << 2))
    msr daifclr, #8
    strb w2, [x0, #1]
    strb w2, [x0, #3]
    mark
    strb w2, [x0, #2]
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data+2 data=0 | D2.10.5: FAR_EL1 is an address accessed that is watched
    case byte_in_a_word
    watch data, (E | EL1 | STORE | (BAS << 2))
    msr daifclr, #8
    mark
    str w2, [x0]
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data+4 data=55667788 | D2.10.4: DBGWVR<n>_EL1[2] names a word
    case word_of_a_doubleword
    watch (data + 4), (E | EL1 | STORE | 15 << 5)
    msr daifclr, #8
    str w2, [x0]
    mark
    str w2, [x0, #4]
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data+8 data=0 | D2.10.1: before the access; that the first of the pair may have been made (B2.2.1) is permitted
    //? QEMU has stored the first of the pair, as is permitted
    case pair_second
    watch (data + 8), (E | EL1 | STORE | EIGHT)
    msr daifclr, #8
    mark
    stp x2, x2, [x0]
    end
    written

    //! vector=4 esr=d6000022 elr=0 spsr=1c5 far=data+8 | D2.10.1: no register is written either
    case pair_preindex
    watch (data + 8), (E | EL1 | LOAD | EIGHT)
    msr daifclr, #8
    sub x0, x0, #16
    mark
    ldp x3, x4, [x0, #16]!
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data+8 data=0 | D2.10.1
    case vector
    watch (data + 8), (E | EL1 | STORE | EIGHT)
    mov x3, #(3 << 20)
    msr cpacr_el1, x3
    isb
    msr daifclr, #8
    mark
    str q0, [x0]
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data+17f0 | D2.10.4: MASK 12 watches 4 KiB
    case mask
    watch (data + 0x1000), (E | EL1 | STORE | EIGHT | 12 << 24)
    add x3, x0, #0x1000
    msr daifclr, #8
    str x2, [x0, #0xff8]
    mark
    str x2, [x3, #0x7f0]
    end
    written

    //! vector=4 esr=d6000022 elr=0 far=data | D2.10.1
    case exclusive_load
    watch data, (E | EL1 | LOAD | EIGHT)
    msr daifclr, #8
    mark
    ldxr x3, [x0]
    end
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data+28 | D2.10.5, D19.2.37: DC ZVA is a store of its block, and CM is 0
    case zva
    watch (data + 40), (E | EL1 | STORE | EIGHT)
    msr daifclr, #8
    mark
    dc zva, x0
    end
    written

    //! count=0 | D2.10.1: prefetches generate none
    case prefetch
    watch data, (E | EL1 | LOAD | STORE | EIGHT)
    msr daifclr, #8
    prfm pldl1keep, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.10.2: MDSCR_EL1.MDE is 0
    case without_MDE
    watch data, (E | EL1 | STORE | EIGHT), KDE
    msr daifclr, #8
    str x2, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.4.1: MDSCR_EL1.KDE is 0
    case without_KDE
    watch data, (E | EL1 | STORE | EIGHT), MDE
    msr daifclr, #8
    str x2, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.10.2: DBGWCR<n>_EL1.E is 0
    case disabled
    watch data, (EL1 | STORE | EIGHT)
    msr daifclr, #8
    str x2, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.4.2: the OS lock disables it
    //? QEMU 7.2 takes OSLM[0] for OSLK (oslsr_el1 & 1 in arm_generate_debug_exceptions), so that it never is locked
    case os_locked
    mov x1, #1
    msr oslar_el1, x1
    isb
    watch data, (E | EL1 | STORE | EIGHT)
    msr daifclr, #8
    str x2, [x0]
    end
    msr oslar_el1, xzr
    msr mdscr_el1, xzr
    isb
    written

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data data=0 | D2.10.1: each of the watchpoints
    case second_register
    watch data, (EL1 | STORE | EIGHT)
    msr dbgwvr3_el1, x0
    ldr x1, =(E | EL1 | STORE | EIGHT)
    msr dbgwcr3_el1, x1
    isb
    msr daifclr, #8
    mark
    str x2, [x0]
    end
    msr dbgwcr3_el1, xzr
    written

    // DBGBCR5_EL1.BT 0b0011: linked, compared with CONTEXTIDR_EL1
    .macro context value
    mov x1, #77
    msr dbgbvr5_el1, x1
    ldr x1, =(1 | 3 << 1 | 15 << 5 | 3 << 20)
    msr dbgbcr5_el1, x1
    mov x1, #\value
    msr contextidr_el1, x1
    isb
    .endm

    //! vector=4 esr=d6000062 elr=0 spsr=1c5 far=data data=0 | D2.10.3, D2.9.4: the linked breakpoint matches CONTEXTIDR_EL1
    case linked
    context 77
    watch data, (E | EL1 | STORE | EIGHT | 1 << 20 | 5 << 16)
    msr daifclr, #8
    mark
    str x2, [x0]
    end
    written

    //! count=0 data=1122334455667788 | D2.10.3, D2.9.4: the linked breakpoint does not match
    case linked_other
    context 78
    watch data, (E | EL1 | STORE | EIGHT | 1 << 20 | 5 << 16)
    msr daifclr, #8
    str x2, [x0]
    end
    msr dbgbcr5_el1, xzr
    written

    ldr x29, [sp], #16
    ret x29

    .data
    .balign 4096
data: .fill 0x3000, 1, 0
