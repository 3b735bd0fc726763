/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * given_up.c - what a stop leaves behind, told in the log
 *
 * A worker that has ended has its tasks in three places: begun ones on its fibers, others in the rings of its container
 * lanes, or at a client's lane that waits for room. A worker that has not ended is stuck in a method: of it only
 * `running` is looked at.
 */
#include "runtime/given_up.h"

#include <stdbool.h>
#include <stdlib.h>

#include "runtime/log.h"
#include "runtime/pool_manager.h"
#include "runtime/running.h"
#include "runtime/worker.h"

/* Tasks of one method of one pool. */
struct tally {
	const struct chi_pool *pool;
	const struct chi_method *method;
	uint64_t n_begun;
	uint64_t n_waiting;
};

struct tallies {
	struct tally *entries;
	uint32_t n;
	uint32_t n_allocated;
};

static struct tally *find_tally(struct tallies *tallies, const struct chi_run_context *context)
{
	struct tally *entries;

	for (uint32_t i = 0; i < tallies->n; i++) {
		if (tallies->entries[i].pool == context->pool && tallies->entries[i].method == context->method)
			return &tallies->entries[i];
	}
	if (tallies->n == tallies->n_allocated) {
		uint32_t n = tallies->n_allocated ? 2 * tallies->n_allocated : 16;

		entries = realloc(tallies->entries, n * sizeof(*entries));
		if (!entries)
			return NULL;
		tallies->entries = entries;
		tallies->n_allocated = n;
	}
	tallies->entries[tallies->n] = (struct tally){ .pool = context->pool, .method = context->method };
	return &tallies->entries[tallies->n++];
}

/* The task that the fiber is at, and those that it was called by. */
static void add_begun(void *fiber_arg, void *arg)
{
	for (const struct chi_run_context *at = fiber_arg; at; at = at->below) {
		struct tally *tally = find_tally(arg, at);

		if (tally)
			tally->n_begun++;
	}
}

static void add_waiting(struct tallies *tallies, const struct chi_run_context *context)
{
	struct tally *tally = find_tally(tallies, context);

	if (tally)
		tally->n_waiting++;
}

static void add_lane(struct tallies *tallies, struct chi_runtime *runtime, struct chi_lane *lane)
{
	uint32_t ref;

	if (lane->stalled)
		add_waiting(tallies, lane->stalled);
	if (lane->session)
		return; /* its ring holds what was not admitted */
	while ((ref = hipc_mpsc_dequeue(&lane->consumer)) != 0)
		add_waiting(tallies,
			    hipc_ref_translate(&runtime->private_mem.map, ref, sizeof(struct chi_run_context)));
}

static void add_worker(struct tallies *tallies, struct chi_worker *worker)
{
	chi_fiber_pool_each_begun(worker->fibers, add_begun, tallies);
	pthread_mutex_lock(&worker->lanes_lock); /* others list lanes still */
	for (uint32_t i = 0; i < worker->n_lanes; i++)
		add_lane(tallies, worker->runtime, worker->lanes[i]);
	pthread_mutex_unlock(&worker->lanes_lock);
}

static void log_stuck(const struct chi_worker *worker)
{
	struct chi_running running;

	if (chi_running_look(worker, &running))
		chi_log_error("stop: worker %u is stuck in pool '%s' (module '%s'), method '%s': "
			      "its thread and the runtime's memory are left",
			      worker->id, running.pool, running.module, running.method);
	else if (!chi_worker_has_ended(worker))
		chi_log_error(
			"stop: worker %u has not ended, and stays in no method (in a module's monitor()?): its thread "
			"and the runtime's memory are left",
			worker->id);
}

void chi_given_up_log(struct chi_runtime *runtime, uint64_t n_given_up)
{
	struct tallies tallies = { .entries = NULL };

	chi_log_warn("stop: %llu tasks have not ended in time and are given up", (unsigned long long)n_given_up);
	for (uint32_t i = 0; i < chi_work_orch_n_workers(runtime->orch); i++) {
		struct chi_worker *worker = chi_work_orch_worker(runtime->orch, i);

		if (chi_worker_has_ended(worker))
			add_worker(&tallies, worker);
		else
			log_stuck(worker);
	}
	for (uint32_t i = 0; i < tallies.n; i++) {
		const struct tally *tally = &tallies.entries[i];

		chi_log_warn(
			"stop: given up in pool '%s' (module '%s'), method '%s': %llu that had begun, %llu that had "
			"not",
			tally->pool->name, tally->pool->module->name, tally->method->name,
			(unsigned long long)tally->n_begun, (unsigned long long)tally->n_waiting);
	}
	free(tallies.entries);
}
