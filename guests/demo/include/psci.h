/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_PSCI_H
#define DEMO_PSCI_H

#include "types.h"

void machine_power_off(void) __noreturn;

#endif
