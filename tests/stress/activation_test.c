/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * activation_test.c - invariants I1-I4 of task_queue.c with real threads: producers fill container lanes, one worker follows
 * the protocol and sleeps on its doorbell. A lost wake-up shows as a worker that sleeps while producers wait for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <hshm/clock.h>
#include <hshm/segment.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "task/lane.h"
#include "task/task_queue.h"

#define N_LANES	    4u
#define N_PRODUCERS 3u
#define DEPTH	    64u
#define BATCH	    8u

struct item {
	uint64_t payload; /* written before, read after the queue: TSan and the check see the order */
	uint32_t n_taken;
} HSHM_ALIGNED(64);

struct stage {
	struct hshm_segment arena;
	struct chi_lane *lanes[N_LANES];
	struct chi_task_queue queue;
	struct chi_active_queue active[CHI_PRIOS];
	struct hshm_doorbell bell;
	hshm_au32 sweep;
	struct item *items;
	uint32_t n_items;
	hshm_au64 n_done;
	uint64_t n_duplicates;
	uint64_t n_sleeps;
	int n_wrong;
	uint64_t seed;
};

static void *carve(struct stage *stage, size_t *at, size_t bytes)
{
	void *memory = (char *)stage->arena.map.base + *at;

	*at += (bytes + 127) / 128 * 128;
	return memory;
}

static void stage_init(struct stage *stage, uint32_t n_items)
{
	size_t at = 4096;
	void *memory;

	memset(stage, 0, sizeof(*stage));
	stage->n_items = n_items;
	assert_int_equal(hshm_segment_create_private(64u << 20, 2, &stage->arena), 0);
	assert_int_equal(hshm_doorbell_init(&stage->bell), 0);
	memory = carve(stage, &at, hipc_multi_mpsc_queue_bytes(N_LANES, 1, DEPTH, sizeof(struct chi_lane_header)));
	assert_int_equal(hipc_multi_mpsc_queue_init(memory, N_LANES, 1, DEPTH, sizeof(struct chi_lane_header),
						    &stage->queue.queue),
			 0);
	stage->queue.lanes = stage->lanes;
	for (uint32_t i = 0; i < N_LANES; i++) {
		struct chi_lane *lane = carve(stage, &at, sizeof(*lane));

		lane->ring = hipc_multi_mpsc_queue_lane(&stage->queue.queue, i, 0);
		lane->header = lane->ring.header;
		hipc_mpsc_consumer_init(&lane->consumer, &lane->ring);
		stage->lanes[i] = lane;
	}
	/* two slots for four lanes: full now and then, so the sweep is in it too */
	memory = carve(stage, &at, hipc_mpsc_queue_bytes(2, 0));
	assert_int_equal(hipc_mpsc_queue_init(memory, 2, 0, &stage->active[0].ring), 0);
	hipc_mpsc_consumer_init(&stage->active[0].consumer, &stage->active[0].ring);
	stage->active[0].arena = &stage->arena.map;
	stage->active[0].doorbell = &stage->bell;
	stage->active[0].sweep = &stage->sweep;
	stage->items = carve(stage, &at, n_items * sizeof(struct item));
}

static void take(struct stage *stage, uint32_t ref)
{
	struct item *item = hipc_ref_translate(&stage->arena.map, ref, sizeof(*item));

	if (!item || item->payload != (uint64_t)(item - stage->items) * 3 + 1 || item->n_taken++ != 0)
		stage->n_wrong++;
	hshm_fetch_add_relaxed(&stage->n_done, 1); /* relaxed: the end is seen by the join */
}

/* One turn; returns whether the lane stays in the run list. */
static bool run_lane(struct stage *stage, struct chi_lane *lane)
{
	for (uint32_t n = 0; n < BATCH; n++) {
		uint32_t ref = hipc_mpsc_dequeue(&lane->consumer);

		if (!ref)
			break;
		take(stage, ref);
	}
	if (hipc_mpsc_peek(&lane->consumer) || chi_lane_deactivate(lane))
		return true;
	lane->in_run_list = false;
	return false;
}

static bool worker_pass(struct stage *stage)
{
	struct chi_lane *lane;
	bool worked = false;

	while ((lane = chi_active_queue_pop(&stage->active[0]))) {
		if (lane->in_run_list)
			stage->n_duplicates++;
		lane->in_run_list = true;
		worked = true;
	}
	if (hshm_load_relaxed(&stage->sweep) && hshm_exchange_acquire(&stage->sweep, 0)) {
		worked = true;
		for (uint32_t i = 0; i < N_LANES; i++)
			if (hipc_mpsc_peek(&stage->lanes[i]->consumer))
				stage->lanes[i]->in_run_list = true;
	}
	for (uint32_t i = 0; i < N_LANES; i++) {
		if (stage->lanes[i]->in_run_list) {
			run_lane(stage, stage->lanes[i]);
			worked = true;
		}
	}
	return worked;
}

static void *worker(void *arg)
{
	struct stage *stage = arg;

	while (hshm_load_relaxed(&stage->n_done) < stage->n_items) {
		if (worker_pass(stage))
			continue;
		hshm_doorbell_prepare_sleep(&stage->bell);
		if (!hipc_mpsc_peek(&stage->active[0].consumer) && !hshm_load_relaxed(&stage->sweep)) {
			struct pollfd wake = { .fd = stage->bell.fd, .events = POLLIN };

			stage->n_sleeps++;
			if (poll(&wake, 1, 10000) == 0) {
				fprintf(stderr, "asleep for 10 s: a wake-up was lost\n");
				abort();
			}
		}
		hshm_doorbell_end_sleep(&stage->bell);
	}
	return NULL;
}

struct producer_arg {
	struct stage *stage;
	uint32_t first;
};

static void *producer(void *opaque)
{
	struct producer_arg *arg = opaque;
	struct stage *stage = arg->stage;
	unsigned int random = (unsigned int)(stage->seed + arg->first);

	for (uint32_t i = arg->first; i < stage->n_items; i += N_PRODUCERS) {
		stage->items[i].payload = (uint64_t)i * 3 + 1;
		while (chi_lane_enqueue(stage->lanes[(uint32_t)rand_r(&random) % N_LANES], stage->active,
					hipc_ref_of(&stage->arena.map, &stage->items[i])) == -EAGAIN)
			sched_yield();
		if (rand_r(&random) % 32 == 0)
			sched_yield(); /* let the worker run dry and sleep */
	}
	return NULL;
}

static void no_task_is_lost_and_none_runs_twice(void **state)
{
	const char *seconds = getenv("CHI_STRESS_SECONDS");
	uint64_t end_ns = hshm_clock_ns() + (seconds ? strtoull(seconds, NULL, 10) : 3) * HSHM_NSEC_PER_SEC;
	uint64_t n_items = 0, n_sleeps = 0, n_duplicates = 0, seed = hshm_clock_ns();

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	do {
		struct producer_arg args[N_PRODUCERS];
		pthread_t threads[N_PRODUCERS + 1];
		struct stage stage;

		stage_init(&stage, 50000);
		stage.seed = seed++;
		pthread_create(&threads[0], NULL, worker, &stage);
		for (uint32_t i = 0; i < N_PRODUCERS; i++) {
			args[i] = (struct producer_arg){ &stage, i };
			pthread_create(&threads[i + 1], NULL, producer, &args[i]);
		}
		for (uint32_t i = 0; i <= N_PRODUCERS; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(stage.n_wrong, 0);
		assert_int_equal(hshm_load_relaxed(&stage.n_done), stage.n_items);
		n_items += stage.n_items;
		n_sleeps += stage.n_sleeps;
		n_duplicates += stage.n_duplicates;
		hshm_doorbell_fini(&stage.bell);
		hshm_segment_close(&stage.arena);
	} while (hshm_clock_ns() < end_ns);
	print_message("%llu tasks, %llu sleeps, %llu duplicates\n", (unsigned long long)n_items,
		      (unsigned long long)n_sleeps, (unsigned long long)n_duplicates);
	assert_true(n_sleeps > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(no_task_is_lost_and_none_runs_twice) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
