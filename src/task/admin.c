/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admin.c - chimaera/admin.h: calls to pool 1, the same from a client and from a method
 */
#include <chimaera/admin.h>

#include <errno.h>
#include <string.h>

#include "task/error.h"

static int copy_name(char to[CHI_NAME_MAX], const char *name, const char *what)
{
	size_t size = name ? strnlen(name, CHI_NAME_MAX) : 0;

	if (size == CHI_NAME_MAX)
		return chi_error_set(-EINVAL, "the name of a %s has at most %u characters", what, CHI_NAME_MAX - 1);
	memcpy(to, name ? name : "", size);
	return 0;
}

/* A buffer may go only when its task has gone: in flight, it is the runtime's. */
static void free_with(struct chi_client *client, struct chi_task *task, void *buffer)
{
	/* looked at here, since chi_task_free() would put its own refusal in the place of the cause */
	if (task->submitter && !chi_task_done(task))
		return;
	if (chi_task_free(client, task) == 0)
		chi_free(client, buffer);
}

static int set_buffer(struct chi_client *client, struct chi_buffer *buffer, uint64_t size_bytes, uint32_t flags,
		      void **ret_memory)
{
	int error = chi_alloc(client, size_bytes, ret_memory);

	return error ? error : chi_buffer_set(client, buffer, *ret_memory, size_bytes, flags);
}

int chi_pool_create(struct chi_client *client, const struct chi_pool_spec *spec, uint32_t *ret_pool_id)
{
	struct chi_admin_create_pool_task *task;
	void *params = NULL;
	int ret;

	if (!spec->module || (spec->params_size && !spec->params))
		return chi_error_set(-EINVAL, "a pool needs a module, and parameters with a size need a place");
	ret = chi_task_alloc(client, sizeof(*task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), CHI_ADMIN_CREATE_POOL,
			     &task);
	if (ret)
		return ret;
	ret = copy_name(task->module, spec->module, "module");
	if (!ret)
		ret = copy_name(task->pool, spec->name, "pool");
	task->n_containers = spec->n_containers;
	task->open_existing = !spec->exclusive;
	task->interface_hash = spec->interface_hash;
	if (!ret && spec->params_size) {
		ret = set_buffer(client, &task->params, spec->params_size, CHI_BUFFER_IN, &params);
		if (!ret)
			memcpy(params, spec->params, spec->params_size);
	}
	if (!ret) {
		ret = chi_call(client, task);
		if (ret < 0 && chi_task_done(task))
			chi_error_set(ret, "%.*s", (int)sizeof(task->text) - 1, task->text);
	}
	if (ret >= 0) {
		*ret_pool_id = task->pool_id;
		ret = task->created != 0;
	}
	free_with(client, &task->task, params);
	return ret;
}

int chi_pool_destroy(struct chi_client *client, uint32_t pool_id)
{
	struct chi_admin_destroy_pool_task *task;
	int ret = chi_task_alloc(client, sizeof(*task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0),
				 CHI_ADMIN_DESTROY_POOL, &task);

	if (ret)
		return ret;
	task->target_pool_id = pool_id;
	ret = chi_call(client, task);
	if (ret == -ENOENT)
		chi_error_set(ret, "no pool %u", pool_id);
	else if (ret == -EPERM)
		chi_error_set(ret, "admin cannot be destroyed");
	else if (ret == -EBUSY)
		chi_error_set(ret, "pool %u cannot be destroyed by a task of its own", pool_id);
	free_with(client, &task->task, NULL);
	return ret;
}

int chi_pool_list(struct chi_client *client, struct chi_pool_info *ret_pools, uint32_t n_max)
{
	struct chi_admin_list_pools_task *task;
	void *pools = NULL;
	int ret = chi_task_alloc(client, sizeof(*task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), CHI_ADMIN_LIST_POOLS,
				 &task);

	if (ret)
		return ret;
	if (n_max)
		ret = set_buffer(client, &task->pools, (uint64_t)n_max * sizeof(*ret_pools), CHI_BUFFER_OUT, &pools);
	if (!ret)
		ret = chi_call(client, task);
	if (ret >= 0) {
		ret = (int)task->n_pools;
		if (pools)
			memcpy(ret_pools, pools, (task->n_pools < n_max ? task->n_pools : n_max) * sizeof(*ret_pools));
	}
	free_with(client, &task->task, pools);
	return ret;
}

static int call_simple(struct chi_client *client, uint32_t method_id, uint16_t flags)
{
	struct chi_admin_simple_task *task;
	int ret = chi_task_alloc(client, sizeof(*task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), method_id, &task);

	if (ret)
		return ret;
	task->task.flags = flags;
	ret = chi_call(client, task);
	free_with(client, &task->task, NULL);
	return ret;
}

int chi_flush(struct chi_client *client)
{
	/* One behind the high-latency tasks of this thread, one behind the others: each lane keeps its order. */
	int ret = call_simple(client, CHI_ADMIN_FLUSH, CHI_TASK_HIGH_LATENCY);

	return ret < 0 ? ret : call_simple(client, CHI_ADMIN_FLUSH, 0);
}

int chi_stop(struct chi_client *client)
{
	return call_simple(client, CHI_ADMIN_STOP, 0);
}
