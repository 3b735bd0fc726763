/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stall.c - tasks that stay, and what makes them stay
 */
#include <errno.h>
#include <semaphore.h>

#include "methods.h"

#define HOUR_NS (3600 * HSHM_NSEC_PER_SEC)

/* Waits for a task that runs once an hour, and so completes only when somebody cancels it. */
METHOD(bench_hold)
{
	struct chi_task sub;

	(void)task;
	bench_subtask(container, &sub, sizeof(sub), BENCH_NOOP);
	sub.flags = CHI_TASK_PERIODIC;
	sub.period_ns = HOUR_NS;
	return chi_call(chi_context_client(context), &sub);
}

/* What methods must not do: while the worker is stopped, what its lanes hold waits, and so do those who wait for it. */
static sem_t released;
static hshm_au32 is_stalled;

__attribute__((constructor)) static void make_semaphore(void)
{
	sem_init(&released, 0, 0);
}

METHOD(bench_stall)
{
	(void)container;
	(void)task;
	(void)context;
	hshm_store_relaxed(&is_stalled, 1); /* relaxed, all: nothing hangs on it but what comes after a look at it */
	while (sem_wait(&released) && errno == EINTR)
		;
	hshm_store_relaxed(&is_stalled, 0);
	return 0;
}

METHOD(bench_stalled)
{
	(void)container;
	(void)task;
	(void)context;
	return (int)hshm_load_relaxed(&is_stalled);
}

METHOD(bench_release)
{
	(void)container;
	(void)task;
	(void)context;
	return sem_post(&released) ? -errno : 0;
}

METHOD(bench_wait_high)
{
	struct chi_task sub;

	(void)task;
	bench_subtask(container, &sub, sizeof(sub), BENCH_NOOP);
	sub.flags = CHI_TASK_HIGH_LATENCY;
	return chi_call(chi_context_client(context), &sub);
}
