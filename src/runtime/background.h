/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * background.h - do what may wait for ever on threads that nobody waits for
 */
#ifndef RUNTIME_BACKGROUND_H
#define RUNTIME_BACKGROUND_H

#include <stdint.h>

struct chi_background;

/* @what: borrowed for ever; for the log, when some hang at the end. Returns 0 or -ENOMEM. Threads come when there is
 * something to do, @n_threads_max at most. */
int chi_background_create(const char *what, uint32_t n_threads_max, struct chi_background **ret_background);

/* Call fn(arg) on one of the threads, or, without any, in chi_background_destroy(). Returns 0 or -ENOMEM. Does not
 * wait.
 * Threads: any. */
int chi_background_run(struct chi_background *background, void (*fn)(void *arg), void *arg);

/* How many have not returned. Threads: any. */
uint32_t chi_background_n_left(struct chi_background *background);

/* Wait a little for those that have not returned; threads that hang end by themselves, later. Accepts NULL. */
void chi_background_destroy(struct chi_background *background);

#endif
