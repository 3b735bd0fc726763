/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parking_test.c - who waits for room is posted once for each time he parked, to his own worker
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
#include <string.h>

#include "../../modules/probe.h"

#define N_WORKERS 2u
#define N_PARKED  3u

struct stage {
	struct chi_worker workers[N_WORKERS];
	hshm_aptr lot;
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

static void one_wake_posts_all_each_to_his_worker(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < N_PARKED; i++)
		chi_parking_enter(&stage.lot, &stage.parked[i]);
	assert_int_equal(drain(0) + drain(1), 0);
	chi_parking_wake(&stage.lot);
	assert_int_equal(drain(0), 2);
	assert_int_equal(drain(1), 1);
	for (uint32_t i = 0; i < N_PARKED; i++)
		assert_int_equal(stage.n_posted[i], 1);
	assert_null(hshm_load_relaxed(&stage.lot));
}

static void a_second_wake_posts_nobody(void **state)
{
	(void)state;
	chi_parking_enter(&stage.lot, &stage.parked[0]);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_wake(&stage.lot);
	chi_parking_wake(&stage.lot);
	chi_parking_check(&stage.lot);
	assert_int_equal(drain(0), 1);
	assert_int_equal(drain(1), 1);
}

static void check_posts_those_who_are_there(void **state)
{
	(void)state;
	chi_parking_check(&stage.lot);
	assert_int_equal(drain(0) + drain(1), 0);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_check(&stage.lot);
	assert_int_equal(drain(1), 1);
	assert_null(hshm_load_relaxed(&stage.lot));
}

static void a_sleeping_worker_is_rung(void **state)
{
	(void)state;
	hshm_doorbell_prepare_sleep(&stage.workers[1].doorbell);
	chi_parking_enter(&stage.lot, &stage.parked[0]);
	chi_parking_enter(&stage.lot, &stage.parked[1]);
	chi_parking_check(&stage.lot);
	assert_int_equal(hshm_load_relaxed(&stage.workers[0].doorbell.n_rings), 0);
	assert_int_equal(hshm_load_relaxed(&stage.workers[1].doorbell.n_rings), 1);
}

static void who_was_posted_may_park_again(void **state)
{
	(void)state;
	for (uint32_t round = 1; round <= 10; round++) {
		chi_parking_enter(&stage.lot, &stage.parked[0]);
		chi_parking_enter(&stage.lot, &stage.parked[2]);
		chi_parking_wake(&stage.lot);
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

		chi_parking_wake(&stage.lot);
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
	while (hshm_clock_ns() < end_ns)
		chi_parking_check(&stage.lot);
	hshm_store_relaxed(&parkers_stop, 1);
	for (uint32_t i = 0; i < N_WORKERS; i++)
		pthread_join(parkers[i].thread, NULL);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		assert_false(parkers[i].wrong);
		assert_true(parkers[i].n_entered > 2);
		assert_int_equal(parkers[i].n_posted, parkers[i].n_entered);
	}
	assert_null(hshm_load_relaxed(&stage.lot));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_wake_posts_all_each_to_his_worker, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_second_wake_posts_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(check_posts_those_who_are_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_sleeping_worker_is_rung, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_was_posted_may_park_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_parking_is_posted_once_among_threads, set_up, tear_down),
		cmocka_unit_test(a_method_parks_at_a_full_lane_and_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
