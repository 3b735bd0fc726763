/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.c - a lock that goes from task to task
 */
#include "methods.h"

/* of all containers, so that tasks of several workers may want it */
static struct {
	struct chi_mutex mutex;
	uint64_t n_held; /* guarded by it */
	hshm_au64 n_arrived;
} shared;

/* Until so many have come as belong together. */
static void arrive(uint64_t n_tasks)
{
	/* relaxed, both: a count; what the tasks share is the mutex' to order */
	uint64_t number = hshm_fetch_add_relaxed(&shared.n_arrived, 1);

	while (hshm_load_relaxed(&shared.n_arrived) < (number / n_tasks + 1) * n_tasks)
		chi_yield();
}

static void hold_once(struct bench_lock *self)
{
	chi_mutex_lock(&shared.mutex);
	self->n_held = ++shared.n_held;
}

METHOD(bench_lock)
{
	struct bench_lock *self = (struct bench_lock *)task;

	(void)container;
	arrive(self->n_tasks);
	self->begin_ns = hshm_clock_ns();
	for (uint64_t i = 0; i < self->count; i++) {
		hold_once(self);
		/* the others of this worker ask for it now; from here on it is handed from one to the next */
		if (i == 0)
			chi_yield();
		chi_mutex_unlock(&shared.mutex);
	}
	self->end_ns = hshm_clock_ns();
	return (int)chi_context_worker(context);
}
