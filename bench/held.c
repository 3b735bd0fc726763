/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * held.c - many blocked tasks: what each costs, in time and memory, and what they cost others
 *
 * Two workers: the high-latency one stands still. Each task that is blocked waits for a noop in that one's lane, which nothing
 * but its turn keeps from running. When the worker goes on they all end.
 */
#include "setup.h"

#include <errno.h>
#include <stdlib.h>

#define NEST_COUNT   256u
#define SETTLED_S    0.5
#define BESIDE_NS    400.0
#define BYTES_OF_ONE 6144.0

struct held {
	uint32_t n_tasks;
	const char *params;
};

/* A runtime with tasks that can be made to block. The setup's own are those of the enum. */
struct crowd {
	struct setup setup;
	struct chi_task **tasks;
	uint32_t n_tasks;
	uint64_t n_done;
};

enum { STALL, STALLED, RELEASE, NEST, N_OWN };

static int call(struct crowd *crowd, uint32_t task)
{
	int rc = chi_call(crowd->setup.runtime.client, crowd->setup.tasks[task]);

	return rc < 0 ? tell("a task of the setup", rc) : 0;
}

static int crowd_start(struct bench *bench, uint32_t n_tasks, struct crowd *crowd)
{
	static const struct bench_runtime_spec runtime = {
		.policy = CHI_WAIT_SLEEP, /* the second worker is on our CPU */
		.n_workers = 2,
		.settings = { "workers.high_latency=1", "watchdog.hang_ms=0", "memory.lane_depth=131072",
			      "clients.contexts=250000", "fibers.max=110000" },
	};
	static const enum bench_method methods[] = { BENCH_STALL, BENCH_STALLED, BENCH_RELEASE, BENCH_BLOCK };
	int rc = setup_start(bench, &runtime, &crowd->setup);

	for (uint32_t i = 0; i < N_OWN && !rc; i++)
		rc = setup_add_task(&crowd->setup, i == NEST ? sizeof(struct bench_task) : sizeof(struct chi_task),
				    CHI_QUERY_LOCAL_ID(0), methods[i]);
	if (rc)
		return rc;
	crowd->setup.tasks[STALL]->flags = CHI_TASK_HIGH_LATENCY;
	((struct bench_task *)crowd->setup.tasks[NEST])->count = NEST_COUNT;
	crowd->n_tasks = n_tasks;
	crowd->tasks = calloc(n_tasks ? n_tasks : 1, sizeof(struct chi_task *));
	if (!crowd->tasks)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_tasks && !rc; i++)
		rc = chi_task_alloc(crowd->setup.runtime.client, sizeof(struct chi_task), crowd->setup.runtime.pool_id,
				    CHI_QUERY_LOCAL_ID(0), BENCH_WAIT_HIGH, &crowd->tasks[i]);
	return rc < 0 ? tell("the tasks to block", rc) : 0;
}

static void crowd_stop(struct crowd *crowd)
{
	for (uint32_t i = 0; crowd->tasks && i < crowd->n_tasks; i++)
		chi_task_free(crowd->setup.runtime.client, crowd->tasks[i]);
	free(crowd->tasks);
	setup_stop(&crowd->setup);
}

static int block(struct crowd *crowd, uint32_t n)
{
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++)
		while ((rc = chi_submit(crowd->setup.runtime.client, crowd->tasks[i])) == -EAGAIN)
			;
	/* a lane starts its tasks in their order, so they all have started, and blocked, when this has */
	return rc ? tell("a task to block", rc) : call(crowd, NEST);
}

/* The worker stands still. */
static int stop_worker(struct crowd *crowd)
{
	int rc = setup_submit(&crowd->setup, STALL);

	if (!rc)
		while ((rc = chi_call(crowd->setup.runtime.client, crowd->setup.tasks[STALLED])) == 0)
			;
	return rc < 0 ? tell("a task that stops its worker", rc) : 0;
}

static int let_go(struct crowd *crowd, uint32_t n)
{
	int rc = call(crowd, RELEASE);

	for (uint32_t i = 0; i < n && !rc; i++) {
		rc = chi_wait(crowd->tasks[i], HSHM_FOREVER);
		rc = rc ? rc : crowd->tasks[i]->result;
	}
	crowd->n_done += 2 * (uint64_t)n; /* the noops, too */
	if (!rc)
		rc = setup_wait(&crowd->setup, STALL);
	return rc < 0 ? tell("a task that was blocked", rc) : 0;
}

/* ---- what they cost themselves ---- */

struct resume {
	struct crowd *crowd;
	uint32_t n;
};

/* One sample: each of n that block, and then end. */
static int resume_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct resume *resume = arg;
	uint64_t end_ns = bench_now_ns() + slice_ns, begin_ns;
	int rc;

	do {
		rc = stop_worker(resume->crowd);
		begin_ns = bench_now_ns();
		if (!rc)
			rc = block(resume->crowd, resume->n);
		if (!rc)
			rc = let_go(resume->crowd, resume->n);
		bench_sample(samples, (double)(bench_now_ns() - begin_ns) / resume->n, resume->n);
	} while (!rc && bench_now_ns() < end_ns);
	setup_settle();
	return rc;
}

static int resume(struct bench *bench, struct bench_result *ret_result)
{
	const struct held *how = bench->current->arg;
	struct crowd crowd = { .n_done = 0 };
	struct resume many = { &crowd, how->n_tasks }, few = { &crowd, 1000 };
	struct bench_side side = { .slice = resume_slice, .arg = &many };
	struct bench_side reference = { .name = "of-1000", .slice = resume_slice, .arg = &few };
	int rc = crowd_start(bench, how->n_tasks, &crowd);

	ret_result->unit = "ns";
	ret_result->params = how->params;
	if (!rc)
		rc = bench_measure_pair(bench, &side, &reference, ret_result);
	if (!rc)
		rc = setup_check(&crowd.setup, crowd.n_done);
	ret_result->aim = "<= 400 ns more";
	ret_result->aim_met = ret_result->run.p50 - ret_result->reference_run.p50 <= BESIDE_NS;
	crowd_stop(&crowd);
	return rc;
}

/* ---- what they cost others ---- */

static int nest_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct crowd *crowd = arg;
	struct bench_task *task = (struct bench_task *)crowd->setup.tasks[NEST];
	uint64_t end_ns = bench_now_ns() + slice_ns;
	int rc;

	do {
		rc = call(crowd, NEST);
		if (!rc && task->n_done != NEST_COUNT)
			rc = tell("subtasks are missing", -EBADMSG);
		bench_sample(samples, (double)(task->end_ns - task->begin_ns) / NEST_COUNT, NEST_COUNT);
	} while (!rc && bench_now_ns() < end_ns);
	setup_settle();
	return rc;
}

static int are_held(const struct crowd *crowd)
{
	for (uint32_t i = 0; i < crowd->n_tasks; i++)
		if (chi_task_done(crowd->tasks[i]))
			return tell("a task was not blocked", -EBADMSG);
	return 0;
}

static int beside(struct bench *bench, struct bench_result *ret_result)
{
	const struct held *how = bench->current->arg;
	struct crowd many = { .n_done = 0 }, none = { .setup.runtime = { .pid = -1, .control = -1 } };
	struct bench_side side = { .slice = nest_slice, .arg = &many };
	struct bench_side reference = { .name = "none-blocked", .slice = nest_slice, .arg = &none };
	int rc = crowd_start(bench, how->n_tasks, &many), released;

	ret_result->unit = "ns";
	ret_result->params = how->params;
	if (!rc)
		rc = crowd_start(bench, 0, &none);
	if (!rc)
		rc = stop_worker(&many);
	if (!rc)
		rc = block(&many, many.n_tasks);
	if (!rc) {
		/* they are looked at less and less often: what they cost before is theirs, and in blocked-... */
		sleep_seconds(SETTLED_S);
		rc = bench_measure_pair(bench, &side, &reference, ret_result);
		if (!rc)
			rc = are_held(&many);
		released = let_go(&many, many.n_tasks);
		rc = rc ? rc : released;
	}
	if (!rc)
		rc = setup_check(&many.setup, many.n_done);
	ret_result->aim = "<= 400 ns more";
	ret_result->aim_met = ret_result->run.p50 - ret_result->reference_run.p50 <= BESIDE_NS;
	crowd_stop(&none);
	crowd_stop(&many);
	return rc;
}

/* ---- what they hold ---- */

static int bytes(struct bench *bench, struct bench_result *ret_result)
{
	const struct held *how = bench->current->arg;
	struct crowd crowd = { .n_done = 0 };
	uint64_t before = 0, after = 0;
	int rc = crowd_start(bench, how->n_tasks, &crowd), released;

	if (!rc)
		rc = call(&crowd, NEST);
	if (!rc) {
		before = bench_runtime_rss_bytes(&crowd.setup.runtime);
		rc = stop_worker(&crowd);
		rc = rc ? rc : block(&crowd, crowd.n_tasks);
	}
	if (!rc) {
		after = bench_runtime_rss_bytes(&crowd.setup.runtime);
		rc = are_held(&crowd);
		released = let_go(&crowd, crowd.n_tasks);
		rc = rc ? rc : released;
	}
	ret_result->unit = "bytes";
	ret_result->params = how->params;
	bench_once(((double)after - (double)before) / crowd.n_tasks, ret_result);
	ret_result->aim = "<= 6 KiB";
	ret_result->aim_met = ret_result->run.p50 <= BYTES_OF_ONE;
	crowd_stop(&crowd);
	return rc;
}

static const struct held k1 = { 1000, "\"blocked\":1000" };
static const struct held k10 = { 10000, "\"blocked\":10000" };
static const struct held k100 = { 100000, "\"blocked\":100000" };

const struct bench_case bench_held_cases[] = {
	{ "beside-1k", "a wait for a subtask beside 1,000 blocked tasks, against none", beside, true, &k1 },
	{ "beside-10k", "beside 10,000", beside, .arg = &k10 },
	{ "beside-100k", "beside 100,000", beside, true, &k100 },
	{ "blocked-10k", "10,000 tasks that block, and end: each, against each of 1,000", resume, .arg = &k10 },
	{ "blocked-100k", "100,000 tasks", resume, true, &k100 },
	{ "bytes-blocked-10k", "memory of the runtime, for each of 10,000 blocked tasks and what it waits for", bytes,
	  .arg = &k10 },
	{ "bytes-blocked-100k", "of 100,000", bytes, true, &k100 },
	{ NULL, NULL, NULL },
};
