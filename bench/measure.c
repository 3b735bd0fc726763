/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * measure.c - rounds and runs between ping-pongs, and what is made of those that are kept
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hshm/clock.h>

#include "samples.h"

#define SLICE_VALUES_MAX (1u << 18)

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

bool bench_is_rate(const char *unit)
{
	size_t n = strlen(unit);

	return n >= 2 && !strcmp(unit + n - 2, "/s");
}

/* ---- placement ---- */

enum { NEAR, FAR, N_PLACEMENTS };

/* Or somebody else has one of the CPUs. */
static bool has_changed(double before, double after)
{
	return before > BENCH_TAKEN_NS || after > BENCH_TAKEN_NS || before > after * BENCH_PLACEMENT_CHANGE ||
	       after > before * BENCH_PLACEMENT_CHANGE;
}

static int placement_of(double pingpong_ns)
{
	return pingpong_ns < BENCH_NEAR_NS ? NEAR : FAR;
}

static int gave_up(unsigned n_tried)
{
	fprintf(stderr,
		"chimaera-bench: the CPUs change their places all the time, or are not ours alone: fewer than %u of %u rounds are alike\n",
		BENCH_RUNS_MIN, n_tried);
	return -EAGAIN;
}

/* Median and spread (between the quartiles) of the figures that @result->n_kept rounds gave. */
static double fold_figures(double *figures, struct bench_result *result)
{
	unsigned n = result->n_kept;
	double median;

	bench_sort(figures, n);
	median = bench_quantile(figures, n, 0.5);
	result->spread = median > 0 ? (bench_quantile(figures, n, 0.75) - bench_quantile(figures, n, 0.25)) / median
				    : 0;
	return median;
}

static double median_of(double *values, unsigned n)
{
	bench_sort(values, n);
	return bench_quantile(values, n, 0.5);
}

void bench_once(double value, struct bench_result *ret_result)
{
	ret_result->run = (struct bench_run){ 1, value, value, value, value, value };
	ret_result->n_kept = 1;
}

/* ---- pairs: rounds of a slice each ---- */

/* What the rounds of one placement have given. */
struct bin {
	struct bench_samples samples[2]; /* the case's, the reference's */
	double ratios[BENCH_ROUNDS_MAX];
	double pingpongs[BENCH_ROUNDS_MAX];
	unsigned n;
};

struct pair {
	struct bench *bench;
	const struct bench_side *sides[2];
	struct bench_samples slices[2]; /* of the round at hand */
	struct bin bins[N_PLACEMENTS];
	unsigned n_tried;
	double pingpong_ns; /* the last */
	bool is_rate[2];
};

static int measure_slice(struct pair *pair, unsigned side, uint64_t slice_ns)
{
	struct bench_samples *samples = &pair->slices[side];

	bench_samples_clear(samples);
	samples->ops_per_call = pair->sides[side]->ops_per_call;
	samples->pause_ns = pair->sides[side]->pause_ns;
	return pair->sides[side]->slice(pair->sides[side]->arg, slice_ns, samples);
}

static int bin_add(struct bin *bin, struct pair *pair, double pingpong_ns)
{
	double reference = bench_samples_median(&pair->slices[1]);
	int rc = 0;

	if (pair->is_rate[0] && !pair->is_rate[1] && reference > 0)
		reference = 1e9 / reference;
	for (unsigned side = 0; side < 2 && !rc; side++)
		rc = bench_samples_append(&bin->samples[side], &pair->slices[side]);
	bin->ratios[bin->n] = reference > 0 ? bench_samples_median(&pair->slices[0]) / reference : 0;
	bin->pingpongs[bin->n] = pingpong_ns;
	bin->n++;
	return rc;
}

/* Who begins changes from round to round, so that a machine that gets slower all the time favours nobody. */
static int measure_round(struct pair *pair, uint64_t slice_ns)
{
	unsigned first = pair->n_tried++ & 1;
	double before = pair->pingpong_ns;
	int rc = measure_slice(pair, first, slice_ns);

	if (!rc)
		rc = measure_slice(pair, !first, slice_ns);
	pair->pingpong_ns = bench_placement_ns(pair->bench);
	if (rc || has_changed(before, pair->pingpong_ns))
		return rc;
	before = (before + pair->pingpong_ns) / 2;
	return bin_add(&pair->bins[placement_of(before)], pair, before);
}

static struct bin *fuller_bin(struct pair *pair)
{
	return &pair->bins[pair->bins[FAR].n > pair->bins[NEAR].n ? FAR : NEAR];
}

static int measure_rounds(struct pair *pair)
{
	uint64_t limit_ns = (uint64_t)(pair->bench->seconds * 1e9), begin_ns, taken_ns = 0;
	uint64_t slice_ns = limit_ns / (4 * BENCH_RUNS_MIN) < BENCH_SLICE_NS ? limit_ns / (4 * BENCH_RUNS_MIN)
									     : BENCH_SLICE_NS;
	int rc = measure_slice(pair, 0, slice_ns / 4);

	if (!rc)
		rc = measure_slice(pair, 1, slice_ns / 4);
	begin_ns = bench_now_ns();
	pair->pingpong_ns = bench_placement_ns(pair->bench);
	while (!rc && pair->n_tried < BENCH_ROUNDS_MAX) {
		bool enough = fuller_bin(pair)->n >= BENCH_RUNS_MIN;

		if (taken_ns >= limit_ns && enough)
			return 0;
		if (taken_ns >= BENCH_PATIENCE * limit_ns && pair->n_tried >= BENCH_PATIENCE * BENCH_RUNS_MIN)
			return gave_up(pair->n_tried);
		rc = measure_round(pair, slice_ns);
		taken_ns = bench_now_ns() - begin_ns;
	}
	if (!rc && fuller_bin(pair)->n < BENCH_RUNS_MIN)
		return gave_up(pair->n_tried);
	return rc;
}

static void fold_pair(struct pair *pair, struct bench_result *result)
{
	struct bin *bin = fuller_bin(pair);

	result->n_kept = bin->n;
	result->n_discarded = pair->n_tried - bin->n;
	bench_samples_fold(&bin->samples[0], pair->is_rate[0], &result->run);
	bench_samples_fold(&bin->samples[1], pair->is_rate[1], &result->reference_run);
	result->ratio = fold_figures(bin->ratios, result);
	result->pingpong_ns = median_of(bin->pingpongs, bin->n);
	result->reference = pair->sides[1]->name;
}

int bench_measure_pair(struct bench *bench, const struct bench_side *side, const struct bench_side *reference,
		       struct bench_result *ret_result)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int rc = pair ? 0 : -ENOMEM;

	if (rc)
		return rc;
	pair->bench = bench;
	pair->sides[0] = side;
	pair->sides[1] = reference;
	pair->is_rate[0] = bench_is_rate(ret_result->unit);
	pair->is_rate[1] = bench_is_rate(reference->unit ? reference->unit : ret_result->unit);
	for (unsigned i = 0; i < 2 && !rc; i++)
		rc = bench_samples_init(&pair->slices[i], SLICE_VALUES_MAX);
	if (!rc)
		rc = measure_rounds(pair);
	if (!rc)
		fold_pair(pair, ret_result);
	for (unsigned i = 0; i < 2; i++) {
		bench_samples_fini(&pair->slices[i]);
		bench_samples_fini(&pair->bins[NEAR].samples[i]);
		bench_samples_fini(&pair->bins[FAR].samples[i]);
	}
	free(pair);
	return rc;
}

/* ---- runs ---- */

struct runs {
	struct bench_run run[BENCH_RUNS_MAX];
	double pingpongs[BENCH_RUNS_MAX];
	unsigned n;
};

static void fold_runs(struct runs *runs, bool is_latency, struct bench_result *result)
{
	double p50[BENCH_RUNS_MAX], p99[BENCH_RUNS_MAX], p999[BENCH_RUNS_MAX], ratios[BENCH_RUNS_MAX];
	struct bench_run *all = &result->run;
	unsigned n = runs->n;

	*all = (struct bench_run){ .min = runs->run[0].min };
	for (unsigned i = 0; i < n; i++) {
		const struct bench_run *run = &runs->run[i];

		p50[i] = run->p50;
		p99[i] = run->p99;
		p999[i] = run->p999;
		ratios[i] = is_latency ? run->p50 / runs->pingpongs[i] : run->p50 * runs->pingpongs[i] / 1e9;
		all->n += run->n;
		all->min = run->min < all->min ? run->min : all->min;
		all->max = run->max > all->max ? run->max : all->max;
	}
	result->n_kept = n;
	all->p50 = median_of(p50, n);
	all->p99 = median_of(p99, n);
	all->p999 = median_of(p999, n);
	result->ratio = fold_figures(ratios, result);
	result->pingpong_ns = median_of(runs->pingpongs, n);
	result->reference = "pingpong";
}

int bench_measure(struct bench *bench, bench_run_fn fn, void *arg, bool is_latency, struct bench_result *ret_result)
{
	uint64_t run_ns = (uint64_t)(bench->seconds * 1e9 / BENCH_RUNS_MIN);
	static struct runs placements[N_PLACEMENTS];
	struct bench_run run;
	unsigned n_tried = 0;
	double before, after;
	int rc = fn(arg, run_ns / 10 + 1, &run);

	memset(placements, 0, sizeof(placements));
	after = bench_placement_ns(bench);
	while (!rc && placements[NEAR].n < BENCH_RUNS_MIN && placements[FAR].n < BENCH_RUNS_MIN) {
		struct runs *runs;

		if (n_tried++ == BENCH_RUNS_MAX)
			return gave_up(BENCH_RUNS_MAX);
		before = after;
		rc = fn(arg, run_ns, &run);
		after = bench_placement_ns(bench);
		if (has_changed(before, after))
			continue;
		before = (before + after) / 2;
		runs = &placements[placement_of(before)];
		runs->run[runs->n] = run;
		runs->pingpongs[runs->n++] = before;
	}
	if (rc)
		return rc;
	fold_runs(&placements[placements[FAR].n == BENCH_RUNS_MIN ? FAR : NEAR], is_latency, ret_result);
	ret_result->n_discarded = n_tried - ret_result->n_kept;
	return 0;
}
