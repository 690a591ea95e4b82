/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The serial line: an Arm PL011 UART (Arm DDI 0183) that transmits at once and receives from a queue.
 *
 * What it transmits is kept in a ring until the console collects it, on any thread: one thread transmits, and the
 * console lets one collect at a time. The queue of received bytes is the console's memory, which only shrinks here. */
#include "native.h"

enum {
    RX = 1 << 4, /* interrupts, of RIS */
    TX = 1 << 5,
    RX_TIMEOUT = 1 << 6,
    FR_RX_EMPTY = 1 << 4,
    FR_TX_EMPTY = 1 << 7,
};

/* PeriphID0..3, PCellID0..3 */
static const uint8_t identification[] = {0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

/* The register that keeps what is written to it, or NULL. */
static uint64_t *setting(struct pl011 *uart, uint64_t offset)
{
    switch (offset) {
    case 0x24:
        return &uart->ibrd;
    case 0x28:
        return &uart->fbrd;
    case 0x2C:
        return &uart->lcr_h;
    case 0x30:
        return &uart->cr;
    case 0x34:
        return &uart->ifls;
    case 0x38:
        return &uart->imsc;
    case 0x48:
        return &uart->dmacr;
    }
    return NULL;
}

/* RIS: the receive interrupts follow the queue. */
static uint64_t status(const struct pl011 *uart)
{
    return uart->raw | (uart->waiting < uart->waiting_end ? RX | RX_TIMEOUT : 0);
}

/* Drive the interrupt line. */
ARMPROBE_EXPORT void armprobe_pl011_update(struct pl011 *uart)
{
    armprobe_gic_set_line(uart->gic, uart->intid, status(uart) & uart->imsc);
}

ARMPROBE_EXPORT uint64_t armprobe_pl011_read(void *device, uint64_t offset, uint32_t size)
{
    struct pl011 *uart = device;
    const uint64_t *kept = setting(uart, offset);
    uint64_t value = 0;

    (void)size;
    if (kept)
        return *kept;
    switch (offset) {
    case 0x00:
        if (uart->waiting < uart->waiting_end)
            value = *uart->waiting++;
        armprobe_pl011_update(uart);
        return value;
    case 0x18:
        return FR_TX_EMPTY | (uart->waiting < uart->waiting_end ? 0 : FR_RX_EMPTY);
    case 0x3C:
        return status(uart);
    case 0x40:
        return status(uart) & uart->imsc;
    }
    if (0xFE0 <= offset && offset < 0x1000 && offset % 4 == 0)
        return identification[(offset - 0xFE0) / 4];
    return 0;
}

static void transmit(struct pl011 *uart, uint8_t byte)
{
    uint64_t sent = uart->sent + 1;

    uart->output[uart->sent % PL011_OUTPUT] = byte;
    __atomic_store_n(&uart->sent, sent, __ATOMIC_RELEASE);
    if (uart->watched || sent - __atomic_load_n(&uart->collected, __ATOMIC_ACQUIRE) >= PL011_OUTPUT)
        uart->drain();
}

ARMPROBE_EXPORT void armprobe_pl011_write(void *device, uint64_t offset, uint32_t size, uint64_t value)
{
    struct pl011 *uart = device;
    uint64_t *kept = setting(uart, offset);

    (void)size;
    if (kept) {
        *kept = value & 0xFFFF;
    } else if (offset == 0x00) {
        uart->raw |= TX; /* the FIFO never fills, so it passes its level at once */
        transmit(uart, value & 0xFF);
    } else if (offset == 0x44) {
        uart->raw &= ~value;
    }
    armprobe_pl011_update(uart);
}

/* Collect what has been transmitted into `bytes`, which has room for PL011_OUTPUT. Returns how many bytes there are. */
ARMPROBE_EXPORT uint64_t armprobe_pl011_collect(struct pl011 *uart, uint8_t *bytes)
{
    uint64_t sent = __atomic_load_n(&uart->sent, __ATOMIC_ACQUIRE), collected = uart->collected;
    uint64_t count = sent - collected;

    if (count > PL011_OUTPUT) { /* `drain` has failed to collect */
        count = PL011_OUTPUT;
        collected = sent - count;
    }
    for (uint64_t i = 0; i < count; i++)
        bytes[i] = uart->output[(collected + i) % PL011_OUTPUT];
    __atomic_store_n(&uart->collected, collected + count, __ATOMIC_RELEASE);
    return count;
}
