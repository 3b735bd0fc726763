/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait.c - tasks that wait for subtasks
 */
#include <errno.h>

#include "methods.h"

typedef int subtask_fn(struct chi_client *client, struct chi_task *sub);

static int call(struct chi_client *client, struct chi_task *sub)
{
	return chi_call(client, sub);
}

/* Between the two the task could do something else: so it is not run in place. */
static int submit_and_wait(struct chi_client *client, struct chi_task *sub)
{
	int ret = chi_submit(client, sub);

	return ret < 0 ? ret : chi_wait(sub, HSHM_FOREVER);
}

static int one_by_one(struct chi_container *container, struct bench_task *self, struct chi_run_context *context,
		      subtask_fn *run)
{
	struct chi_task sub;
	int ret = 0;

	bench_subtask(container, &sub, sizeof(sub), BENCH_NOOP);
	self->begin_ns = hshm_clock_ns();
	for (self->n_done = 0; self->n_done < self->count && ret >= 0; self->n_done += ret >= 0)
		ret = run(chi_context_client(context), &sub);
	self->end_ns = hshm_clock_ns();
	return ret < 0 ? ret : 0;
}

METHOD(bench_nest)
{
	return one_by_one(container, (struct bench_task *)task, context, call);
}

METHOD(bench_block)
{
	return one_by_one(container, (struct bench_task *)task, context, submit_and_wait);
}

static int submit_all(struct chi_client *client, struct chi_task *const *tasks, uint32_t n_tasks)
{
	for (uint32_t n = 0; n < n_tasks;) {
		int ret = chi_submit_many(client, (void *const *)tasks + n, n_tasks - n);

		if (ret < 0)
			return ret;
		n += (uint32_t)ret;
	}
	return 0;
}

METHOD(bench_parallel)
{
	struct bench_task *self = (struct bench_task *)task;
	struct chi_client *client = chi_context_client(context);
	uint32_t window = (uint32_t)self->window;
	struct chi_task *memory, **subs;
	int ret = chi_task_arena_alloc(context, window * sizeof(*memory), &memory);

	if (!ret)
		ret = chi_task_arena_alloc(context, window * sizeof(struct chi_task *), &subs);
	if (ret)
		return ret;
	for (uint32_t i = 0; i < window; i++) {
		subs[i] = &memory[i];
		bench_subtask(container, subs[i], sizeof(*memory), BENCH_NOOP);
	}
	self->begin_ns = hshm_clock_ns();
	for (self->n_done = 0; self->n_done < self->count && !ret; self->n_done += window) {
		ret = submit_all(client, subs, window);
		if (!ret)
			ret = chi_wait_all((void *const *)subs, window, HSHM_FOREVER);
	}
	self->end_ns = hshm_clock_ns();
	for (uint32_t i = 0; i < window && !ret; i++)
		ret = subs[i]->result;
	return ret;
}

/* The first one repeats and takes the time: the clock would cost those below more than the wait. */
METHOD(bench_deep)
{
	struct bench_task *self = (struct bench_task *)task;
	uint64_t n_times = self->window ? self->window : 1;
	struct bench_task sub;
	int ret = 0;

	self->n_done = 0;
	if (!self->count)
		return 0;
	bench_subtask(container, &sub.task, sizeof(sub), BENCH_DEEP);
	sub.count = self->count - 1;
	if (self->window)
		self->begin_ns = hshm_clock_ns();
	for (uint64_t i = 0; i < n_times && !ret; i++) {
		ret = chi_call(chi_context_client(context), &sub);
		self->n_done += sub.n_done + 1;
	}
	if (self->window)
		self->end_ns = hshm_clock_ns();
	return ret;
}
