/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * throughput.c - tasks per second from one thread
 */
#include "throughput.h"

#include <errno.h>

#include "pipeline.h"

#define RATE_WINDOW 4096u

/* ---- always so many outstanding ---- */

int throughput_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct setup *setup = arg;
	int rc = pipeline_fill(setup);

	if (!rc)
		rc = bench_rate_slice(pipeline_run, setup, RATE_WINDOW, slice_ns, samples);
	if (!rc)
		rc = pipeline_drain(setup);
	setup_settle();
	return rc < 0 ? tell("a task of the pipeline", rc) : 0;
}

struct throughput {
	struct bench_runtime_spec runtime;
	uint32_t n_outstanding, n_clients;
	const char *params;
	const char *reference;
	const char *aim;
	double rate_min; /* reaching it, or the ratio, is enough */
	double ratio_min;
};

/* Tasks go to the containers in turn. */
static int add_tasks(struct setup *setup, const struct throughput *how)
{
	uint32_t n_containers = how->runtime.n_containers ? how->runtime.n_containers : 1;
	int rc = 0;

	for (uint32_t i = 1; i < how->n_clients && !rc; i++)
		rc = setup_add_client(setup);
	for (uint32_t i = 0; i < how->n_outstanding && !rc; i++)
		rc = setup_add_task(setup, sizeof(struct chi_task), CHI_QUERY_LOCAL_ID(i % n_containers), BENCH_NOOP);
	return rc;
}

static int throughput(struct bench *bench, struct bench_result *ret_result)
{
	const struct throughput *how = bench->current->arg;
	struct setup setup;
	struct bench_side side = { .slice = throughput_slice, .arg = &setup };
	int rc = setup_start(bench, &how->runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "tasks/s";
	ret_result->params = how->params;
	rc = add_tasks(&setup, how);
	if (!rc)
		rc = bench_measure_against(bench, &side, how->reference ? how->reference : "pingpong", ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	ret_result->aim = how->aim;
	ret_result->aim_met = ret_result->run.p50 >= how->rate_min || ret_result->ratio >= how->ratio_min;
	setup_stop(&setup);
	return rc;
}

/* ---- bursts: all 64 in, then all 64 done ---- */

#define BURST 64u

static int burst_each(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	int rc = 0;

	for (uint32_t done = 0; done < n && !rc; done += BURST) {
		for (uint32_t i = 0; i < BURST && !rc; i++)
			rc = setup_submit(setup, i);
		if (!rc)
			rc = chi_wait_all((void *const *)setup->tasks, BURST, HSHM_FOREVER);
	}
	return rc;
}

static int submit_together(struct setup *setup)
{
	uint32_t n = 0;
	int rc = 0;

	while (n < BURST && (rc >= 0 || rc == -EAGAIN)) {
		rc = chi_submit_many(setup->runtime.client, (void *const *)setup->tasks + n, BURST - n);
		n += rc > 0 ? (uint32_t)rc : 0;
	}
	return rc < 0 ? rc : 0;
}

static int burst_together(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	int rc = 0;

	for (uint32_t done = 0; done < n && !rc; done += BURST) {
		rc = submit_together(setup);
		if (!rc)
			rc = chi_wait_all((void *const *)setup->tasks, BURST, HSHM_FOREVER);
	}
	return rc;
}

static int burst_slice(struct setup *setup, int (*burst)(void *arg, uint32_t n), uint64_t slice_ns,
		       struct bench_samples *samples)
{
	int rc = bench_rate_slice(burst, setup, RATE_WINDOW, slice_ns, samples);

	setup_settle();
	return rc < 0 ? tell("a burst", rc) : 0;
}

static int burst_each_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	return burst_slice(arg, burst_each, slice_ns, samples);
}

static int burst_together_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	return burst_slice(arg, burst_together, slice_ns, samples);
}

/* One call for all against a call for each. */
static int bursts(struct bench *bench, struct bench_result *ret_result)
{
	static const struct bench_runtime_spec runtime;
	struct setup setup;
	struct bench_side side = { .slice = burst_together_slice, .arg = &setup };
	struct bench_side each = { .name = "one-by-one", .slice = burst_each_slice, .arg = &setup };
	int rc = setup_start(bench, &runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "tasks/s";
	ret_result->params = "\"burst\":64,\"submit\":\"chi_submit_many\"";
	rc = setup_add_noops(&setup, BURST);
	if (!rc)
		rc = bench_measure_pair(bench, &side, &each, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

/* ---- fire and forget ---- */

/* Given away, so the next has to be allocated; the client takes the memory back as they end. */
static int give(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	struct chi_client *client = setup->runtime.client;
	struct chi_task *task;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		rc = chi_task_alloc(client, sizeof(*task), setup->runtime.pool_id, CHI_QUERY_LOCAL_ID(0), BENCH_NOOP,
				    &task);
		if (rc < 0)
			break;
		task->flags = CHI_TASK_FIRE_AND_FORGET;
		while ((rc = chi_submit(client, task)) == -EAGAIN)
			;
		if (rc)
			chi_task_free(client, task);
	}
	return rc;
}

/* Ends when all have: the lane starts its tasks in their order, and these end as they start. */
static int give_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct setup *setup = arg;
	int rc = bench_rate_slice(give, setup, RATE_WINDOW, slice_ns, samples);

	if (!rc)
		rc = chi_call(setup->runtime.client, setup->tasks[0]);
	setup_settle();
	return rc < 0 ? tell("a task given away", rc) : 0;
}

static int fire_and_forget(struct bench *bench, struct bench_result *ret_result)
{
	static const struct bench_runtime_spec runtime;
	struct setup setup;
	struct bench_side side = { .slice = give_slice, .arg = &setup };
	int rc = setup_start(bench, &runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "tasks/s";
	rc = setup_add_noops(&setup, 1);
	if (!rc)
		rc = bench_measure_against(bench, &side, "pingpong", ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

/* ---- the table ---- */

#define ONE(n)                                                        \
	{                                                             \
		.n_outstanding = (n), .params = "\"outstanding\":" #n \
	}
/* the second is on our CPU, so we sleep when there is nothing to do */
#define TWO_WORKERS(n)                                                                                     \
	{                                                                                                  \
		.runtime = { .policy = CHI_WAIT_HYBRID, .n_workers = 2, .n_containers = 2, .n_lanes = 1 }, \
		.n_outstanding = (n), .params = "\"outstanding\":" #n ",\"workers\":2,\"wait\":\"hybrid\"" \
	}

static const struct throughput one_1 = ONE(1), one_8 = ONE(8), one_512 = ONE(512);
static const struct throughput one_64 = { .n_outstanding = 64,
					  .params = "\"outstanding\":64",
					  .reference = "ring",
					  .aim = ">= 20 M/s, or 0.7 of it",
					  .rate_min = 20e6,
					  .ratio_min = 0.7 };
static const struct throughput workers_1 = TWO_WORKERS(1), workers_8 = TWO_WORKERS(8), workers_64 = TWO_WORKERS(64),
			       workers_512 = TWO_WORKERS(512);
/* the same load from 64 clients, a task each */
static const struct throughput clients_64 = { .n_outstanding = 64,
					      .n_clients = 64,
					      .params = "\"outstanding\":64,\"clients\":64" };

const struct bench_case bench_throughput_cases[] = {
	{ "tasks-1", "tasks per second, one at a time", throughput, .arg = &one_1 },
	{ "tasks-8", "8 outstanding", throughput, .arg = &one_8 },
	{ "tasks-64", "64 outstanding", throughput, .arg = &one_64 },
	{ "tasks-512", "512 outstanding", throughput, .arg = &one_512 },
	{ "workers-2-tasks-1", "two workers, one at a time, to each in turn", throughput, true, &workers_1 },
	{ "workers-2-tasks-8", "two workers, 8 outstanding", throughput, true, &workers_8 },
	{ "workers-2-tasks-64", "two workers, 64 outstanding", throughput, .arg = &workers_64 },
	{ "workers-2-tasks-512", "two workers, 512 outstanding", throughput, true, &workers_512 },
	{ "clients-64", "64 clients of one process with a task outstanding each", throughput, .arg = &clients_64 },
	{ "burst-64-many", "64 by one chi_submit_many(), then waited for, against 64 chi_submit()", bursts },
	{ "fire-and-forget", "tasks per second that nobody waits for", fire_and_forget },
	{ NULL, NULL, NULL },
};
