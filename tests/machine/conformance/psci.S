// SPDX-License-Identifier: GPL-2.0-or-later
// The Power State Coordination Interface, for one CPU.

    .include "runtime.inc"

    .macro psci function, first=0, second=0, third=0
    ldr x0, =\function
    ldr x1, =\first
    ldr x2, =\second
    ldr x3, =\third
    hvc #0
    mov x18, x0
    .endm

    .macro answer
    sxtw x18, w18
    mov x1, x18
    end
    value x0, x1
    .endm

main:
    str x30, [sp, #-16]!

    //! count=0 x0=10000 | DEN 0022, 5.3: version 1.0
    //? QEMU 7.2 has version 1.1
    case version
    psci 0x84000000
    answer

    //! count=0 x0=0 | 5.15: PSCI_FEATURES has itself
    case features
    psci 0x8400000a, 0x8400000a
    answer

    .irp number, 84000001, c4000001, 84000002, 84000003, c4000003, 84000004, c4000004, 84000008, 84000009
    //! count=0 x0=0 | 5.15, table 6: what 1.0 demands
    case features_\number
    psci 0x8400000a, 0x\number
    answer
    .endr

    //! count=0 x0=ffffffffffffffff | 5.15, 5.2.2: NOT_SUPPORTED
    case features_unknown
    psci 0x8400000a, 0x8400001f
    answer

    //! count=0 x0=ffffffffffffffff | 5.2.2: NOT_SUPPORTED
    case unknown
    psci 0x8400001f
    answer

    //! count=0 x0=fffffffffffffffc | 5.6: ALREADY_ON
    case on_self
    psci 0xc4000003, 0, 0x40000000
    answer

    //! count=0 x0=fffffffffffffffe | 5.6: INVALID_PARAMETERS, there is no such CPU
    case on_other
    psci 0xc4000003, 1, 0x40000000
    answer

    //! count=0 x0=0 | 5.7: ON
    case affinity_self
    psci 0xc4000004, 0, 0
    answer

    //! count=0 x0=fffffffffffffffe | 5.7: INVALID_PARAMETERS
    case affinity_other
    psci 0xc4000004, 1, 0
    answer

    //! count=0 x0=2 | 5.9: no migration is needed
    case migrate_info_type
    psci 0x84000006
    answer

    //! count=0 x0=fffffffffffffffe | 5.4: INVALID_PARAMETERS, there is no powerdown state
    //? QEMU takes each state for standby
    case suspend_powerdown
    bl timer_in_a_moment
    psci 0xc4000001, 0x10000
    answer
    msr cntv_ctl_el0, xzr

    //! count=0 x0=0 fired=5 | 5.4: standby, until an interrupt is pending; masked or not
    case suspend
    bl timer_in_a_moment
    psci 0xc4000001, 0
    mrs x2, cntv_ctl_el0
    answer
    msr cntv_ctl_el0, xzr
    value fired, x2

    ldr x30, [sp], #16
    ret

timer_in_a_moment:
    ldr x0, =0x08000100
    mov w1, #(1 << 27)
    str w1, [x0]
    ldr x0, =0x08010004
    mov w1, #0xf8
    str w1, [x0]
    mov w1, #1
    ldr x0, =0x08010000
    str w1, [x0]
    ldr x0, =0x08000000
    str w1, [x0]
    ldr x0, =0x20000
    msr cntv_tval_el0, x0
    mov x0, #1
    msr cntv_ctl_el0, x0
    isb
    ret
