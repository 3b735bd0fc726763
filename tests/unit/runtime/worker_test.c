/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker_test.c - scheduling of lanes, duplicates, the waiting queue's order: with the worker's thread held still where
 * the case needs it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "runtime/worker.h"

#include <chimaera/chimaera.h>
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/probe.h"
#include "runtime/container.h"
#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "support/rest.h"

struct fixture {
	struct chi_runtime *runtime;
	struct chi_client *client;
	uint32_t pool;
};

static struct fixture fixture;

static int start(const char *config, unsigned char n_lanes)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = config);
	struct chi_client_opts client_opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID);
	struct chi_pool_spec spec = { .module = "probe", .params = &n_lanes, .params_size = n_lanes ? 1 : 0 };

	if (chi_runtime_start(&opts, &fixture.runtime) < 0 ||
	    chi_runtime_client(fixture.runtime, &client_opts, &fixture.client) < 0 ||
	    chi_pool_create(fixture.client, &spec, &fixture.pool) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	return 0;
}

static int stop(void **state)
{
	(void)state;
	chi_client_disconnect(fixture.client);
	return chi_runtime_stop(fixture.runtime, HSHM_NSEC_PER_SEC, NULL);
}

static struct chi_container *container_of_pool(void)
{
	uint8_t epoch;
	struct chi_pool *pool = chi_pool_get(fixture.runtime->pools, fixture.pool, &epoch);
	struct chi_container *container;

	assert_non_null(pool);
	container = pool->local_table[0];
	chi_pool_put(pool, epoch);
	return container;
}

/* ---- what a producer does that was stopped between listing a lane and marking it ---- */

struct list_again {
	struct chi_work work;
	struct chi_lane *lane;
	sem_t done;
};

/* On the worker's thread, between two turns: only there in_run_list can be read. */
static void list_again_while_it_has_work(struct chi_worker *worker, struct chi_work *work)
{
	struct list_again *again = (struct list_again *)work;

	if (!again->lane->in_run_list) {
		chi_worker_post(worker, work);
		return;
	}
	for (int i = 0; i < 3; i++)
		chi_active_queue_push(&worker->active[CHI_PRIO_LOW_LATENCY], again->lane);
	sem_post(&again->done);
}

static uint64_t count_of(const hshm_au64 *counter)
{
	return hshm_load_relaxed(counter);
}

/* ---- cases ---- */

static int start_three_workers(void **state)
{
	(void)state;
	return start("workers: { count: 3 }\nmemory: { private_mib: 256 }\n", 16);
}

static void sixteen_lanes_on_three_workers_get_6_5_5(void **state)
{
	struct chi_container *container = container_of_pool();
	uint32_t n_of[3] = { 0 };

	(void)state;
	assert_int_equal(container->queues[0].n_lanes, 16);
	for (uint32_t i = 0; i < 16; i++)
		n_of[chi_lane_worker(chi_container_lane(container, 0, i))]++;
	for (uint32_t i = 0; i < 3; i++)
		assert_true(n_of[i] == 5 || n_of[i] == 6);
	assert_int_equal(n_of[0] + n_of[1] + n_of[2], 16);
}

static int start_split(void **state)
{
	(void)state;
	return start("workers: { count: 4, high_latency: 1 }\nmemory: { private_mib: 256 }\n", 0);
}

static void high_latency_lanes_go_to_the_high_latency_workers(void **state)
{
	struct chi_container *container = container_of_pool();

	(void)state;
	assert_true(chi_lane_worker(chi_container_lane(container, 0, 0)) < 3);
	assert_int_equal(chi_lane_worker(chi_container_lane(container, 1, 0)), 3);
}

/* ---- policies ---- */

static void lanes_on(uint32_t n_lanes, uint32_t *ret_n_of)
{
	struct chi_container *container = container_of_pool();

	for (uint32_t i = 0; i < n_lanes; i++)
		ret_n_of[chi_lane_worker(chi_container_lane(container, 0, i))]++;
}

static int start_fixed(void **state)
{
	(void)state;
	return start("workers: { count: 4, high_latency: 1 }\nlanes: { policy: fixed }\nmemory: { private_mib: 256 }\n",
		     16);
}

static void a_fixed_lane_goes_by_its_number(void **state)
{
	struct chi_container *container = container_of_pool();

	(void)state;
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(chi_lane_worker(chi_container_lane(container, 0, i)), i % 3);
}

static int start_least_load(void **state)
{
	(void)state;
	return start("workers: { count: 3 }\nlanes: { policy: least_load }\nmemory: { private_mib: 256 }\n", 16);
}

static void without_load_the_worker_with_the_fewest_lanes_is_chosen(void **state)
{
	uint32_t n_of[3] = { 0 };

	(void)state;
	/* the admin pool has two lanes and the client one, on three workers */
	lanes_on(16, n_of);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(n_of[i] == 5 || n_of[i] == 6);
}

struct hold {
	struct chi_work work;
	sem_t held, release, gone;
};

static void hold_worker(struct chi_worker *worker, struct chi_work *work)
{
	struct hold *hold = (struct hold *)work; /* its first member */

	(void)worker;
	sem_post(&hold->held);
	while (sem_wait(&hold->release) < 0)
		;
	sem_post(&hold->gone);
}

static void hold(struct hold *hold, uint32_t worker)
{
	hold->work.fn = hold_worker;
	sem_init(&hold->held, 0, 0);
	sem_init(&hold->release, 0, 0);
	sem_init(&hold->gone, 0, 0);
	chi_worker_post(chi_work_orch_worker(fixture.runtime->orch, worker), &hold->work);
	while (sem_wait(&hold->held) < 0)
		;
}

/* Until the worker has left it, which lies in its caller's frame. */
static void let_go(struct hold *hold)
{
	sem_post(&hold->release);
	while (sem_wait(&hold->gone) < 0)
		;
}

static struct chi_lane *client_lane(void)
{
	for (uint32_t w = 0; w < chi_work_orch_n_workers(fixture.runtime->orch); w++) {
		struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, w);
		struct chi_lane *found = NULL;

		pthread_mutex_lock(&worker->lanes_lock);
		for (uint32_t i = 0; i < worker->n_lanes; i++)
			if (worker->lanes[i]->session)
				found = worker->lanes[i];
		pthread_mutex_unlock(&worker->lanes_lock);
		if (found)
			return found;
	}
	fail_msg("no client's lane");
	return NULL;
}

/* Of the tasks by hash, those that other workers run: until then these may have more to do than the held one. */
static void wait_for_those_of_others(struct chi_container *container, struct probe_task **tasks, uint32_t n,
				     uint32_t held)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t lane = chi_container_lane_by_hash(container, 0, i);

		if (chi_lane_worker(chi_container_lane(container, 0, lane)) != held)
			assert_int_equal(chi_wait(tasks[i], HSHM_FOREVER), 0);
	}
}

/* Work waits in a lane of a held worker: the next lane goes elsewhere, though its worker has fewer lanes. */
static void the_worker_with_the_least_work_is_chosen(void **state)
{
	struct chi_container *container = container_of_pool();
	uint32_t busy = (chi_lane_worker(client_lane()) + 1) % 3, n_of[3] = { 0 };
	struct probe_task *tasks[32];
	struct hold held;
	struct chi_lane lanes[6];

	(void)state;
	/* lanes with nothing in them, so that the busy one has the fewest by far */
	memset(lanes, 0, sizeof(lanes));
	hold(&held, busy);
	for (uint32_t i = 0; i < 32; i++) {
		assert_int_equal(chi_task_alloc(fixture.client, sizeof(struct probe_task), fixture.pool,
						CHI_QUERY_LOCAL_HASH(i), PROBE_ADD, &tasks[i]),
				 0);
		assert_int_equal(chi_submit(fixture.client, tasks[i]), 0);
	}
	for (;;) {
		uint32_t n_lanes;

		if (chi_worker_load_ns(chi_work_orch_worker(fixture.runtime->orch, busy), &n_lanes) > 0)
			break;
		HSHM_THREAD_MODEL->sleep_for_us(100);
	}
	wait_for_those_of_others(container, tasks, 32, busy);
	lanes_on(16, n_of);
	for (uint32_t i = 0; i < 6; i++) {
		struct chi_lane *like = chi_container_lane(container, 0, 0);

		lanes[i].header = &lanes[i].own;
		lanes[i].ring = like->ring;
		hshm_store_relaxed(&lanes[i].own.n_taken, hshm_load_relaxed(like->ring.tail)); /* empty */
		hipc_mpsc_consumer_init(&lanes[i].consumer, &lanes[i].ring);
		assert_int_equal(chi_work_orch_schedule_lane(fixture.runtime->orch, &lanes[i]), 0);
		assert_int_not_equal(chi_lane_worker(&lanes[i]), busy);
	}
	for (uint32_t i = 0; i < 6; i++)
		chi_worker_forget_lane(chi_work_orch_worker(fixture.runtime->orch, chi_lane_worker(&lanes[i])),
				       &lanes[i], lanes[i].list_place);
	let_go(&held);
	assert_int_equal(chi_wait_all((void **)tasks, 32, HSHM_FOREVER), 0);
	for (uint32_t i = 0; i < 32; i++)
		chi_task_free(fixture.client, tasks[i]);
}

/* ---- lanes that move (with threads: tests/stress/lane_move_test.c) ---- */

static void wait_for_owner(const struct chi_lane *lane, uint32_t worker)
{
	while (chi_lane_worker(lane) != worker)
		HSHM_THREAD_MODEL->sleep_for_us(100);
}

static uint64_t call(uint32_t method, uint64_t in, uint64_t count);

/* A worker looks whether it was rung only if it has a client's lane that it does not look at itself. */
static void check_client_lanes_are_counted(void)
{
	for (uint32_t id = 0; id < 3; id++) {
		struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, id);
		uint32_t n = 0, n_counted;

		pthread_mutex_lock(&worker->lanes_lock);
		for (uint32_t i = 0; i < worker->n_lanes; i++)
			n += worker->lanes[i]->session != NULL;
		n_counted = hshm_load_relaxed(&worker->n_client_lanes);
		pthread_mutex_unlock(&worker->lanes_lock);
		assert_int_equal(n_counted, n);
	}
}

static void a_lane_moves_and_its_tasks_run_there(void **state)
{
	struct chi_container *container = container_of_pool();

	(void)state;
	for (uint32_t round = 0; round < 12; round++) {
		uint32_t to = round % 3;

		for (uint32_t i = 0; i < 16; i++)
			assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch,
								  chi_container_lane(container, 0, i), to),
					 0);
		assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch, client_lane(), (to + 1) % 3), 0);
		for (uint32_t i = 0; i < 16; i++)
			wait_for_owner(chi_container_lane(container, 0, i), to);
		wait_for_owner(client_lane(), (to + 1) % 3);
		check_client_lanes_are_counted();
		assert_int_equal(call(PROBE_ADD, round, 0), round + 1);
	}
	assert_true(count_of(&chi_work_orch_worker(fixture.runtime->orch, 0)->counters->lanes_moved) > 0);
}

static void of_several_requests_the_last_counts(void **state)
{
	struct chi_lane *lane = chi_container_lane(container_of_pool(), 0, 0);
	uint32_t from = chi_lane_worker(lane);
	struct hold held;

	(void)state;
	hold(&held, from);
	for (uint32_t i = 1; i <= 4; i++)
		assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch, lane, (from + i) % 3), 0);
	assert_int_equal(chi_lane_worker(lane), from);
	let_go(&held);
	wait_for_owner(lane, (from + 1) % 3);
	assert_int_equal(call(PROBE_ADD, 1, 0), 2);
}

static void a_lane_moves_to_a_worker_of_its_kind_only(void **state)
{
	struct chi_container *container = container_of_pool();
	struct chi_lane *low = chi_container_lane(container, 0, 0), *high = chi_container_lane(container, 1, 0);

	(void)state;
	assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch, low, 3), -EINVAL);
	assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch, high, 0), -EINVAL);
	assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch, low, 4), -EINVAL);
	assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch, high, 3), 0);
}

static int start_two_with_tiny_active_queues(void **state)
{
	(void)state;
	return start("workers: { count: 2, run_in_place: false, active_depth: 2 }\nmemory: { private_mib: 256 }\n", 16);
}

static uint64_t hash_of_lane(uint32_t lane);

/* More than the active queue holds, and none has work: the sweep goes by their mark, which producers trust, too. */
static void lanes_that_came_while_empty_are_swept(void **state)
{
	struct chi_worker *to = chi_work_orch_worker(fixture.runtime->orch, 1);
	struct chi_container *container = container_of_pool();
	struct hold held;

	(void)state;
	for (uint32_t worker = 0; worker < 2; worker++) {
		if (worker == 1)
			hold(&held, 1);
		for (uint32_t i = 0; i < 16; i++)
			assert_int_equal(chi_work_orch_remap_lane(fixture.runtime->orch,
								  chi_container_lane(container, 0, i), worker),
					 0);
		for (uint32_t i = 0; i < 16; i++)
			wait_for_owner(chi_container_lane(container, 0, i), worker);
	}
	let_go(&held);
	wait_until_rests(to);
	assert_true(count_of(&to->counters->sweeps) > 0);
	for (uint32_t i = 0; i < 16; i++) {
		struct chi_task *task;

		assert_int_equal(chi_task_alloc(fixture.client, sizeof(*task), fixture.pool,
						CHI_QUERY_LOCAL_HASH(hash_of_lane(i)), PROBE_NOOP, &task),
				 0);
		assert_int_equal(chi_submit(fixture.client, task), 0);
		assert_int_equal(chi_wait(task, 10 * HSHM_NSEC_PER_SEC), 0);
		chi_task_free(fixture.client, task);
	}
}

/* ---- the balancer ---- */

static int start_balanced(void **state)
{
	(void)state;
	return start("workers: { count: 2 }\nlanes: { balance_ms: 20 }\nmemory: { private_mib: 256 }\n", 16);
}

/* So that a look comes after many rounds of the test. */
static int start_balanced_slowly(void **state)
{
	(void)state;
	return start("workers: { count: 2 }\nlanes: { balance_ms: 250 }\nmemory: { private_mib: 256 }\n", 16);
}

/* All lanes that work stand on worker 0: some go to the other, while the tasks run. Each round adds to what the counters
 * file says of worker 1, as who may write it can. */
static void move_lanes_off_a_busy_worker(uint64_t lie_ns)
{
	struct chi_worker *idle = chi_work_orch_worker(fixture.runtime->orch, 1);
	struct chi_container *container = container_of_pool();
	struct probe_task *tasks[64];
	uint32_t n_of[2];

	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(
			chi_work_orch_remap_lane(fixture.runtime->orch, chi_container_lane(container, 0, i), 0), 0);
	for (uint32_t i = 0; i < 16; i++)
		wait_for_owner(chi_container_lane(container, 0, i), 0);
	for (uint32_t i = 0; i < 64; i++) {
		assert_int_equal(chi_task_alloc(fixture.client, sizeof(struct probe_task), fixture.pool,
						CHI_QUERY_LOCAL_HASH(i), PROBE_SPIN, &tasks[i]),
				 0);
		tasks[i]->in = 50 * HSHM_NSEC_PER_USEC;
	}
	do {
		hshm_store_relaxed(&idle->counters->busy_ns, hshm_load_relaxed(&idle->counters->busy_ns) + lie_ns);
		for (uint32_t i = 0; i < 64; i++)
			assert_int_equal(chi_submit(fixture.client, tasks[i]), 0);
		assert_int_equal(chi_wait_all((void **)tasks, 64, HSHM_FOREVER), 0);
		n_of[0] = n_of[1] = 0;
		lanes_on(16, n_of);
	} while (n_of[1] < 4); /* or the test's time is over */
	for (uint32_t i = 0; i < 64; i++)
		chi_task_free(fixture.client, tasks[i]);
}

static void the_balancer_moves_lanes_off_a_busy_worker(void **state)
{
	(void)state;
	move_lanes_off_a_busy_worker(0);
}

static void the_balancer_does_not_believe_the_counters_file(void **state)
{
	(void)state;
	move_lanes_off_a_busy_worker(HSHM_NSEC_PER_SEC);
}

static int start_one_worker(void **state)
{
	(void)state;
	return start("workers: { count: 1, run_in_place: false }\nmemory: { private_mib: 256 }\n", 1);
}

static uint64_t call(uint32_t method, uint64_t in, uint64_t count)
{
	struct probe_task *task;
	uint64_t out;

	assert_int_equal(
		chi_task_alloc(fixture.client, sizeof(*task), fixture.pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	task->in = in;
	task->count = count;
	assert_int_equal(chi_call(fixture.client, task), 0);
	out = task->out;
	chi_task_free(fixture.client, task);
	return out;
}

static void duplicates_are_dropped_and_no_task_runs_twice(void **state)
{
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	struct list_again again = { .work.fn = list_again_while_it_has_work,
				    .lane = chi_container_lane(container_of_pool(), 0, 0) };

	(void)state;
	sem_init(&again.done, 0, 0);
	for (int round = 0; round < 5; round++) {
		uint64_t before = count_of(&worker->counters->duplicates);

		chi_worker_post(worker, &again.work);
		assert_int_equal(call(PROBE_FLOOD, 0, 500), 500); /* to its own lane: several turns full */
		while (sem_wait(&again.done) < 0)
			;
		assert_int_equal(call(PROBE_COUNTS, 0, 0), (round + 1) * 500);
		/* they stand in the active queue, and that task may have come by the run list: or the test's time is over */
		while (count_of(&worker->counters->duplicates) == before)
			HSHM_THREAD_MODEL->sleep_for_us(100);
	}
	sem_destroy(&again.done);
}

static int start_three_lanes(void **state)
{
	(void)state;
	return start("workers: { count: 1, run_in_place: false }\nmemory: { private_mib: 256 }\n", 3);
}

/* So that tasks that are ready come after each task of a lane. */
static int start_three_lanes_and_small_batch(void **state)
{
	(void)state;
	return start("workers: { count: 1, run_in_place: false, lane_batch: 1 }\nmemory: { private_mib: 256 }\n", 3);
}

static uint64_t hash_of_lane(uint32_t lane)
{
	const struct chi_container *container = container_of_pool();
	uint64_t hash = 0;

	while (chi_container_lane_by_hash(container, 0, hash) != lane)
		hash++;
	return hash;
}

static int start_one_worker_of_16(void **state)
{
	(void)state;
	return start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n", 16);
}

static int start_for_calls(void **state)
{
	(void)state;
	return start("workers: { count: 1, lane_batch: 8 }\nmemory: { private_mib: 256 }\n", 2);
}

/* One task of a thousand calls: each ninth is a wait as always, in which the worker looks at what else there is. */
static void calls_are_run_in_place_but_not_without_end(void **state)
{
	enum { N = 1000, BATCH = 8 };
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	uint64_t waits, in_place;

	(void)state;
	wait_until_rests(worker);
	waits = count_of(&worker->counters->waits);
	in_place = count_of(&worker->counters->tasks_in_place);
	assert_int_equal(call(PROBE_NEST, 0, N), N);
	waits = count_of(&worker->counters->waits) - waits;
	in_place = count_of(&worker->counters->tasks_in_place) - in_place;
	print_message("%llu waits, %llu tasks in place\n", (unsigned long long)waits, (unsigned long long)in_place);
	assert_true(waits >= N / (BATCH + 1));
	assert_true(in_place >= N / 2);
}

static int start_for_deep_calls(void **state)
{
	(void)state;
	return start("workers: { count: 1, lane_batch: 1000 }\nmemory: { private_mib: 256 }\n", 16);
}

/* As deep as its stack has room for the one called; from there on in lanes. */
static void deep_calls_leave_the_stack_that_is_used_up(void **state)
{
	enum { N = 900 };
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	uint64_t in_place;

	(void)state;
	wait_until_rests(worker);
	in_place = count_of(&worker->counters->tasks_in_place);
	assert_int_equal(call(PROBE_DEEP, 0, N), N);
	in_place = count_of(&worker->counters->tasks_in_place) - in_place;
	print_message("%llu tasks in place\n", (unsigned long long)in_place);
	assert_in_range(in_place, 2, N - 2);
}

/* One in 16 is timed: after a millisecond of them, as the clock said last, the next call is a wait as always. */
static void long_calls_are_run_in_place_for_a_millisecond(void **state)
{
	enum { N = 64 };
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	uint64_t waits;

	(void)state;
	wait_until_rests(worker);
	waits = count_of(&worker->counters->waits);
	(void)call(PROBE_CALL_SPINS, HSHM_NSEC_PER_MSEC / 4, N);
	assert_true(count_of(&worker->counters->waits) - waits >= 2);
}

/* Tasks that compute for long and yield: the subtask of another, which has a lane to itself, is started, and its parent
 * goes on, after a few of their pieces, not after one of each. */
static void long_tasks_that_yield_delay_others_by_a_few_pieces(void **state)
{
	enum { N_LONG = 32, FEW = 12 };
	struct probe_task *tasks[N_LONG], *among;

	(void)state;
	for (int i = 0; i < N_LONG; i++) {
		assert_int_equal(chi_task_alloc(fixture.client, sizeof(*tasks[i]), fixture.pool,
						CHI_QUERY_LOCAL_HASH(hash_of_lane(0)), PROBE_PIECES, &tasks[i]),
				 0);
		tasks[i]->in = 2 * CHI_WORKER_TURN_NS;
		tasks[i]->count = UINT64_MAX; /* until it is cancelled */
		assert_int_equal(chi_submit(fixture.client, tasks[i]), 0);
	}
	assert_int_equal(chi_task_alloc(fixture.client, sizeof(*among), fixture.pool,
					CHI_QUERY_LOCAL_HASH(hash_of_lane(1)), PROBE_AMONG_PIECES, &among),
			 0);
	among->in = hash_of_lane(2); /* its parent's lane would run it in the same turn */
	while (call(PROBE_PIECES, 0, 0) < N_LONG)
		;
	assert_int_equal(chi_call(fixture.client, among), 0);
	print_message("%llu pieces until it started, %llu until its parent went on\n", (unsigned long long)among->out,
		      (unsigned long long)among->out2);
	assert_true(among->out <= FEW);
	assert_true(among->out2 <= FEW);
	for (int i = 0; i < N_LONG; i++)
		chi_cancel(tasks[i]);
	assert_int_equal(chi_wait_all((void **)tasks, N_LONG, HSHM_FOREVER), 0);
	for (int i = 0; i < N_LONG; i++)
		chi_task_free(fixture.client, tasks[i]);
	chi_task_free(fixture.client, among);
}

struct turns_until_done {
	struct chi_work work;
	struct probe_task **tasks;
	uint32_t n_tasks;
	uint64_t turns;
	sem_t noted;
};

/* By the worker itself: who waits for the tasks may be late. */
static void note_turns_when_done(struct chi_worker *worker, struct chi_work *work)
{
	struct turns_until_done *self = (struct turns_until_done *)work; /* its first member */

	for (uint32_t i = 0; i < self->n_tasks; i++) {
		if (!chi_task_done(self->tasks[i])) {
			chi_worker_post(worker, work);
			return;
		}
	}
	self->turns = count_of(&worker->counters->turns);
	sem_post(&self->noted);
}

/* A lane whose turns are long: each parent that waits beside it goes on in the turn after its subtask, all of them, and
 * not one in each. */
static void long_turns_of_a_lane_do_not_slow_those_that_are_ready(void **state)
{
	enum { N_LONG = 600, N_PARENTS = 32, N_BYTES = 8192 };
	struct probe_task *longs[N_LONG], *parents[N_PARENTS];
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	struct turns_until_done until = { .work.fn = note_turns_when_done, .tasks = parents, .n_tasks = N_PARENTS };
	unsigned char *bytes; /* so many that each task is timed */
	struct hold held;
	uint64_t turns;

	(void)state;
	assert_int_equal(chi_alloc(fixture.client, N_BYTES, &bytes), 0);
	for (int i = 0; i < N_LONG; i++) {
		assert_int_equal(chi_task_alloc(fixture.client, sizeof(*longs[i]), fixture.pool,
						CHI_QUERY_LOCAL_HASH(hash_of_lane(0)), PROBE_SPIN, &longs[i]),
				 0);
		longs[i]->in = HSHM_NSEC_PER_MSEC / 2;
		assert_int_equal(chi_buffer_set(fixture.client, &longs[i]->buffers[0], bytes, N_BYTES, CHI_BUFFER_OUT),
				 0);
	}
	for (int i = 0; i < N_PARENTS; i++) {
		assert_int_equal(chi_task_alloc(fixture.client, sizeof(*parents[i]), fixture.pool,
						CHI_QUERY_LOCAL_HASH(hash_of_lane(1)), PROBE_NEST, &parents[i]),
				 0);
		parents[i]->in = hash_of_lane(1);
		parents[i]->count = 4;
	}
	sem_init(&until.noted, 0, 0);
	hold(&held, 0);
	assert_int_equal(chi_submit_many(fixture.client, (void **)longs, N_LONG), N_LONG);
	assert_int_equal(chi_submit_many(fixture.client, (void **)parents, N_PARENTS), N_PARENTS);
	chi_worker_post(worker, &until.work);
	turns = count_of(&worker->counters->turns);
	let_go(&held);
	while (sem_wait(&until.noted) < 0)
		;
	turns = until.turns - turns;
	print_message("%llu turns\n", (unsigned long long)turns);
	assert_int_equal(chi_wait_all((void **)longs, N_LONG, HSHM_FOREVER), 0);
	assert_true(turns < 2 * N_PARENTS);
	for (int i = 0; i < N_LONG; i++)
		chi_task_free(fixture.client, longs[i]);
	for (int i = 0; i < N_PARENTS; i++)
		chi_task_free(fixture.client, parents[i]);
	chi_free(fixture.client, bytes);
}

static int start_tiny_active_queue(void **state)
{
	(void)state;
	return start("workers: { count: 1, run_in_place: false, active_depth: 2 }\nmemory: { private_mib: 256 }\n", 64);
}

/* A method fills more lanes than the active queue holds: the sweep finds the rest. */
static void a_full_active_queue_is_swept(void **state)
{
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);

	(void)state;
	assert_int_equal(call(PROBE_FLOOD, 0, 256), 256);
	assert_true(count_of(&worker->counters->sweeps) > 0);
}

/* I5 of task_queue.c: a client's tasks for many lanes of the worker that lets them in. */
static void lanes_that_their_worker_fills_are_not_swept(void **state)
{
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	struct probe_task *tasks[256];
	struct hold held;

	(void)state;
	hold(&held, 0);
	for (int i = 0; i < 256; i++) {
		assert_int_equal(chi_task_alloc(fixture.client, sizeof(struct probe_task), fixture.pool,
						CHI_QUERY_LOCAL_HASH(i), PROBE_ADD, &tasks[i]),
				 0);
		assert_int_equal(chi_submit(fixture.client, tasks[i]), 0);
	}
	let_go(&held);
	assert_int_equal(chi_wait_all((void **)tasks, 256, HSHM_FOREVER), 0);
	for (int i = 0; i < 256; i++) {
		assert_int_equal(tasks[i]->task.result, 0);
		chi_task_free(fixture.client, tasks[i]);
	}
	assert_int_equal(count_of(&worker->counters->sweeps), 0);
	assert_int_equal(count_of(&worker->counters->duplicates), 0);
}

/* A client that never stops filling its lane keeps no other lane from its turn. */
static void a_lane_that_is_always_full_starves_none(void **state)
{
	struct chi_task *flood[900];
	struct chi_task *other;
	struct chi_client *second;

	(void)state;
	assert_int_equal(chi_runtime_client(fixture.runtime, NULL, &second), 0);
	assert_int_equal(
		chi_task_alloc(second, sizeof(*other), fixture.pool, CHI_QUERY_LOCAL_ID(0), PROBE_NOOP, &other), 0);
	for (int i = 0; i < 900; i++) {
		assert_int_equal(chi_task_alloc(fixture.client, sizeof(struct chi_task), fixture.pool,
						CHI_QUERY_LOCAL_ID(0), PROBE_NOOP, &flood[i]),
				 0);
		assert_int_equal(chi_submit(fixture.client, flood[i]), 0);
	}
	assert_int_equal(chi_submit(second, other), 0);
	while (!chi_task_done(other))
		for (int i = 0; i < 900; i++)
			if (chi_task_done(flood[i]))
				(void)!chi_submit(fixture.client, flood[i]);
	assert_int_equal(chi_wait_all((void **)flood, 900, HSHM_FOREVER), 0);
	for (int i = 0; i < 900; i++)
		chi_task_free(fixture.client, flood[i]);
	chi_task_free(second, other);
	chi_client_disconnect(second);
}

/* ---- what counts as work ---- */

static int start_one_worker_alone(void **state)
{
	(void)state;
	return start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n", 1);
}

/* It runs in the first look that finds anything, which is the last one, too. */
static void a_task_that_comes_alone_counts_as_work(void **state)
{
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	uint64_t before_ns;

	(void)state;
	wait_until_rests(worker);
	before_ns = count_of(&worker->busy_ns);
	call(PROBE_SPIN, 20 * HSHM_NSEC_PER_MSEC, 0);
	wait_until_rests(worker);
	assert_true(count_of(&worker->busy_ns) - before_ns >= 20 * HSHM_NSEC_PER_MSEC);
}

/* A turn of many long tasks takes as long as they do. */
static void what_it_is_at_counts_as_work_before_its_end(void **state)
{
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	struct hold held;
	uint64_t before_ns, begin_ns;

	(void)state;
	wait_until_rests(worker);
	hold(&held, 0);
	before_ns = chi_worker_busy_ns(worker);
	begin_ns = hshm_clock_ns();
	while (hshm_clock_ns() - begin_ns < 5 * HSHM_NSEC_PER_MSEC)
		HSHM_THREAD_MODEL->sleep_for_us(100);
	assert_true(chi_worker_busy_ns(worker) - before_ns >= 5 * HSHM_NSEC_PER_MSEC);
	let_go(&held);
}

static void sleep_does_not_count_as_work(void **state)
{
	struct chi_worker *worker = chi_work_orch_worker(fixture.runtime->orch, 0);
	uint64_t before_ns;

	(void)state;
	wait_until_rests(worker);
	before_ns = chi_worker_busy_ns(worker);
	HSHM_THREAD_MODEL->sleep_for_us(1000);
	assert_int_equal(chi_worker_busy_ns(worker), before_ns);
}

/* ---- who may look for work without sleeping ---- */

static int start_on_one_cpu(void **state)
{
	cpu_set_t before, one;
	int cpu = sched_getcpu(), ret;

	(void)state;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (cpu < 0 || sched_getaffinity(0, sizeof(before), &before) || sched_setaffinity(0, sizeof(one), &one))
		return -1;
	ret = start("memory: { private_mib: 256 }\n", 1);
	return sched_setaffinity(0, sizeof(before), &before) ? -1 : ret;
}

static void on_one_cpu_of_several_one_worker_is_made_and_none_spins(void **state)
{
	(void)state;
	assert_int_equal(chi_work_orch_n_workers(fixture.runtime->orch), 1);
	assert_int_equal(fixture.runtime->spinning_max, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sixteen_lanes_on_three_workers_get_6_5_5, start_three_workers, stop),
		cmocka_unit_test_setup_teardown(high_latency_lanes_go_to_the_high_latency_workers, start_split, stop),
		cmocka_unit_test_setup_teardown(a_fixed_lane_goes_by_its_number, start_fixed, stop),
		cmocka_unit_test_setup_teardown(without_load_the_worker_with_the_fewest_lanes_is_chosen,
						start_least_load, stop),
		cmocka_unit_test_setup_teardown(the_worker_with_the_least_work_is_chosen, start_least_load, stop),
		cmocka_unit_test_setup_teardown(a_lane_moves_and_its_tasks_run_there, start_three_workers, stop),
		cmocka_unit_test_setup_teardown(of_several_requests_the_last_counts, start_three_workers, stop),
		cmocka_unit_test_setup_teardown(a_lane_moves_to_a_worker_of_its_kind_only, start_split, stop),
		cmocka_unit_test_setup_teardown(lanes_that_came_while_empty_are_swept,
						start_two_with_tiny_active_queues, stop),
		cmocka_unit_test_setup_teardown(the_balancer_moves_lanes_off_a_busy_worker, start_balanced, stop),
		cmocka_unit_test_setup_teardown(the_balancer_does_not_believe_the_counters_file, start_balanced_slowly,
						stop),
		cmocka_unit_test_setup_teardown(duplicates_are_dropped_and_no_task_runs_twice, start_one_worker, stop),
		cmocka_unit_test_setup_teardown(calls_are_run_in_place_but_not_without_end, start_for_calls, stop),
		cmocka_unit_test_setup_teardown(deep_calls_leave_the_stack_that_is_used_up, start_for_deep_calls, stop),
		cmocka_unit_test_setup_teardown(long_calls_are_run_in_place_for_a_millisecond, start_one_worker_of_16,
						stop),
		cmocka_unit_test_setup_teardown(long_tasks_that_yield_delay_others_by_a_few_pieces,
						start_three_lanes_and_small_batch, stop),
		cmocka_unit_test_setup_teardown(long_turns_of_a_lane_do_not_slow_those_that_are_ready,
						start_three_lanes, stop),
		cmocka_unit_test_setup_teardown(a_full_active_queue_is_swept, start_tiny_active_queue, stop),
		cmocka_unit_test_setup_teardown(lanes_that_their_worker_fills_are_not_swept, start_tiny_active_queue,
						stop),
		cmocka_unit_test_setup_teardown(a_lane_that_is_always_full_starves_none, start_one_worker, stop),
		cmocka_unit_test_setup_teardown(a_task_that_comes_alone_counts_as_work, start_one_worker_alone, stop),
		cmocka_unit_test_setup_teardown(what_it_is_at_counts_as_work_before_its_end, start_one_worker, stop),
		cmocka_unit_test_setup_teardown(sleep_does_not_count_as_work, start_one_worker, stop),
		cmocka_unit_test_setup_teardown(on_one_cpu_of_several_one_worker_is_made_and_none_spins,
						start_on_one_cpu, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
