/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tick.c - how late periodic tasks run
 */
#include <errno.h>
#include <stdlib.h>

#include "methods.h"

METHOD(bench_tick)
{
	struct bench_container *self = chi_container_state(container);
	uint64_t due_ns = chi_context_due_ns(context), i;

	(void)task;
	if (due_ns == 0)
		return 0; /* the first: it starts when it is taken */
	/* relaxed: a place of its own; who reads it waits for the tasks first */
	i = hshm_fetch_add_relaxed(&self->n_ticks, 1);
	if (i < BENCH_TICKS_MAX)
		self->late_ns[i] = hshm_clock_ns() - due_ns;
	return 0;
}

static int compare_ns(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

METHOD(bench_lateness)
{
	struct bench_lateness *answer = (struct bench_lateness *)task;
	struct bench_container *self = chi_container_state(container);
	uint64_t n = hshm_load_relaxed(&self->n_ticks); /* relaxed: the ticks have been waited for */
	uint64_t n_kept = n < BENCH_TICKS_MAX ? n : BENCH_TICKS_MAX;

	(void)context;
	if (n == 0)
		return -ENODATA;
	qsort(self->late_ns, n_kept, sizeof(self->late_ns[0]), compare_ns);
	answer->n = n;
	answer->min = self->late_ns[0];
	answer->p50 = self->late_ns[n_kept / 2];
	answer->p99 = self->late_ns[n_kept - 1 - n_kept / 100];
	answer->p999 = self->late_ns[n_kept - 1 - n_kept / 1000];
	answer->max = self->late_ns[n_kept - 1];
	hshm_store_relaxed(&self->n_ticks, 0);
	return 0;
}
