/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status_tables.c - counters as tables: figures short, times and sizes in fitting units
 */
#include "status_tables.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hshm/clock.h>

#include "output.h"

#define HANGS_NS    HSHM_NSEC_PER_SEC /* a worker awake that has not looked at the clock for so long */
#define TOP_METHODS 10u
#define CLIENTS_MAX 20u

uint64_t cell_number(const struct chi_counters *counters, uint32_t table, uint32_t row, const char *column)
{
	return chi_counters_number(counters, table, row, (uint32_t)chi_counters_column(table, column));
}

const char *cell_text(const struct chi_counters *counters, uint32_t table, uint32_t row, const char *column)
{
	return chi_counters_text(counters, table, row, (uint32_t)chi_counters_column(table, column));
}

/* ---- figures ---- */

static void print_scaled(FILE *out, double value, double step, const char *const *units)
{
	while (value >= step && units[1]) {
		value /= step;
		units++;
	}
	fprintf(out, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, *units);
}

static void print_bytes(FILE *out, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", NULL };

	if (bytes < 1024)
		fprintf(out, "%" PRIu64 " B", bytes);
	else
		print_scaled(out, (double)bytes / 1024, 1024, units);
}

static void print_ns(FILE *out, uint64_t ns)
{
	static const char *const units[] = { "us", "ms", "s", NULL };

	if (ns < 1000)
		fprintf(out, "%" PRIu64 " ns", ns);
	else
		print_scaled(out, (double)ns / 1000, 1000, units);
}

/* A time of CLOCK_MONOTONIC, as how long ago; of a runtime that has ended, since its start. */
static void print_since(FILE *out, const struct chi_counters *counters, uint64_t ns)
{
	uint64_t started_ns = cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "started_ns"), now_ns = hshm_clock_ns();

	if (ns == 0)
		fprintf(out, "never");
	else if (chi_counters_alive(counters))
		print_ns(out, now_ns > ns ? now_ns - ns : 0), fprintf(out, " ago");
	else
		print_ns(out, ns > started_ns ? ns - started_ns : 0), fprintf(out, " after the start");
}

static bool is_point_in_time(const char *column)
{
	return strcmp(column, "attached_ns") == 0 || strcmp(column, "looked_ns") == 0 ||
	       strcmp(column, "started_ns") == 0;
}

static void print_cell(FILE *out, const struct chi_counters *counters, uint32_t table, uint32_t row, uint32_t index)
{
	const struct chi_counter_column *columns, *column;
	uint64_t value = chi_counters_number(counters, table, row, index);

	if (index >= chi_counters_columns(table, &columns))
		return;
	column = &columns[index];
	if (column->kind == CHI_COUNTER_TEXT)
		fputs(chi_counters_text(counters, table, row, index), out);
	else if (is_point_in_time(column->name))
		print_since(out, counters, value);
	else if (strcmp(column->unit, "ns") == 0)
		print_ns(out, value);
	else if (strcmp(column->unit, "bytes") == 0)
		print_bytes(out, value);
	else if (strcmp(column->unit, "hex") == 0)
		fprintf(out, "%016" PRIx64, value);
	else
		fprintf(out, "%" PRIu64, value);
}

/* ---- states ---- */

/* As the kernel says: 'T' is stopped by a signal, 't' by a debugger; 0 when it says nothing. */
static char process_state(uint64_t pid)
{
	char path[64], line[512] = "";
	const char *state;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	in = fopen(path, "re");
	if (!in)
		return 0;
	line[fread(line, 1, sizeof(line) - 1, in)] = '\0';
	fclose(in);
	state = strrchr(line, ')'); /* behind the program's name, which may be anything */
	return state ? state[2] : 0;
}

const char *state_of(const struct chi_counters *counters)
{
	if (!chi_counters_alive(counters))
		return "ended";
	switch (process_state(cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "pid"))) {
	case 'T':
		return "stopped by a signal";
	case 't':
		return "stopped by a debugger";
	default:
		return cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "stopping") ? "stopping" : "running";
	}
}

uint64_t living_pid(const char *name, const char **ret_state)
{
	struct chi_counters *counters;
	uint64_t pid = 0;
	int error = chi_counters_read(name, &counters);

	*ret_state = error == -ENOENT ? "gone" : "unknown";
	if (error)
		return 0;
	*ret_state = state_of(counters);
	if (strcmp(*ret_state, "ended") != 0)
		pid = cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "pid");
	chi_counters_free(counters);
	return pid;
}

/* The last moment at which a worker was seen; of a living runtime, now. */
static uint64_t last_moment_ns(const struct chi_counters *counters)
{
	uint64_t last_ns = cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "started_ns");

	if (chi_counters_alive(counters))
		return hshm_clock_ns();
	for (uint32_t row = 0; row < chi_counters_rows(counters, CHI_COUNTERS_WORKERS); row++) {
		uint64_t looked_ns = cell_number(counters, CHI_COUNTERS_WORKERS, row, "looked_ns");

		last_ns = looked_ns > last_ns ? looked_ns : last_ns;
	}
	return last_ns;
}

double uptime_s(const struct chi_counters *counters)
{
	uint64_t started_ns = cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "started_ns");
	uint64_t last_ns = last_moment_ns(counters);

	return last_ns > started_ns ? (double)(last_ns - started_ns) / (double)HSHM_NSEC_PER_SEC : 0;
}

static uint64_t hangs_for_ns(const struct chi_counters *counters, uint32_t row)
{
	uint64_t looked_ns = cell_number(counters, CHI_COUNTERS_WORKERS, row, "looked_ns");
	uint64_t last_ns = last_moment_ns(counters);

	if (cell_number(counters, CHI_COUNTERS_WORKERS, row, "asleep") || looked_ns == 0 ||
	    last_ns < looked_ns + HANGS_NS)
		return 0;
	return last_ns - looked_ns;
}

/* ---- the first screen ---- */

static void print_head(const struct chi_counters *counters)
{
	time_t started = (time_t)cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "started_unix_s");
	char since[32] = "?";
	struct tm tm;

	if (localtime_r(&started, &tm))
		strftime(since, sizeof(since), "%F %T", &tm);
	printf("runtime '%s'  pid %" PRIu64 "  %s  since %s, %s %.1f s  version %s\n",
	       cell_text(counters, CHI_COUNTERS_RUNTIME, 0, "name"),
	       cell_number(counters, CHI_COUNTERS_RUNTIME, 0, "pid"), state_of(counters), since,
	       chi_counters_alive(counters) ? "up" : "was up", uptime_s(counters),
	       cell_text(counters, CHI_COUNTERS_RUNTIME, 0, "version"));
}

/* A column of the first screen: one of the table's, or one that is made here. */
struct shown {
	const char *heading;
	const char *column;
	void (*print)(FILE *out, const struct chi_counters *counters, uint32_t row);
};

static void print_worker_state(FILE *out, const struct chi_counters *counters, uint32_t row)
{
	uint64_t ns = hangs_for_ns(counters, row);

	if (ns) {
		fprintf(out, "hangs: ");
		print_ns(out, ns);
	} else if (cell_number(counters, CHI_COUNTERS_WORKERS, row, "looked_ns") == 0) {
		fputs("ended", out);
	} else {
		fputs(cell_number(counters, CHI_COUNTERS_WORKERS, row, "asleep") ? "asleep" : "awake", out);
	}
}

/* "pool.method" */
static void print_method_name(FILE *out, const struct chi_counters *counters, uint32_t row)
{
	uint64_t pool = cell_number(counters, CHI_COUNTERS_METHODS, row, "pool");

	for (uint32_t i = 0; pool && i < chi_counters_rows(counters, CHI_COUNTERS_POOLS); i++) {
		if (cell_number(counters, CHI_COUNTERS_POOLS, i, "pool") == pool)
			fprintf(out, "%s.", cell_text(counters, CHI_COUNTERS_POOLS, i, "name"));
	}
	fputs(cell_text(counters, CHI_COUNTERS_METHODS, row, "name"), out);
}

/* 0: none of its runs was timed. */
static void print_time(FILE *out, uint64_t ns)
{
	if (ns)
		print_ns(out, ns);
	else
		fputc('-', out);
}

static void print_longest_time(FILE *out, const struct chi_counters *counters, uint32_t row)
{
	print_time(out, cell_number(counters, CHI_COUNTERS_METHODS, row, "time_max_ns"));
}

static void print_whole_time(FILE *out, const struct chi_counters *counters, uint32_t row)
{
	print_time(out, cell_number(counters, CHI_COUNTERS_METHODS, row, "time_ns"));
}

static void print_mean_time(FILE *out, const struct chi_counters *counters, uint32_t row)
{
	uint64_t time_ns = cell_number(counters, CHI_COUNTERS_METHODS, row, "time_ns");
	uint64_t n = cell_number(counters, CHI_COUNTERS_METHODS, row, "tasks");

	print_time(out, n ? time_ns / n : 0);
}

static const struct shown worker_columns[] = {
	{ "worker", "worker", NULL },	      { "state", NULL, print_worker_state },
	{ "tasks", "tasks", NULL },	      { "failed", "tasks_failed", NULL },
	{ "refused", "tasks_refused", NULL }, { "waits", "waits", NULL },
	{ "blocked", "blocked", NULL },	      { "parks", "parks", NULL },
	{ "hot lanes", "hot_lanes", NULL },   { "woken", "wakeups", NULL },
	{ "sleeps", "sleeps", NULL },	      { "busy", "busy_ns", NULL },
};
static const struct shown pool_columns[] = {
	{ "pool", "pool", NULL },	    { "name", "name", NULL },
	{ "module", "module", NULL },	    { "containers", "containers", NULL },
	{ "tasks", "tasks", NULL },	    { "failed", "failed", NULL },
	{ "in flight", "in_flight", NULL }, { "bytes", "bytes", NULL },
};
static const struct shown client_columns[] = {
	{ "client", "client", NULL },	     { "pid", "pid", NULL },	     { "user", "uid", NULL },
	{ "attached", "attached_ns", NULL }, { "tasks", "ended", NULL },     { "in flight", "in_flight", NULL },
	{ "at most", "contexts_max", NULL }, { "refused", "refused", NULL }, { "parks", "parks", NULL },
};
static const struct shown method_columns[] = {
	{ "method", NULL, print_method_name },
	{ "tasks", "tasks", NULL },
	{ "failed", "failed", NULL },
	{ "in flight", "in_flight", NULL },
	{ "bytes", "bytes", NULL },
	{ "mean", NULL, print_mean_time },
	{ "longest", NULL, print_longest_time },
	{ "in all", NULL, print_whole_time },
};
#define COUNT_OF(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

static void print_shown(FILE *out, const struct chi_counters *counters, uint32_t table, uint32_t row,
			const struct shown *shown)
{
	if (shown->print)
		shown->print(out, counters, row);
	else
		print_cell(out, counters, table, row, (uint32_t)chi_counters_column(table, shown->column));
}

/* Lines for print_aligned(): @rows of the table, or the first @n_rows. */
static void print_rows(const struct chi_counters *counters, uint32_t table, const struct shown *columns,
		       uint32_t n_columns, const uint32_t *rows, uint32_t n_rows)
{
	char *lines = NULL;
	size_t size;
	FILE *out = open_memstream(&lines, &size);

	if (!out)
		return;
	for (uint32_t i = 0; i < n_columns; i++)
		fprintf(out, "%s%s", i ? "\t" : "\n", columns[i].heading);
	fputc('\n', out);
	for (uint32_t r = 0; r < n_rows; r++) {
		for (uint32_t i = 0; i < n_columns; i++) {
			if (i)
				fputc('\t', out);
			print_shown(out, counters, table, rows ? rows[r] : r, &columns[i]);
		}
		fputc('\n', out);
	}
	fclose(out);
	print_aligned(lines);
	free(lines);
}

struct ranked {
	uint32_t row;
	uint64_t time_ns, tasks;
};

static int by_time(const void *a, const void *b)
{
	const struct ranked *left = a, *right = b;

	if (left->time_ns != right->time_ns)
		return left->time_ns < right->time_ns ? 1 : -1;
	return (left->tasks < right->tasks) - (left->tasks > right->tasks);
}

static void print_top_methods(const struct chi_counters *counters)
{
	uint32_t n_rows = chi_counters_rows(counters, CHI_COUNTERS_METHODS), n = 0, top[TOP_METHODS];
	struct ranked *ranked = calloc(n_rows ? n_rows : 1, sizeof(*ranked));

	for (uint32_t row = 0; ranked && row < n_rows; row++) {
		uint64_t tasks = cell_number(counters, CHI_COUNTERS_METHODS, row, "tasks");

		if (tasks || cell_number(counters, CHI_COUNTERS_METHODS, row, "in_flight"))
			ranked[n++] = (struct ranked){ row, cell_number(counters, CHI_COUNTERS_METHODS, row, "time_ns"),
						       tasks };
	}
	if (n)
		qsort(ranked, n, sizeof(*ranked), by_time);
	for (uint32_t i = 0; i < n && i < TOP_METHODS; i++)
		top[i] = ranked[i].row;
	if (n)
		print_rows(counters, CHI_COUNTERS_METHODS, method_columns, COUNT_OF(method_columns), top,
			   n < TOP_METHODS ? n : TOP_METHODS);
	if (n > TOP_METHODS)
		printf("and %u more: chimaera status methods\n", n - TOP_METHODS);
	free(ranked);
}

static void print_clients(const struct chi_counters *counters)
{
	uint32_t n = chi_counters_rows(counters, CHI_COUNTERS_CLIENTS);

	if (n)
		print_rows(counters, CHI_COUNTERS_CLIENTS, client_columns, COUNT_OF(client_columns), NULL,
			   n < CLIENTS_MAX ? n : CLIENTS_MAX);
	if (n > CLIENTS_MAX)
		printf("and %u more: chimaera status clients\n", n - CLIENTS_MAX);
}

static uint64_t all_tasks(const struct chi_counters *counters)
{
	uint64_t n = 0;

	for (uint32_t row = 0; row < chi_counters_rows(counters, CHI_COUNTERS_WORKERS); row++)
		n += cell_number(counters, CHI_COUNTERS_WORKERS, row, "tasks");
	return n;
}

/* Of what was not counted one by one, as that may be what is looked for. */
static void print_uncounted(const struct chi_counters *counters)
{
	static const char *const names[] = { "pools", "methods", "clients", "lanes" };

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char column[32];
		uint64_t n;

		snprintf(column, sizeof(column), "%s_uncounted", names[i]);
		n = cell_number(counters, CHI_COUNTERS_RUNTIME, 0, column);
		if (n)
			printf("\n%" PRIu64 " %s were not counted one by one: raise counters.%s\n", n, names[i],
			       names[i]);
	}
}

void print_overview(const struct chi_counters *counters, const struct chi_counters *before, double seconds)
{
	print_head(counters);
	if (before && seconds > 0)
		printf("%.0f tasks a second\n", (double)(all_tasks(counters) - all_tasks(before)) / seconds);
	print_rows(counters, CHI_COUNTERS_WORKERS, worker_columns, COUNT_OF(worker_columns), NULL,
		   chi_counters_rows(counters, CHI_COUNTERS_WORKERS));
	print_rows(counters, CHI_COUNTERS_POOLS, pool_columns, COUNT_OF(pool_columns), NULL,
		   chi_counters_rows(counters, CHI_COUNTERS_POOLS));
	print_clients(counters);
	print_top_methods(counters);
	print_uncounted(counters);
}

/* ---- one table, whole ---- */

/* A line for each column: for tables with many columns and few rows. */
static void print_upright(FILE *out, const struct chi_counters *counters, uint32_t table)
{
	const struct chi_counter_column *columns;
	uint32_t n = chi_counters_columns(table, &columns);

	for (uint32_t i = 0; i < n; i++) {
		fputs(columns[i].name, out);
		for (uint32_t row = 0; row < chi_counters_rows(counters, table); row++) {
			fputc('\t', out);
			print_cell(out, counters, table, row, i);
		}
		fprintf(out, "\t%s\n", columns[i].text);
	}
}

static void print_across(FILE *out, const struct chi_counters *counters, uint32_t table)
{
	const struct chi_counter_column *columns;
	uint32_t n = chi_counters_columns(table, &columns);

	for (uint32_t i = 0; i < n; i++)
		fprintf(out, "%s%s", i ? "\t" : "", columns[i].name);
	fputc('\n', out);
	for (uint32_t row = 0; row < chi_counters_rows(counters, table); row++) {
		for (uint32_t i = 0; i < n; i++) {
			if (i)
				fputc('\t', out);
			print_cell(out, counters, table, row, i);
		}
		fputc('\n', out);
	}
}

void print_table(const struct chi_counters *counters, uint32_t table)
{
	char *lines = NULL;
	size_t size;
	FILE *out = open_memstream(&lines, &size);

	if (!out)
		return;
	if (table == CHI_COUNTERS_RUNTIME || table == CHI_COUNTERS_WORKERS)
		print_upright(out, counters, table);
	else
		print_across(out, counters, table);
	fclose(out);
	print_aligned(lines);
	free(lines);
}
