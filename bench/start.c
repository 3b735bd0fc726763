/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * start.c - from nothing to the end of the first task
 */
#include "setup.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#define AIM_NS 20e6

struct start {
	struct bench *bench;
	struct bench_runtime_spec runtime;
};

/* Start, connect, make a pool, run a task; and, with the clock stopped, end. */
static int start_once(struct start *start, uint64_t *ret_took_ns)
{
	uint64_t begin_ns = bench_now_ns();
	struct setup setup;
	int rc = setup_start(start->bench, &start->runtime, &setup);

	if (rc < 0)
		return rc;
	rc = setup_add_noops(&setup, 1);
	if (!rc)
		rc = setup_submit(&setup, 0);
	if (!rc)
		rc = setup_wait(&setup, 0);
	*ret_took_ns = bench_now_ns() - begin_ns;
	if (!rc)
		rc = setup_check(&setup, 1);
	setup_stop(&setup);
	return rc;
}

static int start_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	uint64_t end_ns = bench_now_ns() + slice_ns, took_ns = 0;
	int rc;

	do {
		rc = start_once(arg, &took_ns);
		bench_sample(samples, (double)took_ns, 1);
	} while (!rc && bench_now_ns() < end_ns);
	return rc;
}

/* What the system takes for a program that does nothing. */
static int run_true(void *arg)
{
	int status = 0;
	pid_t pid = fork();

	(void)arg;
	if (!pid) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return status ? -ECHILD : 0;
}

static int true_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = bench_latency_slice(run_true, arg, slice_ns, samples);

	return rc ? tell("/bin/true", rc) : 0;
}

static int start(struct bench *bench, struct bench_result *ret_result)
{
	const enum bench_runtime_kind *kind = bench->current->arg;
	struct start start = { .bench = bench, .runtime = { .kind = *kind, .policy = CHI_WAIT_SLEEP, .n_workers = 2 } };
	struct bench_side side = { .slice = start_slice, .arg = &start };
	struct bench_side reference = { .name = "bin-true", .slice = true_slice };
	int rc;

	ret_result->unit = "ns";
	ret_result->params = *kind == BENCH_DAEMON ? "\"workers\":2" : "\"workers\":2,\"embedded\":true";
	rc = bench_measure_pair(bench, &side, &reference, ret_result);
	ret_result->aim = "< 20 ms";
	ret_result->aim_met = ret_result->run.p50 < AIM_NS;
	return rc;
}

static const enum bench_runtime_kind daemon_kind = BENCH_DAEMON, embedded_kind = BENCH_EMBEDDED;

const struct bench_case bench_start_cases[] = {
	{ "start-daemon", "from starting the daemon to the end of the first task", start, .arg = &daemon_kind },
	{ "start-embedded", "from starting a runtime in this process", start, .arg = &embedded_kind },
	{ NULL, NULL, NULL },
};
