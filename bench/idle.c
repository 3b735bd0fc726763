/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * idle.c - a daemon with nothing to do
 */
#include "setup.h"

#include <errno.h>
#include <stdio.h>

#define WORKERS	    4u
#define IDLE_AIM_NS 5e6 /* in 10 s: what is shown as 0.0 % */

/* The task that holds is blocked now, and nothing resumes it. */
static int check_blocked(struct setup *setup)
{
	static struct chi_runtime_info info;
	uint64_t n_waits = 0;
	int rc = chi_client_runtime_info(setup->runtime.client, &info);

	if (rc < 0)
		return tell("the counters", rc);
	if (chi_task_done(setup->tasks[0]))
		return tell("the blocked task has ended", -EBADMSG);
	for (uint32_t i = 0; i < info.n_workers; i++)
		n_waits += hshm_load_relaxed(&info.workers[i].waits); /* relaxed: our own copy */
	if (n_waits && info.n_workers == WORKERS)
		return 0;
	fprintf(stderr, "chimaera-bench: %u workers, %llu tasks blocked\n", info.n_workers,
		(unsigned long long)n_waits);
	return -EBADMSG;
}

static int idle(struct bench *bench, struct bench_result *ret_result)
{
	static const struct bench_runtime_spec runtime = {
		.kind = BENCH_DAEMON,
		.n_workers = WORKERS,
		/* at the end the task that holds is given up, which is no error here */
		.settings = { "log_level=error", "stop_timeout_ms=50" },
	};
	struct setup setup;
	double used;
	int rc = setup_start(bench, &runtime, &setup);

	if (rc < 0)
		return rc;
	rc = setup_add_task(&setup, sizeof(struct chi_task), CHI_QUERY_LOCAL_ID(0), BENCH_HOLD);
	if (!rc)
		rc = setup_submit(&setup, 0);
	if (!rc) {
		sleep_seconds(0.2); /* it has settled */
		used = (double)bench_runtime_cpu_ns(&setup.runtime);
		sleep_seconds(bench->idle_seconds);
		used = ((double)bench_runtime_cpu_ns(&setup.runtime) - used) * 10 / bench->idle_seconds;
		ret_result->unit = "ns";
		ret_result->params = "\"workers\":4,\"of_seconds\":10,\"clients\":1,\"blocked_tasks\":1";
		bench_once(used, ret_result);
		ret_result->aim = "< 5 ms of CPU in 10 s (0.0 %)";
		ret_result->aim_met = used < IDLE_AIM_NS;
		rc = check_blocked(&setup);
	}
	setup_stop(&setup);
	return rc;
}

const struct bench_case bench_idle_cases[] = {
	{ "idle", "CPU time of a daemon with 4 workers, a client and a blocked task", idle },
	{ NULL, NULL, NULL },
};
