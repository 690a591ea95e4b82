/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_MMU_H
#define DEMO_MMU_H

void create_page_tables(void);
void switch_to_user_mm(void);

#endif
