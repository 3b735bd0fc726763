/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status.c - chimaera status: who runs, what its workers have counted, which pools there are
 */
#include "chimaera.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chimaera/admin.h>
#include <chimaera/counters.h>
#include <hshm/clock.h>

#include "options.h"
#include "output.h"

struct arguments {
	const char *name;
	bool json;
};

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One JSON object instead of tables", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	(void)value;
	switch (key) {
	case 'j':
		arguments->json = true;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->name;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = NAME_CHILD,
	.doc = "Show a runtime's workers and pools.\vExit codes: 0 shown, 1 failed, 3 there is none.",
};

static const struct counter {
	const char *name, *unit, *text;
	size_t offset;
} counters[] = {
#define CHI_COUNTER(name, kind, unit, text) { #name, unit, text, offsetof(struct chi_worker_counters, name) },
#include <chimaera/counters/worker.def>
#undef CHI_COUNTER
};
#define N_COUNTERS (sizeof(counters) / sizeof(counters[0]))

struct status {
	const char *name;
	struct chi_runtime_info info;
	struct chi_pool_info *pools;
	int n_pools;
};

static uint64_t value_of(const struct chi_worker_counters *worker, const struct counter *counter)
{
	/* a copy of our own: nobody else writes it */
	return hshm_load_relaxed((const hshm_au64 *)((const char *)worker + counter->offset));
}

static double uptime_s(const struct status *status)
{
	return (double)(hshm_clock_ns() - status->info.started_ns) / (double)HSHM_NSEC_PER_SEC;
}

static void print_tables(const struct status *status)
{
	printf("runtime '%s'  pid %d  generation %016" PRIx64 "  up %.1f s\n\n%-16s", status->name, status->info.pid,
	       status->info.generation, uptime_s(status), "worker");
	for (uint32_t w = 0; w < status->info.n_workers; w++)
		printf(" %14" PRIu32, w);
	printf("\n");
	for (size_t c = 0; c < N_COUNTERS; c++) {
		printf("%-16s", counters[c].name);
		for (uint32_t w = 0; w < status->info.n_workers; w++)
			printf(" %14" PRIu64, value_of(&status->info.workers[w], &counters[c]));
		printf("  %s\n", counters[c].text);
	}
	printf("\n%-8s %-20s %-16s %10s %14s %10s\n", "pool", "name", "module", "containers", "tasks", "in flight");
	for (int i = 0; i < status->n_pools; i++) {
		const struct chi_pool_info *pool = &status->pools[i];

		printf("%-8" PRIu32 " %-20s %-16s %10" PRIu32 " %14" PRIu64 " %10" PRIu64 "\n", pool->pool_id,
		       pool->name, pool->module, pool->n_containers, pool->n_tasks, pool->n_in_flight);
	}
}

static struct json_object *json_of_worker(const struct status *status, uint32_t w)
{
	struct json_object *worker = json_object_new_object();

	json_object_object_add(worker, "worker", json_object_new_uint64(w));
	for (size_t c = 0; c < N_COUNTERS; c++)
		json_object_object_add(worker, counters[c].name,
				       json_object_new_uint64(value_of(&status->info.workers[w], &counters[c])));
	return worker;
}

static struct json_object *json_of_pool(const struct chi_pool_info *info)
{
	struct json_object *pool = json_object_new_object();

	json_object_object_add(pool, "pool", json_object_new_uint64(info->pool_id));
	json_object_object_add(pool, "name", json_object_new_string(info->name));
	json_object_object_add(pool, "module", json_object_new_string(info->module));
	json_object_object_add(pool, "containers", json_object_new_uint64(info->n_containers));
	json_object_object_add(pool, "tasks", json_object_new_uint64(info->n_tasks));
	json_object_object_add(pool, "in_flight", json_object_new_uint64(info->n_in_flight));
	return pool;
}

static struct json_object *json_of_status(const struct status *status)
{
	struct json_object *root = json_object_new_object();
	struct json_object *workers = json_object_new_array(), *pools = json_object_new_array();
	char generation[17];

	snprintf(generation, sizeof(generation), "%016" PRIx64, status->info.generation);
	json_object_object_add(root, "name", json_object_new_string(status->name));
	json_object_object_add(root, "pid", json_object_new_int(status->info.pid));
	json_object_object_add(root, "generation", json_object_new_string(generation));
	json_object_object_add(root, "uptime_s", json_object_new_double(uptime_s(status)));
	for (uint32_t w = 0; w < status->info.n_workers; w++)
		json_object_array_add(workers, json_of_worker(status, w));
	for (int i = 0; i < status->n_pools; i++)
		json_object_array_add(pools, json_of_pool(&status->pools[i]));
	json_object_object_add(root, "workers", workers);
	json_object_object_add(root, "pools", pools);
	return root;
}

/* Between two looks there may be more pools. */
static int get_pools(struct chi_client *client, struct status *status)
{
	uint32_t n_max = 16;

	for (;;) {
		struct chi_pool_info *pools = realloc(status->pools, n_max * sizeof(*pools));

		if (!pools)
			return -ENOMEM;
		status->pools = pools;
		status->n_pools = chi_pool_list(client, pools, n_max);
		if (status->n_pools < 0)
			return status->n_pools;
		if ((uint32_t)status->n_pools <= n_max)
			return 0;
		n_max = (uint32_t)status->n_pools * 2;
	}
}

static int print_status(const struct status *status, bool json)
{
	if (json)
		return print_json(json_of_status(status));
	print_tables(status);
	return end_output();
}

int command_status(int argc, char **argv)
{
	struct arguments arguments = { 0 };
	struct status *status;
	struct chi_client *client;
	int error = parse_arguments(&argp, argc, argv, &arguments);

	if (!error)
		error = connect_to(arguments.name, &client);
	if (error)
		return error;
	status = aligned_alloc(_Alignof(struct status), sizeof(*status)); /* its counters want lines of their own */
	if (status)
		memset(status, 0, sizeof(*status));
	error = status ? chi_client_runtime_info(client, &status->info) : -ENOMEM;
	if (!error)
		error = get_pools(client, status);
	if (error) {
		fprintf(stderr, "chimaera: runtime '%s': %s\n", shown_name(arguments.name), strerror(-error));
		error = EXIT_FAILED;
	} else {
		status->name = shown_name(arguments.name);
		error = print_status(status, arguments.json);
	}
	if (status)
		free(status->pools);
	free(status);
	chi_client_disconnect(client);
	return error;
}
