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

struct arguments {
	const char *name;
	bool json;
};

static const struct argp_option options[] = {
	{ "name", 'n', "NAME", 0, "Name of the runtime, or a path with '/' to its socket", 0 },
	{ "json", 'j', NULL, 0, "One JSON object instead of tables", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'n':
		arguments->name = value;
		return 0;
	case 'j':
		arguments->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is too much", value);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Show a runtime's workers and pools.\vExit codes: 0 shown, 1 failed, 3 there is none.",
};

static const struct counter {
	const char *name, *unit, *text;
	size_t offset;
} counters[] = {
#define CHI_COUNTER(name, unit, text) { #name, unit, text, offsetof(struct chi_worker_counters, name) },
#include <chimaera/counters.def>
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

/* Pool names are printable ASCII; so is a runtime's name, but the user's own may be anything. */
static void print_json_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			printf("\\u%04x", (unsigned char)*text);
		else
			putchar(*text);
	}
	putchar('"');
}

static void print_json(const struct status *status)
{
	printf("{\"name\":");
	print_json_text(status->name);
	printf(",\"pid\":%d,\"generation\":\"%016" PRIx64 "\",\"uptime_s\":%.3f,\"workers\":[", status->info.pid,
	       status->info.generation, uptime_s(status));
	for (uint32_t w = 0; w < status->info.n_workers; w++) {
		printf("%s{\"worker\":%" PRIu32, w ? "," : "", w);
		for (size_t c = 0; c < N_COUNTERS; c++)
			printf(",\"%s\":%" PRIu64, counters[c].name, value_of(&status->info.workers[w], &counters[c]));
		printf("}");
	}
	printf("],\"pools\":[");
	for (int i = 0; i < status->n_pools; i++) {
		const struct chi_pool_info *pool = &status->pools[i];

		printf("%s{\"pool\":%" PRIu32 ",\"name\":", i ? "," : "", pool->pool_id);
		print_json_text(pool->name);
		printf(",\"module\":");
		print_json_text(pool->module);
		printf(",\"containers\":%" PRIu32 ",\"tasks\":%" PRIu64 ",\"in_flight\":%" PRIu64 "}",
		       pool->n_containers, pool->n_tasks, pool->n_in_flight);
	}
	printf("]}\n");
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
	} else {
		status->name = shown_name(arguments.name);
		if (arguments.json)
			print_json(status);
		else
			print_tables(status);
		if (fflush(stdout) || ferror(stdout)) {
			error = -EIO;
			fprintf(stderr, "chimaera: cannot write the answer: %s\n", strerror(errno));
		}
	}
	if (status)
		free(status->pools);
	free(status);
	chi_client_disconnect(client);
	return error ? EXIT_FAILED : EXIT_OK;
}
