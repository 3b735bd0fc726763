/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * glib.c - GLib's thread pool: this thread pushes, the pool's one runs
 *
 * A task that waits would hold its thread, so the one that waits for a subtask is this thread. The pool knows nothing of
 * waiting: that is a count, and a condition when it is zero.
 */
#include "peer.h"

#include <errno.h>
#include <stdbool.h>

#include <glib.h>

#include <hshm/atomic.h>

#include "bench.h"

static struct {
	GThreadPool *pool;
	unsigned cpu;
	bool pinned; /* the pool's thread's */
	hshm_au64 n_left;
	GMutex mutex;
	GCond all_done;
} state;

static void run(gpointer task, gpointer arg)
{
	(void)task;
	(void)arg;
	if (!state.pinned)
		state.pinned = !bench_pin(state.cpu);
	/* acq_rel: who sees zero sees what the tasks did */
	if (hshm_fetch_sub_acq_rel(&state.n_left, 1) > 1)
		return;
	g_mutex_lock(&state.mutex);
	g_cond_signal(&state.all_done);
	g_mutex_unlock(&state.mutex);
}

static int push_and_wait(uint32_t n)
{
	hshm_store_relaxed(&state.n_left, n); /* relaxed: the pool's queue orders it */
	for (uint32_t i = 0; i < n; i++)
		if (!g_thread_pool_push(state.pool, &state, NULL))
			return -EAGAIN;
	g_mutex_lock(&state.mutex);
	while (hshm_load_acquire(&state.n_left))
		g_cond_wait(&state.all_done, &state.mutex);
	g_mutex_unlock(&state.mutex);
	return 0;
}

static int start(const unsigned cpus[2], void **ret_own)
{
	*ret_own = &state;
	state.cpu = cpus[1];
	state.pool = g_thread_pool_new(run, NULL, 1, TRUE, NULL);
	return state.pool ? push_and_wait(1) : -EAGAIN;
}

static int spawn(void *own, uint32_t n)
{
	(void)own;
	return push_and_wait(n);
}

static int nested(void *own, uint32_t n)
{
	int rc = 0;

	(void)own;
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = push_and_wait(1);
	return rc;
}

static void stop(void *own)
{
	(void)own;
	if (state.pool)
		g_thread_pool_free(state.pool, FALSE, TRUE);
	state.pool = NULL;
}

const struct bench_scheduler bench_schedulers_glib[] = {
	{ "glib", "GLib's thread pool: this thread pushes, one runs", false, start, spawn, nested, stop },
	{ 0 },
};
