/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_module.h - the module that the benchmarks call
 */
#ifndef BENCH_MODULE_H
#define BENCH_MODULE_H

#include <chimaera/task.h>

#define BENCH_MODULE "bench"

enum bench_method {
	BENCH_NOOP = 0, /* nothing: struct chi_task alone */
	BENCH_NEST,	/* `count` noop subtasks, one after the other, blocked in each wait */
	BENCH_HOLD,	/* blocks and does not end */
	BENCH_TICK,	/* periodic: notes how long after its time it starts */
	BENCH_LATENESS, /* answers what the ticks have noted since the last time: struct bench_lateness */
};

struct bench_task {
	struct chi_task task;
	uint64_t count;
	/* answer */
	uint64_t n_done;
};

#define BENCH_TICKS_MAX (UINT64_C(1) << 20)

struct bench_lateness {
	struct chi_task task;
	/* answer, in ns */
	uint64_t n;
	uint64_t min, p50, p99, max;
};

#endif
