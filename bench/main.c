/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - chimaera-bench: measures, and prints a table or JSON
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "output.h"
#include "ratios.h"

#define CASES_MAX 256u

const char *argp_program_version = "chimaera-bench " CHIMAERA_VERSION;

/* The whole default list is to be over in three minutes; the rest of them is for starts and stops. */
#define QUICK_TOTAL_S 150.0
#define QUICK_CASE_S  2.0
#define FULL_CASE_S   6.0
#define CASE_MIN_S    0.25

struct arguments {
	bool json;
	bool list;
	bool cpus_given;
	bool seconds_given;
	bool check;
	bool record;
	const char *ratios_path;
	struct bench_ratios *ratios;
	struct bench bench;
	const char *names[CASES_MAX];
	unsigned n_names;
};

static const struct bench_group {
	const char *name;
	const struct bench_case *cases;
} groups[] = {
#define CASES(name) { #name, bench_##name##_cases },
#include "cases.def"
#undef CASES
};

#define N_GROUPS (sizeof(groups) / sizeof(groups[0]))

/* ---- options ---- */

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One JSON object a line, one line a case", 0 },
	{ "full", 'f', NULL, 0, "All cases, six seconds each", 0 },
	{ "seconds", 's', "N", 0, "Measure each case for so long (2 or less: the whole list in three minutes)", 0 },
	{ "idle-seconds", 'i', "N", 0, "Watch the idle runtime for so long (10)", 0 },
	{ "cpus", 'c', "A,B", 0, "Our CPU and the runtime's (the first two we may use)", 0 },
	{ "check", 'C', NULL, 0, "Fail when a ratio is worse than the recorded one by more than its spread", 0 },
	{ "record", 'R', NULL, 0, "Measure three times, and record the ratios", 0 },
	{ "ratios", 'r', "FILE", 0, "Where they are recorded (bench/ratios.txt)", 0 },
	{ "list", 'l', NULL, 0, "List the groups and their cases", 0 },
	{ 0 },
};

static bool is_name(const char *name)
{
	for (size_t g = 0; g < N_GROUPS; g++) {
		if (!strcmp(groups[g].name, name))
			return true;
		for (const struct bench_case *at = groups[g].cases; at->name; at++)
			if (!strcmp(at->name, name))
				return true;
	}
	return false;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct bench *bench = &arguments->bench;

	switch (key) {
	case 'j':
		arguments->json = true;
		return 0;
	case 'l':
		arguments->list = true;
		return 0;
	case 'C':
		arguments->check = true;
		return 0;
	case 'R':
		arguments->record = true;
		return 0;
	case 'r':
		arguments->ratios_path = text;
		return 0;
	case 'f':
		bench->full = true;
		return 0;
	case 's':
		arguments->seconds_given = true;
		if (!bench_parse_seconds(text, &bench->seconds))
			argp_error(state, "--seconds %s: 0.05 to 3600", text);
		return 0;
	case 'i':
		if (!bench_parse_seconds(text, &bench->idle_seconds))
			argp_error(state, "--idle-seconds %s: 0.05 to 3600", text);
		return 0;
	case 'c':
		if (!bench_parse_cpus(text, bench->cpus))
			argp_error(state, "--cpus %s: two different numbers, like 0,1", text);
		arguments->cpus_given = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!is_name(text))
			argp_error(state, "no case or group is called '%s' (--list shows them)", text);
		if (arguments->n_names == CASES_MAX)
			argp_error(state, "too many cases");
		arguments->names[arguments->n_names++] = text;
		return 0;
	case ARGP_KEY_END:
		if (arguments->check && arguments->record)
			argp_error(state, "--check and --record: one of them");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool is_named(const struct arguments *arguments, const char *name)
{
	for (unsigned i = 0; i < arguments->n_names; i++)
		if (!strcmp(arguments->names[i], name))
			return true;
	return false;
}

static bool is_asked_for(const struct arguments *arguments, const struct bench_group *group,
			 const struct bench_case *one)
{
	if (is_named(arguments, one->name))
		return true;
	if (one->only_full && !arguments->bench.full)
		return false;
	return !arguments->n_names || is_named(arguments, group->name);
}

/* ---- all of it ---- */

static int list_cases(void)
{
	for (size_t g = 0; g < N_GROUPS; g++) {
		printf("%s:\n", groups[g].name);
		for (const struct bench_case *at = groups[g].cases; at->name; at++)
			printf("  %-28s %s%s\n", at->name, at->help, at->only_full ? " (--full)" : "");
	}
	return EXIT_SUCCESS;
}

/* A case that takes longer than it was given leaves less to those after it. */
static double seconds_for_next(double seconds_left, unsigned n_left)
{
	double seconds = seconds_left / n_left;

	return seconds > QUICK_CASE_S ? QUICK_CASE_S : seconds < CASE_MIN_S ? CASE_MIN_S : seconds;
}

static const char *group_of(const struct bench_case *one)
{
	for (size_t g = 0; g < N_GROUPS; g++)
		for (const struct bench_case *at = groups[g].cases; at->name; at++)
			if (at == one)
				return groups[g].name;
	return NULL;
}

static int run_case(struct arguments *arguments, const struct bench_case *one, const char *cpu,
		    struct bench_result *ret_result)
{
	int rc;

	*ret_result = (struct bench_result){ 0 };
	arguments->bench.current = one;
	arguments->bench.group = group_of(one);
	rc = one->run(&arguments->bench, ret_result);
	if (rc == -ENOTSUP)
		fprintf(stderr, "chimaera-bench: %s: left out\n", one->name);
	else if (rc)
		fprintf(stderr, "chimaera-bench: %s failed\n", one->name);
	else if (arguments->json)
		bench_print_json(one->name, ret_result, &arguments->bench, cpu);
	else
		bench_print_row(one->name, ret_result);
	return rc;
}

/* What is worse is measured once more: the machine may have had a bad moment. */
static int check_case(struct arguments *arguments, const struct bench_case *one, const char *cpu,
		      struct bench_result *result)
{
	enum bench_verdict verdict;
	char text[256];
	int rc = 0;

	verdict = bench_ratios_check(arguments->ratios, one->name, result, text, sizeof(text));
	if (verdict == BENCH_WORSE) {
		rc = run_case(arguments, one, cpu, result);
		verdict = bench_ratios_check(arguments->ratios, one->name, result, text, sizeof(text));
	}
	if (!rc && verdict != BENCH_HOLDS)
		fprintf(stderr, "%s\n", text);
	return rc ? rc : verdict == BENCH_WORSE;
}

static int run_and_compare(struct arguments *arguments, const struct bench_case *one, const char *cpu)
{
	struct bench_result result;
	int rc = run_case(arguments, one, cpu, &result);

	if (rc)
		return rc == -ENOTSUP ? 0 : rc;
	if (arguments->check)
		rc = check_case(arguments, one, cpu, &result);
	if (!rc && arguments->record)
		rc = bench_ratios_put(arguments->ratios, one->name, &result);
	return rc;
}

static unsigned choose_cases(const struct arguments *arguments, const struct bench_case *ret_chosen[CASES_MAX])
{
	unsigned n = 0;

	for (size_t g = 0; g < N_GROUPS; g++)
		for (const struct bench_case *at = groups[g].cases; at->name && n < CASES_MAX; at++)
			if (is_asked_for(arguments, &groups[g], at))
				ret_chosen[n++] = at;
	return n;
}

/* Returns how many failed. */
static unsigned run_cases(struct arguments *arguments, const char *cpu)
{
	const struct bench_case *chosen[CASES_MAX];
	struct bench *bench = &arguments->bench;
	unsigned n = choose_cases(arguments, chosen), n_failed = 0;
	uint64_t begin_ns = bench_now_ns();

	if (!arguments->json) {
		printf("%s; CPUs %u and %u; ping-pong %.0f ns\n", cpu, bench->cpus[0], bench->cpus[1],
		       bench_placement_ns(bench));
		bench_print_header();
	}
	for (unsigned i = 0; i < n; i++) {
		double taken = (double)(bench_now_ns() - begin_ns) / 1e9;

		if (!arguments->seconds_given)
			bench->seconds = bench->full ? FULL_CASE_S : seconds_for_next(QUICK_TOTAL_S - taken, n - i);
		n_failed += run_and_compare(arguments, chosen[i], cpu) != 0;
	}
	return n_failed;
}

static int run_passes(struct arguments *arguments, const char *cpu)
{
	unsigned n_passes = arguments->record ? BENCH_RECORD_PASSES : 1, n_failed = 0;

	for (unsigned i = 0; i < n_passes; i++)
		n_failed += run_cases(arguments, cpu);
	if (arguments->record)
		n_failed += bench_ratios_save(arguments->ratios, arguments->ratios_path) != 0;
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "[GROUP|CASE...]",
		.doc = "Measure the runtime between two processes, and the machine under it.\v"
		       "Each case takes turns with a reference, some milliseconds each, and `ratio' is the median of how they compare: "
		       "for a latency less is better, for a rate (tasks/s) more is. A rate against a ping-pong is how many are done "
		       "in the time of one. Rounds between whose beginning and end a ping-pong between the two CPUs has changed are "
		       "thrown away, and those with another placement (near: a ping-pong below 300 ns) than most; \"46-1\" under `runs' "
		       "says that one of 46 was. p99 of a rate is its low end. "
		       "--check tells on stderr which ratios are worse and which have no record with this placement; what is worse is "
		       "measured once more. "
		       "Exit status: 0, 1 a case failed or is worse, 64 bad usage, 77 there are no two CPUs.",
	};
	struct arguments arguments = { .bench = { .idle_seconds = 10 }, .ratios_path = "bench/ratios.txt" };
	char cpu[128];
	int rc;

	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (arguments.list)
		return list_cases();
	if ((arguments.check || arguments.record) &&
	    bench_ratios_load(arguments.ratios_path, arguments.record, &arguments.ratios))
		return EXIT_FAILURE;
	rc = bench_machine_start(&arguments.bench, arguments.cpus_given, cpu, sizeof(cpu));
	if (rc)
		return rc;
	rc = run_passes(&arguments, cpu);
	bench_echo_stop(arguments.bench.echo);
	bench_ratios_free(arguments.ratios);
	return rc;
}
