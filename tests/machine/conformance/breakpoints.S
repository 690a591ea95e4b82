// SPDX-License-Identifier: GPL-2.0-or-later
// A guest's own hardware breakpoints.

    .include "runtime.inc"

    .set MDE, 1 << 15
    .set KDE, 1 << 13
    // DBGBCR_EL1: E, PMC (EL1, EL0), BAS, LBN, BT
    .set E, 1
    .set EL1, 1 << 1
    .set EL0, 2 << 1
    .set BAS, 15 << 5

    .macro break_at label, control, mdscr=(MDE | KDE)
    adr x1, \label
    msr dbgbvr0_el1, x1
    ldr x1, =\control
    msr dbgbcr0_el1, x1
    ldr x1, =\mdscr
    msr mdscr_el1, x1
    isb
    mov x1, #0
    adr x26, \label
    .endm

    .macro done
    msr dbgbcr0_el1, xzr
    isb
    value ran, x1
    .endm

main:
    str x30, [sp, #-16]!

    //! vector=4 esr=c6000022 elr=0 spsr=1c5 ran=1 | D2.9.1, D2.9.6: taken before the instruction executes
    case el1
    break_at 1f, (E | EL1 | BAS)
    msr daifclr, #8
    mov x1, #1
1:  mov x1, #2
    end
    done

    //! vector=8 esr=c2000022 elr=0 spsr=0 ran=0 | D2.9.1, D2.4.1: from EL0 neither KDE nor D matters
    case el0
    break_at 1f, (E | EL0 | BAS), MDE
    at_el0 1f
1:  mov x1, #2
    svc #0
    end
    done

    //! count=0 ran=2 | D2.9.3: PMC names EL0 alone
    case el1_with_el0_named
    break_at 1f, (E | EL0 | BAS)
    msr daifclr, #8
    mov x1, #1
1:  mov x1, #2
    end
    done

    //! count=0 ran=2 | D2.9.3: PMC names EL1 alone
    case el0_with_el1_named
    break_at 1f, (E | EL1 | BAS)
    at_el0 1f
1:  mov x1, #2
    svc #0
    end
    done

    //! count=0 ran=2 | D2.4.1: PSTATE.D masks it
    case masked_by_D
    break_at 1f, (E | EL1 | BAS)
    mov x1, #1
1:  mov x1, #2
    end
    done

    //! count=0 ran=2 | D2.4.1: MDSCR_EL1.KDE is 0
    case without_KDE
    break_at 1f, (E | EL1 | BAS), MDE
    msr daifclr, #8
1:  mov x1, #2
    end
    done

    //! count=0 ran=2 | D2.9.2: MDSCR_EL1.MDE is 0
    case without_MDE
    break_at 1f, (E | EL1 | BAS), KDE
    msr daifclr, #8
1:  mov x1, #2
    end
    done

    //! count=0 ran=2 | D2.9.2: DBGBCR<n>_EL1.E is 0
    case disabled
    break_at 1f, (EL1 | BAS)
    msr daifclr, #8
1:  mov x1, #2
    end
    done

    //! count=0 ran=2 | D2.4.2: the OS lock disables it
    //? QEMU 7.2 takes OSLM[0] for OSLK (oslsr_el1 & 1 in arm_generate_debug_exceptions), so that it never is locked
    case os_locked
    mov x1, #1
    msr oslar_el1, x1
    isb
    break_at 1f, (E | EL1 | BAS)
    msr daifclr, #8
1:  mov x1, #2
    end
    msr oslar_el1, xzr
    msr mdscr_el1, xzr
    isb
    done

    //! vector=4 esr=c6000022 elr=0 ran=0 | D2.9.1: each of the breakpoints
    case last_register
    break_at 1f, (EL1 | BAS)
    adr x2, 1f
    msr dbgbvr5_el1, x2
    ldr x2, =(E | EL1 | BAS)
    msr dbgbcr5_el1, x2
    isb
    msr daifclr, #8
1:  mov x1, #2
    end
    msr dbgbcr5_el1, xzr
    done

    // DBGBCR5_EL1.BT 0b0011: linked, compared with CONTEXTIDR_EL1. DBGBCR0_EL1.BT 0b0001: linked, an address.
    .macro context value
    mov x1, #77
    msr dbgbvr5_el1, x1
    ldr x1, =(E | EL1 | EL0 | BAS | 3 << 20)
    msr dbgbcr5_el1, x1
    mov x1, #\value
    msr contextidr_el1, x1
    isb
    .endm

    //! vector=4 esr=c6000022 elr=0 ran=0 | D2.9.4: the linked breakpoint matches CONTEXTIDR_EL1
    case linked
    context 77
    break_at 1f, (E | EL1 | BAS | 5 << 16 | 1 << 20)
    msr daifclr, #8
1:  mov x1, #2
    end
    done

    //! count=0 ran=2 | D2.9.4: the linked breakpoint does not match
    case linked_other
    context 78
    break_at 1f, (E | EL1 | BAS | 5 << 16 | 1 << 20)
    msr daifclr, #8
1:  mov x1, #2
    end
    msr dbgbcr5_el1, xzr
    done

    ldr x30, [sp], #16
    ret
