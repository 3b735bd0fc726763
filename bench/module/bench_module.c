/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_module.c - methods that do little or nothing, so that what is left to measure is the runtime
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "methods.h"

static METHOD(noop)
{
	(void)container;
	(void)task;
	(void)context;
	return 0;
}

static METHOD(spin)
{
	uint64_t end_ns = hshm_clock_ns() + ((struct bench_task *)task)->count;

	(void)container;
	(void)context;
	while (hshm_clock_ns() < end_ns)
		;
	return 0;
}

static METHOD(echo)
{
	struct bench_echo *self = (struct bench_echo *)task;

	(void)container;
	(void)context;
	self->message[7] = self->message[0];
	return 0;
}

void bench_subtask(struct chi_container *container, struct chi_task *task, uint32_t size_bytes,
		   enum bench_method method)
{
	chi_task_init(task, size_bytes, chi_container_pool_id(container),
		      CHI_QUERY_LOCAL_ID(chi_container_id(container)), method);
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	struct bench_container *self = calloc(1, sizeof(*self));
	uint32_t n_lanes;

	if (!self)
		return -ENOMEM;
	chi_container_set_state(container, self);
	if (params_size != sizeof(n_lanes))
		return params_size ? -EINVAL : 0;
	memcpy(&n_lanes, params, sizeof(n_lanes));
	return chi_container_create_local_queue(container, 0, n_lanes, 0);
}

static void destroy(struct chi_container *container)
{
	free(chi_container_state(container));
}

#define ENTRY(method_id, method_name, function, type, ...)                                                          \
	{                                                                                                           \
		.name = (method_name), .id = (method_id), .run = (function), .task_size = sizeof(type), __VA_ARGS__ \
	}
/* the answer is what stands behind the member before it */
#define ANSWERS(type, before) .out_offset = offsetof(type, before), .out_size = sizeof(type) - offsetof(type, before)
#define PAYLOAD \
	.buffers_offset = offsetof(struct bench_payload, data), .n_buffers = 1, ANSWERS(struct bench_payload, sum)

static const struct chi_method methods[] = {
	ENTRY(BENCH_NOOP, "noop", noop, struct chi_task),
	ENTRY(BENCH_SPIN, "spin", spin, struct bench_task),
	ENTRY(BENCH_ECHO, "echo", echo, struct bench_echo, ANSWERS(struct bench_echo, message)),
	ENTRY(BENCH_NEST, "nest", bench_nest, struct bench_task, ANSWERS(struct bench_task, n_done)),
	ENTRY(BENCH_BLOCK, "block", bench_block, struct bench_task, ANSWERS(struct bench_task, n_done)),
	ENTRY(BENCH_PARALLEL, "parallel", bench_parallel, struct bench_task, ANSWERS(struct bench_task, n_done)),
	ENTRY(BENCH_DEEP, "deep", bench_deep, struct bench_task, ANSWERS(struct bench_task, n_done)),
	ENTRY(BENCH_LOCK, "lock", bench_lock, struct bench_lock, ANSWERS(struct bench_lock, begin_ns)),
	ENTRY(BENCH_TICK, "tick", bench_tick, struct chi_task),
	ENTRY(BENCH_LATENESS, "lateness", bench_lateness, struct bench_lateness, ANSWERS(struct bench_lateness, n)),
	ENTRY(BENCH_HOLD, "hold", bench_hold, struct chi_task),
	ENTRY(BENCH_STALL, "stall", bench_stall, struct chi_task),
	ENTRY(BENCH_STALLED, "stalled", bench_stalled, struct chi_task),
	ENTRY(BENCH_RELEASE, "release", bench_release, struct chi_task),
	ENTRY(BENCH_WAIT_HIGH, "wait_high", bench_wait_high, struct chi_task),
	ENTRY(BENCH_READ, "read", bench_read, struct bench_payload, PAYLOAD),
	ENTRY(BENCH_WRITE, "write", bench_write, struct bench_payload, PAYLOAD),
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
