/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * balancer_test.c - the balancer's rule (B1 to B4 in balancer.c): loads and looks of the test's own
 *
 * All workers sleep; what they are said to have done is written by hand: a period is 100 ms, a task is taken for 10 us where
 * nothing else is said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "runtime/balancer.h"

#include <chimaera/chimaera.h>
#include <hshm/clock.h>
#include <stdio.h>

#include "../../modules/probe.h"
#include "runtime/container.h"
#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "support/rest.h"

#define N_LANES	    8u
#define N_WORKERS   3u
#define MS	    HSHM_NSEC_PER_MSEC
#define PERIOD	    (100 * MS)
#define LONG_PERIOD (3600 * HSHM_NSEC_PER_SEC) /* however busy the workers were, they were equally */
#define REST	    8u			       /* looks, after the first moves that were bad */

static struct chi_runtime *runtime;
static struct chi_client *clients[2];
static struct chi_balancer *balancer;
static struct chi_lane *lanes[N_LANES];
static struct chi_lane *client_lanes[2];
static uint64_t busy_ns[N_WORKERS]; /* as of the last look */

/* Until what was asked for has been done. */
static void wait_for_moves(void)
{
	for (uint32_t i = 0; i < N_LANES; i++)
		while (hshm_load_acquire(&lanes[i]->move_to))
			HSHM_THREAD_MODEL->sleep_for_us(100);
	for (uint32_t i = 0; i < 2; i++)
		while (hshm_load_acquire(&client_lanes[i]->move_to))
			HSHM_THREAD_MODEL->sleep_for_us(100);
	wait_until_all_rest(runtime->orch);
}

static void place(struct chi_lane *lane, uint32_t worker)
{
	assert_int_equal(chi_work_orch_remap_lane(runtime->orch, lane, worker), 0);
	wait_for_moves();
	assert_int_equal(chi_lane_worker(lane), worker);
}

/* The lanes of the clients; each has one. */
static void find_client_lanes(void)
{
	uint32_t n = 0;

	for (uint32_t w = 0; w < N_WORKERS; w++) {
		struct chi_worker *worker = chi_work_orch_worker(runtime->orch, w);

		pthread_mutex_lock(&worker->lanes_lock);
		for (uint32_t i = 0; i < worker->n_lanes; i++)
			if (worker->lanes[i]->session && n < 2)
				client_lanes[n++] = worker->lanes[i];
		pthread_mutex_unlock(&worker->lanes_lock);
	}
	assert_int_equal(n, 2);
}

static void find_lanes(uint32_t pool_id)
{
	uint8_t epoch;
	struct chi_pool *pool = chi_pool_get(runtime->pools, pool_id, &epoch);

	for (uint32_t i = 0; i < N_LANES; i++)
		lanes[i] = chi_container_lane(pool->local_table[0], 0, i);
	chi_pool_put(pool, epoch);
}

static int start(void **state)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = "log_level: error\nworkers: { count: 3 }\n"
								       "memory: { private_mib: 256 }\n"
								       "watchdog: { hang_ms: 0 }\n");
	unsigned char n_lanes = N_LANES;
	struct chi_pool_spec spec = { .module = "probe", .params = &n_lanes, .params_size = 1 };
	uint32_t pool;

	(void)state;
	if (chi_runtime_start(&opts, &runtime) < 0)
		return -1;
	for (uint32_t i = 0; i < 2; i++)
		if (chi_runtime_client(runtime, NULL, &clients[i]) < 0 ||
		    chi_pool_create(clients[i], &spec, &pool) <
			    0) /* the second finds the first one's; and opens its lane */
			return -1;
	find_lanes(pool);
	find_client_lanes();
	wait_until_all_rest(runtime->orch);
	for (uint32_t i = 0; i < N_LANES; i++)
		place(lanes[i], 0);
	for (uint32_t i = 0; i < 2; i++)
		place(client_lanes[i], 0);
	if (chi_balancer_start(runtime->orch, 0, &balancer) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		chi_balancer_look(balancer, LONG_PERIOD); /* what was before is not of the test */
	for (uint32_t i = 0; i < N_WORKERS; i++)
		busy_ns[i] = chi_worker_busy_ns(chi_work_orch_worker(runtime->orch, i));
	return 0;
}

static int stop(void **state)
{
	(void)state;
	chi_balancer_stop(balancer);
	for (uint32_t i = 0; i < 2; i++)
		chi_client_disconnect(clients[i]);
	return chi_runtime_stop(runtime, HSHM_NSEC_PER_SEC, NULL);
}

static void ran(struct chi_lane *lane, uint64_t n_tasks)
{
	hshm_fetch_add_relaxed(&lane->n_in_place, n_tasks);
}

static void all_ran(uint64_t n_tasks)
{
	for (uint32_t i = 0; i < N_LANES; i++)
		ran(lanes[i], n_tasks);
}

/* The workers, which rest, were busy for so much of the period: what they did to move lanes may take longer than a task here. */
static void look(uint64_t busy0_ms, uint64_t busy1_ms, uint64_t busy2_ms)
{
	const uint64_t busy_ms[N_WORKERS] = { busy0_ms, busy1_ms, busy2_ms };

	for (uint32_t i = 0; i < N_WORKERS; i++) {
		busy_ns[i] += busy_ms[i] * MS;
		hshm_store_relaxed(&chi_work_orch_worker(runtime->orch, i)->busy_ns, busy_ns[i]);
	}
	chi_balancer_look(balancer, PERIOD);
	wait_for_moves();
}

static void set_hangs(uint32_t worker, uint32_t hangs)
{
	hshm_store_relaxed(&chi_work_orch_worker(runtime->orch, worker)->hangs, hangs);
}

static void assert_lanes(uint32_t n0, uint32_t n1, uint32_t n2)
{
	uint32_t n[N_WORKERS] = { 0 };

	for (uint32_t i = 0; i < N_LANES; i++)
		n[chi_lane_worker(lanes[i])]++;
	assert_int_equal(n[0], n0);
	assert_int_equal(n[1], n1);
	assert_int_equal(n[2], n2);
}

/* ---- B1, B2 ---- */

static void nothing_moves_below_a_fifth_of_difference(void **state)
{
	(void)state;
	all_ran(100);
	look(99, 80, 85);
	assert_lanes(8, 0, 0);
}

static void half_the_difference_goes(void **state)
{
	(void)state;
	all_ran(100);
	look(96, 48, 80); /* a lane is 12 ms */
	assert_lanes(6, 2, 0);
}

static void lanes_go_to_the_idlest_one_by_one(void **state)
{
	(void)state;
	all_ran(100);
	look(96, 0, 0);
	assert_lanes(3, 3, 2);
}

/* ---- B3 ---- */

static void lanes_of_short_tasks_stay(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < N_LANES; i++)
		hshm_store_relaxed(&lanes[i]->estimate_ns, 1500);
	hshm_store_relaxed(&lanes[3]->estimate_ns, 3000);
	all_ran(1000);
	look(90, 0, 0);
	assert_lanes(7, 1, 0);
	assert_int_not_equal(chi_lane_worker(lanes[3]), 0);
}

/* Its load would be the very half. */
static void the_only_client_lane_of_a_worker_stays(void **state)
{
	(void)state;
	ran(client_lanes[0], 400); /* of 250 ns */
	ran(lanes[0], 5);
	ran(lanes[1], 5);
	look(100, 0, 50);
	assert_int_equal(chi_lane_worker(client_lanes[0]), 0);
	assert_lanes(6, 2, 0);
}

static void of_two_client_lanes_one_goes(void **state)
{
	(void)state;
	ran(client_lanes[0], 400);
	ran(client_lanes[1], 400);
	look(100, 0, 0);
	assert_int_equal((chi_lane_worker(client_lanes[0]) != 0) + (chi_lane_worker(client_lanes[1]) != 0), 1);
}

/* ---- B4 ---- */

/* Half of the lanes go to worker 1, and the next look finds that each lane did so much. */
static void move_half_and_then(uint64_t n_tasks)
{
	all_ran(100);
	look(96, 0, 48);
	assert_lanes(4, 4, 0);
	all_ran(n_tasks);
	look(60, 60, 60);
}

static void moves_that_cost_work_are_taken_back(void **state)
{
	(void)state;
	move_half_and_then(90);
	assert_lanes(8, 0, 0);
}

static void moves_that_cost_none_stay(void **state)
{
	(void)state;
	move_half_and_then(97);
	assert_lanes(4, 4, 0);
}

static void a_rest_follows_bad_moves_longer_each_time(void **state)
{
	(void)state;
	for (uint32_t rest = REST; rest <= 4 * REST; rest *= 2) {
		move_half_and_then(90);
		for (uint32_t i = 0; i < rest; i++) {
			all_ran(100);
			look(96, 0, 48);
			assert_lanes(8, 0, 0);
		}
	}
}

static void good_moves_make_the_next_rest_short(void **state)
{
	(void)state;
	move_half_and_then(90);
	for (uint32_t i = 0; i < REST; i++)
		look(96, 0, 48);
	move_half_and_then(100);
	for (uint32_t i = 0; i < N_LANES; i++)
		place(lanes[i], 0);
	move_half_and_then(90);
	for (uint32_t i = 0; i < REST; i++)
		look(96, 0, 48);
	move_half_and_then(100);
}

/* ---- workers that hang ---- */

static void an_idle_worker_that_hangs_gets_no_lanes(void **state)
{
	(void)state;
	set_hangs(1, 1);
	all_ran(100);
	look(96, 0, 48);
	assert_lanes(6, 0, 2);
	set_hangs(1, 0);
}

static void a_busy_worker_that_hangs_is_asked_for_none(void **state)
{
	(void)state;
	set_hangs(0, 1);
	all_ran(100);
	look(96, 0, 0);
	assert_lanes(8, 0, 0);
	set_hangs(0, 0);
}

static void lanes_do_not_go_back_to_a_worker_that_hangs(void **state)
{
	(void)state;
	all_ran(100);
	look(96, 0, 48);
	assert_lanes(4, 4, 0);
	set_hangs(0, 1);
	all_ran(50);
	look(0, 60, 60);
	assert_lanes(4, 4, 0);
	set_hangs(0, 0);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(nothing_moves_below_a_fifth_of_difference),   CASE(half_the_difference_goes),
		CASE(lanes_go_to_the_idlest_one_by_one),	   CASE(lanes_of_short_tasks_stay),
		CASE(the_only_client_lane_of_a_worker_stays),	   CASE(of_two_client_lanes_one_goes),
		CASE(moves_that_cost_work_are_taken_back),	   CASE(moves_that_cost_none_stay),
		CASE(a_rest_follows_bad_moves_longer_each_time),   CASE(good_moves_make_the_next_rest_short),
		CASE(an_idle_worker_that_hangs_gets_no_lanes),	   CASE(a_busy_worker_that_hangs_is_asked_for_none),
		CASE(lanes_do_not_go_back_to_a_worker_that_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
