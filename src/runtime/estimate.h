/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate.h - how long will a task of this method take? Learned: a running least-squares fit of time against the bytes
 * of its declared buffers, in which old runs fade.
 */
#ifndef RUNTIME_ESTIMATE_H
#define RUNTIME_ESTIMATE_H

#include <stdint.h>

#include <hshm/atomic.h>

#define CHI_ESTIMATE_UNKNOWN_NS 10000u /* before anything was learned */

struct chi_estimate {
	hshm_au32 busy;		/* a worker updates it; another that finds it so skips its sample */
	uint32_t n, n_outliers; /* samples (up to the warm-up); far ones in a row */
	double weight, sum_x, sum_y, sum_xx, sum_xy; /* under busy */
	hshm_au64 base_ns;			     /* published: time = base + slope * bytes */
	hshm_au64 slope_ns_per_mib;
};

void chi_estimate_learn(struct chi_estimate *estimate, uint64_t bytes, uint64_t ns);
uint64_t chi_estimate_ns(const struct chi_estimate *estimate, uint64_t bytes);

#endif
