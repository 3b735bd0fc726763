/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task.c - the calls on tasks that are the same in a client and in a method
 */
#include <chimaera/task.h>
#include <errno.h>
#include <string.h>

#include "task/error.h"
#include "task/submitter.h"

/* A full lane is retried this often before the caller gets off the core for a moment. */
#define CALL_RETRIES_BEFORE_YIELD 16

void chi_task_init(struct chi_task *task, uint32_t size_bytes, uint32_t pool_id, struct chi_domain_query query,
		   uint32_t method_id)
{
	memset(task, 0, size_bytes);
	task->version = CHI_TASK_VERSION;
	task->size_bytes = size_bytes;
	task->pool_id = pool_id;
	task->method_id = method_id;
	task->query = query;
}

int chi_task_alloc(struct chi_client *client, uint32_t size_bytes, uint32_t pool_id, struct chi_domain_query query,
		   uint32_t method_id, void *ret_task)
{
	void *memory;
	int ret;

	if (size_bytes < sizeof(struct chi_task) || size_bytes > CHI_TASK_SIZE_MAX)
		return chi_error_set(-EINVAL, "a task of %u bytes: allowed are %zu to %u", size_bytes,
				     sizeof(struct chi_task), CHI_TASK_SIZE_MAX);
	ret = client->ops->alloc(client, size_bytes, &memory);
	if (ret < 0)
		return ret;
	chi_task_init(memory, size_bytes, pool_id, query, method_id);
	*(void **)ret_task = memory;
	return 0;
}

static int check_usable(const struct chi_client *client)
{
	return client->ops->usable ? client->ops->usable(client) : 0;
}

/* In flight; unless its runtime is gone. */
static bool will_be_done(struct chi_client *client, const struct chi_task *task)
{
	void *const tasks[1] = { (void *)(uintptr_t)task };

	return !client->ops->serves || client->ops->serves(client, tasks, 1, hshm_clock_ns()) == 0;
}

int chi_task_free(struct chi_client *client, void *memory)
{
	struct chi_task *task = memory;
	int ret;

	if (!task)
		return 0;
	ret = check_usable(client);
	if (ret < 0)
		return ret;
	if (task->submitter && !chi_task_done(task)) {
		if (chi_task_is_dispatched(task))
			return chi_error_set(-EBUSY,
					     "the task's callback is still to be called: chi_client_dispatch()");
		if (will_be_done(client, task))
			return chi_error_set(-EBUSY, "the task is in flight: wait for it first");
	}
	client->ops->free(client, task);
	return 0;
}

int chi_alloc(struct chi_client *client, uint64_t size_bytes, void *ret_memory)
{
	void *memory;
	int ret = client->ops->alloc(client, size_bytes, &memory);

	if (ret < 0)
		return ret;
	*(void **)ret_memory = memory;
	return 0;
}

void chi_free(struct chi_client *client, void *memory)
{
	if (memory)
		client->ops->free(client, memory);
}

int chi_buffer_set(struct chi_client *client, struct chi_buffer *buffer, void *memory, uint64_t size_bytes,
		   uint32_t flags)
{
	struct hipc_ptr ptr;
	int ret;

	if (flags == 0 || (flags & ~(uint32_t)(CHI_BUFFER_IN | CHI_BUFFER_OUT)))
		return chi_error_set(-EINVAL, "buffer flags 0x%x: CHI_BUFFER_IN, CHI_BUFFER_OUT or both", flags);
	ret = client->ops->locate(client, memory, size_bytes, &ptr);
	if (ret < 0)
		return ret;
	buffer->ptr = ptr;
	buffer->size_bytes = size_bytes;
	buffer->flags = flags;
	buffer->reserved = 0;
	return 0;
}

int chi_task_check_idle(struct chi_client *client, const struct chi_task *task)
{
	if (!task->submitter || chi_task_done(task))
		return 0;
	if (chi_task_submitter(task) != client)
		return chi_error_set(-EINVAL, "the task is in flight through another client");
	if (will_be_done(client, task))
		return chi_error_set(-EBUSY, "the task is in flight already");
	return chi_error_set(-EOWNERDEAD, "the task was in flight in a runtime that is gone: allocate it anew");
}

int chi_task_submit_as(struct chi_client *client, struct chi_task *task, uint64_t completion, enum chi_submit_next next)
{
	int ret = chi_task_check_idle(client, task);

	if (ret < 0)
		return ret;
	/* relaxed: nobody else knows the task yet; the enqueue's release publishes it. Who marked it and then ended has
	 * left that. */
	hshm_store_relaxed(&task->sleeper, 0);
	hshm_store_relaxed(&task->completion, completion);
	/* a task that is handed in again as it is: its line stays where it was read */
	if (hshm_load_relaxed(&task->cancel))
		hshm_store_relaxed(&task->cancel, 0);
	task->submitter = (uint64_t)(uintptr_t)client;
	ret = client->ops->submit(client, task, next);
	if (ret < 0)
		task->submitter = 0;
	return ret;
}

static int submit_one(struct chi_client *client, struct chi_task *task, enum chi_submit_next next)
{
	if (task->flags & CHI_TASK_NOTIFY)
		return chi_error_set(-EINVAL, "a callback is set by chi_submit_notify(), not by a flag");
	return chi_task_submit_as(client, task, CHI_COMPLETION_PENDING, next);
}

static int submit_alone(struct chi_client *client, struct chi_task *task, enum chi_submit_next next)
{
	int ret = check_usable(client);

	return ret < 0 ? ret : submit_one(client, task, next);
}

int chi_submit(struct chi_client *client, void *memory)
{
	return submit_alone(client, memory, CHI_NEXT_ANY);
}

int chi_submit_many(struct chi_client *client, void *const *tasks, uint32_t n_tasks)
{
	uint32_t n_max = n_tasks < INT32_MAX ? n_tasks : INT32_MAX, n = 0;
	int ret = check_usable(client);

	while (ret == 0 && n < n_max) {
		ret = submit_one(client, tasks[n], CHI_NEXT_SUBMIT);
		if (ret == 0)
			n++;
	}
	if (n && client->ops->ring)
		client->ops->ring(client);
	return n ? (int)n : ret;
}

void chi_cancel(void *memory)
{
	struct chi_task *task = memory;
	struct chi_client *client = chi_task_submitter(task);

	/* relaxed: a request that carries no data; seen soon is enough */
	hshm_store_relaxed(&task->cancel, 1);
	if (client && client->ops->cancelled)
		client->ops->cancelled(client);
}

int chi_call(struct chi_client *client, void *memory)
{
	struct chi_task *task = memory;
	uint32_t n_tries = 0;
	int ret;

	while ((ret = submit_alone(client, task, CHI_NEXT_WAIT)) == -EAGAIN) {
		ret = client->ops->alive(client);
		if (ret < 0)
			return ret;
		if (++n_tries % CALL_RETRIES_BEFORE_YIELD == 0)
			chi_yield();
	}
	if (ret < 0)
		return ret;
	ret = chi_task_done(task) ? 0 : chi_wait(task, HSHM_FOREVER); /* in a method it is done, more often than not */
	return ret < 0 ? ret : task->result;
}
