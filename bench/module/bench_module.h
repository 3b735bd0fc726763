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
};

struct bench_task {
	struct chi_task task;
	uint64_t count;
	/* answer */
	uint64_t n_done;
};

#endif
