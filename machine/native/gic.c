/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A GICv2 interrupt controller without the Security Extensions (Arm IHI 0048B): the distributor, and an interface for
 * each CPU. The banked registers of SGIs and PPIs exist once: there is one CPU. */
#include "native.h"

enum {
    SPURIOUS = 1023,
    OTHER_GROUP = 1022, /* what group 0's registers return for an interrupt of group 1 */
    IDLE_PRIORITY = 0xFF,
    PRIORITY_BITS = 0xF8, /* 32 levels */
    MIN_BINARY_POINT = 2, /* the group priority is all five priority bits */
    SGIS = 0xFFFF,
    /* GICC_CTLR */
    ACK_CTL = 1 << 2,
    FIQ_EN = 1 << 3,
    CBPR = 1 << 4,
    EOI_MODE = 1 << 9,
    CONTROL_BITS = 3 | ACK_CTL | FIQ_EN | CBPR | 3 << 5 | EOI_MODE,
};

static uint64_t pending(const struct gic *gic)
{
    return gic->latched | (gic->level & ~gic->edge);
}

static uint32_t group_of(const struct gic *gic, uint32_t number)
{
    return gic->group >> number & 1;
}

/* The highest active group priority; 0xff when no interrupt is active (4.4.6). */
static uint32_t running_priority(const struct gic_interface *interface)
{
    uint32_t active = interface->active_priorities[0] | interface->active_priorities[1];
    return active ? (uint32_t)__builtin_ctz(active) << 3 : IDLE_PRIORITY;
}

/* The part of the priority that decides on preemption (3.3.3). With GICC_ABPR it is one bit longer. */
static uint32_t group_priority(const struct gic_interface *interface, uint32_t number)
{
    const struct gic *gic = interface->gic;
    uint32_t lowest = !group_of(gic, number) || interface->control & CBPR
        ? (interface->binary_points[0] & 7) + 1
        : interface->binary_points[1] & 7;
    return gic->priorities[number] & ~((1u << lowest) - 1);
}

/* The pending interrupt of highest priority whose INTID and group are enabled, or 1023. */
static uint32_t highest_pending(const struct gic_interface *interface)
{
    const struct gic *gic = interface->gic;
    uint64_t ready = pending(gic) & gic->enable & ~gic->active;
    uint32_t groups = gic->enabled & interface->control;
    uint32_t best = SPURIOUS, highest = IDLE_PRIORITY + 1;

    if (!(groups & 1))
        ready &= gic->group;
    if (!(groups & 2))
        ready &= ~gic->group;
    for (; ready; ready &= ready - 1) {
        uint32_t number = (uint32_t)__builtin_ctzll(ready);
        if (gic->priorities[number] < highest) {
            best = number;
            highest = gic->priorities[number];
        }
    }
    return best;
}

/* The INTID to be signalled to the CPU now, or 1023. */
ARMPROBE_EXPORT uint32_t armprobe_gic_pending(const struct gic_interface *interface)
{
    uint32_t number = highest_pending(interface);
    if (number == SPURIOUS || interface->gic->priorities[number] >= interface->mask)
        return SPURIOUS;
    return group_priority(interface, number) < running_priority(interface) ? number : (uint32_t)SPURIOUS;
}

/* How the interface signals that interrupt, an enum gic_signal: group 0 may use FIQ (2.3). */
ARMPROBE_EXPORT uint32_t armprobe_gic_signal(const struct gic_interface *interface)
{
    uint32_t number = armprobe_gic_pending(interface);
    if (number == SPURIOUS)
        return GIC_NONE;
    return interface->control & FIQ_EN && !group_of(interface->gic, number) ? GIC_FIQ : GIC_IRQ;
}

/* Set the input line of INTID `number`, as a device drives it. */
ARMPROBE_EXPORT void armprobe_gic_set_line(struct gic *gic, uint32_t number, bool asserted)
{
    uint64_t bit = 1ull << number;
    if (asserted) {
        gic->latched |= bit & gic->edge & ~gic->level;
        gic->level |= bit;
    } else {
        gic->level &= ~bit;
    }
}

/* The distributor: GICD registers (4.3). */

/* 32 bits of a register with one bit per INTID. */
static uint32_t bits(uint64_t state, uint32_t first)
{
    return first < GIC_LINES ? (uint32_t)(state >> first) : 0;
}

static uint32_t read_word(const struct gic *gic, uint64_t offset)
{
    uint32_t first = (offset & 0x7F) * 8, value = 0; /* the first INTID of a register with one bit each */

    switch (offset & ~0x7Full) {
    case 0x080:
        return bits(gic->group, first);
    case 0x100:
    case 0x180:
        return bits(gic->enable, first);
    case 0x200:
    case 0x280:
        return bits(pending(gic), first);
    case 0x300:
    case 0x380:
        return bits(gic->active, first);
    }
    if (0xC00 <= offset && offset < 0xC00 + GIC_LINES / 4) {
        first = (uint32_t)(offset - 0xC00) * 4;
        for (uint32_t i = 0; i < 16; i++)
            value |= (uint32_t)(gic->edge >> (first + i) & 1) << (2 * i + 1);
        return value;
    }
    if (0xF10 <= offset && offset < 0xF30) { /* bit 0 of a byte: from this CPU, which is the only one */
        for (uint32_t i = 0; i < 4; i++)
            value |= (uint32_t)(gic->latched >> ((offset & 0xC) + i) & 1) << 8 * i;
        return value;
    }
    switch (offset) {
    case 0x000:
        return gic->enabled;
    case 0x004:
        return GIC_LINES / 32 - 1; /* one CPU, no Security Extensions */
    case 0x008:
        return 0x43B; /* Arm */
    case 0xFE8:
        return 0x2B; /* architecture revision 2 */
    }
    return 0; /* GICD_ITARGETSR among others: RAZ/WI where there is one CPU (4.3.12) */
}

ARMPROBE_EXPORT uint64_t armprobe_gic_read(void *device, uint64_t offset, uint32_t size)
{
    const struct gic *gic = device;
    uint64_t value = 0, word = offset & ~3ull;

    if (0x400 <= offset && offset < 0x400 + GIC_LINES) {
        for (uint32_t i = 0; i < size && offset - 0x400 + i < GIC_LINES; i++)
            value |= (uint64_t)gic->priorities[offset - 0x400 + i] << 8 * i;
        return value;
    }
    value = read_word(gic, word);
    if (size == 8)
        value |= (uint64_t)read_word(gic, word + 4) << 32;
    value >>= 8 * (offset - word);
    return size == 8 ? value : value & ((1ull << 8 * size) - 1);
}

/* Write a register with one bit per INTID: `lines` are the bits set, `written` the bits written. */
static void write_bits(struct gic *gic, uint64_t reg, uint64_t lines, uint64_t written)
{
    switch (reg) {
    case 0x080:
        gic->group = (gic->group & ~written) | lines;
        break;
    case 0x100:
        gic->enable |= lines;
        break;
    case 0x180:
        gic->enable &= ~lines | SGIS;
        break;
    case 0x200:
        gic->latched |= lines & ~(uint64_t)SGIS;
        break;
    case 0x280:
        gic->latched &= ~lines | SGIS;
        break;
    case 0x300:
        gic->active |= lines;
        break;
    case 0x380:
        gic->active &= ~lines;
        break;
    }
}

ARMPROBE_EXPORT void armprobe_gic_write(void *device, uint64_t offset, uint32_t size, uint64_t value)
{
    struct gic *gic = device;

    if (size == 8) {
        armprobe_gic_write(gic, offset, 4, value & 0xFFFFFFFF);
        armprobe_gic_write(gic, offset + 4, 4, value >> 32);
        return;
    }
    if (0x400 <= offset && offset < 0x400 + GIC_LINES) {
        for (uint32_t i = 0; i < size && offset - 0x400 + i < GIC_LINES; i++)
            gic->priorities[offset - 0x400 + i] = value >> 8 * i & PRIORITY_BITS;
        return;
    }
    uint32_t shift = (offset & 3) * 8;
    uint64_t written = ((1ull << 8 * size) - 1) << shift;
    value <<= shift;
    offset &= ~3ull;
    uint32_t first = (offset & 0x7F) * 8;
    if (first < GIC_LINES)
        write_bits(gic, offset & ~0x7Full, value << first, written << first);
    if (0xC04 <= offset && offset < 0xC00 + GIC_LINES / 4) { /* SGIs are always edge-triggered */
        first = (uint32_t)(offset - 0xC00) * 4;
        for (uint32_t i = 0; i < 16; i++) {
            uint64_t bit = 1ull << (first + i);
            if (written >> (2 * i + 1) & 1)
                gic->edge = value >> (2 * i + 1) & 1 ? gic->edge | bit : gic->edge & ~bit;
        }
    } else if (offset == 0x000) {
        if (written & 3)
            gic->enabled = value & 3;
    } else if (offset == 0xF00) { /* SGIR: to this CPU if it is in the list, or if the sender asks for itself */
        uint32_t filter = value >> 24 & 3;
        if ((filter == 0 && value >> 16 & 1) || filter == 2)
            gic->latched |= 1ull << (value & 15);
    } else if (0xF10 <= offset && offset < 0xF30) {
        uint64_t lines = 0;
        for (uint32_t i = 0; i < 4; i++)
            lines |= (value >> 8 * i & 1) << ((offset & 0xC) + i);
        gic->latched = offset >= 0xF20 ? gic->latched | lines : gic->latched & ~lines;
    }
}

/* The CPU interface: GICC registers (4.4), all of which are words. */

/* The INTID that `group`'s registers report for an interrupt. Group 1's show no interrupt of group 0. Group 0's show
 * that one of group 1 exists, or its INTID with AckCtl. */
static uint32_t of_group(const struct gic_interface *interface, uint32_t number, uint32_t group)
{
    if (number == SPURIOUS || group_of(interface->gic, number) == group)
        return number;
    if (group == 1)
        return SPURIOUS;
    return interface->control & ACK_CTL ? number : (uint32_t)OTHER_GROUP;
}

/* Read GICC_IAR or GICC_AIAR: the signalled interrupt becomes active if it belongs to `group`. */
static uint32_t acknowledge(struct gic_interface *interface, uint32_t group)
{
    uint32_t number = of_group(interface, armprobe_gic_pending(interface), group);
    if (number < GIC_LINES) {
        struct gic *gic = interface->gic;
        gic->latched &= ~(1ull << number);
        gic->active |= 1ull << number;
        interface->active_priorities[group_of(gic, number)] |= 1u << (group_priority(interface, number) >> 3);
    }
    return number;
}

static void deactivate(struct gic *gic, uint32_t number)
{
    if (number < GIC_LINES)
        gic->active &= ~(1ull << number);
}

/* Write GICC_EOIR: drop the running priority (4.4.5) and, without EOImode, deactivate the interrupt. */
static void end(struct gic_interface *interface, uint32_t number)
{
    if (number >= GIC_LINES)
        return;
    uint32_t *active = &interface->active_priorities[group_of(interface->gic, number)];
    *active &= *active - 1;
    if (!(interface->control & EOI_MODE))
        deactivate(interface->gic, number);
}

ARMPROBE_EXPORT uint64_t armprobe_gic_interface_read(void *device, uint64_t offset, uint32_t size)
{
    struct gic_interface *interface = device;

    (void)size;
    switch (offset) {
    case 0x00:
        return interface->control;
    case 0x04:
        return interface->mask;
    case 0x08:
        return interface->binary_points[0];
    case 0x0C:
        return acknowledge(interface, 0);
    case 0x14:
        return running_priority(interface);
    case 0x18:
        return of_group(interface, highest_pending(interface), 0);
    case 0x1C:
        return interface->binary_points[1];
    case 0x20:
        return acknowledge(interface, 1);
    case 0x28:
        return of_group(interface, highest_pending(interface), 1);
    case 0xD0:
        return interface->active_priorities[0];
    case 0xE0:
        return interface->active_priorities[1];
    case 0xFC:
        return 0x0202043B; /* GICv2, Arm */
    }
    return 0;
}

static uint32_t binary_point(uint64_t value, uint32_t least)
{
    return (value & 7) > least ? value & 7 : least;
}

ARMPROBE_EXPORT void armprobe_gic_interface_write(void *device, uint64_t offset, uint32_t size, uint64_t value)
{
    struct gic_interface *interface = device;

    (void)size;
    switch (offset) {
    case 0x00:
        interface->control = value & CONTROL_BITS;
        break;
    case 0x04:
        interface->mask = value & PRIORITY_BITS;
        break;
    case 0x08:
        interface->binary_points[0] = binary_point(value, MIN_BINARY_POINT);
        break;
    case 0x1C:
        interface->binary_points[1] = binary_point(value, MIN_BINARY_POINT + 1);
        break;
    case 0x10: /* GICC_EOIR */
    case 0x24: /* GICC_AEOIR */
        end(interface, value & 0x3FF);
        break;
    case 0xD0:
        interface->active_priorities[0] = (uint32_t)value;
        break;
    case 0xE0:
        interface->active_priorities[1] = (uint32_t)value;
        break;
    case 0x1000: /* GICC_DIR */
        deactivate(interface->gic, value & 0x3FF);
        break;
    }
}
