/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * samples.c - values, timed one by one or in batches, and their quantiles
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "samples.h"

#define BATCH	       16u
#define SLOW_NS	       5000u
#define RUN_VALUES_MAX (1u << 20)
/* of one slice, kept: 99.9 % still has 16 above it */
#define KEPT_MAX 16384u

/* ---- values ---- */

static int values_init(struct bench_values *values, size_t n_max)
{
	*values = (struct bench_values){ .n_max = n_max };
	values->at = malloc(n_max * sizeof(double));
	if (!values->at)
		return -ENOMEM;
	memset(values->at, 0, n_max * sizeof(double));
	return 0;
}

static void values_see(struct bench_values *values, double min, double max)
{
	if (!values->n || min < values->min)
		values->min = min;
	if (!values->n || max > values->max)
		values->max = max;
}

static void values_add(struct bench_values *values, double value)
{
	values_see(values, value, value);
	if (values->n < values->n_max)
		values->at[values->n++] = value;
}

static int values_append(struct bench_values *all, const struct bench_values *slice)
{
	size_t stride = slice->n / KEPT_MAX + 1, n_more = slice->n / stride + 1;

	if (!slice->n)
		return 0;
	if (all->n + n_more > all->n_max) {
		size_t n_max = 2 * all->n_max + n_more;
		double *at = realloc(all->at, n_max * sizeof(double));

		if (!at)
			return -ENOMEM;
		all->at = at;
		all->n_max = n_max;
	}
	values_see(all, slice->min, slice->max);
	for (size_t i = 0; i < slice->n; i += stride)
		all->at[all->n++] = slice->at[i];
	return 0;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void bench_sort(double *values, size_t n)
{
	if (n)
		qsort(values, n, sizeof(*values), compare_doubles);
}

double bench_quantile(const double *values, size_t n, double q)
{
	return n ? values[(size_t)(q * (double)(n - 1) + 0.5)] : 0;
}

/* ---- samples ---- */

int bench_samples_init(struct bench_samples *samples, size_t n_max)
{
	int rc;

	*samples = (struct bench_samples){ 0 };
	rc = values_init(&samples->batches, n_max);
	if (!rc)
		rc = values_init(&samples->singles, n_max);
	if (rc)
		bench_samples_fini(samples);
	return rc;
}

void bench_samples_fini(struct bench_samples *samples)
{
	free(samples->batches.at);
	free(samples->singles.at);
	*samples = (struct bench_samples){ 0 };
}

void bench_samples_clear(struct bench_samples *samples)
{
	samples->batches.n = 0;
	samples->singles.n = 0;
	samples->n = 0;
}

int bench_samples_append(struct bench_samples *all, const struct bench_samples *slice)
{
	int rc = values_append(&all->batches, &slice->batches);

	if (!rc)
		rc = values_append(&all->singles, &slice->singles);
	all->n += slice->n;
	return rc;
}

double bench_samples_median(struct bench_samples *samples)
{
	struct bench_values *values = samples->batches.n ? &samples->batches : &samples->singles;

	bench_sort(values->at, values->n);
	return bench_quantile(values->at, values->n, 0.5);
}

void bench_samples_fold(struct bench_samples *samples, bool is_rate, struct bench_run *ret_run)
{
	const struct bench_values *batches = samples->batches.n ? &samples->batches : &samples->singles;
	const struct bench_values *singles = &samples->singles;

	*ret_run = (struct bench_run){ .n = samples->n, .p50 = bench_samples_median(samples) };
	bench_sort(singles->at, singles->n);
	ret_run->min = batches->n ? batches->min : 0;
	ret_run->p99 = bench_quantile(singles->at, singles->n, is_rate ? 0.01 : 0.99);
	ret_run->p999 = bench_quantile(singles->at, singles->n, is_rate ? 0.001 : 0.999);
	ret_run->max = singles->n ? singles->max : 0;
}

void bench_sample(struct bench_samples *samples, double value, uint64_t n)
{
	values_add(&samples->singles, value);
	samples->n += n;
}

/* ---- slices ---- */

static void pause_for(uint64_t pause_ns)
{
	struct timespec left = { (time_t)(pause_ns / 1000000000u), (long)(pause_ns % 1000000000u) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

int bench_latency_slice(int (*op)(void *arg), void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	double per = samples->ops_per_call ? samples->ops_per_call : 1;
	/* the first alone: it tells whether it is slow */
	unsigned batch = 0;
	uint64_t now_ns = bench_now_ns(), end_ns = now_ns + slice_ns;
	int rc = 0;

	do {
		uint64_t start_ns, middle_ns;

		if (samples->pause_ns)
			pause_for(samples->pause_ns);
		start_ns = samples->pause_ns ? bench_now_ns() : now_ns;
		for (unsigned i = 0; i < batch && !rc; i++)
			rc = op(arg);
		middle_ns = batch ? bench_now_ns() : start_ns;
		if (!rc)
			rc = op(arg);
		now_ns = bench_now_ns();
		values_add(&samples->batches,
			   (double)(batch ? middle_ns - start_ns : now_ns - middle_ns) / ((batch ? batch : 1) * per));
		values_add(&samples->singles, (double)(now_ns - middle_ns) / per);
		samples->n += (uint64_t)((batch + 1) * per);
		batch = now_ns - middle_ns < SLOW_NS && !samples->pause_ns ? BATCH : 0;
	} while (now_ns < end_ns && !rc);
	return rc;
}

int bench_rate_slice(int (*ops)(void *arg, uint32_t n), void *arg, uint32_t window, uint64_t slice_ns,
		     struct bench_samples *samples)
{
	uint64_t now_ns = bench_now_ns(), end_ns = now_ns + slice_ns;
	int rc;

	do {
		uint64_t start_ns = now_ns;

		rc = ops(arg, window);
		now_ns = bench_now_ns();
		bench_sample(samples, window * 1e9 / (double)(now_ns - start_ns), window);
	} while (now_ns < end_ns && !rc);
	return rc;
}

/* ---- runs ---- */

int bench_latency_run(int (*op)(void *arg), void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	struct bench_samples samples;
	int rc = bench_samples_init(&samples, RUN_VALUES_MAX);

	if (rc)
		return rc;
	rc = bench_latency_slice(op, arg, run_ns, &samples);
	bench_samples_fold(&samples, false, ret_run);
	bench_samples_fini(&samples);
	return rc;
}

int bench_rate_run(int (*ops)(void *arg, uint32_t n), void *arg, uint32_t window, uint64_t run_ns,
		   struct bench_run *ret_run)
{
	struct bench_samples samples;
	int rc = bench_samples_init(&samples, RUN_VALUES_MAX);

	if (rc)
		return rc;
	rc = bench_rate_slice(ops, arg, window, run_ns, &samples);
	bench_samples_fold(&samples, true, ret_run);
	bench_samples_fini(&samples);
	return rc;
}
