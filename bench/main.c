/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - chimaera-bench: measures, and prints a table or JSON
 */
#include <argp.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

#define CASES_MAX 64u

const char *argp_program_version = "chimaera-bench " CHIMAERA_VERSION;

struct arguments {
	bool json;
	bool list;
	bool cpus_given;
	struct bench bench;
	const char *names[CASES_MAX];
	unsigned n_names;
};

static const struct bench_case *const tables[] = {
#define CASES(name) bench_##name##_cases,
#include "cases.def"
#undef CASES
};

#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

/* ---- options ---- */

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One JSON object a line, one line a case", 0 },
	{ "seconds", 's', "N", 0, "Measure each case for so long (2)", 0 },
	{ "idle-seconds", 'i', "N", 0, "Watch the idle runtime for so long (10)", 0 },
	{ "cpus", 'c', "A,B", 0, "Our CPU and the runtime's (the first two we may use)", 0 },
	{ "list", 'l', NULL, 0, "List the cases", 0 },
	{ 0 },
};

static bool parse_seconds(const char *text, double *ret_seconds)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.05 && seconds <= 3600))
		return false;
	*ret_seconds = seconds;
	return true;
}

static bool is_case(const char *name)
{
	for (size_t t = 0; t < N_TABLES; t++)
		for (const struct bench_case *at = tables[t]; at->name; at++)
			if (!strcmp(at->name, name))
				return true;
	return false;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct bench *bench = &arguments->bench;
	char rest;

	switch (key) {
	case 'j':
		arguments->json = true;
		return 0;
	case 'l':
		arguments->list = true;
		return 0;
	case 's':
		if (!parse_seconds(text, &bench->seconds))
			argp_error(state, "--seconds %s: 0.05 to 3600", text);
		return 0;
	case 'i':
		if (!parse_seconds(text, &bench->idle_seconds))
			argp_error(state, "--idle-seconds %s: 0.05 to 3600", text);
		return 0;
	case 'c':
		if (sscanf(text, "%u,%u%c", &bench->cpus[0], &bench->cpus[1], &rest) != 2 ||
		    bench->cpus[0] == bench->cpus[1] || bench->cpus[0] >= CPU_SETSIZE || bench->cpus[1] >= CPU_SETSIZE)
			argp_error(state, "--cpus %s: two different numbers, like 0,1", text);
		arguments->cpus_given = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!is_case(text))
			argp_error(state, "no case is called '%s' (--list shows them)", text);
		if (arguments->n_names == CASES_MAX)
			argp_error(state, "too many cases");
		arguments->names[arguments->n_names++] = text;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool is_asked_for(const struct arguments *arguments, const char *name)
{
	for (unsigned i = 0; i < arguments->n_names; i++)
		if (!strcmp(arguments->names[i], name))
			return true;
	return !arguments->n_names;
}

/* ---- the machine ---- */

static bool choose_cpus(struct bench *bench)
{
	cpu_set_t allowed;
	unsigned n = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return false;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			bench->cpus[n++] = cpu;
	return n == 2;
}

static void cpu_model(char *ret_text, size_t text_max)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	struct utsname machine;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !value)
			continue;
		value += strspn(value, ": \t");
		value[strcspn(value, "\n\"\\")] = '\0';
		snprintf(ret_text, text_max, "%s", value);
		fclose(file);
		return;
	}
	if (file)
		fclose(file);
	snprintf(ret_text, text_max, "%s", uname(&machine) ? "" : machine.machine);
}

/* Our module lies beside us; CHI_REPO_PATH, which may name others, stays in front. */
static void find_module(void)
{
	char self[PATH_MAX] = "", path[2 * PATH_MAX];
	const char *before = getenv("CHI_REPO_PATH");

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return;
	snprintf(path, sizeof(path), "%s%s%s/../bench", before ? before : "", before && *before ? ":" : "",
		 dirname(self));
	setenv("CHI_REPO_PATH", path, 1);
}

/* ---- output ---- */

/* 1234567.8 -> "1.235 M": four digits are more than such figures are worth */
static const char *human(double value, char text[16])
{
	if (value >= 1e6)
		snprintf(text, 16, "%.3f M", value / 1e6);
	else if (value >= 1e5)
		snprintf(text, 16, "%.1f k", value / 1e3);
	else
		snprintf(text, 16, "%.1f", value);
	return text;
}

static void print_header(void)
{
	printf("%-20s %11s %11s %11s %11s %-8s %6s %7s %5s %s\n", "case", "p50", "p99", "min", "max", "unit", "x ping",
	       "spread", "runs", "aim");
}

static void print_row(const char *name, const struct bench_result *result)
{
	char p50[16], p99[16], min[16], max[16], ratio[16] = "", runs[16];

	if (result->ratio > 0)
		snprintf(ratio, sizeof(ratio), "%.2f", result->ratio);
	snprintf(runs, sizeof(runs), result->n_discarded ? "%u-%u" : "%u", result->n_kept + result->n_discarded,
		 result->n_discarded);
	printf("%-20s %11s %11s %11s %11s %-8s %6s %6.1f%% %5s %s%s\n", name, human(result->run.p50, p50),
	       human(result->run.p99, p99), human(result->run.min, min), human(result->run.max, max), result->unit,
	       ratio, result->spread * 100, runs, result->aim ? result->aim : "",
	       !result->aim	 ? ""
	       : result->aim_met ? ": met"
				 : ": NOT met");
	fflush(stdout);
}

static void print_json(const char *name, const struct bench_result *result, const struct bench *bench, const char *cpu)
{
	const char *commit = getenv("CHIMAERA_COMMIT");

	printf("{\"bench\":\"%s\",\"params\":{%s},\"unit\":\"%s\",\"n\":%llu,\"min\":%.1f,\"p50\":%.1f,\"p99\":%.1f,"
	       "\"max\":%.1f,\"spread\":%.4f,",
	       name, result->params ? result->params : "", result->unit, (unsigned long long)result->run.n,
	       result->run.min, result->run.p50, result->run.p99, result->run.max, result->spread);
	if (result->ratio > 0)
		printf("\"ratio\":%.3f,", result->ratio);
	if (result->aim)
		printf("\"aim\":\"%s\",\"aim_met\":%s,", result->aim, result->aim_met ? "true" : "false");
	printf("\"runs\":%u,\"discarded\":%u,\"commit\":\"%s\",\"cpu\":\"%s\",\"pinned\":[%u,%u]}\n", result->n_kept,
	       result->n_discarded, commit ? commit : "", cpu, bench->cpus[0], bench->cpus[1]);
	fflush(stdout);
}

/* ---- all of it ---- */

static int list_cases(void)
{
	for (size_t t = 0; t < N_TABLES; t++)
		for (const struct bench_case *at = tables[t]; at->name; at++)
			printf("%-20s %s\n", at->name, at->help);
	return EXIT_SUCCESS;
}

static int run_cases(struct arguments *arguments, const char *cpu)
{
	unsigned n_failed = 0;

	if (!arguments->json) {
		printf("%s; CPUs %u and %u; ping-pong %.0f ns\n", cpu, arguments->bench.cpus[0],
		       arguments->bench.cpus[1], bench_placement_ns(&arguments->bench));
		print_header();
	}
	for (size_t t = 0; t < N_TABLES; t++) {
		for (const struct bench_case *at = tables[t]; at->name; at++) {
			struct bench_result result = { 0 };

			if (!is_asked_for(arguments, at->name))
				continue;
			if (at->run(&arguments->bench, &result)) {
				fprintf(stderr, "chimaera-bench: %s failed\n", at->name);
				n_failed++;
			} else if (arguments->json) {
				print_json(at->name, &result, &arguments->bench, cpu);
			} else {
				print_row(at->name, &result);
			}
		}
	}
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "[CASE...]",
		.doc = "Measure the runtime between two processes, and the machine under it.\v"
		       "A latency is also told as a multiple of a bare ping-pong between the same CPUs at the same time. "
		       "Of several runs those are thrown away between whose beginning and end the ping-pong has changed; "
		       "\"6-1\" under `runs' says that one of six was. p99 of a rate is its low end. "
		       "Exit status: 0, 1 a case failed, 64 bad usage, 77 there are no two CPUs.",
	};
	struct arguments arguments = { .bench = { .seconds = 2, .idle_seconds = 10 } };
	char cpu[128];
	int rc;

	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (arguments.list)
		return list_cases();
	if (!arguments.cpus_given && !choose_cpus(&arguments.bench)) {
		fprintf(stderr, "chimaera-bench: needs two CPUs to measure between\n");
		return 77;
	}
	find_module();
	cpu_model(cpu, sizeof(cpu));
	/* theirs too, so that a CPU that we may not use is found here and not in the other process */
	rc = bench_pin(arguments.bench.cpus[1]);
	if (!rc)
		rc = bench_pin(arguments.bench.cpus[0]);
	if (!rc)
		rc = bench_echo_start(arguments.bench.cpus[1], &arguments.bench.echo);
	if (rc) {
		fprintf(stderr, "chimaera-bench: CPUs %u and %u: %s\n", arguments.bench.cpus[0],
			arguments.bench.cpus[1], strerror(-rc));
		return EXIT_FAILURE;
	}
	rc = run_cases(&arguments, cpu);
	bench_echo_stop(arguments.bench.echo);
	return rc;
}
