/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work_orchestrator.c - makes the workers, schedules lanes onto them, and takes lanes away from them
 *
 * Workers [0, n - n_high) serve low-latency lanes, the last n_high only high-latency ones; with n_high 0 all serve
 * both.
 *
 * Retirement, in two rounds of posts to all workers' inboxes, or for a client's lanes to their lists `retires`:
 *
 * R1  `retired` is set first. After round one no worker is inside an enqueue that had not seen it: an enqueue never
 *     spans two looks at the inbox, or at `retires`.
 * R2  In round two each worker empties its active queues, dropping retired lanes, and takes its own out of its lists.
 *     Nothing can put them back (R1), so after it no worker knows them. After round one no retired lane changes its
 *     worker.
 * R3  A client's lanes are in no enqueue of a method: methods list containers' lanes, and wake parked ones. So a method
 *     is outside of R1 for them, and who stands in for a worker that hangs in one (lane_take.c) does its part of both
 *     rounds. The post stands in a list of its own, `retires`, which is emptied by the worker or by who stands in, so
 *     each part is done once. Not done for it: lanes of which the worker or its inbox holds more than their places in
 *     the lists, may_drop_for(). A pool's end waits: a method may be inside a submit that has the pool's address.
 */
#include "runtime/work_orchestrator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "runtime/balancer.h"
#include "runtime/counter_page.h"
#include "runtime/log.h"
#include "runtime/worker.h"
#include "task/error.h"

#define END_CHECK_US 100u

struct chi_work_orch {
	struct chi_runtime *runtime;
	struct chi_worker *workers;
	uint32_t n_workers;
	uint32_t n_started;
	struct chi_balancer *balancer;	 /* NULL: none */
	struct chi_active_queue *active; /* [worker * CHI_PRIOS + prio] */
	hshm_au32 next[CHI_PRIOS];	 /* round-robin */
};

struct chi_retire_work {
	struct chi_work work;
	struct chi_retirement *retirement;
};

static uint32_t default_workers(void)
{
	uint32_t n = chi_cpus_available();

	return n < CHI_WORKERS_MAX ? n : CHI_WORKERS_MAX;
}

/* The queue's bytes come from the runtime's heap, which aligns to 64; they want 128. */
static int make_active_queue(struct chi_work_orch *orch, struct chi_worker *worker, struct chi_active_queue *active)
{
	uint32_t depth = orch->runtime->config.active_depth;
	void *memory = aligned_alloc(HSHM_FALSE_SHARING, hipc_mpsc_queue_bytes(depth, 0));
	int ret;

	if (!memory)
		return -ENOMEM;
	ret = hipc_mpsc_queue_init(memory, depth, 0, &active->ring);
	if (ret < 0) {
		free(memory);
		return ret;
	}
	hipc_mpsc_consumer_init(&active->consumer, &active->ring);
	active->arena = &orch->runtime->private_mem.map;
	active->doorbell = &worker->doorbell;
	active->sweep = &worker->sweep;
	return 0;
}

uint32_t chi_work_orch_workers_for(const struct chi_config *config)
{
	return config->n_workers ? config->n_workers : default_workers();
}

int chi_work_orch_create(struct chi_runtime *runtime, struct chi_work_orch **ret_orch)
{
	struct chi_work_orch *orch = calloc(1, sizeof(*orch));
	int ret = -ENOMEM;

	if (!orch)
		return chi_error_set(-ENOMEM, "no memory for the work orchestrator");
	orch->runtime = runtime;
	orch->n_workers = chi_work_orch_workers_for(&runtime->config);
	orch->workers = aligned_alloc(128, orch->n_workers * sizeof(*orch->workers));
	if (!orch->workers)
		goto destroy;
	memset(orch->workers, 0, orch->n_workers * sizeof(*orch->workers)); /* `destroy` looks at them */
	orch->active = calloc((size_t)orch->n_workers * CHI_PRIOS, sizeof(*orch->active));
	if (!orch->active)
		goto destroy;
	for (uint32_t i = 0; i < orch->n_workers; i++) {
		ret = chi_worker_init(&orch->workers[i], runtime, i, &orch->active[i * CHI_PRIOS]);
		for (uint32_t prio = 0; ret == 0 && prio < CHI_PRIOS; prio++)
			ret = make_active_queue(orch, &orch->workers[i], &orch->active[i * CHI_PRIOS + prio]);
		if (ret < 0)
			goto destroy;
	}
	*ret_orch = orch;
	return 0;

destroy:
	chi_error_set(ret, "cannot make %u workers: %s", orch->n_workers, strerror(-ret));
	chi_work_orch_destroy(orch);
	return ret;
}

int chi_work_orch_start(struct chi_work_orch *orch)
{
	for (; orch->n_started < orch->n_workers; orch->n_started++) {
		int ret = chi_worker_start(&orch->workers[orch->n_started]);

		if (ret < 0)
			return chi_error_set(ret, "cannot start worker %u: %s", orch->n_started, strerror(-ret));
	}
	if (orch->runtime->config.balance_ns && orch->n_workers > 1) {
		int ret = chi_balancer_start(orch, orch->runtime->config.balance_ns, &orch->balancer);

		if (ret < 0)
			return chi_error_set(ret, "cannot start the balancer: %s", strerror(-ret));
	}
	return 0;
}

static bool await_end(const struct chi_worker *worker, uint64_t deadline_ns)
{
	while (!chi_worker_has_ended(worker)) {
		if (hshm_clock_ns() >= deadline_ns)
			return false;
		HSHM_THREAD_MODEL->sleep_for_us(END_CHECK_US);
	}
	return true;
}

uint32_t chi_work_orch_stop(struct chi_work_orch *orch, uint64_t deadline_ns)
{
	uint32_t n_stuck = 0;

	chi_balancer_stop(orch->balancer);
	orch->balancer = NULL;
	for (uint32_t i = 0; i < orch->n_started; i++)
		chi_worker_ask_stop(&orch->workers[i]);
	for (uint32_t i = 0; i < orch->n_started; i++) {
		if (await_end(&orch->workers[i], deadline_ns)) {
			HSHM_THREAD_MODEL->join(orch->workers[i].thread);
		} else {
			HSHM_THREAD_MODEL->detach(orch->workers[i].thread);
			n_stuck++;
		}
	}
	orch->n_started = 0;
	return n_stuck;
}

void chi_work_orch_destroy(struct chi_work_orch *orch)
{
	if (!orch)
		return;
	for (uint32_t i = 0; orch->workers && i < orch->n_workers; i++) {
		if (orch->workers[i].runtime)
			chi_worker_fini(&orch->workers[i]);
		for (uint32_t prio = 0; orch->active && prio < CHI_PRIOS; prio++)
			free(orch->active[i * CHI_PRIOS + prio].ring.tail); /* the first of its bytes */
	}
	free(orch->workers);
	free(orch->active);
	free(orch);
}

uint32_t chi_work_orch_n_workers(const struct chi_work_orch *orch)
{
	return orch->n_workers;
}

struct chi_worker *chi_work_orch_worker(struct chi_work_orch *orch, uint32_t worker_id)
{
	return &orch->workers[worker_id];
}

struct chi_active_queue *chi_work_orch_active_queues(struct chi_work_orch *orch)
{
	return orch->active;
}

/* ---- scheduling ---- */

/* The workers that serve lanes of that kind. */
static void workers_of(const struct chi_work_orch *orch, uint32_t prio, uint32_t *ret_first, uint32_t *ret_n)
{
	uint32_t n_high = orch->runtime->config.n_high_latency;

	*ret_first = n_high && prio == CHI_PRIO_HIGH_LATENCY ? orch->n_workers - n_high : 0;
	*ret_n = !n_high ? orch->n_workers : prio == CHI_PRIO_HIGH_LATENCY ? n_high : orch->n_workers - n_high;
}

bool chi_work_orch_serves(const struct chi_work_orch *orch, uint32_t worker_id, enum chi_prio prio)
{
	uint32_t first, n;

	workers_of(orch, prio, &first, &n);
	return worker_id >= first && worker_id < first + n;
}

static uint32_t round_robin(struct chi_work_orch *orch, const struct chi_lane *lane, uint32_t n)
{
	/* relaxed: any order of turns is as good */
	return hshm_fetch_add_relaxed(&orch->next[lane->header->priority], 1) % n;
}

static uint32_t fixed(struct chi_work_orch *orch, const struct chi_lane *lane, uint32_t n)
{
	(void)orch;
	return lane->header->lane_id % n;
}

/* The worker with the least estimated time of work in its lanes; among equals the one with the fewest lanes. */
static uint32_t least_load(struct chi_work_orch *orch, const struct chi_lane *lane, uint32_t n)
{
	uint64_t least_ns = UINT64_MAX;
	uint32_t first, best = 0, fewest = UINT32_MAX;

	workers_of(orch, lane->header->priority, &first, &n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t n_lanes;
		uint64_t load_ns = chi_worker_load_ns(&orch->workers[first + i], &n_lanes);

		if (load_ns > least_ns || (load_ns == least_ns && n_lanes >= fewest))
			continue;
		least_ns = load_ns;
		fewest = n_lanes;
		best = i;
	}
	return best;
}

/* Which of the n workers of its kind gets a new lane; in the order of enum chi_lane_policy. */
static uint32_t (*const policies[])(struct chi_work_orch *orch, const struct chi_lane *lane, uint32_t n) = {
	[CHI_LANES_ROUND_ROBIN] = round_robin,
	[CHI_LANES_LEAST_LOAD] = least_load,
	[CHI_LANES_FIXED] = fixed,
};

uint32_t chi_work_orch_next_awake(struct chi_work_orch *orch, uint32_t prio, uint32_t start)
{
	uint32_t first, n;

	workers_of(orch, prio, &first, &n);
	for (uint32_t i = 0;; i++) {
		uint32_t id = first + (start + i) % n;

		/* relaxed: seen late, the watchdog looks again */
		if (!hshm_load_relaxed(&orch->workers[id].hangs) || i == n)
			return id;
	}
}

int chi_work_orch_schedule_lane(struct chi_work_orch *orch, struct chi_lane *lane)
{
	uint32_t worker, n;

	workers_of(orch, lane->header->priority, &worker, &n);
	worker = chi_work_orch_next_awake(orch, lane->header->priority,
					  policies[orch->runtime->config.lane_policy](orch, lane, n));
	/* relaxed: nobody else knows the lane yet */
	hshm_store_relaxed(&lane->header->activation, worker);
	lane->counter_row = chi_counter_page_add_lane(orch->runtime->counters, lane);
	return chi_worker_add_lane(&orch->workers[worker], lane);
}

void chi_work_orch_expire_periodic(struct chi_work_orch *orch)
{
	for (uint32_t i = 0; i < orch->n_workers; i++)
		chi_worker_ask_expire(&orch->workers[i]);
}

/* ---- retirement ---- */

static void post(struct chi_retirement *retirement, struct chi_worker *worker, struct chi_work *work)
{
	if (retirement->of_client)
		chi_worker_post_retire(worker, work);
	else
		chi_worker_post(worker, work);
}

static void post_round(struct chi_retirement *retirement)
{
	struct chi_work_orch *orch = retirement->orch;

	/* relaxed: the posts publish it */
	hshm_store_relaxed(&retirement->n_left, orch->n_workers);
	for (uint32_t i = 0; i < orch->n_workers; i++)
		post(retirement, &orch->workers[i], &retirement->works[i].work);
}

static bool drop_own_lanes(struct chi_worker *worker, struct chi_retirement *retirement)
{
	bool all_out = true;

	chi_worker_empty_active(worker);
	for (uint32_t i = 0; i < retirement->n_lanes; i++)
		if (chi_lane_worker(retirement->lanes[i]) == worker->id)
			all_out &= chi_worker_drop_lane(worker, retirement->lanes[i]);
	return all_out;
}

static void retire_step(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_retirement *retirement = ((struct chi_retire_work *)work)->retirement;

	if (retirement->phase == 2 && !drop_own_lanes(worker, retirement)) {
		/* a lane is on its way out of its lot, or the request to move it on its way here */
		post(retirement, worker, work);
		return;
	}
	/* acq_rel: all that the workers did to the lanes happens before the next round, or `done` */
	if (hshm_fetch_sub_acq_rel(&retirement->n_left, 1) != 1)
		return;
	if (retirement->phase == 1) {
		retirement->phase = 2;
		post_round(retirement);
	} else {
		retirement->done(retirement->arg);
	}
}

/* The lane is in the worker's lists and nowhere else of the worker's: it is not in its turn, its node for parking or
 * moving is not under way, and it has no task to be answered, as the counters for that are the worker's alone, and so
 * are the spare run contexts. */
static bool may_drop_for(const struct chi_worker *worker, const struct chi_lane *lane)
{
	/* acquire: as in chi_worker_drop_lane() */
	return lane != worker->turn && !lane->parked && !lane->stalled && !hshm_load_acquire(&lane->move_to);
}

bool chi_work_orch_may_retire_for(const struct chi_worker *worker, const struct chi_work *work)
{
	const struct chi_retirement *retirement = ((const struct chi_retire_work *)work)->retirement;

	for (uint32_t i = 0; retirement->phase == 2 && i < retirement->n_lanes; i++)
		if (chi_lane_worker(retirement->lanes[i]) == worker->id && !may_drop_for(worker, retirement->lanes[i]))
			return false;
	return true;
}

int chi_work_orch_retire_prepare(struct chi_work_orch *orch, struct chi_retirement *retirement)
{
	retirement->orch = orch;
	retirement->works = calloc(orch->n_workers, sizeof(*retirement->works));
	if (!retirement->works)
		return -ENOMEM;
	for (uint32_t i = 0; i < orch->n_workers; i++) {
		retirement->works[i].work.fn = retire_step;
		retirement->works[i].retirement = retirement;
	}
	return 0;
}

void chi_work_orch_retire_lanes(struct chi_work_orch *orch, struct chi_retirement *retirement)
{
	(void)orch;
	for (uint32_t i = 0; i < retirement->n_lanes; i++)
		/* relaxed: the posts below publish it (R1) */
		hshm_store_relaxed(&retirement->lanes[i]->retired, 1);
	retirement->phase = 1;
	post_round(retirement);
}

void chi_work_orch_retire_fini(struct chi_retirement *retirement)
{
	free(retirement->works);
	retirement->works = NULL;
}
