/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * samples.h - the values behind a figure, for those that measure and fold
 */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include "bench.h"

struct bench_values {
	double *at;
	size_t n, n_max;
	double min, max; /* of all, those that found no room or were thinned out too */
};

struct bench_samples {
	struct bench_values batches; /* for min and p50; empty: the singles are */
	struct bench_values singles; /* for p99, p99.9 and max */
	uint64_t n;		     /* operations */
	uint32_t ops_per_call;
	uint64_t pause_ns;
};

/* Room for @n_max values of each kind, touched: no page faults among what is measured. */
int bench_samples_init(struct bench_samples *samples, size_t n_max);
/* Accepts zeroed ones. */
void bench_samples_fini(struct bench_samples *samples);
void bench_samples_clear(struct bench_samples *samples);

/* Adds @slice to @all, which grows; of many values some, evenly. */
int bench_samples_append(struct bench_samples *all, const struct bench_samples *slice);

/* Sorts. @is_rate: the low end is the bad one. */
void bench_samples_fold(struct bench_samples *samples, bool is_rate, struct bench_run *ret_run);
double bench_samples_median(struct bench_samples *samples);

void bench_sort(double *values, size_t n);
/* of sorted values; 0 of none */
double bench_quantile(const double *values, size_t n, double q);

#endif
