/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_module.h - the module that the benchmarks call
 */
#ifndef BENCH_MODULE_H
#define BENCH_MODULE_H

#include <chimaera/task.h>

#define BENCH_MODULE "bench"

/* For a pool's create(): bytes of a uint32_t, how many lanes each container gets; none: the lanes it has by default. */

enum bench_method {
	BENCH_NOOP = 0, /* nothing: struct chi_task alone */
	BENCH_SPIN,	/* works for `count` ns */
	BENCH_ECHO,	/* struct bench_echo: the message comes back, its last word the first */

	/* struct bench_task: subtasks are noops of the parent's own container; wait.c */
	BENCH_NEST,	/* calls `count` of them, one after the other */
	BENCH_BLOCK,	/* submits each, and waits, blocked */
	BENCH_PARALLEL, /* `count` of them, `window` at a time: submitted, then waited for, all */
	BENCH_DEEP,	/* one that does the same with `count` - 1, down to 0; `window` times */

	/* lock.c */
	BENCH_LOCK, /* struct bench_lock: result: the worker it ran on */

	/* tick.c */
	BENCH_TICK,	/* periodic: notes how long after its time it starts */
	BENCH_LATENESS, /* answers what the ticks have noted since the last time: struct bench_lateness */

	/* stall.c */
	BENCH_HOLD,	 /* blocks and does not end */
	BENCH_STALL,	 /* stops its worker, the thread, until a release */
	BENCH_STALLED,	 /* result: 1 while one is stopped, else 0 */
	BENCH_RELEASE,	 /* ends a stall, or the next one at once */
	BENCH_WAIT_HIGH, /* waits for a noop that goes to the high-latency lanes */

	/* payload.c: struct bench_payload */
	BENCH_READ,  /* answers the sum of the buffer's words */
	BENCH_WRITE, /* fills it: word i is `count` + i */
};

struct bench_task {
	struct chi_task task;
	uint64_t count;
	uint64_t window;
	/* answer */
	uint64_t n_done;
	uint64_t begin_ns, end_ns; /* by the method's own clock, its first subtask and its last */
};

struct bench_echo {
	struct chi_task task;
	/* answer, too */
	uint64_t message[8];
};

struct bench_lock {
	struct chi_task task;
	uint64_t n_tasks; /* so many begin together, and end when each has had the lock `count` times */
	uint64_t count;
	/* answer */
	uint64_t begin_ns, end_ns;
	uint64_t n_held; /* how often anybody has ever held the lock */
};

#define BENCH_TICKS_MAX (UINT64_C(1) << 20)

struct bench_lateness {
	struct chi_task task;
	/* answer, in ns, of the first BENCH_TICKS_MAX */
	uint64_t n;
	uint64_t min, p50, p99, p999, max;
};

struct bench_payload {
	struct chi_task task;
	struct chi_buffer data; /* whole words */
	uint64_t count;
	/* answer */
	uint64_t sum;
};

/* The work of BENCH_READ and of those who check it; BENCH_WRITE's. */
static inline uint64_t bench_sum(const uint64_t *words, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += words[i];
	return sum;
}

static inline void bench_fill(uint64_t *words, uint64_t n, uint64_t first)
{
	for (uint64_t i = 0; i < n; i++)
		words[i] = first + i;
}

#endif
