// SPDX-License-Identifier: GPL-2.0-or-later
// Software step, by every way in. `steps` is how many instructions of the case had been executed, as x1 counts them.

    .include "runtime.inc"

    .set SS, 1 << 0
    .set KDE, 1 << 13
    .set D, 1 << 9
    .set EL1H, 5
    .set SPSR_SS, 1 << 21

    .macro mdscr value
    ldr x2, =\value
    msr mdscr_el1, x2
    isb
    .endm

    // ERET to `label` with SPSR_EL1
    .macro eret_to label, spsr
    ldr x2, =\spsr
    msr spsr_el1, x2
    adr x2, \label
    msr elr_el1, x2
    eret
    .endm

    .macro counting
    mov x1, #0
    .endm

    .macro ones
    add x1, x1, #1
    add x1, x1, #1
    add x1, x1, #1
    .endm

main:
    str x30, [sp, #-16]!

    //! vector=4 esr=cf000022 elr=4 spsr=5 steps=1 | D2.12.3: one instruction, and ISV is 1 (D19.2.37)
    case eret_ss
    counting
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS)
1:  ones
    end
    value steps, x1

    //! vector=4 esr=ce000022 elr=0 spsr=5 steps=0 | D2.12.3: active-pending at once, and ISV is 0 (D19.2.37)
    case eret_without_ss
    counting
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, EL1H
1:  ones
    end
    value steps, x1

    //! count=0 steps=3 | D2.12.3: inactive while PSTATE.D is set
    case eret_ss_to_D
    counting
    mdscr (SS | KDE)
    eret_to 1f, (EL1H | SPSR_SS | D)
1:  ones
    end
    value steps, x1

    //! count=0 steps=3 | D2.4.1: MDSCR_EL1.KDE is 0
    case eret_ss_without_KDE
    counting
    mdscr SS
    eret_to 1f, (EL1H | SPSR_SS)
1:  ones
    end
    value steps, x1

    //! vector=4 esr=ce000022 elr=4 spsr=1c5 steps=0 | D2.12.3: active-pending before the next instruction
    case daifclr
    counting
    mdscr (SS | KDE)
    mark
    msr daifclr, #8
    ones
    end
    value steps, x1

    //! count=0 steps=3 | D2.12.3: A alone is cleared
    case daifclr_other
    counting
    mdscr (SS | KDE)
    mark
    msr daifclr, #4
    ones
    end
    value steps, x1

    //! vector=4 esr=ce000022 elr=4 spsr=5 steps=0 | D2.12.3: active-pending before the next instruction
    case msr_daif
    counting
    mdscr (SS | KDE)
    mark
    msr daif, xzr
    ones
    end
    value steps, x1

    //! vector=4 esr=ce000022 elr=4 spsr=1c5 steps=0 | D2.12.3: a context synchronization event at the latest is where it is seen
    case msr_mdscr
    counting
    msr daifclr, #8
    ldr x2, =(SS | KDE)
    mark
    msr mdscr_el1, x2
    isb
    ones
    end
    value steps, x1

    //! vector=4 esr=ce000022 elr=4 spsr=1c5 steps=0 | D2.4.2: unlocking enables debug exceptions
    //? QEMU 7.2 takes OSLM[0] for OSLK (oslsr_el1 & 1 in arm_generate_debug_exceptions), so that it never is locked
    case os_unlock
    counting
    mov x3, #1
    msr oslar_el1, x3
    isb
    mdscr (SS | KDE)
    msr daifclr, #8
    mark
    msr oslar_el1, xzr
    isb
    ones
    end
    value steps, x1

    //! count=0 steps=3 | D2.4.2: the OS lock disables it
    //? QEMU 7.2 takes OSLM[0] for OSLK (oslsr_el1 & 1 in arm_generate_debug_exceptions), so that it never is locked
    case os_locked
    counting
    mov x3, #1
    msr oslar_el1, x3
    isb
    mdscr (SS | KDE)
    msr daifclr, #8
    ones
    end
    msr oslar_el1, xzr
    isb
    value steps, x1

    //! vector=4 esr=ce000022 elr=14 spsr=5 steps=3 | D2.12.3, CheckSoftwareStep(): the stepped instruction makes it inactive; it is pending once D is cleared
    //? QEMU takes the step before it looks at what the instruction has done to PSTATE.D (SPSR_EL1 has it set)
    case step_to_mask_D
    counting
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS)
1:  msr daifset, #8
    ones
    msr daifclr, #8
    ones
    end
    value steps, x1

    //! vector=4 esr=cf000062 elr=4 spsr=5 steps=0 | D19.2.37: ISV and EX
    case exclusive
    counting
    ldr x3, =data
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS)
1:  ldxr x4, [x3]
    ones
    end
    value steps, x1

    //! vector=8 esr=cb000022 elr=4 spsr=0 steps=1 | D2.12.3, D19.2.37: EC 0x32, one instruction at EL0
    case svc_el0
    counting
    mdscr SS
    adr x26, 1f
    at_el0 1f, SPSR_SS
1:  add x1, x1, #1
    add x1, x1, #1
    svc #0
    end
    value steps, x1

    //! vector=8 esr=ca000022 elr=0 spsr=0 steps=0 | D2.12.3: active-pending at once
    case pending_el0
    counting
    mdscr SS
    adr x26, 1f
    at_el0 1f, 0
1:  add x1, x1, #1
    svc #0
    end
    value steps, x1

    //! vector=4 esr=f2000007 elr=0 spsr=200005 steps=0 | D2.12.6: SPSR_EL1.SS says that the instruction was not completed
    case brk
    counting
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS)
1:  brk #7
    ones
    end
    value steps, x1

    //! vector=4 esr=2000000 elr=0 spsr=200005 steps=0 | D2.12.6
    case undefined
    counting
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS)
1:  udf #0
    ones
    end
    value steps, x1

    //! vector=4 esr=ce000022 elr=4 spsr=5 steps=0 | D2.12.6: HVC completes, and EL2 returns to a pending step
    case hvc
    counting
    ldr x0, =0x84000000                 // PSCI_VERSION
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS)
1:  hvc #0
    ones
    end
    value steps, x1

    .macro pending_sgi
    ldr x3, =0x08010000                 // the CPU interface: no priority masked, enabled
    mov w2, #0xf8
    str w2, [x3, #4]
    mov w2, #1
    str w2, [x3]
    ldr x3, =0x08000000                 // the distributor
    str w2, [x3]
    ldr w2, =(2 << 24 | 5)
    str w2, [x3, #0xf00]
    .endm

    .macro end_sgi
    ldr x3, =0x08010000
    ldr w2, [x3, #0xc]
    str w2, [x3, #0x10]
    .endm

    //! vector=4 esr=cf000022 elr=4 spsr=1c5 steps=0 | D2.12.3: a WFI that an interrupt, masked here, has ended is stepped
    case wfi
    counting
    pending_sgi
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS | 7 << 6)
1:  wfi
    ones
    end
    end_sgi
    value steps, x1

    //! vector=5 elr=0 spsr=200005 steps=0 | D2.12.5: the interrupt comes first, and the instruction is still to be stepped
    case interrupt
    counting
    pending_sgi
    mdscr (SS | KDE)
    adr x26, 1f
    eret_to 1f, (EL1H | SPSR_SS)
1:  ones
    end
    end_sgi
    value steps, x1

    //! vector=4 esr=cf000022 elr=4 spsr=1c5 steps=0 | D2.12.3: a store exclusive is stepped as any other
    case store_exclusive
    counting
    ldr x3, =data
    mdscr (SS | KDE)
    adr x26, 1f
    ldxr x4, [x3]
    eret_to 1f, (EL1H | SPSR_SS | 7 << 6)
1:  stxr w5, x4, [x3]
    ones
    end
    value steps, x1

    //! vector=8 elr=0 spsr=200000 steps=0 | D2.12.6: an abort comes before the step, which is still to be done
    case abort_el0
    counting
    mdscr SS
    mov x3, #0x0b000000                 // nothing is there
    adr x26, 1f
    at_el0 1f, SPSR_SS
1:  ldr x4, [x3]
    svc #0
    end
    value steps, x1

    ldr x30, [sp], #16
    ret

    .data
    .balign 64
data: .quad 0
