/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pingpong.c - what the machine itself can do: one word there, one word back, in two cache lines, nothing else
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <hshm/atomic.h>
#include <hshm/cdefs.h>
#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "other.h"
#include "references.h"
#include "samples.h"

#define PLACEMENT_NS	 (5 * HSHM_NSEC_PER_MSEC)
#define PLACEMENT_VALUES 8192u

/* The two words lie so far apart that the prefetcher does not pull one with the other. */
struct table {
	hshm_au64 ping HSHM_ALIGNED(HSHM_FALSE_SHARING);
	hshm_au64 pong HSHM_ALIGNED(HSHM_FALSE_SHARING);
	hshm_au32 playing HSHM_ALIGNED(HSHM_FALSE_SHARING); /* 0: the other side sleeps on it */
};

struct echo {
	struct table *table;
	pid_t pid;
	struct bench_samples samples; /* of bench_placement_ns() */
};

/* Not static inline with a relax: bare. Ends when the table is closed. */
static void answer(struct table *table)
{
	uint64_t last = hshm_load_relaxed(&table->pong); /* relaxed: our own word */

	/* relaxed: looked at until it changes */
	while (hshm_load_relaxed(&table->playing)) {
		/* acquire and release: the least that a hand-over of data needs; pairs with the other in ping() */
		uint64_t seen = hshm_load_acquire(&table->ping);

		if (seen != last) {
			hshm_store_release(&table->pong, seen);
			last = seen;
		}
	}
}

static int ping(void *arg)
{
	struct table *table = arg;
	uint64_t next = hshm_load_relaxed(&table->ping) + 1; /* relaxed: our own word */

	/* release, acquire: as in answer() */
	hshm_store_release(&table->ping, next);
	while (hshm_load_acquire(&table->pong) != next)
		;
	return 0;
}

/* ---- another process ---- */

static void serve(void *arg)
{
	struct table *table = arg;

	for (;;) {
		bench_gate_wait(&table->playing);
		answer(table);
	}
}

int bench_echo_start(unsigned cpu, struct echo **ret_echo)
{
	struct echo *echo = calloc(1, sizeof(*echo));
	int rc = -ENOMEM;

	if (!echo)
		return rc;
	echo->table = bench_shared_map(sizeof(*echo->table));
	if (echo->table)
		rc = bench_samples_init(&echo->samples, PLACEMENT_VALUES);
	if (!rc)
		rc = bench_other_start(cpu, serve, echo->table, &echo->pid);
	if (rc)
		bench_echo_stop(echo);
	else
		*ret_echo = echo;
	return rc;
}

void bench_echo_stop(struct echo *echo)
{
	bench_other_stop(echo->pid);
	bench_shared_unmap(echo->table, sizeof(*echo->table));
	bench_samples_fini(&echo->samples);
	free(echo);
}

static int slice_of(int (*op)(void *arg), struct echo *echo, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc;

	bench_gate_set(&echo->table->playing, 1);
	ping(echo->table); /* it is awake */
	rc = bench_latency_slice(op, echo->table, slice_ns, samples);
	bench_gate_set(&echo->table->playing, 0);
	return rc;
}

static int process_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	return slice_of(ping, arg, slice_ns, samples);
}

/* The seed's way to wait, bare. */
static int ping_and_sleep(void *arg)
{
	struct table *table = arg;
	uint64_t next = hshm_load_relaxed(&table->ping) + 1; /* relaxed: our own word */

	/* release, acquire: as in answer() */
	hshm_store_release(&table->ping, next);
	while (hshm_load_acquire(&table->pong) != next)
		HSHM_THREAD_MODEL->sleep_for_us(10);
	return 0;
}

static int poll_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	return slice_of(ping_and_sleep, arg, slice_ns, samples);
}

double bench_placement_ns(struct bench *bench)
{
	bench_samples_clear(&bench->echo->samples);
	(void)process_slice(bench->echo, PLACEMENT_NS, &bench->echo->samples); /* it cannot fail */
	return bench_samples_median(&bench->echo->samples);
}

static int process_start(struct bench *bench, void **ret_arg)
{
	*ret_arg = bench->echo;
	return 0;
}

static void process_stop(void *arg)
{
	(void)arg; /* main's */
}

const struct bench_reference bench_ref_pingpong = { "pingpong", "ns", process_start, process_slice, process_stop };
const struct bench_reference bench_ref_poll = { "poll-10us", "ns", process_start, poll_slice, process_stop };

/* ---- another thread ---- */

struct thread_echo {
	struct table table;
	unsigned cpu;
};

static void *thread_main(void *arg)
{
	struct thread_echo *echo = arg;

	if (!bench_pin(echo->cpu))
		answer(&echo->table);
	return NULL;
}

static int thread_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct thread_echo *echo = arg;
	pthread_t thread;
	int rc;

	hshm_store_release(&echo->table.playing, 1); /* release: as in bench_gate_set() */
	rc = pthread_create(&thread, NULL, thread_main, echo);
	if (rc)
		return -rc;
	ping(&echo->table); /* it is there */
	rc = bench_latency_slice(ping, &echo->table, slice_ns, samples);
	hshm_store_release(&echo->table.playing, 0);
	pthread_join(thread, NULL);
	return rc;
}

static int thread_start(struct bench *bench, void **ret_arg)
{
	static struct thread_echo echo;

	echo.cpu = bench->cpus[1];
	*ret_arg = &echo;
	return 0;
}

static void thread_stop(void *arg)
{
	(void)arg; /* static */
}

const struct bench_reference bench_ref_pingpong_threads = { "pingpong-threads", "ns", thread_start, thread_slice,
							    thread_stop };
