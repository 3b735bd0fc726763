/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pingpong.c - what the machine itself can do: one word there, one word back, in two cache lines, nothing else
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hshm/atomic.h>
#include <hshm/cdefs.h>
#include <hshm/clock.h>

#include "references.h"
#include "samples.h"

#define PLACEMENT_NS	 (5 * HSHM_NSEC_PER_MSEC)
#define PLACEMENT_VALUES 8192u

/* The two words lie so far apart that the prefetcher does not pull one with the other. */
struct table {
	hshm_au64 ping HSHM_ALIGNED(HSHM_FALSE_SHARING);
	hshm_au64 pong HSHM_ALIGNED(HSHM_FALSE_SHARING);
	hshm_au32 playing HSHM_ALIGNED(HSHM_FALSE_SHARING); /* 0: the other side sleeps on it */
	hshm_au32 quit;
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

static void echo_main(struct table *table, unsigned cpu)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (bench_pin(cpu))
		_exit(1);
	/* relaxed: looked at again and again */
	while (!hshm_load_relaxed(&table->quit)) {
		syscall(SYS_futex, &table->playing.v, FUTEX_WAIT, 0, NULL, NULL, 0);
		answer(table);
	}
	_exit(0);
}

int bench_echo_start(unsigned cpu, struct echo **ret_echo)
{
	struct echo *echo = calloc(1, sizeof(*echo));
	int fd = memfd_create("chimaera-bench", MFD_CLOEXEC);

	if (!echo || fd < 0 || ftruncate(fd, sizeof(struct table)))
		return -errno;
	if (bench_samples_init(&echo->samples, PLACEMENT_VALUES))
		return -ENOMEM;
	echo->table = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (echo->table == MAP_FAILED)
		return -errno;
	echo->pid = fork();
	if (echo->pid < 0)
		return -errno;
	if (!echo->pid)
		echo_main(echo->table, cpu);
	*ret_echo = echo;
	return 0;
}

static void set_playing(struct table *table, uint32_t playing)
{
	hshm_store_release(&table->playing, playing); /* release: `quit` is seen with it */
	if (playing)
		syscall(SYS_futex, &table->playing.v, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void bench_echo_stop(struct echo *echo)
{
	/* relaxed: ordered by set_playing() */
	hshm_store_relaxed(&echo->table->quit, 1);
	set_playing(echo->table, 1);
	set_playing(echo->table, 0);
	waitpid(echo->pid, NULL, 0);
	munmap(echo->table, sizeof(*echo->table));
	bench_samples_fini(&echo->samples);
	free(echo);
}

static int process_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct echo *echo = arg;
	int rc;

	set_playing(echo->table, 1);
	ping(echo->table); /* it is awake */
	rc = bench_latency_slice(ping, echo->table, slice_ns, samples);
	set_playing(echo->table, 0);
	return rc;
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

	hshm_store_release(&echo->table.playing, 1); /* release: as in set_playing() */
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
