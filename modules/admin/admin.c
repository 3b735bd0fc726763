/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admin.c - the module that makes, lists and destroys pools; always there as pool 1
 *
 * Its methods block in their fibers (a create() may take its time), so that several are under way at once.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <chimaera/admin.h>
#include <chimaera/module.h>
#include <chimaera/runtime_admin.h>

#define PARAMS_MAX (UINT64_C(1) << 20)

extern const struct chi_module chi_admin_module;

static bool ends_inside(const struct chi_name *name)
{
	return memchr(name->text, 0, sizeof(name->text)) != NULL;
}

static void say(struct chi_admin_create_pool_task *task, const char *text)
{
	snprintf(task->text.text, sizeof(task->text.text), "%s", text);
}

static int make_pool(struct chi_admin_create_pool_task *task, struct chi_run_context *context, const void *params)
{
	struct chi_pool_spec spec = {
		.module = task->module.text,
		.name = task->name.text,
		.n_containers = task->n_containers,
		.interface_hash = task->interface_hash,
		.params = params,
		.params_size = params ? task->params.size_bytes : 0,
	};
	uint32_t pool_id = 0;
	bool created = false;
	int error = chi_runtime_pool_make(context, &spec, task->open_existing != 0, &pool_id, &created);

	if (error) {
		say(task, chi_error_text());
		return error;
	}
	task->id = pool_id;
	task->created = created;
	return 0;
}

static int create_pool(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_admin_create_pool_task *task = (struct chi_admin_create_pool_task *)base;
	struct chi_client *client = chi_context_client(context);
	const void *shared = chi_context_buffer(context, &task->params);
	void *params = NULL;
	int error;

	(void)container;
	if (!ends_inside(&task->module) || !ends_inside(&task->name)) {
		say(task, "a name without an end");
		return -EINVAL;
	}
	if (shared && task->params.size_bytes) {
		if (task->params.size_bytes > PARAMS_MAX) {
			say(task, "more than 1 MiB of parameters");
			return -E2BIG;
		}
		error = chi_alloc(client, task->params.size_bytes, &params);
		if (error) {
			say(task, "no memory for the parameters");
			return error;
		}
		/* the client can still write its own: create() gets what stands there now */
		memcpy(params, shared, task->params.size_bytes);
	}
	error = make_pool(task, context, params);
	chi_free(client, params);
	return error;
}

static int destroy_pool(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_admin_destroy_pool_task *task = (struct chi_admin_destroy_pool_task *)base;

	(void)container;
	return chi_runtime_pool_end(context, task->id);
}

static int list_pools(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_admin_list_pools_task *task = (struct chi_admin_list_pools_task *)base;
	struct chi_pool_info *pools = chi_context_buffer(context, &task->pools);
	uint64_t n_max = pools ? task->pools.size_bytes / sizeof(*pools) : 0;

	(void)container;
	task->n_pools = chi_runtime_pool_list(context, pools, n_max > UINT32_MAX ? UINT32_MAX : (uint32_t)n_max);
	return 0;
}

static int flush(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	(void)container;
	(void)base;
	return chi_runtime_flush(context);
}

static int stop(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	(void)container;
	(void)base;
	chi_runtime_ask_stop(context);
	return 0;
}

static const struct chi_method methods[] = {
	CHI_METHOD_ENTRY(chi_admin_create_pool, "create_pool", CHI_ADMIN_CREATE_POOL, .run = create_pool),
	CHI_METHOD_ENTRY(chi_admin_destroy_pool, "destroy_pool", CHI_ADMIN_DESTROY_POOL, .run = destroy_pool),
	CHI_METHOD_ENTRY(chi_admin_list_pools, "list_pools", CHI_ADMIN_LIST_POOLS, .run = list_pools),
	CHI_METHOD_ENTRY(chi_admin_simple, "flush", CHI_ADMIN_FLUSH, .run = flush),
	CHI_METHOD_ENTRY(chi_admin_simple, "stop", CHI_ADMIN_STOP, .run = stop),
};

/* No create(): it is made before there are workers. It has the default queues, a low- and a high-latency lane. */
const struct chi_module chi_admin_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "admin",
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
};
