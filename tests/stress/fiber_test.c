/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fiber_test.c - several workers, each with a pool of its own, start, resume and end fibers at random
 *
 * Each fiber fills its stack to a random depth and checks it after each switch. CHI_TEST_SEED repeats a run.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <hshm/clock.h>

#include "runtime/fiber.h"
#include "runtime/sanitizer.h"

#define N_WORKERS  3
#define FIBERS_MAX (CHI_TSAN ? 20u : 1000u) /* TSan takes milliseconds to make one */
#define RUN_NS	   (3 * HSHM_NSEC_PER_SEC)

static uint64_t seed;

static uint32_t next_random(uint64_t *random)
{
	*random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*random >> 33);
}

struct slot {
	struct chi_fiber *fiber; /* NULL: none */
	uint64_t random;
	uint32_t n_leaves_left;
};

/* In the fiber: go down, leave here and there, and find all as it was on the way up. */
static __attribute__((noinline)) void descend(struct slot *slot, uint32_t depth)
{
	volatile uint64_t frame[24];
	uint64_t key = next_random(&slot->random);

	for (uint32_t i = 0; i < 24; i++)
		frame[i] = key + i;
	if (slot->n_leaves_left && next_random(&slot->random) % 4 == 0) {
		slot->n_leaves_left--;
		chi_fiber_leave(slot->fiber);
	}
	if (depth)
		descend(slot, depth - 1);
	for (uint32_t i = 0; i < 24; i++)
		if (frame[i] != key + i)
			abort();
}

static void run_slot(void *arg)
{
	struct slot *slot = arg;
	uint32_t depth = next_random(&slot->random) % 60;

	descend(slot, depth);
	while (slot->n_leaves_left) {
		slot->n_leaves_left--;
		chi_fiber_leave(slot->fiber);
	}
}

struct tally {
	uint64_t n_switches;
	uint64_t n_ended;
	uint64_t n_refused;
};

static void one_step(struct chi_fiber_pool *pool, struct slot *slot, uint64_t *random, struct tally *tally)
{
	if (!slot->fiber) {
		if (chi_fiber_get(pool, &slot->fiber)) {
			tally->n_refused++;
			return;
		}
		slot->random = next_random(random);
		slot->n_leaves_left = next_random(random) % 6;
		chi_fiber_start(slot->fiber, run_slot, slot);
	} else {
		chi_fiber_resume(slot->fiber);
	}
	tally->n_switches++;
	if (chi_fiber_ended(slot->fiber)) {
		chi_fiber_put(pool, slot->fiber);
		slot->fiber = NULL;
		tally->n_ended++;
	}
}

struct worker {
	pthread_t thread;
	uint32_t index;
	struct tally tally;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct chi_fiber_opts opts = {
		.stack_bytes = 65536,
		.fibers_max = FIBERS_MAX,
		.guard = worker->index & 1 ? CHI_FIBER_GUARD_MPROTECT : CHI_FIBER_GUARD_AUTO,
	};
	uint64_t random = seed + worker->index, end_ns = hshm_clock_ns() + RUN_NS;
	uint32_t n_slots = FIBERS_MAX + 100; /* so that some are refused */
	struct slot *slots = calloc(n_slots, sizeof(*slots));
	struct chi_fiber_pool *pool;

	if (!slots || chi_fiber_pool_create(&opts, &pool))
		abort();
	while (hshm_clock_ns() < end_ns)
		for (uint32_t i = 0; i < 1000; i++)
			one_step(pool, &slots[next_random(&random) % n_slots], &random, &worker->tally);
	/* with what still runs */
	chi_fiber_pool_destroy(pool);
	free(slots);
	return NULL;
}

static void fibers_of_several_workers_keep_their_stacks(void **state)
{
	struct worker workers[N_WORKERS] = { 0 };
	const char *given = getenv("CHI_TEST_SEED");

	(void)state;
	seed = given ? strtoull(given, NULL, 0) : hshm_clock_ns();
	print_message("seed %llu\n", (unsigned long long)seed);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		workers[i].index = i;
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		struct tally *tally = &workers[i].tally;

		pthread_join(workers[i].thread, NULL);
		print_message("worker %u: %llu switches, %llu ended, %llu refused\n", i,
			      (unsigned long long)tally->n_switches, (unsigned long long)tally->n_ended,
			      (unsigned long long)tally->n_refused);
		assert_true(tally->n_ended > 0 && tally->n_switches > 2 * tally->n_ended);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fibers_of_several_workers_keep_their_stacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
