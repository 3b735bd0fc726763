/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crowd.c - several who hand in tasks at once, on one CPU, against one of them alone
 */
#include "team.h"

struct crowd {
	struct bench_runtime_spec runtime;
	struct team_spec team;
	const char *params;
	const char *aim;
	double ratio_min;
};

struct crowd_run {
	struct team *team;
	uint32_t n_members;
};

static int crowd_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct crowd_run *run = arg;

	return team_slice(run->team, run->n_members, slice_ns, samples);
}

static int crowd(struct bench *bench, struct bench_result *ret_result)
{
	const struct crowd *how = bench->current->arg;
	struct setup setup;
	struct crowd_run all = { .n_members = how->team.n_members }, one = { .n_members = 1 };
	struct bench_side side = { .slice = crowd_slice, .arg = &all };
	struct bench_side alone = { .name = "one-alone", .slice = crowd_slice, .arg = &one };
	int rc = setup_start(bench, &how->runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "tasks/s";
	ret_result->params = how->params;
	rc = team_start(&setup, &how->team, &all.team);
	one.team = all.team;
	if (!rc)
		rc = bench_measure_pair(bench, &side, &alone, ret_result);
	team_stop(all.team);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	ret_result->aim = how->aim;
	ret_result->aim_met = ret_result->ratio >= how->ratio_min;
	setup_stop(&setup);
	return rc;
}

/* the second is on the threads' CPU, so they sleep when there is nothing to do */
#define TWO_WORKERS                                                                        \
	{                                                                                  \
		.policy = CHI_WAIT_HYBRID, .n_workers = 2, .n_containers = 2, .n_lanes = 1 \
	}
#define THREADS(n)                                                                                                    \
	{                                                                                                             \
		.team = { .n_members = 2, .n_outstanding = (n) }, .params = "\"threads\":2,\"outstanding_each\":" #n, \
		.aim = ">= 0.8 of one alone", .ratio_min = 0.8                                                        \
	}
#define THREADS_AND_WORKERS(n)                                                                               \
	{                                                                                                    \
		.runtime = TWO_WORKERS, .team = { .n_members = 2, .n_outstanding = (n), .n_containers = 2 }, \
		.params = "\"threads\":2,\"workers\":2,\"wait\":\"hybrid\",\"outstanding_each\":" #n         \
	}
#define PROCESSES(n, each)                                                                \
	{                                                                                 \
		.team = { .n_members = (n), .n_outstanding = (each), .processes = true }, \
		.params = "\"processes\":" #n ",\"outstanding_each\":" #each              \
	}

static const struct crowd threads_1 = THREADS(1), threads_8 = THREADS(8), threads_64 = THREADS(64),
			  threads_512 = THREADS(512);
static const struct crowd both_1 = THREADS_AND_WORKERS(1), both_8 = THREADS_AND_WORKERS(8),
			  both_64 = THREADS_AND_WORKERS(64), both_512 = THREADS_AND_WORKERS(512);
static const struct crowd processes_2 = PROCESSES(2, 64), processes_8 = PROCESSES(8, 64);

const struct bench_case bench_crowd_cases[] = {
	{ "threads-2-tasks-1", "two client threads on one CPU, one task each at a time", crowd, true, &threads_1 },
	{ "threads-2-tasks-8", "8 outstanding each", crowd, true, &threads_8 },
	{ "threads-2-tasks-64", "64 outstanding each", crowd, .arg = &threads_64 },
	{ "threads-2-tasks-512", "512 outstanding each", crowd, true, &threads_512 },
	{ "threads-2-workers-2-tasks-1", "the same with two workers, one of them on the threads' CPU", crowd, true,
	  &both_1 },
	{ "threads-2-workers-2-tasks-8", "8 outstanding each", crowd, true, &both_8 },
	{ "threads-2-workers-2-tasks-64", "64 outstanding each", crowd, .arg = &both_64 },
	{ "threads-2-workers-2-tasks-512", "512 outstanding each", crowd, true, &both_512 },
	{ "processes-2", "two client processes on one CPU, 64 outstanding each", crowd, .arg = &processes_2 },
	{ "processes-8", "eight of them", crowd, .arg = &processes_8 },
	{ NULL, NULL, NULL },
};
