/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status.c - chimaera status: what a runtime has counted, from its counters file; the runtime itself is not asked
 */
#include "chimaera.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/counters.h>
#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "options.h"
#include "output.h"
#include "patience.h"
#include "status_tables.h"

struct arguments {
	const char *name;
	bool json;
	uint32_t table;	 /* CHI_COUNTERS_TABLES: the overview */
	double period_s; /* 0: once */
};

static const struct argp_option options[] = {
	{ "watch", 'w', "SECONDS", 0, "Again and again, every so many seconds (0.1 to 86400)", 0 },
	{ 0 },
};

static void parse_period(struct argp_state *state, struct arguments *arguments, const char *value)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !isfinite(seconds) || seconds < 0.1 || seconds > 86400)
		argp_error(state, "--watch: '%s' is no number of seconds from 0.1 to 86400", value);
	arguments->period_s = seconds;
}

static void parse_table(struct argp_state *state, struct arguments *arguments, const char *value)
{
	if (arguments->table != CHI_COUNTERS_TABLES)
		argp_error(state, "unexpected argument '%s'", value);
	for (arguments->table = 0; arguments->table < CHI_COUNTERS_TABLES; arguments->table++) {
		if (strcmp(value, chi_counters_table_name(arguments->table)) == 0)
			return;
	}
	argp_error(state, "there is no table '%s': runtime, workers, pools, methods, clients or lanes", value);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'w':
		parse_period(state, arguments, value);
		return 0;
	case ARGP_KEY_ARG:
		parse_table(state, arguments, value);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->name;
		state->child_inputs[1] = &arguments->json;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = NAME_JSON_CHILDREN,
	.args_doc = "[runtime|workers|pools|methods|clients|lanes]",
	.doc = "Show what a runtime has counted: the most useful of it, or one table with all its columns.\v"
	       "Tables:\n"
	       "  runtime  the runtime as a whole\n"
	       "  workers  the threads that run tasks\n"
	       "  pools    the services, each the sum of its methods\n"
	       "  methods  of each pool\n"
	       "  clients  the attached processes\n"
	       "  lanes    the queues of clients and containers\n\n"
	       "The figures are read from the file NAME.counters beside the runtime's socket. They are shown also "
	       "when the runtime hangs, or was killed: then they are those of its last moment, and the exit code is "
	       "3. What each tells: share/doc/chimaera/counters.md of the installation.\n\n"
	       "Exit codes: 0 shown, also when it hangs; 1 failed; 2 wrong usage; 3 no such runtime, or it was killed.",
};

/* ---- JSON: every column of every table ---- */

static struct json_object *json_of_cell(const struct chi_counters *counters, uint32_t table, uint32_t row, uint32_t i,
					const struct chi_counter_column *column)
{
	uint64_t value = chi_counters_number(counters, table, row, i);
	char hex[17];

	if (column->kind == CHI_COUNTER_TEXT)
		return json_object_new_string(chi_counters_text(counters, table, row, i));
	if (strcmp(column->unit, "hex") != 0)
		return json_object_new_uint64(value);
	snprintf(hex, sizeof(hex), "%016" PRIx64, value);
	return json_object_new_string(hex);
}

static struct json_object *json_of_row(const struct chi_counters *counters, uint32_t table, uint32_t row)
{
	struct json_object *object = json_object_new_object();
	const struct chi_counter_column *columns;
	uint32_t n = chi_counters_columns(table, &columns);

	for (uint32_t i = 0; i < n; i++)
		json_object_object_add(object, columns[i].name, json_of_cell(counters, table, row, i, &columns[i]));
	return object;
}

static struct json_object *json_of_table(const struct chi_counters *counters, uint32_t table)
{
	struct json_object *rows = json_object_new_array();

	for (uint32_t row = 0; row < chi_counters_rows(counters, table); row++)
		json_object_array_add(rows, json_of_row(counters, table, row));
	return rows;
}

static struct json_object *json_of_counters(const struct chi_counters *counters, uint32_t only)
{
	struct json_object *root = json_of_row(counters, CHI_COUNTERS_RUNTIME, 0);

	json_object_object_add(root, "state", json_object_new_string(state_of(counters)));
	json_object_object_add(root, "uptime_s", json_object_new_double(uptime_s(counters)));
	json_object_object_add(root, "file", json_object_new_string(chi_counters_path(counters)));
	for (uint32_t t = CHI_COUNTERS_RUNTIME + 1; t < CHI_COUNTERS_TABLES; t++) {
		if (only == CHI_COUNTERS_TABLES || only == t)
			json_object_object_add(root, chi_counters_table_name(t), json_of_table(counters, t));
	}
	return root;
}

/* ---- the command ---- */

/* There is no file to read: is there a runtime? */
static int explain_absence(const char *name)
{
	struct chi_client *client;
	int error = connect_to(name, PATIENCE_MS, &client);

	if (error)
		return error;
	chi_client_disconnect(client);
	fprintf(stderr, "chimaera: runtime '%s' runs, but somebody has removed its counters file\n", shown_name(name));
	return EXIT_FAILED;
}

static int read_counters(const char *name, struct chi_counters **ret_counters)
{
	int error = chi_counters_read(name, ret_counters);

	if (!error)
		return EXIT_OK;
	if (error == -ENOENT)
		return explain_absence(name);
	return say_failed(name, error);
}

/* And not the next of that name. */
static bool is_the_same(const struct chi_counters *counters, const struct chi_counters *before)
{
	return before && cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "generation") ==
				 cell_number(before, CHI_COUNTERS_RUNTIME, 0, "generation");
}

static int show(const struct arguments *arguments, const struct chi_counters *counters,
		const struct chi_counters *before)
{
	if (arguments->json)
		return print_json(json_of_counters(counters, arguments->table));
	if (arguments->period_s > 0 && isatty(STDOUT_FILENO))
		printf("\033[H\033[J"); /* to the top of a clean screen */
	if (arguments->table < CHI_COUNTERS_TABLES)
		print_table(counters, arguments->table);
	else
		print_overview(counters, is_the_same(counters, before) ? before : NULL, arguments->period_s);
	return end_output();
}

static int tell_end(const char *name, const struct chi_counters *counters)
{
	if (chi_counters_alive(counters))
		return EXIT_OK;
	fprintf(stderr,
		"chimaera: runtime '%s' is gone: its process (pid %" PRIu64 ") has ended out of order; "
		"these were its last figures\n",
		shown_name(name), cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "pid"));
	return EXIT_NO_RUNTIME;
}

int command_status(int argc, char **argv)
{
	struct arguments arguments = { .table = CHI_COUNTERS_TABLES };
	struct chi_counters *counters = NULL, *before = NULL;
	int error = parse_arguments(&argp, argc, argv, &arguments);

	while (!error) {
		error = read_counters(arguments.name, &counters);
		if (!error)
			error = show(&arguments, counters, before);
		if (!error)
			error = tell_end(arguments.name, counters);
		chi_counters_free(before);
		before = counters;
		counters = NULL;
		if (arguments.period_s == 0)
			break;
		if (!error)
			HSHM_THREAD_MODEL->sleep_for_us((uint64_t)(arguments.period_s * 1e6));
	}
	chi_counters_free(before);
	return error;
}
