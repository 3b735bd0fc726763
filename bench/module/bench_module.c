/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_module.c - methods that do nothing, so that what is left to measure is the runtime
 */
#include "bench_module.h"

#include <chimaera/module.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define HOUR_NS (3600 * HSHM_NSEC_PER_SEC)

static void noop_subtask(struct chi_container *container, struct chi_task *sub)
{
	chi_task_init(sub, sizeof(*sub), chi_container_pool_id(container), CHI_QUERY_LOCAL_ID(0), BENCH_NOOP);
}

static int noop(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	return 0;
}

static int nest(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct bench_task *self = (struct bench_task *)task;
	struct chi_task sub;

	noop_subtask(container, &sub);
	for (self->n_done = 0; self->n_done < self->count; self->n_done++) {
		int ret = chi_call(chi_context_client(context), &sub);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Waits for a task that runs once an hour, and so completes only when somebody cancels it. */
static int hold(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_task sub;

	(void)task;
	noop_subtask(container, &sub);
	sub.flags = CHI_TASK_PERIODIC;
	sub.period_ns = HOUR_NS;
	return chi_call(chi_context_client(context), &sub);
}

/* ---- periodic tasks ---- */

struct ticks {
	hshm_au64 n;
	uint64_t late_ns[BENCH_TICKS_MAX];
};

static int tick(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct ticks *ticks = chi_container_state(container);
	uint64_t due_ns = chi_context_due_ns(context), i;

	(void)task;
	if (due_ns == 0)
		return 0; /* the first: it starts when it is taken */
	/* relaxed: a place of its own; who reads it waits for the tasks first */
	i = hshm_fetch_add_relaxed(&ticks->n, 1);
	if (i < BENCH_TICKS_MAX)
		ticks->late_ns[i] = hshm_clock_ns() - due_ns;
	return 0;
}

static int compare_ns(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static int lateness(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct bench_lateness *self = (struct bench_lateness *)task;
	struct ticks *ticks = chi_container_state(container);
	uint64_t n = hshm_load_relaxed(&ticks->n);

	(void)context;
	if (n == 0 || n > BENCH_TICKS_MAX)
		return -ERANGE;
	qsort(ticks->late_ns, n, sizeof(ticks->late_ns[0]), compare_ns);
	self->n = n;
	self->min = ticks->late_ns[0];
	self->p50 = ticks->late_ns[n / 2];
	self->p99 = ticks->late_ns[n - 1 - n / 100];
	self->max = ticks->late_ns[n - 1];
	hshm_store_relaxed(&ticks->n, 0);
	return 0;
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	struct ticks *ticks = calloc(1, sizeof(*ticks));

	(void)params;
	(void)params_size;
	if (!ticks)
		return -ENOMEM;
	chi_container_set_state(container, ticks);
	return 0;
}

static void destroy(struct chi_container *container)
{
	free(chi_container_state(container));
}

static const struct chi_method methods[] = {
	{ .name = "noop", .id = BENCH_NOOP, .task_size = sizeof(struct chi_task), .run = noop },
	{
		.name = "nest",
		.id = BENCH_NEST,
		.task_size = sizeof(struct bench_task),
		.run = nest,
		.out_offset = offsetof(struct bench_task, n_done),
		.out_size = sizeof(uint64_t),
	},
	{ .name = "hold", .id = BENCH_HOLD, .task_size = sizeof(struct chi_task), .run = hold },
	{ .name = "tick", .id = BENCH_TICK, .task_size = sizeof(struct chi_task), .run = tick },
	{
		.name = "lateness",
		.id = BENCH_LATENESS,
		.task_size = sizeof(struct bench_lateness),
		.run = lateness,
		.out_offset = offsetof(struct bench_lateness, n),
		.out_size = 5 * sizeof(uint64_t),
	},
};

static const struct chi_module bench_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = BENCH_MODULE,
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
	.destroy = destroy,
};

CHI_MODULE(bench_module);
