/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libuv.c - libuv's work queue: the loop's thread hands in, a thread of its pool runs, the loop learns of it
 *
 * Only the loop may hand in, so it is the loop that waits for a subtask.
 */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>

#include <uv.h>

#include "bench.h"

#define REQUESTS_MAX (1u << 20)

static struct {
	uv_loop_t loop;
	uv_work_t *requests;
	unsigned cpu;
	bool pinned; /* the pool's thread's */
	uint64_t n_run, n_told;
} state;

static void work(uv_work_t *request)
{
	(void)request;
	if (!state.pinned)
		state.pinned = !bench_pin(state.cpu);
	state.n_run++;
}

static void after_work(uv_work_t *request, int status)
{
	(void)request;
	state.n_told += status == 0;
}

static int queue_and_wait(uint32_t n)
{
	int rc = n <= REQUESTS_MAX ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < n && !rc; i++)
		rc = uv_queue_work(&state.loop, &state.requests[i], work, after_work);
	if (!rc)
		uv_run(&state.loop, UV_RUN_DEFAULT);
	return rc; /* libuv's errors are negative errnos */
}

static int check(uint64_t n, int rc)
{
	if (!rc && (state.n_run != n || state.n_told != n))
		rc = -EBADMSG;
	state.n_run = state.n_told = 0;
	return rc;
}

static int spawn(void *own, uint32_t n)
{
	(void)own;
	return check(n, queue_and_wait(n));
}

static int nested(void *own, uint32_t n)
{
	int rc = 0;

	(void)own;
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = queue_and_wait(1);
	return check(n, rc);
}

static int start(const unsigned cpus[2], void **ret_own)
{
	*ret_own = &state;
	state.cpu = cpus[1];
	/* this thread and one more */
	setenv("UV_THREADPOOL_SIZE", "1", 1);
	/* zeroed, and so touched, before it is measured */
	state.requests = calloc(REQUESTS_MAX, sizeof(*state.requests));
	if (!state.requests)
		return -ENOMEM;
	for (uint32_t i = 0; i < REQUESTS_MAX; i++)
		state.requests[i].data = &state;
	return uv_loop_init(&state.loop);
}

static void stop(void *own)
{
	(void)own;
	free(state.requests);
	state.requests = NULL;
	uv_loop_close(&state.loop);
}

const struct bench_scheduler bench_schedulers_libuv[] = {
	{ "libuv", "libuv's work queue: the loop hands in, one thread runs", false, start, spawn, nested, stop },
	{ 0 },
};
