/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watchdog.h - tells of a worker that does not come back from a method, and has others go on without it
 */
#ifndef RUNTIME_WATCHDOG_H
#define RUNTIME_WATCHDOG_H

#include <stdint.h>

struct chi_runtime;
struct chi_watchdog;

/* For a runtime with watchdog.hang_ms, whose workers run. Returns 0, -ENOMEM. */
int chi_watchdog_create(struct chi_runtime *runtime, struct chi_watchdog **ret_watchdog);
/* Accepts NULL. */
void chi_watchdog_destroy(struct chi_watchdog *watchdog);

/* Look at all workers, and tell what is to be told. Returns when to look next. Waits for no method, and for
 * no lock that is held while one runs. Threads: one, the ipc thread. */
uint64_t chi_watchdog_look(struct chi_watchdog *watchdog, uint64_t now_ns);
/* The part of workers that hang in the retirement of ended clients' lanes. Threads: the same. */
void chi_watchdog_retire(struct chi_watchdog *watchdog);

#endif
