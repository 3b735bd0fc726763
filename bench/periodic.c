/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * periodic.c - how late the runs of periodic tasks begin
 */
#include "setup.h"

#include <errno.h>
#include <stdio.h>

#define PERIOD_NS     HSHM_NSEC_PER_MSEC
#define TICKS_WAIT_MS 5000u
#define LATE_START_NS (20 * HSHM_NSEC_PER_MSEC) /* until all run */

struct periodic {
	struct setup setup;
	uint64_t n_runs, n_expected;
};

static int start_ticks(struct setup *setup)
{
	int rc = 0;

	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++) {
		setup->tasks[i]->flags = CHI_TASK_PERIODIC;
		setup->tasks[i]->period_ns = PERIOD_NS;
		rc = setup_submit(setup, i);
	}
	return rc;
}

static int end_ticks(struct setup *setup)
{
	int rc = 0;

	for (uint32_t i = 0; i < setup->n_tasks; i++)
		chi_cancel(setup->tasks[i]);
	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++)
		rc = chi_wait(setup->tasks[i], 5 * HSHM_NSEC_PER_SEC);
	return rc;
}

/* How late they were is their container's to say. */
static int ask_lateness(struct setup *setup, struct bench_lateness *ret_lateness)
{
	struct bench_lateness *answer;
	int rc = chi_task_alloc(setup->runtime.client, sizeof(*answer), setup->runtime.pool_id, CHI_QUERY_LOCAL_ID(0),
				BENCH_LATENESS, &answer);

	if (rc < 0)
		return rc;
	rc = chi_call(setup->runtime.client, answer);
	*ret_lateness = *answer;
	chi_task_free(setup->runtime.client, answer);
	return rc;
}

/* Until they tick; what they have by then is thrown away. */
static int await_ticks(struct setup *setup)
{
	struct bench_lateness lateness;
	int rc = -ENODATA;

	for (uint32_t i = 0; i < TICKS_WAIT_MS && rc == -ENODATA; i++) {
		sleep_seconds(1e-3);
		rc = ask_lateness(setup, &lateness);
	}
	return rc;
}

static int periodic_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	struct periodic *run = arg;
	struct bench_lateness lateness = { 0 };
	int rc = start_ticks(&run->setup);

	if (!rc)
		rc = await_ticks(&run->setup);
	if (rc < 0)
		return tell("a periodic task", rc); /* the others end with the client */
	sleep_seconds((double)run_ns / 1e9);
	rc = end_ticks(&run->setup);
	if (!rc)
		rc = ask_lateness(&run->setup, &lateness);
	if (rc < 0)
		return tell("the end of periodic tasks", rc);
	run->n_runs += lateness.n;
	if (run_ns > LATE_START_NS)
		run->n_expected += (run_ns - LATE_START_NS) / PERIOD_NS * run->setup.n_tasks;
	*ret_run = (struct bench_run){ lateness.n,	     (double)lateness.min, (double)lateness.p50,
				       (double)lateness.p99, (double)lateness.max, (double)lateness.p999 };
	return 0;
}

/* Runs that could not be are counted by the worker. */
static int check(struct periodic *run, uint32_t n_tasks, char *params, size_t params_max)
{
	static struct chi_runtime_info info;
	uint64_t n_missed;
	int rc = chi_client_runtime_info(run->setup.runtime.client, &info);

	if (rc < 0)
		return tell("the counters", rc);
	n_missed = hshm_load_relaxed(&info.workers[0].periodic_missed); /* relaxed: our own copy */
	snprintf(params, params_max, "\"tasks\":%u,\"period_ns\":%llu,\"missed\":%.6f", n_tasks,
		 (unsigned long long)PERIOD_NS, (double)n_missed / (double)(run->n_runs + n_missed));
	if (run->n_runs + n_missed >= run->n_expected)
		return 0;
	fprintf(stderr, "chimaera-bench: of %llu runs there were %llu, and %llu missed\n",
		(unsigned long long)run->n_expected, (unsigned long long)run->n_runs, (unsigned long long)n_missed);
	return -EBADMSG;
}

static int periodic(struct bench *bench, struct bench_result *ret_result)
{
	static const struct bench_runtime_spec runtime = { .policy = CHI_WAIT_SLEEP };
	const uint32_t *n_tasks = bench->current->arg;
	static char params[128];
	struct periodic run = { 0 };
	int rc = setup_start(bench, &runtime, &run.setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = params;
	for (uint32_t i = 0; i < *n_tasks && !rc; i++)
		rc = setup_add_task(&run.setup, sizeof(struct chi_task), CHI_QUERY_LOCAL_ID(0), BENCH_TICK);
	if (!rc)
		rc = bench_measure(bench, periodic_run, &run, true, ret_result);
	if (!rc)
		rc = check(&run, *n_tasks, params, sizeof(params));
	setup_stop(&run.setup);
	return rc;
}

static const uint32_t hundred = 100, thousand = 1000;

const struct bench_case bench_periodic_cases[] = {
	{ "periodic-100", "how late the runs of 100 periodic tasks begin, each 1,000 times a second", periodic, true,
	  &hundred },
	{ "periodic-1000", "of 1,000 periodic tasks", periodic, .arg = &thousand },
	{ NULL, NULL, NULL },
};
