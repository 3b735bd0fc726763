/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * other.h - the other process of a reference: on the second CPU, over memory that both map
 */
#ifndef BENCH_OTHER_H
#define BENCH_OTHER_H

#include <stddef.h>
#include <sys/types.h>

#include <hshm/atomic.h>

/* Zeroed memory that a process shares with those it forks; NULL: no memory. */
void *bench_shared_map(size_t size_bytes);
/* Accepts NULL. */
void bench_shared_unmap(void *memory, size_t size_bytes);

/* serve(arg) in another process on @cpu; it never returns. The process ends with ours. */
int bench_other_start(unsigned cpu, void (*serve)(void *arg), void *arg, pid_t *ret_pid);
/* Accepts 0. */
void bench_other_stop(pid_t pid);

/* A word that the other process sleeps on while it is 0, and looks at while it serves. */
void bench_gate_set(hshm_au32 *gate, uint32_t is_open);
void bench_gate_wait(hshm_au32 *gate);

#endif
