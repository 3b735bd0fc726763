/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * submit_order.h - how many tasks a thread has submitted after one of its own
 */
#ifndef TASK_SUBMIT_ORDER_H
#define TASK_SUBMIT_ORDER_H

#include <chimaera/task.h>

/* By the thread that submits it: before the push, and after one that was not refused. */
void chi_submit_order_note(struct chi_task *task);
void chi_submit_order_count(void);

/* By the thread that waits for it: what it has submitted since, in any lane, done or not. A guess, then, of how many
 * are still to be done. 0: none, or another thread has submitted it. */
uint32_t chi_submit_order_n_behind(const struct chi_task *task);

#endif
