/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * output.c - a result, as a row for people or as a line of JSON
 */
#include <stdio.h>
#include <stdlib.h>

#include "output.h"

const char *bench_placement_name(double pingpong_ns)
{
	return !(pingpong_ns > 0) ? "" : pingpong_ns < BENCH_NEAR_NS ? "near" : "far";
}

/* ---- for people ---- */

const char *bench_human(double value, char text[16])
{
	if (value >= 1e6)
		snprintf(text, 16, "%.3f M", value / 1e6);
	else if (value >= 1e5)
		snprintf(text, 16, "%.1f k", value / 1e3);
	else
		snprintf(text, 16, "%.1f", value);
	return text;
}

void bench_print_header(void)
{
	printf("%-28s %11s %11s %11s %11s %-8s %7s %-16s %7s %-4s %6s %s\n", "case", "p50", "p99", "min", "max", "unit",
	       "ratio", "to", "spread", "", "runs", "aim");
}

void bench_print_row(const char *name, const struct bench_result *result)
{
	char p50[16], p99[16], min[16], max[16], ratio[16] = "", runs[32];

	if (result->ratio > 0)
		snprintf(ratio, sizeof(ratio), result->ratio < 10 ? "%.3f" : "%.1f", result->ratio);
	snprintf(runs, sizeof(runs), result->n_discarded ? "%u-%u" : "%u", result->n_kept + result->n_discarded,
		 result->n_discarded);
	printf("%-28s %11s %11s %11s %11s %-8s %7s %-16s %6.1f%% %-4s %6s %s%s\n", name,
	       bench_human(result->run.p50, p50), bench_human(result->run.p99, p99), bench_human(result->run.min, min),
	       bench_human(result->run.max, max), result->unit, ratio, result->reference ? result->reference : "",
	       result->spread * 100, bench_placement_name(result->pingpong_ns), runs, result->aim ? result->aim : "",
	       !result->aim	 ? ""
	       : result->aim_met ? ": met"
				 : ": NOT met");
	fflush(stdout);
}

/* ---- for programs ---- */

/* What is not known is null. */
static void print_number(const char *name, double value, bool is_known)
{
	if (is_known)
		printf("\"%s\":%.8g,", name, value);
	else
		printf("\"%s\":null,", name);
}

static void print_text(const char *name, const char *text)
{
	if (text && *text)
		printf("\"%s\":\"%s\",", name, text);
	else
		printf("\"%s\":null,", name);
}

void bench_print_json(const char *name, const struct bench_result *result, const struct bench *bench, const char *cpu)
{
	const struct bench_run *run = &result->run, *reference = &result->reference_run;
	const char *commit = getenv("CHIMAERA_COMMIT");

	printf("{\"bench\":\"%s\",", name);
	print_text("group", bench->group);
	printf("\"params\":{%s},\"unit\":\"%s\",\"n\":%llu,", result->params ? result->params : "", result->unit,
	       (unsigned long long)run->n);
	print_number("min", run->min, true);
	print_number("p50", run->p50, true);
	print_number("p99", run->p99, true);
	print_number("p99.9", run->p999, run->p999 > 0);
	print_number("max", run->max, true);
	print_number("ratio", result->ratio, result->ratio > 0);
	print_number("spread", result->spread, result->ratio > 0);
	print_text("reference", result->reference);
	print_number("reference_p50", reference->p50, reference->n > 0);
	print_number("reference_p99", reference->p99, reference->n > 0);
	print_text("placement", bench_placement_name(result->pingpong_ns));
	print_number("pingpong", result->pingpong_ns, result->pingpong_ns > 0);
	printf("\"kept\":%u,\"discarded\":%u,", result->n_kept, result->n_discarded);
	if (result->aim)
		printf("\"aim\":\"%s\",\"aim_met\":%s,", result->aim, result->aim_met ? "true" : "false");
	print_text("commit", commit);
	printf("\"cpu\":\"%s\",\"pinned\":[%u,%u]}\n", cpu, bench->cpus[0], bench->cpus[1]);
	fflush(stdout);
}
