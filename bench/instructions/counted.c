/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counted.c - the methods, and where they begin and end to count
 */
#include "counted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/module.h>
#include <valgrind/callgrind.h>

#define METHOD(name) \
	static int name(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)

METHOD(noop)
{
	(void)container;
	(void)task;
	(void)context;
	return 0;
}

METHOD(begin)
{
	char byte;
	ssize_t n;

	(void)container;
	(void)context;
	do
		n = read(((struct counted_begin *)task)->fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	CALLGRIND_ZERO_STATS;
	return n == 1 ? 0 : -EPIPE;
}

METHOD(end)
{
	(void)container;
	(void)task;
	(void)context;
	CALLGRIND_DUMP_STATS;
	return 0;
}

static void init_subtask(struct chi_container *container, struct chi_task *task, uint32_t size_bytes,
			 enum counted_method method)
{
	chi_task_init(task, size_bytes, chi_container_pool_id(container),
		      CHI_QUERY_LOCAL_ID(chi_container_id(container)), method);
}

METHOD(waits)
{
	struct chi_client *client = chi_context_client(context);
	struct chi_task sub;
	int ret = 0;

	init_subtask(container, &sub, sizeof(sub), COUNTED_NOOP);
	for (uint32_t i = 0; i < ((struct counted_waits *)task)->n_waits && !ret; i++) {
		ret = chi_submit(client, &sub);
		if (!ret)
			ret = chi_wait(&sub, HSHM_FOREVER);
	}
	return ret;
}

static int run_all(struct chi_client *client, struct counted_waits **subs, uint32_t n_subs)
{
	int ret;

	for (uint32_t n = 0; n < n_subs; n += (uint32_t)ret) {
		ret = chi_submit_many(client, (void *const *)subs + n, n_subs - n);
		if (ret < 0)
			return ret;
	}
	ret = chi_wait_all((void *const *)subs, n_subs, HSHM_FOREVER);
	for (uint32_t i = 0; i < n_subs && !ret; i++)
		ret = subs[i]->task.result;
	return ret;
}

static int run_rounds(struct chi_client *client, struct counted_waits **subs, uint32_t n_subs, uint32_t n_waits)
{
	int ret = 0;

	/* the first: fibers, stacks and contexts are made */
	for (uint32_t round = 0; round < 3 && !ret; round++) {
		for (uint32_t i = 0; i < n_subs; i++)
			subs[i]->n_waits = round == 2 ? 3 * n_waits : n_waits;
		if (round == 1)
			CALLGRIND_ZERO_STATS;
		ret = run_all(client, subs, n_subs);
		if (round > 0)
			CALLGRIND_DUMP_STATS;
	}
	return ret;
}

METHOD(crowd)
{
	const struct counted_waits *self = (const struct counted_waits *)task;
	struct counted_waits *memory = calloc(self->n_tasks, sizeof(*memory));
	struct counted_waits **subs = calloc(self->n_tasks, sizeof(*subs));
	int ret = memory && subs ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < self->n_tasks && !ret; i++) {
		subs[i] = &memory[i];
		init_subtask(container, &subs[i]->task, sizeof(*memory), COUNTED_WAITS);
	}
	if (!ret)
		ret = run_rounds(chi_context_client(context), subs, self->n_tasks, self->n_waits);
	free(subs);
	free(memory);
	return ret;
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	uint32_t n_lanes;

	if (params_size != sizeof(n_lanes))
		return -EINVAL;
	memcpy(&n_lanes, params, sizeof(n_lanes));
	return chi_container_create_local_queue(container, 0, n_lanes, 0);
}

static const struct chi_method methods[] = {
	{ .name = "noop", .id = COUNTED_NOOP, .run = noop, .task_size = sizeof(struct chi_task) },
	{ .name = "begin", .id = COUNTED_BEGIN, .run = begin, .task_size = sizeof(struct counted_begin) },
	{ .name = "end", .id = COUNTED_END, .run = end, .task_size = sizeof(struct chi_task) },
	{ .name = "waits", .id = COUNTED_WAITS, .run = waits, .task_size = sizeof(struct counted_waits) },
	{ .name = "crowd", .id = COUNTED_CROWD, .run = crowd, .task_size = sizeof(struct counted_waits) },
};

static const struct chi_module counted_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = COUNTED_MODULE,
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
};

CHI_MODULE(counted_module);
