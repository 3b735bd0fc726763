/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * balancer.c - moves lanes from busy workers to others: a thread that looks each period
 *
 * A worker's load is measured: the part of the period in which it had work. It is shared out among its lanes by their
 * tasks since the last look, times the estimate of one (lane_load.c); so wrong estimates misjudge lanes, never workers.
 *
 * The rule, for each kind of workers (low-latency, high-latency, or all when they are not split):
 *
 * B1  Nothing happens unless the busiest and the idlest differ by DIFFERENCE_MIN of the period.
 * B2  Of the busiest one's lanes that goes whose load comes nearest to half the difference, and is smaller than the
 *     difference: so the two do not change places. Reckon with the loads as they are to be; again, until B1 says stop.
 * B3  Two sorts of lanes stay: those with tasks of less than HOP_NS, as to hand one to another worker costs more than
 *     to run it; and the only client's lane with tasks that a worker has: what hangs on it would follow, and the two
 *     change places.
 * B4  The next look judges the moves. If the lanes did less than before them (tasks times estimate, by DROP_MAX), those
 *     that were moved go back, and the kind is left alone for REST_LOOKS, twice as many each time until moves are good.
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
#define HOP_NS		       2000u /* measured: who hands tasks out pays 1 us more for each, and wakes often */
#define DROP_MAX_PERCENT       5u
#define REST_LOOKS_MIN	       8u
#define REST_LOOKS_MAX	       256u
#define MOVES_MAX	       64u /* of one look */

struct load {
	uint64_t busy_ns;	      /* in the last period, less what was given away, with what was taken */
	uint64_t busy_seen_ns;	      /* in all, at the last look */
	uint64_t weight;	      /* of all its lanes */
	uint32_t n_busy_client_lanes; /* that had tasks in the last period */
};

struct kind {
	bool has_moved;	    /* at the last look: to be judged */
	uint32_t n_resting; /* looks until it is looked at again */
	uint32_t n_to_rest; /* the next time */
};

struct chi_balancer {
	struct chi_work_orch *orch;
	struct hshm_thread *thread;
	uint64_t period_ns;
	bool is_split;
	struct kind kinds[CHI_PRIOS]; /* by priority; the first alone when they are not split */
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

	balance->n_before = balance->n_last;
	balance->n_last = n_tasks - balance->n_tasks;
	balance->n_tasks = n_tasks;
	balance->weight = balance->n_last * chi_lane_task_ns(lane);
}

static void weigh_worker(struct chi_balancer *balancer, uint32_t id, uint64_t period_ns)
{
	struct chi_worker *worker = chi_work_orch_worker(balancer->orch, id);
	struct load *load = &balancer->loads[id];
	uint64_t busy_ns = chi_worker_busy_ns(worker);

	/* what passed for work at the last look may have been none */
	load->busy_ns = busy_ns > load->busy_seen_ns ? busy_ns - load->busy_seen_ns : 0;
	if (load->busy_ns > period_ns)
		load->busy_ns = period_ns;
	load->busy_seen_ns = busy_ns;
	load->weight = 0;
	load->n_busy_client_lanes = 0;
	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++) {
		struct chi_lane *lane = worker->lanes[i];

		weigh_lane(lane);
		load->weight += lane->balance.weight;
		load->n_busy_client_lanes += lane->session && lane->balance.weight;
	}
	pthread_mutex_unlock(&worker->lanes_lock);
}

/* ---- the rule ---- */

static struct kind *kind_of(struct chi_balancer *balancer, const struct chi_lane *lane)
{
	return &balancer->kinds[balancer->is_split ? lane->header->priority : 0];
}

/* Its requests wait, and its busy time says nothing. */
static bool hangs(const struct chi_balancer *balancer, uint32_t id)
{
	/* relaxed: seen late, it is a look later */
	return hshm_load_relaxed(&chi_work_orch_worker(balancer->orch, id)->hangs);
}

static bool is_uneven(const struct chi_balancer *balancer, uint32_t prio, uint64_t period_ns, uint32_t *ret_busiest,
		      uint32_t *ret_idlest)
{
	uint32_t n_workers = chi_work_orch_n_workers(balancer->orch);
	uint64_t most_ns = 0, least_ns = UINT64_MAX;

	for (uint32_t i = 0; i < n_workers; i++) {
		uint64_t busy_ns = balancer->loads[i].busy_ns;

		if (!chi_work_orch_serves(balancer->orch, i, (enum chi_prio)prio))
			continue;
		if (hangs(balancer, i))
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

/* B3 */
static bool may_go(const struct chi_lane *lane, const struct load *load)
{
	return lane->session ? load->n_busy_client_lanes > 1 : chi_lane_task_ns(lane) >= HOP_NS;
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

		if (lane->balance.moved_from || !lane->balance.weight || its_ns >= difference_ns ||
		    !may_go(lane, load) ||
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
		load->n_busy_client_lanes -= best->session != NULL;
		balancer->loads[to].n_busy_client_lanes += best->session != NULL;
		best->balance.moved_from = from + 1;
	}
	pthread_mutex_unlock(&worker->lanes_lock);
	return load->weight != weight_before;
}

/* B4: what the worker's lanes of the kind did before the moves, and after them. */
static void add_work(struct chi_balancer *balancer, uint32_t id, const struct kind *kind, double *before, double *after)
{
	struct chi_worker *worker = chi_work_orch_worker(balancer->orch, id);

	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++) {
		struct chi_lane *lane = worker->lanes[i];
		double task_ns = (double)chi_lane_task_ns(lane);

		if (kind_of(balancer, lane) != kind || !lane->balance.n_before)
			continue;
		*before += (double)lane->balance.n_before * task_ns;
		*after += (double)(lane->balance.n_last + 1) * task_ns; /* one may be under way */
	}
	pthread_mutex_unlock(&worker->lanes_lock);
}

/* The lanes that were moved to the worker stay there, or go back. */
static void end_moves(struct chi_balancer *balancer, uint32_t id, const struct kind *kind, bool go_back)
{
	struct chi_worker *worker = chi_work_orch_worker(balancer->orch, id);

	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++) {
		struct chi_lane *lane = worker->lanes[i];
		uint32_t from = lane->balance.moved_from - 1;

		if (!lane->balance.moved_from || kind_of(balancer, lane) != kind)
			continue;
		lane->balance.moved_from = 0;
		if (go_back && !hangs(balancer, from))
			(void)chi_work_orch_remap_lane(balancer->orch, lane, from);
	}
	pthread_mutex_unlock(&worker->lanes_lock);
}

/* Returns whether the moves were good. */
static bool judge_moves(struct chi_balancer *balancer, struct kind *kind)
{
	uint32_t n_workers = chi_work_orch_n_workers(balancer->orch);
	double before = 0, after = 0;
	bool is_good;

	for (uint32_t i = 0; i < n_workers; i++)
		add_work(balancer, i, kind, &before, &after);
	is_good = after >= before / 100 * (100 - DROP_MAX_PERCENT);
	for (uint32_t i = 0; i < n_workers; i++)
		end_moves(balancer, i, kind, !is_good);
	kind->has_moved = false;
	kind->n_resting = is_good ? 0 : kind->n_to_rest;
	if (is_good)
		kind->n_to_rest = REST_LOOKS_MIN;
	else if (kind->n_to_rest < REST_LOOKS_MAX)
		kind->n_to_rest *= 2;
	return is_good;
}

static void balance_kind(struct chi_balancer *balancer, uint32_t prio, uint64_t period_ns)
{
	struct kind *kind = &balancer->kinds[prio];
	uint32_t from = 0, to = 0, n = 0;

	if (kind->n_resting) {
		kind->n_resting--;
		return;
	}
	if (kind->has_moved && !judge_moves(balancer, kind))
		return;
	while (n < MOVES_MAX && is_uneven(balancer, prio, period_ns, &from, &to) && move_one(balancer, from, to))
		n++;
	kind->has_moved = n > 0;
}

void chi_balancer_look(struct chi_balancer *balancer, uint64_t period_ns)
{
	for (uint32_t i = 0; i < chi_work_orch_n_workers(balancer->orch); i++)
		weigh_worker(balancer, i, period_ns);
	for (uint32_t prio = 0; prio < (balancer->is_split ? CHI_PRIOS : 1); prio++)
		balance_kind(balancer, prio, period_ns);
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
	uint64_t looked_ns = hshm_clock_ns();

	while (wait_period(balancer)) {
		uint64_t now_ns = hshm_clock_ns();

		chi_balancer_look(balancer, now_ns - looked_ns);
		looked_ns = now_ns;
	}
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
	balancer->is_split = !chi_work_orch_serves(orch, 0, CHI_PRIO_HIGH_LATENCY);
	for (uint32_t prio = 0; prio < CHI_PRIOS; prio++)
		balancer->kinds[prio].n_to_rest = REST_LOOKS_MIN;
	pthread_mutex_init(&balancer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&balancer->changed, &attr);
	pthread_condattr_destroy(&attr);
	ret = period_ns ? HSHM_THREAD_MODEL->spawn("chi-balancer", balancer_main, balancer, &balancer->thread) : 0;
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
