/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_test.c - the activation word, step by step (I1-I4 of task_queue.c); with threads: tests/stress/activation_test.c
 */
#include "stage.h"

#if CHIMAERA_RUNTIME

static void enqueue(struct stage *stage, uint32_t lane, uint32_t ref)
{
	assert_int_equal(stage_enqueue(stage, lane, ref), 0);
}

static void the_first_task_lists_the_lane_once(void **state)
{
	struct stage *stage = *state;
	struct chi_active_queue *active = active_of(stage, 0, CHI_PRIO_LOW_LATENCY);

	assert_false(is_queued(stage->lanes[1]));
	for (uint32_t ref = 1; ref <= 3; ref++) {
		enqueue(stage, 1, ref);
		assert_true(is_queued(stage->lanes[1]));
	}
	assert_ptr_equal(chi_active_queue_pop(active), stage->lanes[1]);
	assert_null(chi_active_queue_pop(active));
	assert_int_equal(generation_of(stage->lanes[1]), 0);
}

static void an_idle_lane_is_listed_again(void **state)
{
	struct stage *stage = *state;
	struct chi_active_queue *active = active_of(stage, 0, CHI_PRIO_LOW_LATENCY);

	for (uint32_t round = 0; round < 5; round++) {
		assert_int_equal(generation_of(stage->lanes[0]), round);
		enqueue(stage, 0, round + 1);
		assert_ptr_equal(chi_active_queue_pop(active), stage->lanes[0]);
		assert_int_equal(stage_dequeue(stage, 0), round + 1);
		assert_true(is_queued(stage->lanes[0]));
		assert_false(chi_lane_deactivate(stage->lanes[0]));
		assert_false(is_queued(stage->lanes[0]));
	}
	assert_null(chi_active_queue_pop(active));
}

/* The task came after the worker found the lane empty, and before it said so. */
static void the_second_look_finds_what_came_meanwhile(void **state)
{
	struct stage *stage = *state;
	struct chi_active_queue *active = active_of(stage, 0, CHI_PRIO_LOW_LATENCY);

	enqueue(stage, 2, 1);
	assert_ptr_equal(chi_active_queue_pop(active), stage->lanes[2]);
	assert_int_equal(stage_dequeue(stage, 2), 1);
	assert_int_equal(stage_dequeue(stage, 2), 0);
	enqueue(stage, 2, 2); /* queued still: it is not listed */
	assert_null(chi_active_queue_pop(active));
	assert_true(chi_lane_deactivate(stage->lanes[2]));
	assert_int_equal(stage_dequeue(stage, 2), 2);
	assert_false(chi_lane_deactivate(stage->lanes[2]));
}

/* A producer that loaded the word, and marks it when the worker has gone through idle meanwhile (I2). */
static void a_mark_from_before_idle_fails(void **state)
{
	struct stage *stage = *state;
	struct chi_lane *lane = stage->lanes[3];
	uint64_t before = activation_of(lane);

	assert_false(chi_lane_deactivate(lane));
	assert_false(hshm_cas_relaxed(&lane->header->activation, &before, before | CHI_ACTIVATION_QUEUED));
	assert_false(is_queued(lane));
	/* and the next task lists it */
	enqueue(stage, 3, 1);
	assert_ptr_equal(chi_active_queue_pop(active_of(stage, 0, CHI_PRIO_LOW_LATENCY)), lane);
}

static void the_word_keeps_its_worker(void **state)
{
	struct stage *stage = *state;
	struct chi_lane *lane = stage->lanes[0];

	hshm_store_relaxed(&lane->header->activation, CHI_ACTIVATION_GENERATION * 77 | 1);
	assert_int_equal(chi_lane_worker(lane), 1);
	enqueue(stage, 0, 1);
	assert_int_equal(chi_lane_worker(lane), 1);
	assert_int_equal(generation_of(lane), 77);
	assert_true(chi_lane_deactivate(lane));
	assert_int_equal(chi_lane_worker(lane), 1);
	assert_int_equal(generation_of(lane), 78);
}

static void a_lane_goes_to_its_own_worker_and_priority(void **state)
{
	struct stage *stage = *state;

	for (uint32_t i = 0; i < N_LANES; i++) {
		hshm_store_relaxed(&stage->lanes[i]->header->activation, i / CHI_PRIOS);
		stage->lanes[i]->header->priority = i % CHI_PRIOS;
		enqueue(stage, i, 1);
	}
	for (uint32_t i = 0; i < N_LANES; i++) {
		assert_ptr_equal(chi_active_queue_pop(&stage->active[i]), stage->lanes[i]);
		assert_null(chi_active_queue_pop(&stage->active[i]));
	}
}

static void an_active_queue_that_is_full_sets_sweep(void **state)
{
	struct stage *stage = *state;
	struct chi_active_queue *active = active_of(stage, 0, CHI_PRIO_LOW_LATENCY);

	for (uint32_t i = 0; i < ACTIVE_DEPTH; i++)
		enqueue(stage, i, 1);
	assert_int_equal(hshm_load_relaxed(&stage->sweeps[0]), 0);
	enqueue(stage, ACTIVE_DEPTH, 1);
	assert_int_equal(hshm_load_relaxed(&stage->sweeps[0]), 1);
	assert_int_equal(hshm_load_relaxed(&stage->sweeps[1]), 0);
	/* nothing that was there is lost */
	for (uint32_t i = 0; i < ACTIVE_DEPTH; i++)
		assert_ptr_equal(chi_active_queue_pop(active), stage->lanes[i]);
	assert_null(chi_active_queue_pop(active));
	assert_int_equal(stage_dequeue(stage, ACTIVE_DEPTH), 1);
}

static void only_a_sleeping_worker_is_rung(void **state)
{
	struct stage *stage = *state;

	enqueue(stage, 0, 1);
	assert_int_equal(hshm_load_relaxed(&stage->bells[0].n_rings), 0);
	hshm_doorbell_prepare_sleep(&stage->bells[0]);
	enqueue(stage, 1, 1);
	assert_int_equal(hshm_load_relaxed(&stage->bells[0].n_rings), 1);
	assert_true(is_readable(stage->bells[0].fd));
	hshm_doorbell_end_sleep(&stage->bells[0]);
	enqueue(stage, 2, 1);
	assert_int_equal(hshm_load_relaxed(&stage->bells[0].n_rings), 1);
	assert_false(is_readable(stage->bells[0].fd));
}

/* I4: the producer that listed the lane may have stopped before it rang. */
static void a_lane_that_is_queued_already_rings_too(void **state)
{
	struct stage *stage = *state;

	enqueue(stage, 0, 1);
	hshm_doorbell_prepare_sleep(&stage->bells[0]);
	enqueue(stage, 0, 2);
	assert_true(is_readable(stage->bells[0].fd));
}

static void the_other_worker_sleeps_on(void **state)
{
	struct stage *stage = *state;

	hshm_doorbell_prepare_sleep(&stage->bells[0]);
	hshm_doorbell_prepare_sleep(&stage->bells[1]);
	hshm_store_relaxed(&stage->lanes[0]->header->activation, 1);
	enqueue(stage, 0, 1);
	assert_false(is_readable(stage->bells[0].fd));
	assert_true(is_readable(stage->bells[1].fd));
}

static void the_generation_wraps_into_nothing_else(void **state)
{
	struct stage *stage = *state;
	struct chi_lane *lane = stage->lanes[0];

	hshm_store_relaxed(&lane->header->activation, ~UINT64_C(0) - CHI_ACTIVATION_WORKER_MASK + 1);
	assert_true(is_queued(lane));
	assert_false(chi_lane_deactivate(lane));
	assert_int_equal(activation_of(lane), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
	const struct CMUnitTest tests[] = {
		CASE(the_first_task_lists_the_lane_once),
		CASE(an_idle_lane_is_listed_again),
		CASE(the_second_look_finds_what_came_meanwhile),
		CASE(a_mark_from_before_idle_fails),
		CASE(the_word_keeps_its_worker),
		CASE(a_lane_goes_to_its_own_worker_and_priority),
		CASE(an_active_queue_that_is_full_sets_sweep),
		CASE(only_a_sleeping_worker_is_rung),
		CASE(a_lane_that_is_queued_already_rings_too),
		CASE(the_other_worker_sleeps_on),
		CASE(the_generation_wraps_into_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* a client never activates a lane: its half is in task_queue_test.c */
int main(void)
{
	return 0;
}

#endif
