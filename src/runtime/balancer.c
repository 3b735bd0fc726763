/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * balancer.c - moves lanes from busy workers to others: a thread that looks each period
 *
 * A worker's load is measured: the part of the period in which it had work. It is shared out among its lanes by their tasks since
 * the last look, times the estimate of one (lane_load.c); so wrong estimates misjudge lanes, never workers.
 *
 * The rule, for each kind of workers (low-latency, high-latency, or all when they are not split):
 *
 * B1  Nothing happens unless the busiest and the idlest differ by DIFFERENCE_MIN of the period, in LOOKS_RUNNING looks.
 * B2  Of the busiest one's lanes that goes whose load comes nearest to half the difference, and is smaller than the difference: so the two do not change places. Reckon with the loads as they are to be; again, until B1 says stop.
 * B3  A lane that was moved rests for LOOKS_AT_REST.
 */
#include "runtime/balancer.h"

#include <errno.h>
#include <hshm/clock.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define DIFFERENCE_MIN_PERCENT 20u
#define LOOKS_RUNNING	       4u
#define LOOKS_AT_REST	       4u
#define MOVES_MAX	       64u /* of one look */

struct load {
	uint64_t busy_ns;      /* in the last period, less what was given away, with what was taken */
	uint64_t busy_seen_ns; /* in all, at the last look */
	uint64_t weight;       /* of all its lanes */
};

struct chi_balancer {
	struct chi_work_orch *orch;
	struct hshm_thread *thread;
	uint64_t period_ns, looked_ns;
	uint32_t n_uneven[CHI_PRIOS]; /* looks running that found the workers of the kind uneven */
	struct load loads[CHI_WORKERS_MAX];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop; /* under the lock */
};

/* ---- the look ---- */

static void weigh_lane(struct chi_lane *lane)
{
	struct chi_lane_balance *balance = &lane->balance;
	/* relaxed, both: figures */
	uint64_t n_tasks = hshm_load_relaxed(&lane->header->n_taken) + hshm_load_relaxed(&lane->n_in_place);

	balance->weight = (n_tasks - balance->n_tasks) * chi_lane_task_ns(lane);
	balance->n_tasks = n_tasks;
	if (balance->n_resting)
		balance->n_resting--;
}

static void weigh_worker(struct chi_balancer *balancer, uint32_t id)
{
	struct chi_worker *worker = chi_work_orch_worker(balancer->orch, id);
	struct load *load = &balancer->loads[id];
	uint64_t busy_ns = chi_worker_busy_ns(worker);

	/* what passed for work at the last look may have been none */
	load->busy_ns = busy_ns > load->busy_seen_ns ? busy_ns - load->busy_seen_ns : 0;
	load->busy_seen_ns = busy_ns;
	load->weight = 0;
	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++) {
		weigh_lane(worker->lanes[i]);
		load->weight += worker->lanes[i]->balance.weight;
	}
	pthread_mutex_unlock(&worker->lanes_lock);
}

/* ---- the rule ---- */

static bool is_uneven(const struct chi_balancer *balancer, uint32_t prio, uint64_t period_ns, uint32_t *ret_busiest,
		      uint32_t *ret_idlest)
{
	uint32_t n_workers = chi_work_orch_n_workers(balancer->orch);
	uint64_t most_ns = 0, least_ns = UINT64_MAX;

	for (uint32_t i = 0; i < n_workers; i++) {
		uint64_t busy_ns = balancer->loads[i].busy_ns;

		if (!chi_work_orch_serves(balancer->orch, i, (enum chi_prio)prio))
			continue;
		/* it would pass for idle, and does not answer. Relaxed: seen late, it is a look later. */
		if (hshm_load_relaxed(&chi_work_orch_worker(balancer->orch, i)->hangs))
			continue;
		if (busy_ns >= most_ns) {
			most_ns = busy_ns;
			*ret_busiest = i;
		}
		if (busy_ns < least_ns) {
			least_ns = busy_ns;
			*ret_idlest = i;
		}
	}
	return most_ns - least_ns >= period_ns / 100 * DIFFERENCE_MIN_PERCENT;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a < b ? b - a : a - b;
}

/* B2. Returns whether a lane was asked to go. */
static bool move_one(struct chi_balancer *balancer, uint32_t from, uint32_t to)
{
	struct chi_worker *worker = chi_work_orch_worker(balancer->orch, from);
	struct load *load = &balancer->loads[from];
	uint64_t difference_ns = load->busy_ns - balancer->loads[to].busy_ns;
	uint64_t best_ns = 0, weight_before = load->weight;
	struct chi_lane *best = NULL;

	if (!load->weight)
		return false;
	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++) {
		struct chi_lane *lane = worker->lanes[i];
		uint64_t its_ns =
			(uint64_t)((double)load->busy_ns * (double)lane->balance.weight / (double)load->weight);

		if (lane->balance.n_resting || !lane->balance.weight || its_ns >= difference_ns ||
		    !chi_work_orch_serves(balancer->orch, to, (enum chi_prio)lane->header->priority))
			continue;
		if (best && distance(its_ns, difference_ns / 2) >= distance(best_ns, difference_ns / 2))
			continue;
		best = lane;
		best_ns = its_ns;
	}
	if (best && chi_work_orch_remap_lane(balancer->orch, best, to) == 0) {
		load->weight -= best->balance.weight;
		load->busy_ns -= best_ns;
		balancer->loads[to].busy_ns += best_ns;
		balancer->loads[to].weight += best->balance.weight;
		best->balance.n_resting = LOOKS_AT_REST;
	}
	pthread_mutex_unlock(&worker->lanes_lock);
	return load->weight != weight_before;
}

static void balance(struct chi_balancer *balancer)
{
	bool is_split = !chi_work_orch_serves(balancer->orch, 0, CHI_PRIO_HIGH_LATENCY);
	uint64_t now_ns = hshm_clock_ns(), period_ns = now_ns - balancer->looked_ns;

	balancer->looked_ns = now_ns;
	for (uint32_t i = 0; i < chi_work_orch_n_workers(balancer->orch); i++)
		weigh_worker(balancer, i);
	for (uint32_t prio = 0; prio < (is_split ? CHI_PRIOS : 1); prio++) {
		uint32_t from = 0, to = 0;

		balancer->n_uneven[prio] = is_uneven(balancer, prio, period_ns, &from, &to)
						   ? balancer->n_uneven[prio] + 1
						   : 0;
		if (balancer->n_uneven[prio] < LOOKS_RUNNING)
			continue;
		for (uint32_t n = 0; n < MOVES_MAX && is_uneven(balancer, prio, period_ns, &from, &to); n++)
			if (!move_one(balancer, from, to))
				break;
	}
}

/* ---- the thread ---- */

static bool wait_period(struct chi_balancer *balancer)
{
	uint64_t deadline_ns = hshm_deadline_ns(balancer->period_ns);
	struct timespec deadline = { (time_t)(deadline_ns / HSHM_NSEC_PER_SEC),
				     (long)(deadline_ns % HSHM_NSEC_PER_SEC) };
	bool stop;
	int ret = 0;

	pthread_mutex_lock(&balancer->lock);
	while (!balancer->stop && ret == 0)
		ret = pthread_cond_timedwait(&balancer->changed, &balancer->lock, &deadline);
	stop = balancer->stop;
	pthread_mutex_unlock(&balancer->lock);
	return !stop;
}

static void balancer_main(void *arg)
{
	struct chi_balancer *balancer = arg;

	while (wait_period(balancer))
		balance(balancer);
}

int chi_balancer_start(struct chi_work_orch *orch, uint64_t period_ns, struct chi_balancer **ret_balancer)
{
	struct chi_balancer *balancer = calloc(1, sizeof(*balancer));
	pthread_condattr_t attr;
	int ret;

	if (!balancer)
		return -ENOMEM;
	balancer->orch = orch;
	balancer->period_ns = period_ns;
	balancer->looked_ns = hshm_clock_ns();
	pthread_mutex_init(&balancer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&balancer->changed, &attr);
	pthread_condattr_destroy(&attr);
	ret = HSHM_THREAD_MODEL->spawn("chi-balancer", balancer_main, balancer, &balancer->thread);
	if (ret < 0) {
		chi_balancer_stop(balancer);
		return ret;
	}
	*ret_balancer = balancer;
	return 0;
}

void chi_balancer_stop(struct chi_balancer *balancer)
{
	if (!balancer)
		return;
	pthread_mutex_lock(&balancer->lock);
	balancer->stop = true;
	pthread_cond_signal(&balancer->changed);
	pthread_mutex_unlock(&balancer->lock);
	if (balancer->thread)
		HSHM_THREAD_MODEL->join(balancer->thread);
	pthread_cond_destroy(&balancer->changed);
	pthread_mutex_destroy(&balancer->lock);
	free(balancer);
}
