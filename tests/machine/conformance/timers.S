// SPDX-License-Identifier: GPL-2.0-or-later
// The generic timers of EL1, virtual and physical.

    .include "runtime.inc"

    .set GICD, 0x08000000
    .set GICC, 0x08010000
    .set ENABLE, 1
    .set IMASK, 2
    .set FAR_AWAY, 1 << 60

    .macro set register, data
    ldr x0, =\data
    msr \register, x0
    isb
    .endm

    .macro off
    msr cntv_ctl_el0, xzr
    msr cntp_ctl_el0, xzr
    isb
    .endm

    .macro word base, offset, data
    ldr x0, =(\base + \offset)
    ldr x1, =\data
    str w1, [x0]
    .endm

    // With interrupts 27 (virtual) and 30 (physical) enabled
    .macro interrupts
    word GICD, 0x100, (1 << 27 | 1 << 30)
    word GICC, 0x004, 0xf8
    word GICC, 0x000, 1
    word GICD, 0x000, 1
    .endm

    .macro acknowledge to
    ldr x0, =(GICC + 0x0c)
    ldr \to, [x0]
    .endm

    .macro finish register
    ldr x0, =(GICC + 0x10)
    str \register, [x0]
    .endm

    .macro pending to
    ldr x0, =(GICD + 0x200)
    ldr \to, [x0]
    .endm

main:
    str x30, [sp, #-16]!
    interrupts

    //! count=0 hz=3b9aca0 | the board's: what firmware has put into CNTFRQ_EL0
    case frequency
    mrs x1, cntfrq_el0
    end
    value hz, x1

    //! count=0 v1=1 v2=1 | D11.1.2: counters never go backwards
    case counters
    mrs x1, cntvct_el0
    isb
    mrs x2, cntvct_el0
    mrs x3, cntpct_el0
    isb
    mrs x4, cntpct_el0
    cmp x2, x1
    cset x1, hs
    cmp x4, x3
    cset x2, hs
    end
    value v1, x1
    value v2, x2

    .irp timer, v, p
    //! count=0 ctl=5 | D11.2.4: ISTATUS, once the counter is not below CVAL
    case cnt\timer\()_reached
    set cnt\timer\()_cval_el0, 0
    set cnt\timer\()_ctl_el0, ENABLE
    mrs x1, cnt\timer\()_ctl_el0
    off
    end
    value ctl, x1

    //! count=0 ctl=1 | D11.2.4
    case cnt\timer\()_not_reached
    set cnt\timer\()_cval_el0, FAR_AWAY
    set cnt\timer\()_ctl_el0, ENABLE
    mrs x1, cnt\timer\()_ctl_el0
    off
    end
    value ctl, x1

    //! count=0 ctl=7 pending=0 | D11.2.4: IMASK keeps the interrupt away, not ISTATUS
    case cnt\timer\()_masked
    set cnt\timer\()_cval_el0, 0
    set cnt\timer\()_ctl_el0, (ENABLE | IMASK)
    mrs x1, cnt\timer\()_ctl_el0
    pending w2
    off
    end
    value ctl, x1
    value pending, x2

    //! count=0 ctl=3 | D24.10: CTL has two bits to write
    case cnt\timer\()_control_bits
    set cnt\timer\()_cval_el0, FAR_AWAY
    set cnt\timer\()_ctl_el0, 0xffffffff
    mrs x1, cnt\timer\()_ctl_el0
    off
    end
    value ctl, x1

    //! count=0 ctl=5 below=1 | D11.2.4: TVAL is signed: CVAL becomes the counter plus it
    case cnt\timer\()_negative_tval
    set cnt\timer\()_tval_el0, -16
    set cnt\timer\()_ctl_el0, ENABLE
    mrs x1, cnt\timer\()_ctl_el0
    mrs x2, cnt\timer\()_cval_el0
    mrs x3, cnt\timer\()ct_el0
    cmp x2, x3
    cset x2, lo
    off
    end
    value ctl, x1
    value below, x2

    //! count=0 ctl=1 ahead=1 high=0 | D11.2.4: TVAL reads CVAL minus the counter, 32 bits
    case cnt\timer\()_tval
    set cnt\timer\()_tval_el0, 0x7fffffff
    set cnt\timer\()_ctl_el0, ENABLE
    mrs x1, cnt\timer\()_ctl_el0
    mrs x2, cnt\timer\()_tval_el0
    mov w3, #0x40000000
    cmp w2, w3
    lsr x3, x2, #32
    cset x2, hi
    off
    end
    value ctl, x1
    value ahead, x2
    value high, x3

    //! count=0 cval=123456789abcdef0 | D24.10: CVAL has 64 bits
    case cnt\timer\()_cval
    set cnt\timer\()_cval_el0, 0x123456789abcdef0
    mrs x1, cnt\timer\()_cval_el0
    end
    value cval, x1

    //! vector=5 elr=0 again=1 after=0 | D11.2.4: the interrupt is a level, until it is masked, disabled or CVAL is ahead
    case cnt\timer\()_interrupt
    set cnt\timer\()_cval_el0, 0
    set cnt\timer\()_ctl_el0, ENABLE
    adr x26, 1f
    msr daifclr, #2
1:  nop
    end
    acknowledge w4
    pending w2
    set cnt\timer\()_ctl_el0, (ENABLE | IMASK)
    pending w3
    finish w4
    off
    cmp w2, wzr
    cset x2, ne
    value again, x2
    value after, x3
    .endr

    //! count=0 irq=1b | the board's: PPI 11 is the virtual timer's
    case virtual_number
    set cntv_cval_el0, 0
    set cntv_ctl_el0, ENABLE
    acknowledge w4
    off
    finish w4
    end
    value irq, x4

    //! count=0 irq=1e | the board's: PPI 14 is the physical timer's
    case physical_number
    set cntp_cval_el0, 0
    set cntp_ctl_el0, ENABLE
    acknowledge w4
    off
    finish w4
    end
    value irq, x4

    .macro at_el0_with control, instruction
    set cntkctl_el1, \control
    adr x26, 1f
    at_el0 1f
1:  \instruction
    svc #0
    .endm

    //! vector=8 esr=6234f801 elr=0 | D11.2.2, D19.2.37: CNTKCTL_EL1.EL0VCTEN is 0: EC 0x18
    case el0_counter_trapped
    at_el0_with 0, "mrs x0, cntvct_el0"
    end

    //! count=0 | D11.2.2: EL0VCTEN is 1
    case el0_counter
    at_el0_with 2, "mrs x0, cntvct_el0"
    end

    //! vector=8 esr=6232f867 elr=0 | D11.2.2: EL0VTEN is 0
    case el0_timer_trapped
    at_el0_with 2, "mrs x3, cntv_ctl_el0"
    end

    //! count=0 ctl=3 | D11.2.2: EL0VTEN is 1
    case el0_timer
    set cntv_cval_el0, FAR_AWAY
    mov x3, #3
    at_el0_with 0x100, "msr cntv_ctl_el0, x3"
    end
    mrs x1, cntv_ctl_el0
    off
    msr cntkctl_el1, xzr
    value ctl, x1

    ldr x30, [sp], #16
    ret
