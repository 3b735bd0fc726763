/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cur_worker.h - CHI_CUR_WORKER, and what the runtime supplies to the waiting code of this floor
 */
#ifndef TASK_CUR_WORKER_H
#define TASK_CUR_WORKER_H

#include <stdbool.h>
#include <stdint.h>

struct chi_worker;

/* initial-exec: each task asks; an address to add, and no call. */
extern _Thread_local struct chi_worker *chi_cur_worker __attribute__((tls_model("initial-exec")));

/* The worker whose thread this is, or NULL. */
#define CHI_CUR_WORKER chi_cur_worker

enum chi_wait_mode { CHI_WAIT_FOR_ALL, CHI_WAIT_FOR_ANY };

/* Block the running task until the tasks are done or the time is over, by chi_wait()'s rules. context_wait.c. */
int chi_worker_wait(struct chi_worker *worker, void *const *tasks, uint32_t n_tasks, enum chi_wait_mode mode,
		    uint64_t timeout_ns);
/* Let other tasks of this worker go first. */
void chi_worker_yield(struct chi_worker *worker);
/* Is a task running (and not the worker's own loop)? */
bool chi_worker_in_task(const struct chi_worker *worker);

#endif
