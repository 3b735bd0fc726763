/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * echo.c - a module for clients that lie (echo.h)
 */
#include "echo.h"

#include <chimaera/module.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static struct echo_task *echo(struct chi_task *task)
{
	return (struct echo_task *)task;
}

static int add(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)context;
	echo(task)->out = echo(task)->in + 1;
	return 0;
}

static int copy(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_buffer *buffers = echo(task)->buffers;
	const void *from = chi_context_buffer(context, &buffers[0]);
	void *to = chi_context_buffer(context, &buffers[1]);
	uint64_t n = buffers[0].size_bytes < buffers[1].size_bytes ? buffers[0].size_bytes : buffers[1].size_bytes;

	(void)container;
	if (!from || !to)
		return -EINVAL;
	memmove(to, from, n);
	echo(task)->out = n;
	return 0;
}

static int sum(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)context;
	echo(task)->out = chi_container_id(container);
	return 0;
}

static void fold_sum(struct chi_task *into, const struct chi_task *from)
{
	echo(into)->out += ((const struct echo_task *)from)->out;
}

static void init_sub(struct chi_container *container, struct echo_task *sub, uint64_t in)
{
	chi_task_init(&sub->task, sizeof(*sub), chi_container_pool_id(container), CHI_QUERY_LOCAL_HASH(in), ECHO_ADD);
	sub->in = in;
}

static int nest(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	for (uint64_t i = 0; i < echo(task)->in % 4; i++) {
		struct echo_task sub;
		int ret;

		init_sub(container, &sub, echo(task)->in + i);
		ret = chi_call(chi_context_client(context), &sub);
		if (ret < 0)
			return ret;
		echo(task)->out += sub.out;
	}
	return 0;
}

static int yield(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)context;
	for (uint64_t i = 0; i < echo(task)->in % 8; i++)
		chi_yield();
	return 0;
}

static int fail(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)context;
	return -(int)(echo(task)->in % 4096);
}

static int detach(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_client *client = chi_context_client(context);

	for (uint64_t i = 0; i < echo(task)->in % 4; i++) {
		struct echo_task *sub;
		int ret = chi_task_alloc(client, sizeof(*sub), chi_container_pool_id(container),
					 CHI_QUERY_LOCAL_HASH(i), ECHO_ADD, &sub);

		if (ret < 0)
			return ret;
		sub->task.flags = CHI_TASK_FIRE_AND_FORGET;
		ret = chi_submit(client, sub);
		if (ret < 0) {
			chi_task_free(client, sub);
			return ret;
		}
	}
	return 0;
}

static int until(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task;
	for (uint32_t i = 0; i < 200; i++) {
		if (chi_cancelled(context))
			return -ECANCELED;
		chi_yield();
	}
	return 0;
}

#define ECHO_METHOD(number, function, ...)                                                                   \
	{                                                                                                    \
		.name = #function, .id = (number), .task_size = sizeof(struct echo_task), .run = (function), \
		.buffers_offset = offsetof(struct echo_task, buffers), .n_buffers = 2,                       \
		.out_offset = offsetof(struct echo_task, out), .out_size = sizeof(uint64_t), __VA_ARGS__     \
	}

static const struct chi_method methods[] = {
	ECHO_METHOD(ECHO_ADD, add),	  ECHO_METHOD(ECHO_COPY, copy),	  ECHO_METHOD(ECHO_SUM, sum, .fold = fold_sum),
	ECHO_METHOD(ECHO_NEST, nest),	  ECHO_METHOD(ECHO_YIELD, yield), ECHO_METHOD(ECHO_FAIL, fail),
	ECHO_METHOD(ECHO_DETACH, detach), ECHO_METHOD(ECHO_UNTIL, until),
};

static const struct chi_module echo_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "echo",
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
};

CHI_MODULE(echo_module);
