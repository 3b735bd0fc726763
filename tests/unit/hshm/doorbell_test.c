/* SPDX-License-Identifier: BSD-3-Clause */
/* The invariants I1.. are those at the top of src/hshm/doorbell.c. */
#include "hshm_test.h"

#include <poll.h>

#include <hshm/doorbell.h>
#include <hshm/thread_model.h>

#define N_HANDOVERS 20000u

static bool is_rung(struct hshm_doorbell *bell, int timeout_ms)
{
	struct pollfd waiting = { .fd = bell->fd, .events = POLLIN };

	return poll(&waiting, 1, timeout_ms) == 1;
}

static struct hshm_doorbell make_bell(void)
{
	struct hshm_doorbell bell;

	assert_int_equal(hshm_doorbell_init(&bell), 0);
	return bell;
}

static void ring_while_awake_makes_no_system_call(void **state)
{
	struct hshm_doorbell bell = make_bell();

	(void)state;
	assert_false(hshm_doorbell_ring(&bell));
	assert_false(is_rung(&bell, 0));
	assert_int_equal(bell.n_rings.v, 0);
	hshm_doorbell_fini(&bell);
}

static void ring_while_asleep_wakes_and_is_used_up(void **state)
{
	struct hshm_doorbell bell = make_bell();

	(void)state;
	hshm_doorbell_prepare_sleep(&bell);
	assert_true(hshm_doorbell_ring(&bell));
	assert_true(hshm_doorbell_ring(&bell));
	assert_true(is_rung(&bell, 0));
	hshm_doorbell_end_sleep(&bell);
	assert_false(is_rung(&bell, 0));
	assert_int_equal(bell.n_rings.v, 2);
	assert_false(hshm_doorbell_ring(&bell));
	hshm_doorbell_prepare_sleep(&bell);
	assert_false(is_rung(&bell, 0));
	hshm_doorbell_end_sleep(&bell);
	hshm_doorbell_fini(&bell);
}

/* I2: a poster counts, the sleeper wakes for another reason and leaves, the poster writes */
static void ring_that_comes_late_wakes_once_more_at_most(void **state)
{
	struct hshm_doorbell bell = make_bell();
	const uint64_t one = 1;

	(void)state;
	hshm_doorbell_prepare_sleep(&bell);
	/* one poster rings, another has only counted as yet */
	assert_true(hshm_doorbell_ring(&bell));
	bell.n_rings.v++;
	hshm_doorbell_end_sleep(&bell);
	assert_false(is_rung(&bell, 0));
	assert_int_equal(write(bell.fd, &one, sizeof(one)), sizeof(one));
	hshm_doorbell_prepare_sleep(&bell);
	assert_true(is_rung(&bell, 0));
	hshm_doorbell_end_sleep(&bell);
	assert_false(is_rung(&bell, 0));
	hshm_doorbell_fini(&bell);
}

static void fini_accepts_what_was_never_made(void **state)
{
	struct hshm_doorbell zeroed = { 0 }, bell = make_bell();
	int n_fds = count_fds();

	(void)state;
	hshm_doorbell_fini(&zeroed);
	assert_int_equal(count_fds(), n_fds);
	hshm_doorbell_fini(&bell);
	hshm_doorbell_fini(&bell);
	assert_int_equal(count_fds(), n_fds - 1);
}

static void bell_works_in_a_process_without_stdin(void **state)
{
	struct hshm_doorbell bell;
	int saved = dup(STDIN_FILENO);

	(void)state;
	close(STDIN_FILENO);
	assert_int_equal(hshm_doorbell_init(&bell), 0);
	if (saved >= 0) {
		assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
		close(saved);
	}
	assert_true(bell.fd > 2);
	hshm_doorbell_prepare_sleep(&bell);
	assert_true(hshm_doorbell_ring(&bell));
	assert_true(is_rung(&bell, 0));
	hshm_doorbell_end_sleep(&bell);
	hshm_doorbell_fini(&bell);
}

struct pair {
	struct hshm_doorbell bell;
	hshm_au32 posted;
	hshm_au32 taken;
	bool lost;
};

static void sleeper(void *arg)
{
	struct pair *pair = arg;

	for (uint32_t i = 1; i <= N_HANDOVERS && !pair->lost; i++) {
		while (hshm_load_acquire(&pair->posted) < i) {
			hshm_doorbell_prepare_sleep(&pair->bell);
			if (hshm_load_acquire(&pair->posted) < i && !is_rung(&pair->bell, 10000))
				pair->lost = true;
			hshm_doorbell_end_sleep(&pair->bell);
			if (pair->lost)
				break;
		}
		hshm_store_release(&pair->taken, i);
	}
	hshm_store_release(&pair->taken, N_HANDOVERS);
}

/* I1 */
static void no_ring_is_lost_between_look_and_sleep(void **state)
{
	struct pair pair = { .bell = make_bell() };
	struct hshm_thread *thread;

	(void)state;
	assert_int_equal(HSHM_THREAD_MODEL->spawn("sleeper", sleeper, &pair, &thread), 0);
	for (uint32_t i = 1; i <= N_HANDOVERS; i++) {
		hshm_store_release(&pair.posted, i);
		hshm_doorbell_ring(&pair.bell);
		while (hshm_load_acquire(&pair.taken) < i)
			HSHM_THREAD_MODEL->yield();
	}
	HSHM_THREAD_MODEL->join(thread);
	assert_false(pair.lost);
	hshm_doorbell_fini(&pair.bell);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_while_awake_makes_no_system_call),
		cmocka_unit_test(ring_while_asleep_wakes_and_is_used_up),
		cmocka_unit_test(ring_that_comes_late_wakes_once_more_at_most),
		cmocka_unit_test(fini_accepts_what_was_never_made),
		cmocka_unit_test(bell_works_in_a_process_without_stdin),
		cmocka_unit_test(no_ring_is_lost_between_look_and_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
