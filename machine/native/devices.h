/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of the devices in C. */
#ifndef ARMPROBE_DEVICES_H
#define ARMPROBE_DEVICES_H

#include "native.h"

device_read_t armprobe_gic_read, armprobe_gic_interface_read, armprobe_pl011_read;
device_write_t armprobe_gic_write, armprobe_gic_interface_write, armprobe_pl011_write;
uint32_t armprobe_gic_signal(const struct gic_interface *interface);
uint64_t armprobe_timer_deadline(const struct timer *timer);
uint64_t armprobe_timer_read(const struct timer *timer, uint64_t count, uint32_t number);
void armprobe_timer_write(struct timer *timer, uint64_t count, uint32_t number, uint64_t value);
void armprobe_timer_update(const struct timer *timer, uint64_t count);
void armprobe_gic_set_line(struct gic *gic, uint32_t number, bool asserted);

#endif
