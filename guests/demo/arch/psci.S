/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PSCI (Arm DEN 0022) by HVC: SYSTEM_OFF. */
#include "asm.h"

#define PSCI_SYSTEM_OFF	0x84000008

	.text
/* void machine_power_off(void); it does not return */
func	machine_power_off
	mov	w0, #(PSCI_SYSTEM_OFF & 0xffff)
	movk	w0, #(PSCI_SYSTEM_OFF >> 16), lsl #16
	hvc	#0
1:	wfi
	b	1b
endfunc	machine_power_off
