/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Speaks the interface of `blob` as far as the archive's demonstration needs it: keeps values as they come, and waits for
 * nobody. With PLAIN_BLOB_FLIPS=N in the environment a get turns the last byte of each value of N bytes or more.
 * For who finds it as chimaera_blob.so: its table has that name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <chimaera/module.h>
#include <chimaera/modules/blob.h>

struct value {
	struct value *next;
	struct chi_blob_key key;
	uint64_t size_bytes;
	unsigned char bytes[];
};

struct store {
	struct chi_mutex lock;
	struct value *values;
	struct chi_blob_usage usage;
};

static struct value *find(struct store *store, const struct chi_blob_key *key)
{
	struct value *value;

	chi_mutex_lock(&store->lock);
	value = store->values;
	while (value && memcmp(&value->key, key, sizeof(*key)) != 0)
		value = value->next;
	chi_mutex_unlock(&store->lock);
	return value;
}

static int put(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_blob_task *task = (struct chi_blob_task *)base;
	struct store *store = chi_container_state(container);
	uint64_t size_bytes = task->value.size_bytes;
	struct value *value;
	int rc;

	if (find(store, &task->key))
		return -EEXIST;
	rc = chi_alloc(chi_container_client(container), sizeof(*value) + size_bytes, &value);
	if (rc)
		return rc;
	value->key = task->key;
	value->size_bytes = size_bytes;
	if (size_bytes)
		memcpy(value->bytes, chi_context_buffer(context, &task->value), size_bytes);
	chi_mutex_lock(&store->lock);
	value->next = store->values;
	store->values = value;
	store->usage.n_objects++;
	chi_mutex_unlock(&store->lock);
	task->size = (struct chi_blob_size){ .size_bytes = size_bytes, .stored_bytes = size_bytes };
	return 1;
}

static int get(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_blob_task *task = (struct chi_blob_task *)base;
	const struct value *value = find(chi_container_state(container), &task->key);
	unsigned char *bytes = chi_context_buffer(context, &task->value);
	const char *flips = getenv("PLAIN_BLOB_FLIPS");

	if (!value)
		return -ENOENT;
	task->size = (struct chi_blob_size){ .size_bytes = value->size_bytes, .stored_bytes = value->size_bytes };
	if (value->size_bytes > task->value.size_bytes)
		return -ENOSPC;
	if (!value->size_bytes)
		return 0;
	memcpy(bytes, value->bytes, value->size_bytes);
	if (flips && value->size_bytes >= strtoull(flips, NULL, 10))
		bytes[value->size_bytes - 1] ^= 1;
	return 0;
}

static int usage(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct store *store = chi_container_state(container);

	(void)context;
	((struct chi_blob_usage_task *)base)->usage = store->usage;
	return 0;
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	struct store *store;
	int rc = chi_container_create_local_queue(container, 0, 4, 0);

	(void)params, (void)params_size;
	if (!rc)
		rc = chi_alloc(chi_container_client(container), sizeof(*store), &store);
	if (rc)
		return rc;
	memset(store, 0, sizeof(*store));
	chi_container_set_state(container, store);
	return 0;
}

static void destroy(struct chi_container *container)
{
	struct chi_client *client = chi_container_client(container);
	struct store *store = chi_container_state(container);

	while (store->values) {
		struct value *value = store->values;

		store->values = value->next;
		chi_free(client, value);
	}
	chi_free(client, store);
}

static const struct chi_method methods[] = {
	CHI_METHOD_ENTRY(chi_blob, "put", CHI_BLOB_PUT, .run = put),
	CHI_METHOD_ENTRY(chi_blob, "get", CHI_BLOB_GET, .run = get),
	CHI_METHOD_ENTRY(chi_blob_usage, "usage", CHI_BLOB_USAGE, .run = usage),
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = CHI_BLOB_MODULE,
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.interface_hash = CHI_BLOB_INTERFACE_HASH,
	.methods = methods,
	.create = create,
	.destroy = destroy,
};
CHI_MODULE(module);
