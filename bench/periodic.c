/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * periodic.c - how late periodic tasks run
 */
#include "setup.h"

#include <errno.h>

#define PERIODIC_TASKS 100u

/* All of them tick for a while; how late they were is their container's to say. */
static int periodic_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	struct setup *setup = arg;
	struct chi_client *client = setup->runtime.client;
	struct chi_task *ticks[PERIODIC_TASKS];
	struct bench_lateness *answer;
	int rc = 0;

	for (uint32_t i = 0; i < PERIODIC_TASKS && !rc; i++) {
		rc = chi_task_alloc(client, sizeof(*ticks[i]), setup->runtime.pool_id, CHI_QUERY_LOCAL_ID(0),
				    BENCH_TICK, &ticks[i]);
		if (rc < 0)
			break;
		ticks[i]->flags = CHI_TASK_PERIODIC;
		ticks[i]->period_ns = HSHM_NSEC_PER_MSEC;
		rc = chi_submit(client, ticks[i]);
	}
	if (rc < 0)
		return tell("a periodic task", rc); /* the others end with the client */
	sleep_seconds((double)run_ns / 1e9);
	for (uint32_t i = 0; i < PERIODIC_TASKS; i++)
		chi_cancel(ticks[i]);
	for (uint32_t i = 0; i < PERIODIC_TASKS && !rc; i++) {
		rc = chi_wait(ticks[i], 5 * HSHM_NSEC_PER_SEC);
		if (!rc)
			rc = chi_task_free(client, ticks[i]);
	}
	if (!rc)
		rc = chi_task_alloc(client, sizeof(*answer), setup->runtime.pool_id, CHI_QUERY_LOCAL_ID(0),
				    BENCH_LATENESS, &answer);
	if (rc < 0)
		return tell("the end of periodic tasks", rc);
	rc = chi_call(client, answer);
	*ret_run = (struct bench_run){ answer->n, (double)answer->min, (double)answer->p50, (double)answer->p99,
				       (double)answer->max };
	chi_task_free(client, answer);
	return rc < 0 ? tell("how late they were", rc) : 0;
}

static int periodic(struct bench *bench, struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, CHI_WAIT_SLEEP, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = "\"tasks\":100,\"period_ns\":1000000,\"what\":\"from when a run is due to its method\"";
	rc = bench_measure(bench, periodic_run, &setup, true, ret_result);
	setup_stop(&setup);
	return rc;
}

const struct bench_case bench_periodic_cases[] = {
	{ "periodic-100", "how late the runs of 100 periodic tasks start, each 1,000 times a second", periodic },
	{ NULL, NULL, NULL },
};
