/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boundaries demo.ld gives the image. */
#ifndef DEMO_SECTIONS_H
#define DEMO_SECTIONS_H

extern char _text[], _stext[], _etext[];
extern char __idmap_text_start[], __idmap_text_end[];
extern char __start_rodata[], __end_rodata[];
extern char __user_text_load[], __user_text_end[];
extern char _sdata[], _edata[], __bss_start[], __bss_stop[], _end[];
extern char vectors[];

#endif
