// SPDX-License-Identifier: GPL-2.0-or-later
// The performance monitors. A cycle is an instruction.

    .include "runtime.inc"

    .set GICD, 0x08000000
    .set GICC, 0x08010000
    .set E, 1
    .set C, 1 << 2
    .set LC, 1 << 6
    .set CYCLES, 1 << 31
    .set P, 1 << 31                     // of a filter: not at EL1
    .set U, 1 << 30                     // not at EL0
    .set SW_INCR, 0x00
    .set INST_RETIRED, 0x08

    .macro set register, data
    ldr x0, =\data
    msr \register, x0
    .endm

    .macro off
    msr pmcr_el0, xzr
    mov x0, #-1
    msr pmcntenclr_el0, x0
    msr pmintenclr_el1, x0
    msr pmovsclr_el0, x0
    msr pmccfiltr_el0, xzr
    msr pmuserenr_el0, xzr
    .endm

    .macro ten
    .rept 10
    nop
    .endr
    .endm

    .macro event number, kind
    set pmselr_el0, \number
    set pmxevtyper_el0, \kind
    msr pmxevcntr_el0, xzr
    .endm

main:
    str x30, [sp, #-16]!

    //! count=0 n=6 events=20101 | D7.11: six counters, as a Cortex-A57's; SW_INCR, INST_RETIRED and CPU_CYCLES
    //? QEMU 7.2 has INST_RETIRED where time is counted by instructions only (-icount)
    case identity
    mrs x1, pmcr_el0
    ubfx x1, x1, #11, #5
    mrs x2, pmceid0_el0
    end
    value n, x1
    value events, x2

    //! count=0 cycles=b again=b | D7.2: PMCCNTR_EL0, and that it stands still when disabled
    //? QEMU counts cycles by the host's time
    case cycles
    set pmcntenset_el0, CYCLES
    msr pmccntr_el0, xzr
    set pmcr_el0, (E | LC)
    ten
    msr pmcr_el0, xzr
    mrs x1, pmccntr_el0
    ten
    mrs x2, pmccntr_el0
    off
    end
    value cycles, x1
    value again, x2

    //! count=0 cycles=0 | D7.2: not without PMCNTENSET_EL0.C
    case cycles_disabled
    msr pmccntr_el0, xzr
    set pmcr_el0, (E | LC)
    ten
    mrs x1, pmccntr_el0
    off
    end
    value cycles, x1

    //! count=0 v=0 | D7.2: PMCR_EL0.C resets the cycle counter
    case cycle_reset
    set pmccntr_el0, 0x1234
    set pmcr_el0, C
    mrs x1, pmccntr_el0
    off
    end
    value v, x1

    //! count=0 increments=3 | D7.11: SW_INCR counts writes of PMSWINC_EL0
    case sw_incr
    event 0, SW_INCR
    event 1, INST_RETIRED
    set pmcntenset_el0, 1
    set pmcr_el0, E
    mov x1, #3
    msr pmswinc_el0, x1
    msr pmswinc_el0, x1
    mov x2, #2
    msr pmswinc_el0, x2
    mov x1, #1
    msr pmswinc_el0, x1
    msr pmcr_el0, xzr
    set pmselr_el0, 0
    mrs x1, pmxevcntr_el0
    off
    end
    value increments, x1

    //! count=0 retired=b | D7.11: INST_RETIRED
    //? QEMU 7.2 counts INST_RETIRED where time is counted by instructions only (-icount)
    case inst_retired
    event 2, INST_RETIRED
    set pmcntenset_el0, 4
    set pmcr_el0, E
    ten
    msr pmcr_el0, xzr
    mrs x1, pmevcntr2_el0
    off
    end
    value retired, x1

    //! count=0 overflow=1 value=1 | D7.3: 32 bits, and PMOVSSET_EL0
    case overflow
    event 0, SW_INCR
    set pmevcntr0_el0, 0xffffffff
    set pmcntenset_el0, 1
    set pmcr_el0, E
    mov x1, #1
    msr pmswinc_el0, x1
    msr pmswinc_el0, x1
    msr pmcr_el0, xzr
    mrs x1, pmovsset_el0
    mrs x2, pmevcntr0_el0
    off
    end
    value overflow, x1
    value value, x2

    //! count=0 overflow=80000000 high=1 | D7.3: without LC the overflow is that of bit 31
    case cycle_overflow
    set pmccntr_el0, 0xfffffff8
    set pmcntenset_el0, CYCLES
    set pmcr_el0, E
    ten
    msr pmcr_el0, xzr
    mrs x1, pmovsclr_el0
    mrs x2, pmccntr_el0
    lsr x2, x2, #32
    off
    end
    value overflow, x1
    value high, x2

    //! count=0 overflow=0 | D7.3: with LC it is that of bit 63
    case long_cycle
    set pmccntr_el0, 0xfffffff8
    set pmcntenset_el0, CYCLES
    set pmcr_el0, (E | LC)
    ten
    msr pmcr_el0, xzr
    mrs x1, pmovsclr_el0
    off
    end
    value overflow, x1

    //! vector=5 elr=4 irq=17 | D7.3: the interrupt at the instruction that overflows; its number is the board's, PPI 7
    //? QEMU 7.2 counts INST_RETIRED where time is counted by instructions only (-icount)
    case interrupt
    ldr x0, =(GICD + 0x100)
    mov w1, #(1 << 23)
    str w1, [x0]
    ldr x0, =(GICC + 4)
    mov w1, #0xf8
    str w1, [x0]
    mov w1, #1
    ldr x0, =GICC
    str w1, [x0]
    ldr x0, =GICD
    str w1, [x0]
    event 3, INST_RETIRED
    set pmevcntr3_el0, 0xfffffffc
    set pmcntenset_el0, 8
    set pmintenset_el1, 8
    msr daifclr, #2
    set pmcr_el0, E
    nop
    nop
    mark
    nop
    nop
    nop
    nop
    end
    ldr x0, =(GICC + 0xc)
    ldr w3, [x0]
    msr pmcr_el0, xzr
    off
    ldr x0, =(GICC + 0x10)
    str w3, [x0]
    value irq, x3

    //! count=0 el0=5 el1=1 | D7.9: counted at EL0 only, and at EL1 only
    //? QEMU 7.2 counts INST_RETIRED where time is counted by instructions only (-icount)
    case filters
    event 0, (INST_RETIRED | P)
    event 1, (INST_RETIRED | U)
    set pmcntenset_el0, 3
    ldr x17, =0
    msr spsr_el1, x17
    adr x17, 1f
    msr elr_el1, x17
    set pmcr_el0, E
    eret
1:  nop
    nop
    nop
    nop
    svc #0
    end
    mrs x1, pmevcntr0_el0
    mrs x2, pmevcntr1_el0
    cmp x2, #10
    cset x2, hi
    off
    value el0, x1
    value el1, x2

    //! vector=8 esr=6230e659 elr=0 | D7.8: PMUSERENR_EL0.EN is 0: EC 0x18
    case el0_trapped
    adr x26, 1f
    at_el0 1f
1:  mrs x18, pmcr_el0
    svc #0
    end

    //! count=0 sum=3 | D7.8: with EN EL0 has the counters
    case el0_allowed
    event 0, SW_INCR
    set pmcntenset_el0, 1
    set pmcr_el0, E
    set pmuserenr_el0, 1
    at_el0 1f
1:  mov x1, #1
    msr pmswinc_el0, x1
    msr pmswinc_el0, x1
    msr pmswinc_el0, x1
    mrs x2, pmevcntr0_el0
    svc #0
    end
    mov x18, x2
    off
    value sum, x18

    ldr x30, [sp], #16
    ret
