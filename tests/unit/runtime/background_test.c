/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * background_test.c - calls that return, and some that do not
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "runtime/background.h"

#include <hshm/atomic.h>
#include <hshm/clock.h>
#include <unistd.h>

#define N_THREADS 2u
#define N_CALLS	  100u
#define SOON_NS	  (20 * HSHM_NSEC_PER_SEC)
#define END_NS	  (5 * HSHM_NSEC_PER_SEC) /* the end waits a second; the machine may be busy */

static struct chi_background *background;
static hshm_au32 gate, n_begun, n_made;

static void make(void *arg)
{
	(void)arg;
	hshm_fetch_add_release(&n_made, 1); /* release: pairs with await() */
}

static void hang(void *arg)
{
	hshm_fetch_add_release(&n_begun, 1);
	while (!hshm_load_acquire(&gate))
		usleep(1000);
	make(arg);
}

static void await(hshm_au32 *word, uint32_t n)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);

	while (hshm_load_acquire(word) < n) {
		assert_true(hshm_clock_ns() < deadline_ns);
		usleep(1000);
	}
}

static int start(void **state)
{
	(void)state;
	hshm_store_relaxed(&gate, 0);
	hshm_store_relaxed(&n_begun, 0);
	hshm_store_relaxed(&n_made, 0);
	return chi_background_create("calls of a test", N_THREADS, &background);
}

static void each_call_is_made_once_and_before_the_end(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < N_CALLS; i++)
		assert_int_equal(chi_background_run(background, make, NULL), 0);
	chi_background_destroy(background);
	assert_int_equal(hshm_load_acquire(&n_made), N_CALLS);
}

static void a_call_that_hangs_holds_up_no_other(void **state)
{
	(void)state;
	assert_int_equal(chi_background_run(background, hang, NULL), 0);
	await(&n_begun, 1);
	for (uint32_t i = 0; i < N_CALLS; i++)
		assert_int_equal(chi_background_run(background, make, NULL), 0);
	await(&n_made, N_CALLS);
	while (chi_background_n_left(background) != 1) /* the last is left a moment after it was made; ctest ends it */
		usleep(1000);
	hshm_store_release(&gate, 1);
	chi_background_destroy(background);
	assert_int_equal(hshm_load_acquire(&n_made), N_CALLS + 1);
}

static void the_end_waits_for_nothing_that_hangs_and_what_comes_back_does_the_rest(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();

	(void)state;
	for (uint32_t i = 0; i < N_THREADS; i++)
		assert_int_equal(chi_background_run(background, hang, NULL), 0);
	await(&n_begun, N_THREADS);
	assert_int_equal(chi_background_run(background, make, NULL), 0);
	assert_int_equal(chi_background_n_left(background), N_THREADS + 1);
	chi_background_destroy(background);
	assert_true(hshm_clock_ns() - begin_ns < END_NS);
	assert_int_equal(hshm_load_acquire(&n_made), 0);
	hshm_store_release(&gate, 1);
	await(&n_made, N_THREADS + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_call_is_made_once_and_before_the_end, start),
		cmocka_unit_test_setup(a_call_that_hangs_holds_up_no_other, start),
		cmocka_unit_test_setup(the_end_waits_for_nothing_that_hangs_and_what_comes_back_does_the_rest, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
