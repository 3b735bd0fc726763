/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counted.h - the module whose tasks say from where to where the worker's instructions count
 *
 * valgrind's callgrind keeps the counts of each thread, and a request to it is about the thread that makes it. So it is the
 * worker that makes them, in tasks before and behind those that count.
 */
#ifndef BENCH_INSTRUCTIONS_COUNTED_H
#define BENCH_INSTRUCTIONS_COUNTED_H

#include <chimaera/task.h>

/* For a pool's create(): bytes of a uint32_t, how many lanes each container gets. */
#define COUNTED_MODULE "counted"

enum counted_method {
	COUNTED_NOOP = 0, /* struct chi_task alone */
	COUNTED_BEGIN,	  /* stops its worker until `fd` can be read; from there on it counts */
	COUNTED_END,	  /* what was counted goes to a file of its own: struct chi_task alone */
	COUNTED_WAITS,	  /* struct counted_waits: waits `n_waits` times for a noop that it submits */
	/* struct counted_waits: `n_tasks` of these at once, three times: the second time is counted, and the third, with
	 * three times as many waits. Each waits in one lane behind all the others, so all are blocked at once. */
	COUNTED_CROWD,
};

struct counted_begin {
	struct chi_task task;
	int32_t fd; /* of this process: the runtime is embedded */
};

struct counted_waits {
	struct chi_task task;
	uint32_t n_waits;
	uint32_t n_tasks;
};

#endif
