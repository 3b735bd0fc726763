/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * throughput.c - tasks per second
 */
#include "setup.h"

#include <errno.h>

#define RATE_WINDOW 4096u

/* Wait for the oldest, hand it in again. */
static int pipeline(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		uint32_t task = setup->next;

		if (++setup->next == setup->n_tasks)
			setup->next = 0;
		rc = chi_wait(setup->tasks[task], HSHM_FOREVER);
		if (!rc)
			rc = setup->tasks[task]->result;
		if (!rc)
			rc = setup_submit(setup, task);
	}
	return rc;
}

static int pipeline_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	struct setup *setup = arg;
	int rc = 0, drained;

	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++)
		rc = setup_submit(setup, i);
	setup->next = 0;
	if (!rc)
		rc = bench_rate_run(pipeline, setup, RATE_WINDOW, run_ns, ret_run);
	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++) {
		drained = chi_wait(setup->tasks[i], HSHM_FOREVER);
		rc = drained ? drained : setup->tasks[i]->result;
	}
	return rc < 0 ? tell("a task of the pipeline", rc) : 0;
}

static int throughput(struct bench *bench, uint32_t n_outstanding, uint32_t n_clients, struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, CHI_WAIT_BUSY, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "tasks/s";
	for (uint32_t i = 1; i < n_clients && !rc; i++)
		rc = setup_add_client(&setup);
	for (uint32_t i = 0; i < n_outstanding && !rc; i++)
		rc = setup_add_task(&setup, sizeof(struct chi_task), BENCH_NOOP);
	if (!rc)
		rc = bench_measure(bench, pipeline_run, &setup, false, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

static int tasks_1(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"outstanding\":1";
	return throughput(bench, 1, 1, ret_result);
}

static int tasks_64(struct bench *bench, struct bench_result *ret_result)
{
	int rc = throughput(bench, SETUP_TASKS_MAX, 1, ret_result);

	ret_result->params = "\"outstanding\":64";
	ret_result->aim = ">= 5 M tasks/s";
	ret_result->aim_met = ret_result->run.p50 >= 5e6;
	return rc;
}

/* All 64 in, then all 64 done: one by one, or by one call. */
static int submit_each(struct setup *setup)
{
	int rc = 0;

	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++)
		rc = setup_submit(setup, i);
	return rc;
}

static int submit_together(struct setup *setup)
{
	uint32_t n = 0;
	int rc = 0;

	while (n < setup->n_tasks && (rc >= 0 || rc == -EAGAIN)) {
		rc = chi_submit_many(setup->runtime.client, (void *const *)setup->tasks + n, setup->n_tasks - n);
		n += rc > 0 ? (uint32_t)rc : 0;
	}
	return rc < 0 ? rc : 0;
}

static int burst(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i += setup->n_tasks) {
		rc = setup->submit_all(setup);
		if (!rc)
			rc = chi_wait_all((void *const *)setup->tasks, setup->n_tasks, HSHM_FOREVER);
	}
	return rc;
}

static int burst_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	int rc = bench_rate_run(burst, arg, RATE_WINDOW, run_ns, ret_run);

	return rc < 0 ? tell("a burst", rc) : 0;
}

static int bursts(struct bench *bench, int (*submit_all)(struct setup *setup), struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, CHI_WAIT_BUSY, &setup);

	if (rc < 0)
		return rc;
	setup.submit_all = submit_all;
	ret_result->unit = "tasks/s";
	for (uint32_t i = 0; i < SETUP_TASKS_MAX && !rc; i++)
		rc = setup_add_task(&setup, sizeof(struct chi_task), BENCH_NOOP);
	if (!rc)
		rc = bench_measure(bench, burst_run, &setup, false, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

static int burst_loop(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"burst\":64,\"submit\":\"one by one\"";
	return bursts(bench, submit_each, ret_result);
}

static int burst_many(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"burst\":64,\"submit\":\"chi_submit_many\"";
	return bursts(bench, submit_together, ret_result);
}

/* The same load from 64 clients, a task each: four times as many lanes as a worker keeps hot. */
static int clients_64(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"outstanding\":64,\"clients\":64";
	return throughput(bench, SETUP_TASKS_MAX, SETUP_TASKS_MAX, ret_result);
}

const struct bench_case bench_throughput_cases[] = {
	{ "tasks-1", "tasks per second, one at a time", tasks_1 },
	{ "tasks-64", "tasks per second, 64 outstanding", tasks_64 },
	{ "burst-64", "tasks per second, 64 submitted one by one, then waited for", burst_loop },
	{ "burst-64-many", "the same, each 64 by one chi_submit_many()", burst_many },
	{ "clients-64", "tasks per second, 64 clients with one outstanding each", clients_64 },
	{ NULL, NULL, NULL },
};
