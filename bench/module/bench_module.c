/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_module.c - methods that do nothing, so that what is left to measure is the runtime
 */
#include "bench_module.h"

#include <chimaera/module.h>
#include <stddef.h>

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
};

static const struct chi_module bench_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = BENCH_MODULE,
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
};

CHI_MODULE(bench_module);
