/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_load.c - how much work a lane is: tasks by what one of them is estimated to take (monitor, EST_LOAD)
 *
 * Only kept where somebody asks: lanes.policy least_load, or the balancer.
 */
#include <hshm/clock.h>

#include "runtime/container.h"
#include "runtime/estimate.h"
#include "runtime/worker.h"

#define ASKED_EVERY    16u
#define CLIENT_TASK_NS 250u /* checked, copied and routed: measured, with what it waits for the client's lines */

static void ask_task(struct chi_worker *worker, struct chi_lane *lane, const struct chi_run_context *context)
{
	const struct chi_config *config = &worker->runtime->config;
	struct chi_monitor monitor = { .task = context->task };
	uint64_t mean_ns;

	if (config->lane_policy != CHI_LANES_LEAST_LOAD && !config->balance_ns)
		return;
	if (chi_container_monitor(context->container, CHI_MONITOR_EST_LOAD, &monitor) < 0)
		return;
	/* relaxed, both: a figure with one writer */
	mean_ns = hshm_load_relaxed(&lane->estimate_ns);
	hshm_store_relaxed(&lane->estimate_ns,
			   mean_ns ? mean_ns - mean_ns / 8 + monitor.estimate_ns / 8 : monitor.estimate_ns);
}

void chi_lane_note_task(struct chi_worker *worker, struct chi_lane *lane, const struct chi_run_context *context)
{
	if (worker->n_noted++ % ASKED_EVERY == 0)
		ask_task(worker, lane, context);
}

uint64_t chi_lane_task_ns(const struct chi_lane *lane)
{
	uint64_t ns = lane->session ? CLIENT_TASK_NS : hshm_load_relaxed(&lane->estimate_ns); /* relaxed: a figure */

	return ns ? ns : CHI_ESTIMATE_UNKNOWN_NS;
}

static uint64_t lane_load_ns(const struct chi_lane *lane)
{
	uint64_t depth = UINT64_C(1) << lane->ring.depth_shift;
	/* relaxed, both: figures; the tail is a hint, and in a client's ring whatever the client likes */
	uint64_t tail = hshm_load_relaxed(lane->ring.tail); /* before the other, so that no compiler chooses */
	uint64_t n_queued = tail - hshm_load_relaxed(&lane->header->n_taken);

	return (n_queued <= depth ? n_queued : 0) * chi_lane_task_ns(lane);
}

uint64_t chi_worker_load_ns(struct chi_worker *worker, uint32_t *ret_n_lanes)
{
	uint64_t load_ns = 0;

	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++)
		load_ns += lane_load_ns(worker->lanes[i]);
	*ret_n_lanes = worker->n_lanes;
	pthread_mutex_unlock(&worker->lanes_lock);
	return load_ns;
}
