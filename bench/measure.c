/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * measure.c - runs, and what is made of them
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hshm/clock.h>

#include "bench.h"

#define BATCH	    16u
#define SAMPLES_MAX (1u << 20)

uint64_t bench_now_ns(void)
{
	return hshm_clock_ns();
}

int bench_pin(unsigned cpu)
{
	return bench_allow((const unsigned[]){ cpu, cpu });
}

int bench_allow(const unsigned cpus[2])
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpus[0], &set);
	CPU_SET(cpus[1], &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

/* ---- samples ---- */

struct samples {
	double *values;
	size_t n;
};

static int samples_init(struct samples *samples)
{
	samples->n = 0;
	samples->values = malloc(SAMPLES_MAX * sizeof(double));
	if (!samples->values)
		return -ENOMEM;
	/* touched now: no page faults among what is measured */
	memset(samples->values, 0, SAMPLES_MAX * sizeof(double));
	return 0;
}

static void samples_add(struct samples *samples, double value)
{
	if (samples->n < SAMPLES_MAX)
		samples->values[samples->n++] = value;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* @samples: sorted */
static double quantile(const struct samples *samples, double q)
{
	return samples->n ? samples->values[(size_t)(q * (double)(samples->n - 1) + 0.5)] : 0;
}

static void samples_sort(struct samples *samples)
{
	qsort(samples->values, samples->n, sizeof(double), compare_doubles);
}

/* ---- one run ---- */

int bench_latency_run(int (*op)(void *arg), void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	struct samples batches, singles;
	uint64_t now_ns, end_ns;
	int rc = samples_init(&batches);

	if (rc)
		return rc;
	rc = samples_init(&singles);
	if (rc) {
		free(batches.values);
		return rc;
	}
	*ret_run = (struct bench_run){ 0 };
	now_ns = bench_now_ns();
	end_ns = now_ns + run_ns;
	while (now_ns < end_ns && !rc) {
		uint64_t start_ns = now_ns, middle_ns;

		for (unsigned i = 0; i < BATCH && !rc; i++)
			rc = op(arg);
		middle_ns = bench_now_ns();
		rc = rc ? rc : op(arg);
		now_ns = bench_now_ns();
		samples_add(&batches, (double)(middle_ns - start_ns) / BATCH);
		samples_add(&singles, (double)(now_ns - middle_ns));
		ret_run->n += BATCH + 1;
	}
	samples_sort(&batches);
	samples_sort(&singles);
	ret_run->min = quantile(&batches, 0);
	ret_run->p50 = quantile(&batches, 0.5);
	ret_run->p99 = quantile(&singles, 0.99);
	ret_run->max = quantile(&singles, 1);
	free(batches.values);
	free(singles.values);
	return rc;
}

int bench_rate_run(int (*ops)(void *arg, uint32_t n), void *arg, uint32_t window, uint64_t run_ns,
		   struct bench_run *ret_run)
{
	struct samples rates;
	uint64_t now_ns, end_ns;
	int rc = samples_init(&rates);

	if (rc)
		return rc;
	*ret_run = (struct bench_run){ 0 };
	now_ns = bench_now_ns();
	end_ns = now_ns + run_ns;
	while (now_ns < end_ns && !rc) {
		uint64_t start_ns = now_ns;

		rc = ops(arg, window);
		now_ns = bench_now_ns();
		samples_add(&rates, window * 1e9 / (double)(now_ns - start_ns));
		ret_run->n += window;
	}
	samples_sort(&rates);
	ret_run->min = quantile(&rates, 0);
	ret_run->p50 = quantile(&rates, 0.5);
	/* of a rate the bad end is the low one */
	ret_run->p99 = quantile(&rates, 0.01);
	ret_run->max = quantile(&rates, 1);
	free(rates.values);
	return rc;
}

/* ---- all runs of a case ---- */

static double median_of(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare_doubles);
	return n ? values[n / 2] : 0;
}

static void fold_runs(const struct bench_run *runs, double *ratios, struct bench_result *result)
{
	double p50[BENCH_RUNS_MAX], p99[BENCH_RUNS_MAX];
	unsigned n = result->n_kept;

	result->run = (struct bench_run){ .min = runs[0].min };
	for (unsigned i = 0; i < n; i++) {
		p50[i] = runs[i].p50;
		p99[i] = runs[i].p99;
		result->run.n += runs[i].n;
		if (runs[i].min < result->run.min)
			result->run.min = runs[i].min;
		if (runs[i].max > result->run.max)
			result->run.max = runs[i].max;
	}
	result->run.p50 = median_of(p50, n);
	result->run.p99 = median_of(p99, n);
	result->spread = result->run.p50 > 0 ? (p50[n - 1] - p50[0]) / result->run.p50 : 0;
	result->ratio = median_of(ratios, n);
}

int bench_measure(struct bench *bench, bench_run_fn fn, void *arg, bool is_latency, struct bench_result *ret_result)
{
	uint64_t run_ns = (uint64_t)(bench->seconds * 1e9 / BENCH_RUNS_MIN);
	struct bench_run runs[BENCH_RUNS_MAX], warm_up;
	double ratios[BENCH_RUNS_MAX] = { 0 };
	int rc = fn(arg, run_ns / 10 + 1, &warm_up);

	ret_result->n_kept = 0;
	ret_result->n_discarded = 0;
	while (!rc && ret_result->n_kept < BENCH_RUNS_MIN &&
	       ret_result->n_kept + ret_result->n_discarded < BENCH_RUNS_MAX) {
		struct bench_run *run = &runs[ret_result->n_kept];
		double before = bench_placement_ns(bench), after;

		rc = fn(arg, run_ns, run);
		after = bench_placement_ns(bench);
		if (before > after * BENCH_PLACEMENT_CHANGE || after > before * BENCH_PLACEMENT_CHANGE) {
			ret_result->n_discarded++;
			continue;
		}
		if (is_latency)
			ratios[ret_result->n_kept] = run->p50 / ((before + after) / 2);
		ret_result->n_kept++;
	}
	if (rc)
		return rc;
	if (ret_result->n_kept < BENCH_RUNS_MIN) {
		fprintf(stderr,
			"chimaera-bench: the CPUs change their places all the time: %u of %u runs thrown away\n",
			ret_result->n_discarded, BENCH_RUNS_MAX);
		return -EAGAIN;
	}
	fold_runs(runs, ratios, ret_result);
	return 0;
}
