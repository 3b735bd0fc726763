/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate.c - a running weighted least-squares line through (bytes, time)
 *
 * Each sample counts by 1 / prediction^2, so that what is made small is the relative error: a task of 4 KiB is judged
 * as well as one of 64 MiB. Old samples fade by FADE at each new one. A sample far from the line (a preempted task) is
 * pulled in to OUTLIER times the prediction; CHANGED of them in a row mean that the world has changed: learn anew.
 */
#include "runtime/estimate.h"

#include <math.h>

#define FADE	   0.98 /* the last 50 or so samples decide */
#define OUTLIER	   4.0
#define CHANGED	   8u
#define WARM_UP	   4u
#define FLOOR_NS   50.0 /* shorter predictions do not get more weight */
#define CEILING_NS 1e18
#define MIB	   1048576.0

static double predict(const struct chi_estimate *estimate, double mib)
{
	return (double)hshm_load_relaxed(&estimate->base_ns) +
	       (double)hshm_load_relaxed(&estimate->slope_ns_per_mib) * mib;
}

static void forget(struct chi_estimate *estimate)
{
	estimate->n = 0;
	estimate->n_outliers = 0;
	estimate->weight = 0;
	estimate->sum_x = estimate->sum_y = 0;
	estimate->sum_xx = estimate->sum_xy = 0;
}

static void publish(struct chi_estimate *estimate)
{
	double spread = estimate->weight * estimate->sum_xx - estimate->sum_x * estimate->sum_x;
	double base = estimate->sum_y / estimate->weight;
	double slope = 0;

	/* all samples of (nearly) one size say nothing about a slope: their mean it is */
	if (spread > 1e-6 * estimate->weight * estimate->sum_xx) {
		slope = (estimate->weight * estimate->sum_xy - estimate->sum_x * estimate->sum_y) / spread;
		base = (estimate->sum_y - slope * estimate->sum_x) / estimate->weight;
		if (slope < 0) { /* the best level line */
			slope = 0;
			base = estimate->sum_y / estimate->weight;
		} else if (base < 0) { /* the best line through 0 */
			base = 0;
			slope = estimate->sum_xy / estimate->sum_xx;
		}
	}
	base = fmin(fmax(base, 1), CEILING_NS);
	slope = fmin(slope, CEILING_NS);

	/* relaxed: a reader may pair an old base with a new slope; both come from neighbouring fits */
	hshm_store_relaxed(&estimate->base_ns, (uint64_t)base);
	hshm_store_relaxed(&estimate->slope_ns_per_mib, (uint64_t)slope);
}

void chi_estimate_learn(struct chi_estimate *estimate, uint64_t bytes, uint64_t ns)
{
	double x = (double)bytes / MIB;
	double y = fmin((double)ns, CEILING_NS);
	double scale = y;
	double w;
	uint32_t idle = 0;

	/* acquire: pairs with the release below, so that we see the sums of the worker before us */
	if (!hshm_cas_acquire(&estimate->busy, &idle, 1))
		return;
	if (estimate->n >= WARM_UP) {
		scale = fmax(predict(estimate, x), FLOOR_NS);
		if (y >= scale / OUTLIER && y <= scale * OUTLIER) {
			estimate->n_outliers = 0;
		} else if (++estimate->n_outliers < CHANGED) {
			y = fmin(fmax(y, scale / OUTLIER), scale * OUTLIER);
		} else {
			forget(estimate);
			scale = y;
		}
	}
	w = 1.0 / (fmax(scale, FLOOR_NS) * fmax(scale, FLOOR_NS));
	estimate->weight = FADE * estimate->weight + w;
	estimate->sum_x = FADE * estimate->sum_x + w * x;
	estimate->sum_y = FADE * estimate->sum_y + w * y;
	estimate->sum_xx = FADE * estimate->sum_xx + w * x * x;
	estimate->sum_xy = FADE * estimate->sum_xy + w * x * y;
	if (estimate->n < WARM_UP)
		estimate->n++;
	publish(estimate);
	/* release: hands the sums to the next; pairs with the acquire above */
	hshm_store_release(&estimate->busy, 0);
}

uint64_t chi_estimate_ns(const struct chi_estimate *estimate, uint64_t bytes)
{
	double ns = predict(estimate, (double)bytes / MIB);

	/* a fit never publishes 0: that is a method which has not run yet */
	return ns < 1 ? CHI_ESTIMATE_UNKNOWN_NS : (uint64_t)fmin(ns, CEILING_NS);
}
