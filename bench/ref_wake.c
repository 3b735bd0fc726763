/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ref_wake.c - round trip of two processes that sleep until the other wakes them, in each way the kernel has for it
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hshm/atomic.h>
#include <hshm/cdefs.h>

#include "other.h"
#include "references.h"

/* One of the two. */
struct end {
	hshm_au32 *word; /* what it sleeps on, or NULL */
	uint32_t seen;	 /* of the word */
	int event_fd;
	int epoll_fd;
};

struct pair {
	struct end ends[2]; /* ours, the other's */
	void (*wake)(struct end *end);
	void (*sleep)(struct end *end);
	struct words {
		hshm_au32 at HSHM_ALIGNED(HSHM_FALSE_SHARING);
	} * words;
	pid_t pid;
};

/* ---- ways ---- */

static void event_wake(struct end *end)
{
	if (eventfd_write(end->event_fd, 1))
		abort();
}

static void event_sleep(struct end *end)
{
	eventfd_t value;

	while (eventfd_read(end->event_fd, &value))
		if (errno != EINTR)
			abort();
}

/* Edge-triggered, and never read: the fewest calls there are. */
static void epoll_sleep(struct end *end)
{
	struct epoll_event event;

	while (epoll_wait(end->epoll_fd, &event, 1, -1) < 0)
		if (errno != EINTR)
			abort();
}

static void futex_wake(struct end *end)
{
	/* release: what was written before is seen by who wakes up */
	hshm_fetch_add_release(end->word, 1);
	syscall(SYS_futex, &end->word->v, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_sleep(struct end *end)
{
	/* acquire: pairs with futex_wake() */
	while (hshm_load_acquire(end->word) == end->seen)
		syscall(SYS_futex, &end->word->v, FUTEX_WAIT, end->seen, NULL, NULL, 0);
	end->seen++;
}

/* ---- round trips ---- */

static void serve(void *arg)
{
	struct pair *pair = arg;

	for (;;) {
		pair->sleep(&pair->ends[1]);
		pair->wake(&pair->ends[0]);
	}
}

static int round_trip(void *arg)
{
	struct pair *pair = arg;

	pair->wake(&pair->ends[1]);
	pair->sleep(&pair->ends[0]);
	return 0;
}

static int slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	return bench_latency_slice(round_trip, arg, slice_ns, samples);
}

/* ---- start and stop ---- */

static void stop(void *arg)
{
	struct pair *pair = arg;

	bench_other_stop(pair->pid);
	for (unsigned i = 0; i < 2; i++) {
		if (pair->ends[i].event_fd >= 0)
			close(pair->ends[i].event_fd);
		if (pair->ends[i].epoll_fd >= 0)
			close(pair->ends[i].epoll_fd);
	}
	bench_shared_unmap(pair->words, 2 * sizeof(*pair->words));
	free(pair);
}

static int open_end(struct end *end, hshm_au32 *word)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	*end = (struct end){ word, 0, eventfd(0, EFD_CLOEXEC), epoll_create1(EPOLL_CLOEXEC) };
	if (end->event_fd < 0 || end->epoll_fd < 0 || epoll_ctl(end->epoll_fd, EPOLL_CTL_ADD, end->event_fd, &event))
		return -errno;
	return 0;
}

static int start(struct bench *bench, void (*wake)(struct end *end), void (*sleep)(struct end *end), void **ret_arg)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int rc = -ENOMEM;

	if (!pair)
		return rc;
	pair->wake = wake;
	pair->sleep = sleep;
	for (unsigned i = 0; i < 2; i++)
		pair->ends[i] = (struct end){ .event_fd = -1, .epoll_fd = -1 };
	pair->words = bench_shared_map(2 * sizeof(*pair->words));
	if (pair->words)
		rc = open_end(&pair->ends[0], &pair->words[0].at);
	if (!rc)
		rc = open_end(&pair->ends[1], &pair->words[1].at);
	if (!rc)
		rc = bench_other_start(bench->cpus[1], serve, pair, &pair->pid);
	if (rc)
		stop(pair);
	else
		*ret_arg = pair;
	return rc;
}

static int start_eventfd(struct bench *bench, void **ret_arg)
{
	return start(bench, event_wake, event_sleep, ret_arg);
}

static int start_epoll(struct bench *bench, void **ret_arg)
{
	return start(bench, event_wake, epoll_sleep, ret_arg);
}

static int start_futex(struct bench *bench, void **ret_arg)
{
	return start(bench, futex_wake, futex_sleep, ret_arg);
}

const struct bench_reference bench_ref_eventfd = { "eventfd", "ns", start_eventfd, slice, stop };
const struct bench_reference bench_ref_epoll = { "epoll-eventfd", "ns", start_epoll, slice, stop };
const struct bench_reference bench_ref_futex = { "futex", "ns", start_futex, slice, stop };
