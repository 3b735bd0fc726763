/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admin.c - chimaera/admin.h: calls to pool 1, the same from a client and from a method
 */
#include <chimaera/admin.h>

#include <errno.h>
#include <string.h>

#include "task/error.h"

#define TO_ADMIN CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0)

static int copy_name(struct chi_name *to, const char *name, const char *what)
{
	size_t size = name ? strnlen(name, CHI_NAME_MAX) : 0;

	if (size == CHI_NAME_MAX)
		return chi_error_set(-EINVAL, "the name of a %s has at most %u characters", what, CHI_NAME_MAX - 1);
	memset(to, 0, sizeof(*to));
	memcpy(to->text, name ? name : "", size);
	return 0;
}

/* A buffer may go only when its task has gone: in flight, it is the runtime's, unless that is gone. @rc: of the
 * call. */
static void free_with(struct chi_client *client, struct chi_task *task, void *buffer, int rc)
{
	/* looked at here, since chi_task_free() would put its own refusal in the place of the cause */
	if (rc != -EOWNERDEAD && task->submitter && !chi_task_done(task))
		return;
	if (chi_task_free(client, task) == 0)
		chi_free(client, buffer);
}

/* Parameters are lent from memory of the client's own. */
static int lend_params(struct chi_client *client, const struct chi_pool_spec *spec, void **ret_params)
{
	int error;

	*ret_params = NULL;
	if (!spec->params_size)
		return 0;
	error = chi_alloc(client, spec->params_size, ret_params);
	if (!error)
		memcpy(*ret_params, spec->params, spec->params_size);
	return error;
}

int chi_pool_create(struct chi_client *client, const struct chi_pool_spec *spec, uint32_t *ret_pool_id)
{
	struct chi_admin_create_pool_task *task;
	struct chi_name module, name;
	void *params;
	int ret;

	if (!spec->module || (spec->params_size && !spec->params))
		return chi_error_set(-EINVAL, "a pool needs a module, and parameters with a size need a place");
	ret = copy_name(&module, spec->module, "module");
	if (!ret)
		ret = copy_name(&name, spec->name, "pool");
	if (!ret)
		ret = lend_params(client, spec, &params);
	if (ret)
		return ret;
	ret = chi_admin_create_pool_alloc(client, TO_ADMIN, params, spec->params_size, module, name, spec->n_containers,
					  !spec->exclusive, spec->interface_hash, &task);
	if (ret) {
		chi_free(client, params);
		return ret;
	}
	ret = chi_call(client, task);
	/* without a text it failed before the method ran */
	if (ret < 0 && chi_task_done(task))
		chi_error_set(ret, "%.*s", (int)sizeof(task->text.text) - 1,
			      task->text.text[0] ? task->text.text : strerror(-ret));
	if (ret >= 0) {
		*ret_pool_id = task->id;
		ret = task->created != 0;
	}
	free_with(client, &task->task, params, ret);
	return ret;
}

int chi_pool_destroy(struct chi_client *client, uint32_t pool_id)
{
	int ret = chi_admin_destroy_pool_call(client, TO_ADMIN, pool_id);

	if (ret == -ENOENT)
		chi_error_set(ret, "no pool %u", pool_id);
	else if (ret == -EPERM)
		chi_error_set(ret, "admin cannot be destroyed");
	else if (ret == -EBUSY)
		chi_error_set(ret, "pool %u cannot be destroyed by a task of its own", pool_id);
	return ret;
}

int chi_pool_list(struct chi_client *client, struct chi_pool_info *ret_pools, uint32_t n_max)
{
	uint64_t size_bytes = (uint64_t)n_max * sizeof(*ret_pools);
	struct chi_admin_list_pools_task *task;
	void *pools = NULL;
	int ret = n_max ? chi_alloc(client, size_bytes, &pools) : 0;

	if (ret)
		return ret;
	ret = chi_admin_list_pools_alloc(client, TO_ADMIN, pools, size_bytes, &task);
	if (ret) {
		chi_free(client, pools);
		return ret;
	}
	ret = chi_call(client, task);
	if (ret >= 0) {
		ret = (int)task->n_pools;
		if (pools)
			memcpy(ret_pools, pools, (task->n_pools < n_max ? task->n_pools : n_max) * sizeof(*ret_pools));
	}
	free_with(client, &task->task, pools, ret);
	return ret;
}

/* One behind the high-latency tasks of this thread, one behind the others: each lane keeps its order. */
static int flush_lane(struct chi_client *client, uint16_t flags)
{
	struct chi_admin_simple_task *task;
	int ret = chi_admin_flush_alloc(client, TO_ADMIN, &task);

	if (ret)
		return ret;
	task->task.flags = flags;
	ret = chi_call(client, task);
	free_with(client, &task->task, NULL, ret);
	return ret;
}

int chi_flush(struct chi_client *client)
{
	int ret = flush_lane(client, CHI_TASK_HIGH_LATENCY);

	return ret < 0 ? ret : flush_lane(client, 0);
}

int chi_stop(struct chi_client *client)
{
	return chi_admin_stop_call(client, TO_ADMIN);
}
