/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.c - what a daemon holds of the machine's memory: for itself, a client, a lane
 */
#include "setup.h"

#define CLIENTS	  SETUP_CLIENTS_MAX
#define LANES	  1000u
#define AIM_BYTES 10e6

static const struct bench_runtime_spec runtime = { .kind = BENCH_DAEMON, .policy = CHI_WAIT_SLEEP, .n_workers = 2 };

/* What it grows by while @grow is done, by one of @n. */
static int measure_growth(struct bench *bench, int (*grow)(struct setup *setup), uint32_t n,
			  struct bench_result *ret_result)
{
	struct setup setup;
	uint64_t before;
	int rc = setup_start(bench, &runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "bytes";
	before = bench_runtime_rss_bytes(&setup.runtime);
	rc = grow(&setup);
	if (!rc)
		bench_once(((double)bench_runtime_rss_bytes(&setup.runtime) - (double)before) / n, ret_result);
	setup_stop(&setup);
	return rc;
}

static int of_runtime(struct bench *bench, struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, &runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "bytes";
	ret_result->params = "\"workers\":2,\"clients\":1,\"tasks\":1";
	rc = setup_add_noops(&setup, 1);
	if (!rc)
		rc = setup_submit(&setup, 0);
	if (!rc)
		rc = setup_wait(&setup, 0);
	if (!rc)
		bench_once((double)bench_runtime_rss_bytes(&setup.runtime), ret_result);
	ret_result->aim = "< 10 MB";
	ret_result->aim_met = ret_result->run.p50 < AIM_BYTES;
	setup_stop(&setup);
	return rc;
}

/* Each has done a task, so it has a lane, and pages. */
static int add_clients(struct setup *setup)
{
	int rc = setup_add_noops(setup, 1);

	for (uint32_t i = 0; i < CLIENTS && !rc; i++) {
		rc = setup_add_client(setup);
		if (!rc)
			rc = setup_add_noops(setup, 1);
	}
	for (uint32_t i = 1; i <= CLIENTS && !rc; i++) {
		rc = setup_submit(setup, i);
		if (!rc)
			rc = setup_wait(setup, i);
	}
	return rc;
}

static int of_client(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"clients\":64";
	return measure_growth(bench, add_clients, CLIENTS, ret_result);
}

static int add_lanes(struct setup *setup)
{
	uint32_t pool_id;

	return bench_runtime_add_pool(&setup->runtime, "lanes", 1, LANES, &pool_id);
}

static int of_lane(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"lanes\":1000,\"slots\":1024";
	return measure_growth(bench, add_lanes, LANES, ret_result);
}

const struct bench_case bench_memory_cases[] = {
	{ "bytes-runtime", "memory of a daemon that serves a client", of_runtime },
	{ "bytes-client", "what it grows by for each of 64 clients", of_client },
	{ "bytes-lane", "for each of 1,000 lanes of a pool", of_lane },
	{ NULL, NULL, NULL },
};
