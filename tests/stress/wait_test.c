/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait_test.c - random trees of tasks from several threads: each wait ends once, with the right answer, and at the end
 * nothing is in flight
 *
 * CHI_STRESS_SECONDS (3) is shared by the cases; CHI_STRESS_SEED repeats a run's choices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <chimaera/runtime.h>
#include <errno.h>
#include <hshm/thread_model.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../modules/probe.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "support/rest.h"

#define N_WORKERS    3u
#define N_CONTAINERS 3u
#define N_THREADS    4u
#define N_AT_ONCE    12u
#define N_CASES	     4u

struct stage {
	struct chi_runtime *runtime;
	struct chi_client *observer; /* asks before and after */
	struct chi_client *shared;   /* of the threads that have none of their own */
	uint32_t pool;
	uint64_t end_ns;
};

struct thread {
	pthread_t thread;
	struct stage *stage;
	struct chi_client *client;
	uint64_t random;
	/* what the containers must have counted */
	uint64_t n_added, n_locked;
	uint64_t n_trees, n_timeouts;
	char wrong[128]; /* "" when all was right; cmocka's asserts belong to the main thread */
};

static uint64_t next_random(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

static uint64_t below(struct thread *self, uint64_t n)
{
	return (next_random(&self->random) >> 11) % n;
}

/* ---- one tree: a root task, whose method makes the rest ---- */

static struct chi_domain_query any_query(struct thread *self)
{
	switch (below(self, 4)) {
	case 0:
		return CHI_QUERY_LOCAL_ID(below(self, N_CONTAINERS));
	case 1:
		return CHI_QUERY_GLOBAL_HASH(below(self, 1000));
	case 2:
		return CHI_QUERY_DYNAMIC();
	default:
		return CHI_QUERY_LOCAL_HASH(below(self, 1000));
	}
}

static void fill_tree(struct thread *self, struct probe_task *task)
{
	static const uint32_t methods[] = { PROBE_NEST,	 PROBE_FAN,	  PROBE_FAN,	 PROBE_DEEP,
					    PROBE_DEEP,	 PROBE_TIMEOUT,	  PROBE_TIMEOUT, PROBE_LOCKED,
					    PROBE_FLOOD, PROBE_GATE_OPEN, PROBE_DETACH,	 PROBE_NOOP };
	uint32_t method = methods[below(self, sizeof(methods) / sizeof(methods[0]))];

	chi_task_init(&task->task, method == PROBE_NOOP ? sizeof(struct chi_task) : sizeof(*task), self->stage->pool,
		      any_query(self), method);
	if (below(self, 4) == 0)
		task->task.flags = CHI_TASK_HIGH_LATENCY;
	if (method == PROBE_NOOP)
		return;
	task->count = 1 + below(self, method == PROBE_FLOOD ? 100 : method == PROBE_LOCKED ? 8 : 24);
	/* FAN: any or all; FLOOD: to which container; TIMEOUT: ns; GATE_OPEN: 0 closes it */
	task->in = method == PROBE_FAN	     ? below(self, 2)
		   : method == PROBE_FLOOD   ? below(self, N_CONTAINERS)
		   : method == PROBE_TIMEOUT ? below(self, 200000)
					     : 0;
}

/* The sum of the answers of n ADDs, which were given 0 .. n - 1. */
static uint64_t sum_to(uint64_t n)
{
	return n * (n + 1) / 2;
}

static void check_tree(struct thread *self, const struct probe_task *task)
{
	uint64_t expected = 0, n = task->count;

	switch (task->task.method_id) {
	case PROBE_NEST:
	case PROBE_DEEP:
		expected = n;
		break;
	case PROBE_FAN:
		expected = sum_to(n);
		self->n_added += n;
		if (task->out2 >= n)
			snprintf(self->wrong, sizeof(self->wrong), "wait_any of %ju named %ju", (uintmax_t)n,
				 (uintmax_t)task->out2);
		break;
	case PROBE_FLOOD:
		expected = n;
		self->n_added += n;
		break;
	case PROBE_LOCKED:
		self->n_locked += n;
		break;
	case PROBE_DETACH:
		self->n_added += n;
		break;
	case PROBE_TIMEOUT:
		self->n_timeouts += task->out;
		expected = task->out; /* as often as it took */
		break;
	default:
		break;
	}
	if (task->task.result != 0)
		snprintf(self->wrong, sizeof(self->wrong), "method %u: result %d", task->task.method_id,
			 task->task.result);
	else if (task->task.method_id != PROBE_NOOP && task->out != expected)
		snprintf(self->wrong, sizeof(self->wrong), "method %u of %ju: %ju", task->task.method_id, (uintmax_t)n,
			 (uintmax_t)task->out);
}

/* ---- a client's thread ---- */

static int submit(struct thread *self, struct probe_task *task)
{
	int ret;

	while ((ret = chi_submit(self->client, task)) == -EAGAIN)
		chi_yield();
	if (ret == 0)
		self->n_trees++;
	return ret;
}

/* Take tasks as they end, sometimes giving up on the wait, and never look at one twice. */
static int reap_any(struct thread *self, void **pending, uint32_t n)
{
	while (n) {
		uint64_t timeout_ns = below(self, 3) ? HSHM_FOREVER : below(self, 100000);
		int ret = chi_wait_any(pending, n, timeout_ns);

		if (ret == -ETIMEDOUT && timeout_ns != HSHM_FOREVER)
			continue;
		if (ret < 0 || (uint32_t)ret >= n || !chi_task_done(pending[ret]))
			return ret < 0 ? ret : -EBADMSG;
		check_tree(self, pending[ret]);
		pending[ret] = pending[--n];
	}
	return 0;
}

static int reap_all(struct thread *self, void **pending, uint32_t n)
{
	int ret;

	do
		ret = chi_wait_all(pending, n, below(self, 2) ? HSHM_FOREVER : below(self, 100000));
	while (ret == -ETIMEDOUT);
	for (uint32_t i = 0; ret == 0 && i < n; i++)
		check_tree(self, pending[i]);
	return ret;
}

static int one_round(struct thread *self, struct probe_task **tasks)
{
	uint32_t n = 1 + (uint32_t)below(self, N_AT_ONCE);
	void *pending[N_AT_ONCE];

	for (uint32_t i = 0; i < n; i++) {
		int ret;

		fill_tree(self, tasks[i]);
		pending[i] = tasks[i];
		ret = submit(self, tasks[i]);
		if (ret < 0)
			return ret;
	}
	return below(self, 2) ? reap_any(self, pending, n) : reap_all(self, pending, n);
}

static void *client_thread(void *arg)
{
	struct thread *self = arg;
	struct probe_task *tasks[N_AT_ONCE];
	int ret = 0;

	for (uint32_t i = 0; i < N_AT_ONCE; i++)
		if (chi_task_alloc(self->client, sizeof(struct probe_task), self->stage->pool, CHI_QUERY_LOCAL_ID(0), 0,
				   &tasks[i]) < 0)
			abort();
	while (ret == 0 && !self->wrong[0] && hshm_clock_ns() < self->stage->end_ns)
		ret = one_round(self, tasks);
	if (ret < 0)
		snprintf(self->wrong, sizeof(self->wrong), "submit or wait: %d: %.90s", ret, chi_error_text());
	for (uint32_t i = 0; i < N_AT_ONCE; i++)
		chi_task_free(self->client, tasks[i]);
	return NULL;
}

/* ---- what must hold at the end ---- */

static uint64_t ask(struct stage *stage, uint32_t container, uint64_t what)
{
	struct probe_task *task;
	uint64_t out;

	assert_int_equal(chi_task_alloc(stage->observer, sizeof(*task), stage->pool, CHI_QUERY_LOCAL_ID(container),
					PROBE_COUNTS, &task),
			 0);
	task->in = what;
	assert_int_equal(chi_call(stage->observer, task), 0);
	out = task->out;
	chi_task_free(stage->observer, task);
	return out;
}

static uint64_t ask_all(struct stage *stage, uint64_t what)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N_CONTAINERS; i++)
		sum += ask(stage, i, what);
	return sum;
}

/* Once no task is in flight, as its run context goes before it stops counting; and workers have given back what they
 * kept for more. */
static uint64_t blocks_at_rest(struct stage *stage)
{
	uint64_t end_ns = hshm_clock_ns() + 10 * HSHM_NSEC_PER_SEC;
	struct hshm_heap_stats stats;

	while (chi_pool_count_in_flight(stage->runtime->pools) && hshm_clock_ns() < end_ns)
		HSHM_THREAD_MODEL->sleep_for_us(100);
	assert_int_equal(chi_pool_count_in_flight(stage->runtime->pools), 0);
	wait_until_all_rest(stage->runtime->orch);
	hshm_heap_get_stats(stage->runtime->heap, &stats);
	return stats.n_blocks;
}

/* Posts may still be on their way to be freed, and clients to be put away: a moment. */
static void nothing_is_left(struct stage *stage, uint64_t blocks_before)
{
	uint64_t end_ns = hshm_clock_ns() + 10 * HSHM_NSEC_PER_SEC;

	while (blocks_at_rest(stage) != blocks_before && hshm_clock_ns() < end_ns)
		HSHM_THREAD_MODEL->sleep_for_us(100);
	assert_int_equal(blocks_at_rest(stage), blocks_before);
}

/* Each wait that blocked ended once: by the heap's check, by a post, or by its time. (A post that the waiter collects
 * after its end is one resume more.) */
static void each_wait_ended_once(struct stage *stage, bool posting)
{
	uint64_t n_waits = 0, n_heap = 0, n_posted = 0, n_timeouts = 0;
	struct chi_runtime_info *info = malloc(sizeof(*info));

	assert_non_null(info);
	assert_int_equal(chi_client_runtime_info(stage->observer, info), 0);
	for (uint32_t i = 0; i < info->n_workers; i++) {
		n_waits += hshm_load_relaxed(&info->workers[i].waits);
		n_heap += hshm_load_relaxed(&info->workers[i].resumes_heap);
		n_posted += hshm_load_relaxed(&info->workers[i].resumes_posted);
		n_timeouts += hshm_load_relaxed(&info->workers[i].timeouts);
	}
	free(info);
	print_message("%ju waits blocked; ended by the heap %ju, by posts %ju, by time %ju\n", (uintmax_t)n_waits,
		      (uintmax_t)n_heap, (uintmax_t)n_posted, (uintmax_t)n_timeouts);
	assert_true(n_waits > 0);
	if (posting) {
		assert_true(n_posted > 0);
		/* the heap finds only those whose post is on its way: 0.4 % on a busy machine, 4 % in the worst of 50 runs */
		assert_true(n_waits < 100 || n_heap * 5 <= n_waits);
		assert_true(n_heap + n_posted + n_timeouts >= n_waits);
		assert_true(n_heap + n_timeouts <= n_waits);
	} else {
		assert_int_equal(n_posted, 0);
		assert_int_equal(n_heap + n_timeouts, n_waits);
	}
}

/* ---- one case: posting on or off, running in place on or off ---- */

static uint64_t seed, case_ns;

static void start(struct stage *stage, bool posting, bool in_place)
{
	const char *yes_no[] = { "false", "true" };
	struct chi_pool_spec spec = { .module = "probe", .n_containers = N_CONTAINERS };
	char config[512];

	/* small lanes, so that some are full; few run contexts, so that the cap is met */
	snprintf(config, sizeof(config),
		 "workers: { count: %u, completion_posting: %s, run_in_place: %s }\n"
		 "memory: { private_mib: 512, lane_depth: 16 }\n"
		 "clients: { memory_mib: 64, lane_depth: 16, contexts: 16 }\n",
		 N_WORKERS, yes_no[posting], yes_no[in_place]);
	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &stage->runtime) < 0 ||
	    chi_runtime_client(stage->runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &stage->observer) <
		    0 ||
	    chi_pool_create(stage->observer, &spec, &stage->pool) < 0)
		fail_msg("%s", chi_error_text());
}

static void run_threads(struct stage *stage, struct thread *threads)
{
	static const uint32_t policies[N_THREADS] = { CHI_WAIT_HYBRID, CHI_WAIT_HYBRID, CHI_WAIT_SLEEP,
						      CHI_WAIT_HYBRID };

	assert_int_equal(
		chi_runtime_client(stage->runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &stage->shared),
		0);
	stage->end_ns = hshm_clock_ns() + case_ns;
	for (uint32_t i = 0; i < N_THREADS; i++) {
		threads[i] = (struct thread){ .stage = stage,
					      .client = stage->shared,
					      .random = (seed + i + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1 };
		/* two share a client, two have one each */
		if (i >= 2)
			assert_int_equal(chi_runtime_client(stage->runtime,
							    &CHI_CLIENT_OPTS(.wait_policy = policies[i]),
							    &threads[i].client),
					 0);
		assert_int_equal(pthread_create(&threads[i].thread, NULL, client_thread, &threads[i]), 0);
	}
	for (uint32_t i = 0; i < N_THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	for (uint32_t i = 2; i < N_THREADS; i++)
		chi_client_disconnect(threads[i].client);
	chi_client_disconnect(stage->shared);
}

static void trees(bool posting, bool in_place)
{
	uint64_t blocks_before, n_added = 0, n_locked = 0, n_trees = 0, n_timeouts = 0, n_given_up = 0;
	struct thread threads[N_THREADS];
	struct stage stage;

	start(&stage, posting, in_place);
	assert_int_equal(ask_all(&stage, 0), 0); /* whatever is made at the first use is there now */
	assert_int_equal(chi_flush(stage.observer), 0);
	blocks_before = blocks_at_rest(&stage);
	run_threads(&stage, threads);
	for (uint32_t i = 0; i < N_THREADS; i++) {
		if (threads[i].wrong[0])
			fail_msg("seed %ju, thread %u: %s", (uintmax_t)seed, i, threads[i].wrong);
		n_added += threads[i].n_added;
		n_locked += threads[i].n_locked;
		n_trees += threads[i].n_trees;
		n_timeouts += threads[i].n_timeouts;
	}
	assert_int_equal(chi_flush(stage.observer), 0); /* detached tasks */
	assert_int_equal(ask_all(&stage, 0), n_added);
	assert_int_equal(ask_all(&stage, 1), n_locked);
	print_message("%ju trees, %ju timeouts in methods\n", (uintmax_t)n_trees, (uintmax_t)n_timeouts);
	nothing_is_left(&stage, blocks_before);
	each_wait_ended_once(&stage, posting);
	chi_client_disconnect(stage.observer);
	assert_int_equal(chi_runtime_stop(stage.runtime, 10 * HSHM_NSEC_PER_SEC, &n_given_up), 0);
	assert_int_equal(n_given_up, 0);
	assert_true(n_trees > N_THREADS);
}

static void trees_with_posting(void **state)
{
	(void)state;
	trees(true, true);
}

static void trees_with_posting_through_the_lanes(void **state)
{
	(void)state;
	trees(true, false);
}

static void trees_with_the_heap_alone(void **state)
{
	(void)state;
	trees(false, true);
}

static void trees_with_the_heap_alone_through_the_lanes(void **state)
{
	(void)state;
	trees(false, false);
}

int main(void)
{
	const char *seconds = getenv("CHI_STRESS_SECONDS"), *given = getenv("CHI_STRESS_SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trees_with_posting),
		cmocka_unit_test(trees_with_posting_through_the_lanes),
		cmocka_unit_test(trees_with_the_heap_alone),
		cmocka_unit_test(trees_with_the_heap_alone_through_the_lanes),
	};

	case_ns = (uint64_t)((seconds && atof(seconds) > 0 ? atof(seconds) : 3) * 1e9) / N_CASES;
	seed = given ? strtoull(given, NULL, 0) : hshm_clock_ns();
	print_message("CHI_STRESS_SEED=%ju\n", (uintmax_t)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
