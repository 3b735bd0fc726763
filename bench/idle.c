/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * idle.c - a runtime with nothing to do
 */
#include "setup.h"

#include <errno.h>
#include <stdio.h>

#define IDLE_AIM_NS 10e6 /* in 10 s */

/* The task that holds is blocked now, and nothing resumes it. */
static int idle_check(struct chi_client *client)
{
	static struct chi_runtime_info info;
	uint64_t n_waits = 0;
	int rc = chi_client_runtime_info(client, &info);

	if (rc < 0)
		return tell("the counters", rc);
	for (uint32_t i = 0; i < info.n_workers; i++)
		n_waits += hshm_load_relaxed(&info.workers[i].waits); /* relaxed: our own copy */
	if (n_waits && info.n_workers == 4)
		return 0;
	fprintf(stderr, "chimaera-bench: %u workers, %llu tasks blocked\n", info.n_workers,
		(unsigned long long)n_waits);
	return -EBADMSG;
}

/* at the end the task that holds is given up, which is no error here */
static const char idle_config[] = "log_level: error\nstop_timeout_ms: 50\nworkers:\n  count: 4\n";

static int idle(struct bench *bench, struct bench_result *ret_result)
{
	struct bench_runtime runtime;
	struct chi_task *task;
	double seconds = bench->idle_seconds, used;
	int rc = bench_runtime_start(bench->cpus, idle_config, CHI_WAIT_SLEEP, &runtime);

	if (rc < 0)
		return rc;
	rc = chi_task_alloc(runtime.client, sizeof(*task), runtime.pool_id, CHI_QUERY_LOCAL_ID(0), BENCH_HOLD, &task);
	if (!rc)
		rc = chi_submit(runtime.client, task);
	if (rc < 0) {
		tell("a task that blocks", rc);
	} else {
		sleep_seconds(0.2); /* it has settled */
		used = (double)bench_runtime_cpu_ns(&runtime);
		sleep_seconds(seconds);
		used = ((double)bench_runtime_cpu_ns(&runtime) - used) * 10 / seconds;
		rc = chi_task_done(task) ? tell("the blocked task has ended", -EBADMSG) : idle_check(runtime.client);
		ret_result->unit = "ns";
		ret_result->params = "\"workers\":4,\"of_seconds\":10,\"clients\":1,\"blocked_tasks\":1";
		ret_result->run = (struct bench_run){ 1, used, used, used, used };
		ret_result->n_kept = 1;
		ret_result->aim = "< 10 ms of CPU in 10 s";
		ret_result->aim_met = used < IDLE_AIM_NS;
	}
	bench_runtime_stop(&runtime);
	return rc;
}

const struct bench_case bench_idle_cases[] = {
	{ "idle", "CPU time of a runtime with 4 workers, a client and a blocked task", idle },
	{ NULL, NULL, NULL },
};
