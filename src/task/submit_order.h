/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * submit_order.h - how many tasks a thread has submitted after one of its own
 */
#ifndef TASK_SUBMIT_ORDER_H
#define TASK_SUBMIT_ORDER_H

#include <chimaera/task.h>

/* Before the push, by the thread that submits it. */
void chi_submit_order_note(struct chi_task *task);

/* By the thread that waits for it. 0: none, or another thread has submitted it. */
uint32_t chi_submit_order_n_behind(const struct chi_task *task);

#endif
