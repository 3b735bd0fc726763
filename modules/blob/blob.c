/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blob.c - the module `blob`: its methods, and how a container comes and goes
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <chimaera/modules/compress.h>

#include "store.h"

#define LANES_PER_QUEUE 4u

/* ---- methods; each works on the runtime's checked copy of the task ---- */

/* What every task on a key goes through. A client that routes by itself may err: does the key live here? */
static int admit(struct chi_container *container, struct chi_task *base, struct chi_run_context *context,
		 struct blob_call *ret_call)
{
	struct chi_blob_task *task = (struct chi_blob_task *)base;
	uint64_t hash = chi_blob_key_hash(&task->key);
	void *value = chi_context_buffer(context, &task->value);

	if (!task->key.size || hash % chi_container_count(container) != chi_container_id(container))
		return -EINVAL;
	*ret_call = (struct blob_call){
		.store = chi_container_state(container),
		.context = context,
		.task = task,
		.hash = hash,
		.value = value,
		.value_bytes = value ? task->value.size_bytes : 0,
	};
	return 0;
}

/* The object of the key, counted for the caller; NULL: none. */
static struct blob_object *object_of(const struct blob_call *call)
{
	struct blob_object *object = NULL;
	struct blob_entry *entry;

	chi_mutex_lock(&call->store->lock);
	entry = blob_table_find(&call->store->table, &call->task->key);
	if (entry) {
		object = entry->object;
		blob_object_get(object);
	}
	chi_mutex_unlock(&call->store->lock);
	return object;
}

static void answer(struct chi_blob_task *task, const struct blob_object *object)
{
	task->size = (struct chi_blob_size){
		.size_bytes = object->size_bytes,
		.stored_bytes = object->stored_bytes,
		.n_chunks = object->n_chunks,
		.n_chunks_raw = object->n_chunks_raw,
	};
}

static int method_put(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct blob_object *object = NULL, *old = NULL;
	struct blob_store *store;
	struct blob_call call;
	int rc = admit(container, base, context, &call);

	if (!rc)
		rc = blob_put_value(&call, &object);
	if (rc)
		return rc;
	store = call.store;
	answer(call.task, object);
	chi_mutex_lock(&store->lock);
	rc = blob_table_set(&store->table, &call.task->key, object, &old);
	chi_mutex_unlock(&store->lock);
	blob_object_put(store, rc < 0 ? object : old);
	return rc;
}

static int method_get(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct blob_object *object;
	struct blob_call call;
	int rc = admit(container, base, context, &call);

	if (rc)
		return rc;
	object = object_of(&call);
	if (!object)
		return -ENOENT;
	answer(call.task, object);
	rc = object->size_bytes > call.value_bytes ? -ENOSPC : blob_get_value(&call, object);
	blob_object_put(call.store, object);
	return rc;
}

static int method_stat(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct blob_object *object;
	struct blob_call call;
	int rc = admit(container, base, context, &call);

	if (rc)
		return rc;
	object = object_of(&call);
	if (!object)
		return -ENOENT;
	answer(call.task, object);
	blob_object_put(call.store, object);
	return 0;
}

static int method_remove(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct blob_object *object;
	struct blob_call call;
	int rc = admit(container, base, context, &call);

	if (rc)
		return rc;
	chi_mutex_lock(&call.store->lock);
	object = blob_table_remove(&call.store->table, &call.task->key);
	chi_mutex_unlock(&call.store->lock);
	if (!object)
		return -ENOENT;
	answer(call.task, object);
	blob_object_put(call.store, object);
	return 0;
}

static int method_list(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_blob_list_task *task = (struct chi_blob_list_task *)base;
	struct blob_store *store = chi_container_state(container);
	struct chi_blob_info *infos = chi_context_buffer(context, &task->infos);
	bool end;
	int n;

	chi_mutex_lock(&store->lock);
	n = blob_table_list(&store->table, &task->prefix, task->position, infos,
			    infos ? task->infos.size_bytes / sizeof(*infos) : 0, &task->next_position, &end);
	chi_mutex_unlock(&store->lock);
	if (n < 0)
		return n;
	task->n_infos = (uint32_t)n;
	task->end = end;
	task->n_containers = chi_container_count(container);
	return 0;
}

static int method_usage(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_blob_usage *usage = &((struct chi_blob_usage_task *)base)->usage;
	struct blob_store *store = chi_container_state(container);

	(void)context;
	chi_mutex_lock(&store->lock);
	usage->n_objects = store->table.n_entries;
	usage->size_bytes = store->table.size_bytes;
	usage->stored_bytes = store->table.stored_bytes;
	chi_mutex_unlock(&store->lock);
	usage->n_containers = 1;
	return 0;
}

static void fold_usage(struct chi_task *into_base, const struct chi_task *from_base)
{
	struct chi_blob_usage *into = &((struct chi_blob_usage_task *)into_base)->usage;
	const struct chi_blob_usage *from = &((const struct chi_blob_usage_task *)from_base)->usage;

	into->n_objects += from->n_objects;
	into->size_bytes += from->size_bytes;
	into->stored_bytes += from->stored_bytes;
	into->n_containers += from->n_containers;
}

/* A key's tasks go to one lane, so they start in the order in which they came. */
static int blob_monitor(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor)
{
	const struct chi_blob_task *task = (const struct chi_blob_task *)monitor->task;

	if (mode != CHI_MONITOR_LOCAL_SCHEDULE || monitor->task->method_id > CHI_BLOB_STAT)
		return -ENOTSUP;
	monitor->lane_id = chi_container_lane_by_hash(container, monitor->queue_id, chi_blob_key_hash(&task->key));
	return 0;
}

/* ---- containers ---- */

static bool is_text(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* Fill up, check, put defaults in. */
static int read_params(const void *given, uint64_t size, struct chi_blob_params *params)
{
	uint64_t known = size < sizeof(*params) ? size : sizeof(*params);

	memset(params, 0, sizeof(*params));
	if (size) {
		memcpy(params, given, known);
		if (size < sizeof(params->size) || params->size != size)
			return -EINVAL;
	}
	for (uint64_t i = known; i < size; i++) {
		if (((const unsigned char *)given)[i])
			return -E2BIG; /* asks for something that we do not know */
	}
	if (!params->level)
		params->level = CHI_COMPRESS_LEVEL_DEFAULT;
	if (!params->chunk_bytes)
		params->chunk_bytes = CHI_BLOB_CHUNK_BYTES;
	if (!params->window)
		params->window = CHI_BLOB_WINDOW;
	if (params->level < CHI_COMPRESS_LEVEL_MIN || params->level > CHI_COMPRESS_LEVEL_MAX ||
	    params->chunk_bytes < CHI_BLOB_CHUNK_BYTES_MIN || params->chunk_bytes > CHI_BLOB_CHUNK_BYTES_MAX ||
	    params->window > CHI_BLOB_WINDOW_MAX || params->compress_containers > CHI_POOL_CONTAINERS_MAX ||
	    params->reserved || !is_text(params->compress_module, sizeof(params->compress_module)) ||
	    !is_text(params->compress_pool, sizeof(params->compress_pool)))
		return -EINVAL;
	if (!params->compress_module[0])
		memcpy(params->compress_module, CHI_COMPRESS_MODULE, sizeof(CHI_COMPRESS_MODULE));
	return 0;
}

static int open_compress(struct chi_container *container, const struct chi_blob_params *params, uint32_t *ret_pool_id)
{
	struct chi_pool_spec spec = {
		.module = params->compress_module,
		.name = params->compress_pool[0] ? params->compress_pool : NULL,
		.n_containers = params->compress_containers ? params->compress_containers
							    : chi_container_count(container),
		.interface_hash = CHI_COMPRESS_INTERFACE_HASH,
	};
	int rc = chi_pool_create(chi_container_client(container), &spec, ret_pool_id);

	return rc < 0 ? rc : 0;
}

static uint64_t random_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
		seed = hshm_clock_ns(); /* early at boot: still not a constant */
	return seed;
}

static void blob_destroy(struct chi_container *container)
{
	struct blob_store *store = chi_container_state(container);

	if (!store)
		return;
	blob_table_fini(store);
	chi_free(store->client, store);
	chi_container_set_state(container, NULL);
}

static int blob_create(struct chi_container *container, const void *given, uint64_t given_size)
{
	struct chi_client *client = chi_container_client(container);
	struct chi_blob_params params;
	struct blob_store *store;
	int rc = read_params(given, given_size, &params);

	if (!rc)
		rc = chi_container_create_local_queue(container, 0, LANES_PER_QUEUE, 0);
	if (!rc)
		rc = chi_container_create_local_queue(container, 1, LANES_PER_QUEUE, CHI_QUEUE_HIGH_LATENCY);
	if (!rc)
		rc = chi_alloc(client, sizeof(*store), &store);
	if (rc)
		return rc;
	memset(store, 0, sizeof(*store));
	store->container = container;
	store->client = client;
	store->level = params.level;
	store->chunk_bytes = params.chunk_bytes;
	store->window = params.window;
	store->memory_max_bytes = params.memory_max_bytes;
	rc = open_compress(container, &params, &store->compress_pool);
	if (!rc)
		rc = blob_table_init(&store->table, client, random_seed());
	if (rc) {
		chi_free(client, store);
		return rc;
	}
	chi_container_set_state(container, store);
	return 0;
}

static const struct chi_method methods[] = {
	CHI_METHOD_ENTRY(chi_blob, "put", CHI_BLOB_PUT, .run = method_put),
	CHI_METHOD_ENTRY(chi_blob, "get", CHI_BLOB_GET, .run = method_get),
	CHI_METHOD_ENTRY(chi_blob, "remove", CHI_BLOB_REMOVE, .run = method_remove, .estimate_ns = 5000),
	CHI_METHOD_ENTRY(chi_blob, "stat", CHI_BLOB_STAT, .run = method_stat, .estimate_ns = 2000),
	CHI_METHOD_ENTRY(chi_blob_list, "list", CHI_BLOB_LIST, .run = method_list),
	CHI_METHOD_ENTRY(chi_blob_usage, "usage", CHI_BLOB_USAGE, .run = method_usage, .estimate_ns = 2000,
			 .fold = fold_usage),
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = CHI_BLOB_MODULE,
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.interface_hash = CHI_BLOB_INTERFACE_HASH,
	.methods = methods,
	.create = blob_create,
	.destroy = blob_destroy,
	.monitor = blob_monitor,
};

CHI_MODULE(module);
