/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * count.h - what is counted on the path of a task: few instructions, in lines that this worker alone writes
 *
 * Where a row begins in a worker's set is kept as an offset in bytes, in the pool (for each method), the run context
 * and the session: the same in every worker's set.
 */
#ifndef RUNTIME_COUNT_H
#define RUNTIME_COUNT_H

#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/worker.h"

static inline struct chi_method_counters *chi_method_counters_at(const struct chi_worker *worker, uint32_t offset)
{
	return (struct chi_method_counters *)((char *)worker->method_counters + offset);
}

/* Those of the context's method; it was counted as started. */
static inline struct chi_method_counters *chi_method_counters(const struct chi_worker *worker,
							      const struct chi_run_context *context)
{
	return chi_method_counters_at(worker, context->counters_offset);
}

static inline struct chi_client_counters *chi_client_counters(const struct chi_worker *worker,
							      const struct chi_session *session)
{
	return (struct chi_client_counters *)((char *)worker->client_counters + session->counters_offset);
}

/* The lane's worker asks. */
static inline struct chi_lane_counters *chi_lane_counters(const struct chi_worker *worker, const struct chi_lane *lane)
{
	return &worker->lane_counters[lane->counter_row ? lane->counter_row : worker->id];
}

/* It has its pool and method, and will be completed. */
static inline void chi_count_started(const struct chi_worker *worker, struct chi_run_context *context)
{
	uint32_t offset = context->pool->counters_offsets[context->method->id];

	context->counters_offset = offset;
	hshm_count_add(&chi_method_counters_at(worker, offset)->started, 1);
}

/* A run has ended. */
static inline void chi_count_run(const struct chi_worker *worker, const struct chi_run_context *context, int result)
{
	struct chi_method_counters *counters = chi_method_counters(worker, context);

	hshm_count_add(&worker->counters->tasks, 1);
	hshm_count_add(&counters->tasks, 1);
	hshm_count_add(&counters->bytes, context->io_bytes);
	if (result < 0) {
		hshm_count_add(&worker->counters->tasks_failed, 1);
		hshm_count_add(&counters->failed, 1);
	}
}

/* Its time; a sample stands for others that were not timed. */
static inline void chi_count_time(const struct chi_worker *worker, const struct chi_run_context *context, uint64_t ns,
				  uint64_t n_like_it)
{
	struct chi_method_counters *counters = chi_method_counters(worker, context);

	hshm_count_add(&counters->time_ns, ns * n_like_it);
	if (ns > hshm_load_relaxed(&counters->time_max_ns))
		hshm_store_relaxed(&counters->time_max_ns, ns); /* relaxed: a figure */
}

#endif
