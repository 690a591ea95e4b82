// SPDX-License-Identifier: GPL-2.0-or-later
// The GICv2 interrupt controller, with one CPU and without the Security Extensions.

    .include "runtime.inc"

    .set GICD, 0x08000000
    .set GICC, 0x08010000
    .set CTLR, 0x000
    .set IGROUPR, 0x080
    .set ISENABLER, 0x100
    .set ICENABLER, 0x180
    .set ISPENDR, 0x200
    .set ICPENDR, 0x280
    .set ISACTIVER, 0x300
    .set ICACTIVER, 0x380
    .set IPRIORITYR, 0x400
    .set ITARGETSR, 0x800
    .set ICFGR, 0xc00
    .set SGIR, 0xf00
    .set CPENDSGIR, 0xf10
    .set SPENDSGIR, 0xf20
    .set PMR, 0x04
    .set BPR, 0x08
    .set IAR, 0x0c
    .set EOIR, 0x10
    .set RPR, 0x14
    .set HPPIR, 0x18
    .set ABPR, 0x1c
    .set AIAR, 0x20
    .set AEOIR, 0x24
    .set AHPPIR, 0x28
    .set DIR, 0x1000
    .set SPI, 40                        // of no device
    .set OTHER, 41

    // Registers of the distributor and of the CPU interface, as words, bytes and doublewords
    .macro set_d offset, data, width=w
    ldr x14, =(GICD + \offset)
    ldr x15, =\data
    .ifc \width, b
    strb w15, [x14]
    .else
    str \width\()15, [x14]
    .endif
    .endm

    .macro get_d to, offset, width=w
    ldr x14, =(GICD + \offset)
    .ifc \width, b
    ldrb w\to, [x14]
    .else
    ldr \width\to, [x14]
    .endif
    .endm

    .macro set_c offset, data
    ldr x14, =(GICC + \offset)
    ldr x15, =\data
    str w15, [x14]
    .endm

    .macro get_c to, offset
    ldr x14, =(GICC + \offset)
    ldr w\to, [x14]
    .endm

    // A case begins with all as after a reset, but that group 0 is enabled and no priority is masked
    .macro gic_case name
    case \name
    bl reset
    .endm

    .macro done registers:vararg
    end
    .irp n, \registers
    value v\n, x\n
    .endr
    .endm

main:
    str x30, [sp, #-16]!

    //! count=0 v1=0 v2=0 v3=0 | 4.3.12: RAZ/WI where there is one CPU
    gic_case targets
    set_d (ITARGETSR + SPI), 0x01010101
    get_d 1, (ITARGETSR + SPI)
    get_d 2, ITARGETSR
    get_d 3, (ITARGETSR + SPI), b
    done 1, 2, 3

    //! count=0 v1=3 v2=3 v3=0 v4=8 v5=0 v6=3ff | 3.2.4, 4.3.15, 4.4.4: pending, active, inactive
    gic_case sgi
    set_d SGIR, (2 << 24 | 3)
    get_c 1, HPPIR
    get_c 2, IAR
    get_d 3, ISPENDR
    get_d 4, ISACTIVER
    set_c EOIR, 3
    get_d 5, ISACTIVER
    get_c 6, IAR
    done 1, 2, 3, 4, 5, 6

    //! count=0 v1=0 v2=0 v3=20 v4=100 v5=0 | 4.3.7, 4.3.16, 4.3.17: a byte an SGI, a bit a source
    //? QEMU 7.2 makes an SGI pending also where the byte of GICD_SPENDSGIR that is written is 0
    gic_case sgi_pending
    set_d ISPENDR, 0x20
    get_d 1, ISPENDR
    get_d 2, SPENDSGIR
    set_d (SPENDSGIR + 4), 0x100
    get_d 3, ISPENDR
    get_d 4, (CPENDSGIR + 4)
    set_d (CPENDSGIR + 5), 1, b
    get_d 5, ISPENDR
    done 1, 2, 3, 4, 5

    //! count=0 v1=0 v2=0 | 4.3.15: to a list without this CPU, and to all others
    gic_case sgi_to_others
    set_d SGIR, (2 << 16 | 3)
    get_d 1, ISPENDR
    set_d SGIR, (1 << 24 | 3)
    get_d 2, ISPENDR
    done 1, 2

    //! count=0 v1=100 v2=28 v3=3ff v4=28 | 4.3.5, 4.3.7: pending stays where it is not enabled
    gic_case set_pending
    set_d (ICENABLER + 4), 0x100
    set_d (ISPENDR + 4), 0x100
    get_d 1, (ISPENDR + 4)
    set_d (ISENABLER + 4), 0x100
    get_c 2, HPPIR
    set_d (ICENABLER + 4), 0x100
    get_c 3, IAR
    set_d (ISENABLER + 4), 0x100
    get_c 4, IAR
    done 1, 2, 3, 4

    //! count=0 v1=3ff v2=28 | 4.3.9, 4.3.10: what is active is not signalled
    gic_case active_by_register
    set_d (ISACTIVER + 4), 0x100
    set_d (ISPENDR + 4), 0x100
    get_c 1, IAR
    set_d (ICACTIVER + 4), 0x100
    get_c 2, IAR
    done 1, 2

    //! count=0 v1=3ff v2=28 | 4.4.2: signalled if its priority is higher than the mask, not if it is the same
    gic_case priority_mask
    set_d (IPRIORITYR + SPI), 0x80, b
    set_d (ISPENDR + 4), 0x100
    set_c PMR, 0x80
    get_c 1, IAR
    set_c PMR, 0x88
    get_c 2, IAR
    done 1, 2

    //! count=0 v1=29 v2=40 v3=3ff v4=28 v5=0 v6=40 v7=ff | 3.3.1: the higher priority first, and it preempts
    gic_case preemption
    set_d (IPRIORITYR + SPI), 0x80, b
    set_d (IPRIORITYR + OTHER), 0x40, b
    set_d (ISPENDR + 4), 0x300
    get_c 1, IAR
    get_c 2, RPR
    get_c 3, IAR                        // 0x80 does not preempt 0x40
    set_d (IPRIORITYR + SPI), 0, b
    get_c 4, IAR                        // 0 does
    get_c 5, RPR
    set_c EOIR, SPI
    get_c 6, RPR
    set_c EOIR, OTHER
    get_c 7, RPR
    done 1, 2, 3, 4, 5, 6, 7

    //! count=0 v1=28 | 3.3: of the same priority the lower number first
    gic_case same_priority
    set_d (ISPENDR + 4), 0x300
    get_c 1, IAR
    done 1

    //! count=0 v1=29 v2=40 v3=3ff v4=28 | 3.3.3, 4.4.3: bits [7:5] are the group priority, which alone preempts
    gic_case binary_point
    set_c BPR, 4
    set_d (IPRIORITYR + SPI), 0x40, b
    set_d (IPRIORITYR + OTHER), 0x48, b
    set_d (ISPENDR + 4), 0x200
    get_c 1, IAR
    get_c 2, RPR
    set_d (ISPENDR + 4), 0x100
    get_c 3, IAR
    set_c EOIR, OTHER
    get_c 4, IAR
    done 1, 2, 3, 4

    //! count=0 v1=100 v2=ff v3=3ff v4=0 v5=28 | 4.4.5, 4.4.15: EOIR drops the priority, DIR deactivates
    gic_case eoi_mode
    set_c CTLR, (1 | 1 << 9)
    set_d (ISPENDR + 4), 0x100
    get_c 1, IAR
    set_c EOIR, SPI
    get_d 1, (ISACTIVER + 4)
    get_c 2, RPR
    set_d (ISPENDR + 4), 0x100
    get_c 3, IAR
    set_c DIR, SPI
    get_d 4, (ISACTIVER + 4)
    get_c 5, IAR
    done 1, 2, 3, 4, 5

    //! count=0 v1=3fe v2=3fe v3=28 v4=28 | 4.4.4, 4.4.7, 4.4.10: group 1's are acknowledged by GICC_AIAR
    //? QEMU 7.2 has no aliased registers of GICC_IAR, GICC_EOIR and GICC_HPPIR: they read 0
    gic_case group_1
    set_d CTLR, 3
    set_c CTLR, 3
    set_d (IGROUPR + 4), 0x100
    set_d (ISPENDR + 4), 0x100
    get_c 1, HPPIR
    get_c 2, IAR
    get_c 3, AHPPIR
    get_c 4, AIAR
    set_c AEOIR, SPI
    done 1, 2, 3, 4

    //! count=0 v1=28 | 4.4.1: with AckCtl by GICC_IAR too
    gic_case group_1_ack_ctl
    set_d CTLR, 3
    set_c CTLR, 7
    set_d (IGROUPR + 4), 0x100
    set_d (ISPENDR + 4), 0x100
    get_c 1, IAR
    set_c EOIR, SPI
    done 1

    //! count=0 v1=3ff v2=3ff v3=28 | 4.4.10: GICC_AIAR does not acknowledge group 0's
    //? QEMU 7.2 has no aliased registers of GICC_IAR, GICC_EOIR and GICC_HPPIR: they read 0
    gic_case group_0_by_alias
    set_d (ISPENDR + 4), 0x100
    get_c 1, AIAR
    get_c 2, AHPPIR
    get_c 3, IAR
    done 1, 2, 3

    //! count=0 v1=3ff | 4.3.1: group 1 is not enabled
    //? QEMU 7.2 has no aliased registers of GICC_IAR, GICC_EOIR and GICC_HPPIR: they read 0
    gic_case group_1_disabled
    set_d (IGROUPR + 4), 0x100
    set_d (ISPENDR + 4), 0x100
    get_c 1, AIAR
    done 1

    //! count=0 v1=3ff v2=3ff v3=28 | 4.3.1, 4.4.1: neither disabled part signals
    gic_case disabled
    set_d (ISPENDR + 4), 0x100
    set_d CTLR, 0
    get_c 1, IAR
    set_d CTLR, 1
    set_c CTLR, 0
    get_c 2, IAR
    set_c CTLR, 1
    get_c 3, IAR
    done 1, 2, 3

    //! count=0 v1=10204080 v2=40 v3=1020e080 v4=aaaaaaaa v5=a80000 | 4.3.11, 4.3.13, 4.1.4: bytes of IPRIORITYR; SGIs are edges
    gic_case widths
    set_d (IPRIORITYR + SPI), 0x10204080
    get_d 1, (IPRIORITYR + SPI)
    get_d 2, (IPRIORITYR + SPI + 1), b
    set_d (IPRIORITYR + SPI + 1), 0xe0, b
    get_d 3, (IPRIORITYR + SPI)
    set_d ICFGR, 0
    get_d 4, ICFGR
    set_d (ICFGR + 8), 0xa80000
    get_d 5, (ICFGR + 8)
    set_d (ICFGR + 8), 0
    done 1, 2, 3, 4, 5

    //! vector=5 elr=0 spsr=5 v1=0 v2=28 | 2.3, D1.13 of the Arm ARM: an IRQ, at the instruction after it is unmasked
    gic_case irq
    set_d (ISPENDR + 4), 0x100
    msr spsr_el1, xzr
    mov x1, #0
    adr x26, 1f
    msr daifclr, #15
1:  mov x1, #1
    end
    get_c 2, IAR
    set_c EOIR, SPI
    value v1, x1
    value v2, x2

    //! vector=6 elr=0 spsr=5 v1=0 v2=28 | 4.4.1: with FIQEn group 0's are FIQs
    gic_case fiq
    set_c CTLR, (1 | 1 << 3)
    set_d (ISPENDR + 4), 0x100
    mov x1, #0
    adr x26, 1f
    msr daifclr, #15
1:  mov x1, #1
    end
    get_c 2, IAR
    set_c EOIR, SPI
    value v1, x1
    value v2, x2

    //! count=0 v1=1 v2=28 | PSTATE.F masks it, and not PSTATE.I
    gic_case fiq_masked
    set_c CTLR, (1 | 1 << 3)
    set_d (ISPENDR + 4), 0x100
    mov x1, #0
    msr daifclr, #2
    mov x1, #1
    msr daifset, #15
    get_c 2, IAR
    set_c EOIR, SPI
    done 1, 2

    //! vector=5 elr=0 spsr=45 v1=0 v2=28 | 2.3: group 1's are IRQs, with FIQEn too
    //? QEMU 7.2 has no aliased registers of GICC_IAR, GICC_EOIR and GICC_HPPIR: they read 0
    gic_case group_1_irq
    set_d CTLR, 3
    set_c CTLR, (3 | 1 << 3)
    set_d (IGROUPR + 4), 0x100
    set_d (ISPENDR + 4), 0x100
    mov x1, #0
    adr x26, 1f
    msr daifclr, #14
1:  mov x1, #1
    end
    get_c 2, AIAR
    set_c AEOIR, SPI
    value v1, x1
    value v2, x2

    ldr x30, [sp], #16
    ret

reset:
    set_d CTLR, 0
    set_d (ICENABLER + 4), 0xffffffff
    set_d (ICPENDR + 4), 0xffffffff
    set_d (ICACTIVER + 4), 0xffffffff
    set_d ICACTIVER, 0xffffffff
    set_d CPENDSGIR, 0xffffffff
    set_d (CPENDSGIR + 4), 0xffffffff
    set_d IGROUPR, 0
    set_d (IGROUPR + 4), 0
    set_d (IPRIORITYR + SPI), 0
    set_d (ISENABLER + 4), 0x300
    set_c CTLR, 1
    set_c BPR, 3
    set_c ABPR, 4
    .irp apr, 0xd0, 0xd4, 0xd8, 0xdc, 0xe0, 0xe4, 0xe8, 0xec
    set_c \apr, 0
    .endr
    set_c PMR, 0xf8
    set_d CTLR, 1
    ret
    .ltorg
