/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rung_test.c - a client that rings is heard by a worker that is never without work
 *
 * One worker. A task of the first client lets others go first, again and again, until a task of the second client tells
 * it that it may end. That one comes by a lane that the worker has armed: it must look whether it was rung. And only
 * then: a look costs 160 ns.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <semaphore.h>
#include <sys/epoll.h>

#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "support/stage.h"
#include "task/lane.h"

#define HEARD_MAX_NS (3 * HSHM_NSEC_PER_SEC)

enum method { GO_ON, LET_GO };

static hshm_au32 goes_on;
static hshm_au32 n_hot; /* as the worker saw it last, in go_on() */
static hshm_au32 n_hot_when_heard;
static hshm_au32 n_looks; /* at epoll, without a wait */
static sem_t begun;

/* In the place of the C library's. */
int epoll_wait(int epoll_fd, struct epoll_event *events, int n_max, int timeout_ms)
{
	if (timeout_ms == 0)
		hshm_fetch_add_relaxed(&n_looks, 1); /* relaxed: a count */
	return epoll_pwait(epoll_fd, events, n_max, timeout_ms, NULL);
}

static int go_on(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task;
	sem_post(&begun);
	while (hshm_load_relaxed(&goes_on) && !chi_cancelled(context)) { /* relaxed: nothing but the word */
		hshm_store_relaxed(&n_hot, CHI_CUR_WORKER->n_hot);	 /* relaxed: a figure */
		chi_yield();
	}
	return 0;
}

static int let_go(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	hshm_store_relaxed(&n_hot_when_heard, CHI_CUR_WORKER->n_hot); /* relaxed: read when this is done */
	hshm_store_relaxed(&goes_on, 0);
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "go_on", .id = GO_ON, .task_size = sizeof(struct chi_task), .run = go_on },
	{ .name = "let_go", .id = LET_GO, .task_size = sizeof(struct chi_task), .run = let_go },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "rung",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = stage_create_lanes,
};

static int start_with(const char *config)
{
	hshm_store_relaxed(&n_hot, 0);
	sem_init(&begun, 0, 0);
	return stage_start(config, &module, 1);
}

/* Lanes are armed as soon as they are empty. */
static int start(void **state)
{
	(void)state;
	return start_with("workers: { count: 1, spin_us: 0 }\nmemory: { private_mib: 256 }\n");
}

/* One may be hot, and stays it until another takes its place. */
static int start_hot(void **state)
{
	(void)state;
	return start_with("workers: { count: 1, hot_lanes: 1, spin_us: 1000000 }\nmemory: { private_mib: 256 }\n");
}

/* ---- the stage ---- */

static struct chi_task *make_task(struct chi_client *of, enum method method)
{
	struct chi_task *task;

	assert_int_equal(chi_task_alloc(of, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	return task;
}

static struct chi_worker *the_worker(void)
{
	return chi_work_orch_worker(runtime->orch, 0);
}

static uint32_t count_armed(void)
{
	struct chi_worker *worker = the_worker();
	uint32_t n = 0;

	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++)
		n += worker->lanes[i]->session && hshm_load_relaxed(worker->lanes[i]->armed);
	pthread_mutex_unlock(&worker->lanes_lock);
	return n;
}

static uint32_t count_hot(void)
{
	return hshm_load_relaxed(&n_hot);
}

static uint32_t count_client_lanes(void)
{
	return hshm_load_relaxed(&the_worker()->n_client_lanes);
}

static void wait_until(uint32_t (*count)(void), uint32_t n)
{
	uint64_t deadline_ns = hshm_deadline_ns(HEARD_MAX_NS);

	while (count() != n) {
		if (hshm_clock_ns() >= deadline_ns)
			fail_msg("%u lanes are armed, hot or there, not %u", count(), n);
		HSHM_THREAD_MODEL->sleep_for_us(100);
	}
}

/* Its lane is there; with that of the first client @n_armed are armed. */
static struct chi_client *connect_second(uint32_t n_armed)
{
	struct chi_client *second;
	struct chi_task *task;

	assert_int_equal(chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &second), 0);
	task = make_task(second, LET_GO);
	assert_int_equal(chi_submit(second, task), 0);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	chi_task_free(second, task);
	wait_until(count_armed, n_armed);
	return second;
}

/* The first client's task goes on; its lane has become hot or armed meanwhile. */
static struct chi_task *go_on_until_told(uint32_t n_hot_then, uint32_t n_armed)
{
	struct chi_task *task = make_task(client, GO_ON);

	hshm_store_relaxed(&goes_on, 1);
	assert_int_equal(chi_submit(client, task), 0);
	while (sem_wait(&begun) < 0)
		;
	wait_until(count_armed, n_armed);
	wait_until(count_hot, n_hot_then);
	return task;
}

static void finish(struct chi_task *first_task)
{
	hshm_store_relaxed(&goes_on, 0);
	assert_int_equal(chi_wait(first_task, TIME_MAX_NS), 0);
	chi_task_free(client, first_task);
}

static void be_heard(struct chi_client *second, struct chi_task *first_task)
{
	struct chi_task *task = make_task(second, LET_GO);
	int heard;

	assert_int_equal(chi_submit(second, task), 0);
	heard = chi_wait(task, HEARD_MAX_NS);
	finish(first_task);
	assert_int_equal(heard, 0);
	chi_task_free(second, task);
	chi_client_disconnect(second);
}

/* ---- the cases ---- */

static void a_busy_worker_hears_who_rings(void **state)
{
	struct chi_client *second = connect_second(2);

	(void)state;
	be_heard(second, go_on_until_told(0, 2));
}

/* The lane of the first, which rang, has taken the place of the second's in the hot list. */
static void so_it_does_while_another_lane_is_hot(void **state)
{
	struct chi_client *second = connect_second(1);

	(void)state;
	be_heard(second, go_on_until_told(1, 1));
	/* not only once that lane had been idle for a second, and was armed, too */
	assert_int_equal(hshm_load_relaxed(&n_hot_when_heard), 1);
}

static void nobody_asks_for_rings_while_all_lanes_are_hot(void **state)
{
	struct chi_task *task = go_on_until_told(1, 0);
	uint32_t n_before = hshm_load_relaxed(&n_looks);

	(void)state;
	HSHM_THREAD_MODEL->sleep_for_us(5000); /* it asks each 10 us, if at all */
	assert_int_equal(hshm_load_relaxed(&n_looks), n_before);
	finish(task);
}

/* Else it would look for ever at what nobody can ring. */
static void lanes_of_a_client_that_is_gone_do_not_count(void **state)
{
	struct chi_client *second = connect_second(2);

	(void)state;
	assert_int_equal(count_client_lanes(), 2);
	chi_client_disconnect(second);
	wait_until(count_client_lanes, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_busy_worker_hears_who_rings, start, stage_stop),
		cmocka_unit_test_setup_teardown(so_it_does_while_another_lane_is_hot, start_hot, stage_stop),
		cmocka_unit_test_setup_teardown(nobody_asks_for_rings_while_all_lanes_are_hot, start_hot, stage_stop),
		cmocka_unit_test_setup_teardown(lanes_of_a_client_that_is_gone_do_not_count, start, stage_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
