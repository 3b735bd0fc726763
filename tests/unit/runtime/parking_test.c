/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parking_test.c - who waits for room is posted once for each time he parked, to his own worker; room for n posts the first n
 *
 * The workers are inboxes that the cases empty themselves.
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
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/probe.h"
#include "runtime/container.h"
#include "runtime/pool_manager.h"
#include "runtime/work_orchestrator.h"

#define N_WORKERS 2u
#define N_PARKED  3u

struct stage {
	struct chi_worker workers[N_WORKERS];
	struct chi_parking_lot lot;
	struct chi_parked parked[N_PARKED];
	uint32_t n_posted[N_PARKED]; /* of the thread that empties the inboxes */
};

static struct stage stage;

static int set_up(void **state)
{
	(void)state;
	memset(&stage, 0, sizeof(stage));
	for (uint32_t i = 0; i < N_WORKERS; i++)
		if (hshm_doorbell_init(&stage.workers[i].doorbell) < 0)
			return -1;
	for (uint32_t i = 0; i < N_PARKED; i++)
		stage.parked[i].worker = &stage.workers[i % N_WORKERS];
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < N_WORKERS; i++)
		hshm_doorbell_fini(&stage.workers[i].doorbell);
	return 0;
}

/* The inbox of one worker, emptied: who was in it is counted; returns how many. */
static uint32_t drain(uint32_t worker)
{
	/* acquire: pairs with the release of the post */
	struct chi_work *work = hshm_exchange_acquire(&stage.workers[worker].inbox, NULL);
	uint32_t n = 0;

	for (; work; work = work->next) {
		struct chi_parked *parked = (struct chi_parked *)work; /* its first member */

		assert_ptr_equal(parked->worker, &stage.workers[worker]);
		stage.n_posted[parked - stage.parked]++;
		n++;
	}
	return n;
}

static bool lot_is_empty(void)
{
	return !hshm_load_relaxed(&stage.lot.newest) && !stage.lot.oldest &&
	       hshm_load_relaxed(&stage.lot.n_parked) == 0 && hshm_load_relaxed(&stage.lot.room) == 0;
}

static void one_wake_posts_all_each_to_his_worker(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < N_PARKED; i++)
		chi_parking_enter(&stage.lot, &stage.parked[i]);
	assert_int_equal(drain(0) + drain(1), 0);
	chi_parking_wake(&stage.lot, CHI_PARKING_ALL);
	assert_int_equal(drain(0), 2);
	assert_int_equal(drain(1), 1);
	for (uint32_t i = 0; i < N_PARKED; i++)
		assert_int_equal(stage.n_posted[i], 1);
	assert_true(lot_is_empty());
}

static void room_for_n_posts_the_n_that_parked_first(void **state)
{
	(void)state;
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_enter(&stage.lot, &stage.parked[2]);
	chi_parking_wake(&stage.lot, 1);
	assert_int_equal(drain(1), 1);
	/* who comes later stands behind those that the first wake has left */
	chi_parking_enter(&stage.lot, &stage.parked[0]);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_check(&stage.lot, 2);
	assert_int_equal(drain(0), 2);
	assert_int_equal(drain(1), 0);
	chi_parking_check(&stage.lot, 2);
	assert_int_equal(drain(1), 1);
	assert_true(lot_is_empty());
}

static void room_that_nobody_wants_is_not_kept(void **state)
{
	(void)state;
	chi_parking_wake(&stage.lot, 3);
	chi_parking_enter(&stage.lot, &stage.parked[0]);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	assert_int_equal(drain(0) + drain(1), 0);
	chi_parking_wake(&stage.lot, 1);
	assert_int_equal(drain(0), 1);
	assert_int_equal(drain(1), 0);
}

/* P2: another thread is about to read the word, and finds there what we had. */
static void who_finds_the_lot_held_leaves_his_room(void **state)
{
	(void)state;
	chi_parking_enter(&stage.lot, &stage.parked[0]);
	hshm_store_relaxed(&stage.lot.room, 1);
	chi_parking_wake(&stage.lot, 2);
	assert_int_equal(drain(0), 0);
	assert_int_equal(hshm_load_relaxed(&stage.lot.room), 3);
}

static void room_is_passed_on_unless_the_lane_took_the_task(void **state)
{
	static struct chi_lane full, other;

	(void)state;
	full = other = (struct chi_lane){ 0 };
	for (uint32_t i = 0; i < N_PARKED; i++)
		chi_parking_enter(&full.parking, &stage.parked[i]);
	chi_parking_wake(&full.parking, 1);
	assert_int_equal(drain(0) + drain(1), 1);
	chi_parking_pass_on(&stage.parked[0], &full);
	assert_int_equal(drain(0) + drain(1), 0);
	chi_parking_pass_on(&stage.parked[0], NULL); /* it has answered */
	assert_int_equal(drain(0) + drain(1), 0);
	stage.parked[0].lot = &full.parking;
	chi_parking_pass_on(&stage.parked[0], &other);
	assert_int_equal(drain(1), 1);
	chi_parking_pass_on(&stage.parked[1], NULL);
	assert_int_equal(drain(0), 1);
}

static void a_second_wake_posts_nobody(void **state)
{
	(void)state;
	chi_parking_enter(&stage.lot, &stage.parked[0]);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_wake(&stage.lot, CHI_PARKING_ALL);
	chi_parking_wake(&stage.lot, CHI_PARKING_ALL);
	chi_parking_check(&stage.lot, 1);
	assert_int_equal(drain(0), 1);
	assert_int_equal(drain(1), 1);
}

static void check_posts_those_who_are_there(void **state)
{
	(void)state;
	chi_parking_check(&stage.lot, 1);
	assert_int_equal(drain(0) + drain(1), 0);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_check(&stage.lot, 1);
	assert_int_equal(drain(1), 1);
	assert_true(lot_is_empty());
}

static void a_sleeping_worker_is_rung(void **state)
{
	(void)state;
	hshm_doorbell_prepare_sleep(&stage.workers[1].doorbell);
	chi_parking_enter(&stage.lot, &stage.parked[0]);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_check(&stage.lot, 2);
	assert_int_equal(hshm_load_relaxed(&stage.workers[0].doorbell.n_rings), 0);
	assert_int_equal(hshm_load_relaxed(&stage.workers[1].doorbell.n_rings), 1);
}

static void who_was_posted_may_park_again(void **state)
{
	(void)state;
	for (uint32_t round = 1; round <= 10; round++) {
		chi_parking_enter(&stage.lot, &stage.parked[0]);
		chi_parking_enter(&stage.lot, &stage.parked[2]);
		chi_parking_wake(&stage.lot, 2);
		assert_int_equal(drain(0), 2);
		assert_int_equal(stage.n_posted[0], round);
		assert_int_equal(stage.n_posted[2], round);
	}
}

/* ---- with threads: two workers park again as soon as they are posted, others wake ---- */

struct parker {
	pthread_t thread;
	uint32_t worker;
	uint64_t n_entered, n_posted;
	hshm_au32 is_going; /* it has parked again */
	bool wrong;
};

static hshm_au32 parkers_stop;

/* Two entries a worker, so that a wake finds some that another posts again meanwhile. */
static void *parker(void *arg)
{
	struct parker *self = arg;
	struct chi_parked entries[2] = { { .worker = &stage.workers[self->worker] },
					 { .worker = &stage.workers[self->worker] } };
	bool is_parked[2] = { false, false };

	while (!hshm_load_relaxed(&parkers_stop)) {
		struct chi_work *work;

		for (uint32_t i = 0; i < 2; i++) {
			if (is_parked[i])
				continue;
			is_parked[i] = true;
			self->n_entered++;
			hshm_store_relaxed(&self->is_going, self->n_entered > 2);
			chi_parking_enter(&stage.lot, &entries[i]);
		}
		work = hshm_exchange_acquire(&stage.workers[self->worker].inbox, NULL);
		while (work) {
			struct chi_work *next = work->next;
			size_t i = (size_t)((struct chi_parked *)work - entries);

			if (i >= 2 || !is_parked[i]) {
				self->wrong = true;
				return NULL;
			}
			is_parked[i] = false;
			self->n_posted++;
			work = next;
		}
	}
	/* out of the lot before the entries go */
	while (is_parked[0] || is_parked[1]) {
		struct chi_work *work;

		chi_parking_wake(&stage.lot, 1);
		work = hshm_exchange_acquire(&stage.workers[self->worker].inbox, NULL);
		for (; work; work = work->next) {
			is_parked[(struct chi_parked *)work - entries] = false;
			self->n_posted++;
		}
	}
	return NULL;
}

static void each_parking_is_posted_once_among_threads(void **state)
{
	struct parker parkers[N_WORKERS] = { 0 };
	uint64_t end_ns = hshm_clock_ns() + 500 * HSHM_NSEC_PER_MSEC;

	(void)state;
	hshm_store_relaxed(&parkers_stop, 0);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		parkers[i].worker = i;
		assert_int_equal(pthread_create(&parkers[i].thread, NULL, parker, &parkers[i]), 0);
	}
	/* relaxed: only when to go on; ctest ends it */
	for (uint32_t i = 0; i < N_WORKERS; i += hshm_load_relaxed(&parkers[i].is_going)) {
		do
			chi_parking_check(&stage.lot, 1);
		while (hshm_clock_ns() < end_ns);
	}
	hshm_store_relaxed(&parkers_stop, 1);
	for (uint32_t i = 0; i < N_WORKERS; i++)
		pthread_join(parkers[i].thread, NULL);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		assert_false(parkers[i].wrong);
		assert_int_equal(parkers[i].n_posted, parkers[i].n_entered);
	}
	assert_true(lot_is_empty());
}

/* ---- in a runtime: a method that submits to a full lane ---- */

static void a_method_parks_at_a_full_lane_and_goes_on(void **state)
{
	const char *config =
		"workers: { count: 2, run_in_place: false }\nmemory: { private_mib: 256, lane_depth: 16 }\n";
	struct chi_pool_spec spec = { .module = "probe" };
	struct chi_runtime_info info;
	struct chi_runtime *runtime;
	struct probe_task *task;
	struct chi_client *client;
	uint64_t n_parks = 0;
	uint32_t pool;

	(void)state;
	assert_int_equal(chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime), 0);
	assert_int_equal(chi_runtime_client(runtime, NULL, &client), 0);
	if (chi_pool_create(client, &spec, &pool) < 0)
		fail_msg("%s", chi_error_text());
	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), PROBE_FLOOD, &task), 0);
	task->count = 2000;
	assert_int_equal(chi_call(client, task), 0);
	assert_int_equal(task->out, 2000);
	chi_task_free(client, task);
	assert_int_equal(chi_client_runtime_info(client, &info), 0);
	for (uint32_t i = 0; i < info.n_workers; i++)
		n_parks += hshm_load_relaxed(&info.workers[i].parks);
	assert_true(n_parks > 0);
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, HSHM_NSEC_PER_SEC, NULL), 0);
}

/* ---- in a runtime whose one worker is held: the lane stays full ---- */

#define LANE_DEPTH 16u
#ifdef __SANITIZE_THREAD__
#define N_CROWD 512u /* TSan takes half a minute for 4,096 fibers */
#else
#define N_CROWD 4096u
#endif
#define N_SUBTASKS 2u

struct hold {
	struct chi_work work;
	sem_t held, release;
};

struct full_stage {
	struct chi_runtime *runtime;
	struct chi_client *client;
	uint32_t pool;
	uint32_t full; /* the container whose worker is held; the other one's is the client's, too */
	struct hold hold;
};

static void hold_worker(struct chi_worker *worker, struct chi_work *work)
{
	struct hold *hold = (struct hold *)work; /* its first member */

	(void)worker;
	sem_post(&hold->held);
	while (sem_wait(&hold->release) < 0)
		;
}

static uint32_t worker_of(struct full_stage *s, uint32_t container)
{
	uint8_t epoch;
	struct chi_pool *pool = chi_pool_get(s->runtime->pools, s->pool, &epoch);
	uint32_t worker = chi_lane_worker(chi_container_lane(pool->local_table[container], 0, 0));

	chi_pool_put(pool, epoch);
	return worker;
}

/* Has it a client's lane? The first client's first: the other worker can be held without stopping that client. */
static bool serves_clients(struct chi_worker *worker)
{
	bool does = false;

	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++)
		does |= worker->lanes[i]->session != NULL;
	pthread_mutex_unlock(&worker->lanes_lock);
	return does;
}

static uint64_t n_parks(struct full_stage *s)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < N_WORKERS; i++)
		n += hshm_load_relaxed(&chi_work_orch_worker(s->runtime->orch, i)->counters->parks);
	return n;
}

static void wait_for_parks(struct full_stage *s, uint64_t n)
{
	while (n_parks(s) < n)
		HSHM_THREAD_MODEL->sleep_for_us(100);
}

static void start_held(struct full_stage *s, uint32_t contexts)
{
	unsigned char n_lanes = 1;
	struct chi_pool_spec spec = { .module = "probe", .n_containers = 2, .params = &n_lanes, .params_size = 1 };
	char config[256];

	snprintf(config, sizeof(config),
		 "workers: { count: 2, run_in_place: false }\nmemory: { private_mib: 1024, lane_depth: %u }\n"
		 "clients: { lane_depth: 8192, contexts: %u }\n",
		 LANE_DEPTH, contexts);
	*s = (struct full_stage){ .hold.work.fn = hold_worker };
	assert_int_equal(chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &s->runtime), 0);
	assert_int_equal(chi_runtime_client(s->runtime, NULL, &s->client), 0);
	if (chi_pool_create(s->client, &spec, &s->pool) < 0)
		fail_msg("%s", chi_error_text());
	assert_int_not_equal(worker_of(s, 0), worker_of(s, 1));
	s->full = serves_clients(chi_work_orch_worker(s->runtime->orch, worker_of(s, 0))) ? 1 : 0;
	sem_init(&s->hold.held, 0, 0);
	sem_init(&s->hold.release, 0, 0);
	chi_worker_post(chi_work_orch_worker(s->runtime->orch, worker_of(s, s->full)), &s->hold.work);
	while (sem_wait(&s->hold.held) < 0)
		;
}

static void stop_held(struct full_stage *s)
{
	chi_client_disconnect(s->client);
	assert_int_equal(chi_runtime_stop(s->runtime, 10 * HSHM_NSEC_PER_SEC, NULL), 0);
	sem_destroy(&s->hold.held);
	sem_destroy(&s->hold.release);
}

static struct probe_task *submit(struct full_stage *s, struct chi_client *client, uint32_t container, uint32_t method,
				 uint64_t in, uint64_t count)
{
	struct probe_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), s->pool, CHI_QUERY_LOCAL_ID(container), method, &task),
			 0);
	task->in = in;
	task->count = count;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static void finish(struct chi_client *client, struct probe_task **tasks, uint32_t n)
{
	assert_int_equal(chi_wait_all((void **)tasks, n, HSHM_FOREVER), 0);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(tasks[i]->task.result, 0);
		chi_task_free(client, tasks[i]);
	}
}

/* The task that finds no room stalls its client's lane: one park, however many stand behind it. */
static void a_client_lane_parks_at_a_full_lane_and_is_counted(void **state)
{
	struct probe_task *tasks[LANE_DEPTH + 8];
	struct full_stage s;

	(void)state;
	start_held(&s, 4096);
	for (uint32_t i = 0; i < LANE_DEPTH; i++)
		tasks[i] = submit(&s, s.client, s.full, PROBE_ADD, i, 0);
	for (uint32_t i = LANE_DEPTH; i < LANE_DEPTH + 8; i++)
		tasks[i] = submit(&s, s.client, s.full, PROBE_ADD, i, 0);
	wait_for_parks(&s, 1);
	assert_int_equal(n_parks(&s), 1);
	assert_int_equal(
		hshm_load_relaxed(&chi_work_orch_worker(s.runtime->orch, worker_of(&s, 1 - s.full))->counters->parks),
		1);
	sem_post(&s.hold.release);
	finish(s.client, tasks, LANE_DEPTH + 8);
	stop_held(&s);
}

static void a_client_lane_parks_at_its_cap_and_is_counted(void **state)
{
	struct probe_task *tasks[12];
	struct full_stage s;

	(void)state;
	start_held(&s, 4);
	for (uint32_t i = 0; i < 12; i++)
		tasks[i] = submit(&s, s.client, s.full, PROBE_ADD, i, 0);
	wait_for_parks(&s, 1); /* four have run contexts, and their worker is held */
	sem_post(&s.hold.release);
	finish(s.client, tasks, 12);
	stop_held(&s);
}

/* A client that waits for room ends; the next in the lot has it. (All are in the lot of one lane, behind one another.) */
static void a_client_that_ends_in_the_lot_holds_up_nobody(void **state)
{
	struct probe_task *filling[LANE_DEPTH], *last;
	struct chi_client *others[4];
	struct full_stage s;

	(void)state;
	start_held(&s, 4096);
	for (uint32_t i = 0; i < LANE_DEPTH; i++)
		filling[i] = submit(&s, s.client, 1 - s.full, PROBE_FLOOD, s.full, 1);
	/* their lanes may be the held worker's: then they do not come to the lot before it goes on, and as well */
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(chi_runtime_client(s.runtime, NULL, &others[i]), 0);
		(void)submit(&s, others[i], s.full, PROBE_ADD, i, 0);
	}
	wait_for_parks(&s, 2);
	last = submit(&s, s.client, s.full, PROBE_ADD, 0, 0);
	for (uint32_t i = 0; i < 4; i++)
		chi_client_disconnect(others[i]);
	sem_post(&s.hold.release);
	finish(s.client, filling, LANE_DEPTH);
	finish(s.client, &last, 1);
	stop_held(&s);
}

/* Methods in such a number submit to the full lane that all but a few park; then it goes on. Each parks once for each task
 * that found no room, and hardly ever again. */
static void a_crowd_is_woken_by_as_many_as_have_room(void **state)
{
	struct probe_task **tasks = calloc(N_CROWD, sizeof(struct probe_task *));
	struct full_stage s;

	(void)state;
	assert_non_null(tasks);
	start_held(&s, 8192);
	for (uint32_t i = 0; i < N_CROWD; i++)
		tasks[i] = submit(&s, s.client, 1 - s.full, PROBE_FLOOD, s.full, N_SUBTASKS);
	wait_for_parks(&s, N_CROWD - LANE_DEPTH);
	sem_post(&s.hold.release);
	finish(s.client, tasks, N_CROWD);
	print_message("%u subtasks through %u slots: parked %ju times\n", N_CROWD * N_SUBTASKS, LANE_DEPTH,
		      (uintmax_t)n_parks(&s));
	assert_true(n_parks(&s) <= N_CROWD * N_SUBTASKS * 3 / 2);
	free(tasks);
	stop_held(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_wake_posts_all_each_to_his_worker, set_up, tear_down),
		cmocka_unit_test_setup_teardown(room_for_n_posts_the_n_that_parked_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(room_that_nobody_wants_is_not_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_finds_the_lot_held_leaves_his_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(room_is_passed_on_unless_the_lane_took_the_task, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_second_wake_posts_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(check_posts_those_who_are_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_sleeping_worker_is_rung, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_was_posted_may_park_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_parking_is_posted_once_among_threads, set_up, tear_down),
		cmocka_unit_test(a_method_parks_at_a_full_lane_and_goes_on),
		cmocka_unit_test(a_client_lane_parks_at_a_full_lane_and_is_counted),
		cmocka_unit_test(a_client_lane_parks_at_its_cap_and_is_counted),
		cmocka_unit_test(a_client_that_ends_in_the_lot_holds_up_nobody),
		cmocka_unit_test(a_crowd_is_woken_by_as_many_as_have_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
