/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_arena.h - the end of what a task took by chi_task_arena_alloc()
 */
#ifndef RUNTIME_TASK_ARENA_H
#define RUNTIME_TASK_ARENA_H

struct chi_run_context;

/* All of it; context->arena is NULL then. The worker of the task. */
void chi_task_arena_free(struct chi_run_context *context);

#endif
