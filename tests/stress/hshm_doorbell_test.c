/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The doorbell's two fences (I1 at the top of src/hshm/doorbell.c): a litmus test. Both sides start together, round by
 * round; the sleeper that sees no work and the poster that sees no sleeper would be a lost ring.
 */
#include "hshm_stress.h"

#include <sched.h>
#include <stdio.h>

#include <hshm/doorbell.h>
#include <hshm/thread_model.h>

#define SPINS_MAX 2000u

struct litmus {
	struct hshm_doorbell bell HSHM_ALIGNED(HSHM_FALSE_SHARING);
	hshm_au32 posted HSHM_ALIGNED(HSHM_FALSE_SHARING);
	hshm_au32 round HSHM_ALIGNED(HSHM_FALSE_SHARING);   /* opened by the poster */
	hshm_au32 n_slept HSHM_ALIGNED(HSHM_FALSE_SHARING); /* rounds the sleeper is through with */
	bool has_seen;
};

#define ROUND_END UINT32_MAX

/* acquire, and release at the callers' stores: what was written before the word changed is visible */
static uint32_t wait_for_change(hshm_au32 *word, uint32_t from)
{
	uint32_t now;

	for (uint32_t spins = 0; (now = hshm_load_acquire(word)) == from; spins++) {
		if (spins > SPINS_MAX)
			HSHM_THREAD_MODEL->yield();
		else
			hshm_cpu_relax();
	}
	return now;
}

/* The n-th CPU we may use: on one and the same, the two would never meet. Without a second one they stay free. */
static void bind_to(int n)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) < 2)
		return;
	for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set) && n-- == 0 && HSHM_THREAD_MODEL->set_affinity(cpu) < 0)
			print_message("CPU %u will not have us\n", cpu);
}

static void sleep_side(void *arg)
{
	struct litmus *litmus = arg;
	uint32_t round = 0;

	bind_to(1);
	while ((round = wait_for_change(&litmus->round, round)) != ROUND_END) {
		hshm_doorbell_prepare_sleep(&litmus->bell);
		/* relaxed: the fence before it is what is tested */
		litmus->has_seen = hshm_load_relaxed(&litmus->posted) == round;
		hshm_store_release(&litmus->n_slept, round);
	}
}

static void one_of_the_two_always_sees_the_other(void **state)
{
	static struct litmus litmus;
	uint64_t end = stress_end_ns(), n_lost = 0, n_both = 0;
	struct hshm_thread *thread;
	uint32_t round = 0;

	(void)state;
	assert_int_equal(hshm_doorbell_init(&litmus.bell), 0);
	assert_int_equal(HSHM_THREAD_MODEL->spawn("sleeper", sleep_side, &litmus, &thread), 0);
	bind_to(0);
	while (round % 1024 != 0 || hshm_clock_ns() < end) {
		bool has_rung;

		round++;
		hshm_store_release(&litmus.round, round);
		/* the sleeper needs as long to see its round: let the two meet at different distances */
		for (uint32_t i = 0; i < round % 64; i++)
			__asm__ __volatile__("" ::: "memory");
		hshm_store_relaxed(&litmus.posted, round);
		has_rung = hshm_doorbell_ring(&litmus.bell);
		wait_for_change(&litmus.n_slept, round - 1);
		n_lost += !has_rung && !litmus.has_seen;
		n_both += has_rung && litmus.has_seen;
		hshm_doorbell_end_sleep(&litmus.bell);
	}
	hshm_store_release(&litmus.round, ROUND_END);
	HSHM_THREAD_MODEL->join(thread);
	hshm_doorbell_fini(&litmus.bell);
	printf("%u rounds, in %llu each saw the other, in %llu neither\n", round, (unsigned long long)n_both,
	       (unsigned long long)n_lost);
	assert_int_equal(n_lost, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_of_the_two_always_sees_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
