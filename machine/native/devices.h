/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices in C: their registers, and their functions. */
#ifndef ARMPROBE_DEVICES_H
#define ARMPROBE_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

#define GIC_LINES 64 /* INTIDs 0..15 are SGIs, 16..31 PPIs, 32..63 SPIs */
#define GIC_CPUS 1

/* How an interface signals an interrupt to its CPU. */
enum gic_signal { GIC_NONE, GIC_IRQ, GIC_FIQ };

/* The interface of one CPU: GICC_CTLR, GICC_PMR; GICC_BPR and GICC_ABPR; GICC_APR0 and GICC_NSAPR0, one bit per group
 * priority. */
#define ARMPROBE_GIC_INTERFACE(FIELD, ARRAY) \
    FIELD(struct gic *, gic) \
    FIELD(uint32_t, control) \
    FIELD(uint32_t, mask) \
    ARRAY(uint32_t, binary_points, 2) \
    ARRAY(uint32_t, active_priorities, 2)

/* `enabled` is GICD_CTLR, a bit per group. `enable` to `edge` have a bit per INTID: `latched` are those pending by an
 * edge, an SGI or a write to ISPENDR, `level` the input lines as devices drive them. */
#define ARMPROBE_GIC(FIELD, ARRAY) \
    FIELD(uint32_t, enabled) \
    FIELD(uint64_t, enable) \
    FIELD(uint64_t, latched) \
    FIELD(uint64_t, level) \
    FIELD(uint64_t, active) \
    FIELD(uint64_t, group) \
    FIELD(uint64_t, edge) \
    ARRAY(uint8_t, priorities, GIC_LINES) \
    ARRAY(struct gic_interface, interfaces, GIC_CPUS)

#define PL011_OUTPUT 65536 /* bytes */
typedef void drain_function(void);

/* `raw` is RIS without the receive interrupts. The received bytes are those from `waiting` to `waiting_end`. `sent` and
 * `collected` count the bytes put into `output`, a ring, and taken out. `drain` is called when the ring is full, and at
 * each byte if `watched`; it is to collect them. */
#define ARMPROBE_PL011(FIELD, ARRAY) \
    FIELD(uint64_t, ibrd) \
    FIELD(uint64_t, fbrd) \
    FIELD(uint64_t, lcr_h) \
    FIELD(uint64_t, cr) \
    FIELD(uint64_t, ifls) \
    FIELD(uint64_t, imsc) \
    FIELD(uint64_t, dmacr) \
    FIELD(uint64_t, raw) \
    FIELD(struct gic *, gic) \
    FIELD(uint32_t, intid) \
    FIELD(const uint8_t *, waiting) \
    FIELD(const uint8_t *, waiting_end) \
    FIELD(uint64_t, sent) \
    FIELD(uint64_t, collected) \
    FIELD(bool, watched) \
    FIELD(drain_function *, drain) \
    ARRAY(uint8_t, output, PL011_OUTPUT)

#define TIMER_NEVER UINT64_MAX

/* CNTx_CTL without ISTATUS, and CNTx_CVAL; the line that the timer drives. */
#define ARMPROBE_TIMER(FIELD, ARRAY) \
    FIELD(struct gic *, gic) \
    FIELD(uint32_t, intid) \
    FIELD(uint64_t, control) \
    FIELD(uint64_t, compare)

#define ARMPROBE_DEVICES_STRUCTURES(STRUCTURE) \
    STRUCTURE(gic_interface, ARMPROBE_GIC_INTERFACE) \
    STRUCTURE(gic, ARMPROBE_GIC) \
    STRUCTURE(pl011, ARMPROBE_PL011) \
    STRUCTURE(timer, ARMPROBE_TIMER)

struct gic;
struct gic_interface;
struct timer;

/* A device's own functions, which read and write its registers. `offset` is from its base, in bytes, and `size` is
 * 1, 2, 4 or 8. */
typedef uint64_t device_read_t(void *device, uint64_t offset, uint32_t size);
typedef void device_write_t(void *device, uint64_t offset, uint32_t size, uint64_t value);

device_read_t armprobe_gic_read, armprobe_gic_interface_read, armprobe_pl011_read;
device_write_t armprobe_gic_write, armprobe_gic_interface_write, armprobe_pl011_write;
uint32_t armprobe_gic_signal(const struct gic_interface *interface);
uint64_t armprobe_timer_deadline(const struct timer *timer);
uint64_t armprobe_timer_read(const struct timer *timer, uint64_t count, uint32_t number);
void armprobe_timer_write(struct timer *timer, uint64_t count, uint32_t number, uint64_t value);
void armprobe_timer_update(const struct timer *timer, uint64_t count);
void armprobe_gic_set_line(struct gic *gic, uint32_t number, bool asserted);

#endif
