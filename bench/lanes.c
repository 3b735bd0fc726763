/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lanes.c - what a task costs in a pool of many lanes, against a pool with one
 *
 * One active: all tasks go to the same lane. All: to each in turn; with 64 outstanding most find their lane empty, and are run in
 * place. Queued: that is switched off, and as many are outstanding as there are lanes, one in each; so many are in the reference, too.
 */
#include "setup.h"

#include <errno.h>
#include <stdlib.h>

#define LANES_OF_ONE 2500u /* of a container */
#define FEW	     64u   /* outstanding */
#define AIM_NS	     400.0

enum which { ONE, ALL, QUEUED };

struct lanes {
	uint32_t n_lanes;
	enum which which;
	const char *params;
};

/* The tasks of one runtime, all of them outstanding. */
struct load {
	struct setup setup;
	struct chi_task **tasks;
	uint32_t n_tasks, next, window;
	uint64_t n_done;
};

static int submit(struct load *load, uint32_t task)
{
	int rc;

	while ((rc = chi_submit(load->setup.runtime.client, load->tasks[task])) == -EAGAIN)
		;
	return rc;
}

static int wait_for(struct load *load, uint32_t task)
{
	int rc = chi_wait(load->tasks[task], HSHM_FOREVER);

	load->n_done++;
	return rc ? rc : load->tasks[task]->result;
}

static int turn(void *arg)
{
	struct load *load = arg;
	int rc = 0;

	for (uint32_t i = 0; i < load->window && !rc; i++) {
		uint32_t task = load->next;

		if (++load->next == load->n_tasks)
			load->next = 0;
		rc = wait_for(load, task);
		if (!rc)
			rc = submit(load, task);
	}
	return rc;
}

static int load_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct load *load = arg;
	int rc = 0;

	for (uint32_t i = 0; i < load->n_tasks && !rc; i++)
		rc = submit(load, i);
	load->next = 0;
	if (!rc)
		rc = bench_latency_slice(turn, load, slice_ns, samples);
	for (uint32_t i = 0; i < load->n_tasks && !rc; i++)
		rc = wait_for(load, i);
	setup_settle();
	return rc ? tell("a task of one of the lanes", rc) : 0;
}

static int load_start(struct bench *bench, uint32_t n_lanes, uint32_t n_tasks, enum which which, struct load *load)
{
	uint32_t n_containers = (n_lanes + LANES_OF_ONE - 1) / LANES_OF_ONE;
	struct bench_runtime_spec runtime = {
		.n_containers = n_containers,
		.n_lanes = n_lanes / n_containers,
		.settings = { which == QUEUED ? "workers.run_in_place=false" : "workers.run_in_place=true",
			      n_lanes == 1 ? "memory.lane_depth=131072" : "memory.lane_depth=64",
			      "clients.contexts=200000", "clients.lane_depth=131072" },
	};
	int rc = setup_start(bench, &runtime, &load->setup);

	load->n_tasks = n_tasks;
	load->window = n_tasks < 4096 ? 4096 : n_tasks;
	load->tasks = calloc(n_tasks, sizeof(struct chi_task *));
	if (!rc && !load->tasks)
		rc = -ENOMEM;
	for (uint32_t i = 0; i < n_tasks && !rc; i++)
		rc = chi_task_alloc(load->setup.runtime.client, sizeof(struct chi_task), load->setup.runtime.pool_id,
				    /* always the same lane, or the container's lanes in turn */
				    which == ONE ? CHI_QUERY_LOCAL_HASH(0) : CHI_QUERY_LOCAL_ID(i % n_containers),
				    BENCH_NOOP, &load->tasks[i]);
	return rc < 0 ? tell("the lanes' tasks", rc) : 0;
}

static void load_stop(struct load *load)
{
	for (uint32_t i = 0; load->tasks && i < load->n_tasks; i++)
		chi_task_free(load->setup.runtime.client, load->tasks[i]);
	free(load->tasks);
	setup_stop(&load->setup);
}

static int lanes(struct bench *bench, struct bench_result *ret_result)
{
	const struct lanes *how = bench->current->arg;
	static struct load many, one;
	struct bench_side sides[2];
	uint32_t n_tasks;
	int rc;

	many = (struct load){ .setup.runtime = { .pid = -1, .control = -1 } };
	one = many;
	ret_result->unit = "ns";
	ret_result->params = how->params;
	n_tasks = how->which == QUEUED ? how->n_lanes : FEW;
	rc = load_start(bench, how->n_lanes, n_tasks, how->which, &many);
	if (!rc)
		rc = load_start(bench, 1, n_tasks, how->which, &one);
	sides[0] = (struct bench_side){ .slice = load_slice, .arg = &many, .ops_per_call = many.window };
	sides[1] =
		(struct bench_side){ .name = "one-lane", .slice = load_slice, .arg = &one, .ops_per_call = one.window };
	if (!rc)
		rc = bench_measure_pair(bench, &sides[0], &sides[1], ret_result);
	if (!rc)
		rc = setup_check(&many.setup, many.n_done);
	if (!rc)
		rc = setup_check(&one.setup, one.n_done);
	ret_result->aim = "<= 400 ns more";
	ret_result->aim_met = ret_result->run.p50 - ret_result->reference_run.p50 <= AIM_NS;
	load_stop(&one);
	load_stop(&many);
	return rc;
}

static const struct lanes one_1k = { 1000, ONE, "\"lanes\":1000,\"active\":1" };
static const struct lanes all_1k = { 1000, ALL, "\"lanes\":1000,\"active\":1000" };
static const struct lanes queued_1k = { 1000, QUEUED, "\"lanes\":1000,\"active\":1000,\"run_in_place\":false" };
static const struct lanes one_10k = { 10000, ONE, "\"lanes\":10000,\"active\":1" };
static const struct lanes all_10k = { 10000, ALL, "\"lanes\":10000,\"active\":10000" };
static const struct lanes queued_10k = { 10000, QUEUED, "\"lanes\":10000,\"active\":10000,\"run_in_place\":false" };
static const struct lanes one_100k = { 100000, ONE, "\"lanes\":100000,\"active\":1" };
static const struct lanes all_100k = { 100000, ALL, "\"lanes\":100000,\"active\":100000" };
static const struct lanes queued_100k = { 100000, QUEUED, "\"lanes\":100000,\"active\":100000,\"run_in_place\":false" };

const struct bench_case bench_lanes_cases[] = {
	{ "lanes-1k-one", "a task's time in a pool of 1,000 lanes, one active, against a pool with one lane", lanes,
	  true, &one_1k },
	{ "lanes-1k-all", "1,000 lanes, all active", lanes, true, &all_1k },
	{ "lanes-1k-queued", "1,000 lanes with a task in each, against as many in one", lanes, true, &queued_1k },
	{ "lanes-10k-one", "10,000 lanes, one active", lanes, true, &one_10k },
	{ "lanes-10k-all", "10,000 lanes, all active", lanes, .arg = &all_10k },
	{ "lanes-10k-queued", "10,000 lanes with a task in each, against as many in one", lanes, .arg = &queued_10k },
	{ "lanes-100k-one", "100,000 lanes, one active", lanes, true, &one_100k },
	{ "lanes-100k-all", "100,000 lanes, all active", lanes, true, &all_100k },
	{ "lanes-100k-queued", "100,000 lanes with a task in each, against as many in one", lanes, true, &queued_100k },
	{ NULL, NULL, NULL },
};
