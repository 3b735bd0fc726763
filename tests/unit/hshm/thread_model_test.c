/* SPDX-License-Identifier: BSD-3-Clause */
#include "hshm_test.h"

#include <sched.h>
#include <sys/prctl.h>

#include <hshm/atomic.h>
#include <hshm/clock.h>
#include <hshm/thread_model.h>

#define N_THREADS 8

static struct hshm_thread *start(void (*fn)(void *), void *arg)
{
	struct hshm_thread *thread;

	assert_int_equal(HSHM_THREAD_MODEL->spawn("a name that is cut to fit", fn, arg, &thread), 0);
	return thread;
}

struct seen {
	char name[HSHM_THREAD_NAME_MAX];
	sigset_t blocked;
	uint32_t index;
};

static void look_around(void *arg)
{
	struct seen *seen = arg;

	prctl(PR_GET_NAME, seen->name);
	pthread_sigmask(SIG_BLOCK, NULL, &seen->blocked);
	seen->index = HSHM_THREAD_MODEL->index();
}

static void spawned_thread_runs_under_its_name(void **state)
{
	struct seen seen = { 0 };

	(void)state;
	HSHM_THREAD_MODEL->join(start(look_around, &seen));
	assert_string_equal(seen.name, "a name that is ");
	HSHM_THREAD_MODEL->join(NULL);
}

static void spawned_thread_takes_no_signals_but_faults(void **state)
{
	struct seen seen = { 0 };
	sigset_t mine;

	(void)state;
	HSHM_THREAD_MODEL->join(start(look_around, &seen));
	assert_true(sigismember(&seen.blocked, SIGTERM));
	assert_true(sigismember(&seen.blocked, SIGUSR1));
	assert_true(sigismember(&seen.blocked, SIGALRM));
	assert_false(sigismember(&seen.blocked, SIGSEGV));
	assert_false(sigismember(&seen.blocked, SIGBUS));
	/* and the maker's own mask is as before */
	pthread_sigmask(SIG_BLOCK, NULL, &mine);
	assert_false(sigismember(&mine, SIGTERM));
}

static uint64_t shortest_sleep_ns(uint64_t microseconds)
{
	uint64_t shortest = UINT64_MAX;

	for (int i = 0; i < 200 || (i < 5000 && shortest >= 50000); i++) {
		uint64_t before = hshm_clock_ns(), took;

		HSHM_THREAD_MODEL->sleep_for_us(microseconds);
		took = hshm_clock_ns() - before;
		assert_true(took >= microseconds * HSHM_NSEC_PER_USEC);
		if (took < shortest)
			shortest = took;
	}
	return shortest;
}

static void measure_sleep(void *arg)
{
	*(uint64_t *)arg = shortest_sleep_ns(10);
}

static void sleep_of_10_us_is_not_stretched_by_timer_slack(void **state)
{
	uint64_t here = shortest_sleep_ns(10), there = 0;

	(void)state;
	assert_int_equal(prctl(PR_GET_TIMERSLACK), 1);
	/* the default slack alone is 50 us */
	assert_in_range(here, 10000, 50000);
	HSHM_THREAD_MODEL->join(start(measure_sleep, &there));
	assert_in_range(there, 10000, 50000);
	assert_true(shortest_sleep_ns(0) < 50000);
}

static volatile sig_atomic_t n_alarms;

static void on_alarm(int number)
{
	(void)number;
	n_alarms++;
}

static void signal_does_not_shorten_a_sleep(void **state)
{
	struct sigaction action = { .sa_handler = on_alarm };
	uint64_t before = hshm_clock_ns();

	(void)state;
	sigaction(SIGALRM, &action, NULL);
	ualarm(5000, 0);
	HSHM_THREAD_MODEL->sleep_for_us(30000);
	assert_true(hshm_clock_ns() - before >= 30 * HSHM_NSEC_PER_MSEC);
	/* TSan runs the handler at a later call */
	for (int i = 0; i < 1000 && n_alarms == 0; i++)
		usleep(1000);
	assert_int_equal(n_alarms, 1);
}

static void bind_here(void *arg)
{
	uint32_t cpu = (uint32_t)sched_getcpu();
	cpu_set_t set;
	int *rc = arg;

	*rc = HSHM_THREAD_MODEL->set_affinity(cpu);
	sched_getaffinity(0, sizeof(set), &set);
	if (*rc == 0 && (CPU_COUNT(&set) != 1 || !CPU_ISSET(cpu, &set)))
		*rc = -1;
	if (*rc == 0 && HSHM_THREAD_MODEL->set_affinity(60000) != -EINVAL)
		*rc = -2;
	if (*rc == 0 && HSHM_THREAD_MODEL->set_affinity(UINT32_MAX) != -EINVAL)
		*rc = -3;
}

static void thread_binds_to_one_cpu(void **state)
{
	int rc = 1;

	(void)state;
	HSHM_THREAD_MODEL->join(start(bind_here, &rc));
	assert_int_equal(rc, 0);
}

static struct hshm_tls *tls;
static hshm_au32 n_destroyed;
static uint32_t index_before, index_in_destructor;

static void destroy_value(void *value)
{
	(void)value;
	index_in_destructor = HSHM_THREAD_MODEL->index();
	hshm_fetch_add_relaxed(&n_destroyed, 1);
}

static void use_tls(void *arg)
{
	bool *was_null = arg;

	*was_null = HSHM_THREAD_MODEL->tls_get(tls) == NULL;
	index_before = HSHM_THREAD_MODEL->index();
	if (HSHM_THREAD_MODEL->tls_set(tls, was_null) != 0 || HSHM_THREAD_MODEL->tls_get(tls) != was_null)
		*was_null = false;
}

static void each_thread_has_its_own_pointer(void **state)
{
	bool was_null = false;
	int mine;

	(void)state;
	assert_int_equal(HSHM_THREAD_MODEL->tls_create(destroy_value, &tls), 0);
	assert_null(HSHM_THREAD_MODEL->tls_get(tls));
	assert_int_equal(HSHM_THREAD_MODEL->tls_set(tls, &mine), 0);
	HSHM_THREAD_MODEL->join(start(use_tls, &was_null));
	assert_true(was_null);
	assert_ptr_equal(HSHM_THREAD_MODEL->tls_get(tls), &mine);
	assert_int_equal(n_destroyed.v, 1);
	/* destructors of others still have the thread's index */
	assert_int_equal(index_in_destructor, index_before);
	HSHM_THREAD_MODEL->tls_destroy(tls);
	HSHM_THREAD_MODEL->tls_destroy(NULL);
}

static hshm_au32 n_inside;

static void take_index_together(void *arg)
{
	*(uint32_t *)arg = HSHM_THREAD_MODEL->index();
	/* relaxed: only the count matters; nobody ends before all have theirs */
	hshm_fetch_add_relaxed(&n_inside, 1);
	while (hshm_load_relaxed(&n_inside) < N_THREADS)
		HSHM_THREAD_MODEL->yield();
	if (HSHM_THREAD_MODEL->index() != *(uint32_t *)arg)
		*(uint32_t *)arg = UINT32_MAX;
}

static void living_threads_have_the_lowest_indices_each_its_own(void **state)
{
	uint32_t mine = HSHM_THREAD_MODEL->index();
	struct hshm_thread *threads[N_THREADS];
	uint32_t taken[N_THREADS];

	(void)state;
	assert_int_equal(mine, 0);
	for (int round = 0; round < 3; round++) {
		uint32_t seen = 1;

		n_inside.v = 0;
		for (int i = 0; i < N_THREADS; i++)
			threads[i] = start(take_index_together, &taken[i]);
		for (int i = 0; i < N_THREADS; i++)
			HSHM_THREAD_MODEL->join(threads[i]);
		for (int i = 0; i < N_THREADS; i++) {
			assert_in_range(taken[i], 1, N_THREADS);
			seen |= 1u << taken[i];
		}
		assert_int_equal(seen, (1u << (N_THREADS + 1)) - 1);
	}
	assert_int_equal(HSHM_THREAD_MODEL->index(), mine);
}

static void index_of_an_ended_thread_is_used_again(void **state)
{
	struct seen first = { 0 }, second = { 0 };

	(void)state;
	HSHM_THREAD_MODEL->join(start(look_around, &first));
	HSHM_THREAD_MODEL->join(start(look_around, &second));
	assert_int_equal(first.index, second.index);
}

static hshm_au32 may_end;

static void hold_index(void *arg)
{
	*(uint32_t *)arg = HSHM_THREAD_MODEL->index();
	/* release, acquire: the index is written before the others go on */
	hshm_store_release(&n_inside, 1);
	while (!hshm_load_acquire(&may_end))
		HSHM_THREAD_MODEL->yield();
}

/* In a forked child: index 1's thread did not come along, so its index is free. */
static int check_in_child(void)
{
	struct seen seen = { 0 };
	struct hshm_thread *thread;

	if (HSHM_THREAD_MODEL->index() != 0)
		return 1;
	if (HSHM_THREAD_MODEL->spawn("child", look_around, &seen, &thread) != 0)
		return 2;
	HSHM_THREAD_MODEL->join(thread);
	return seen.index == 1 ? 0 : 3;
}

static void forked_child_keeps_its_index_and_frees_the_others(void **state)
{
	struct hshm_thread *thread;
	uint32_t held;
	int status;
	pid_t pid;

	(void)state;
	skip_under_qemu("starts no threads in a forked child");
#if defined(__SANITIZE_THREAD__)
	skip_because("TSan runs no threads in the child of a process with threads");
#endif
	n_inside.v = 0;
	may_end.v = 0;
	assert_int_equal(HSHM_THREAD_MODEL->index(), 0);
	thread = start(hold_index, &held);
	while (!hshm_load_acquire(&n_inside))
		HSHM_THREAD_MODEL->yield();
	pid = fork();
	if (pid == 0)
		_exit(check_in_child());
	hshm_store_release(&may_end, 1);
	HSHM_THREAD_MODEL->join(thread);
	assert_int_equal(held, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spawned_thread_runs_under_its_name),
		cmocka_unit_test(spawned_thread_takes_no_signals_but_faults),
		cmocka_unit_test(sleep_of_10_us_is_not_stretched_by_timer_slack),
		cmocka_unit_test(signal_does_not_shorten_a_sleep),
		cmocka_unit_test(thread_binds_to_one_cpu),
		cmocka_unit_test(each_thread_has_its_own_pointer),
		cmocka_unit_test(living_threads_have_the_lowest_indices_each_its_own),
		cmocka_unit_test(index_of_an_ended_thread_is_used_again),
		cmocka_unit_test(forked_child_keeps_its_index_and_frees_the_others),
	};

	/* the main thread is the first to ask */
	HSHM_THREAD_MODEL->index();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
