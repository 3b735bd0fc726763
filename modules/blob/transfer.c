/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transfer.c - a value becomes chunks, and chunks become a value
 *
 * A task has up to `window` chunks in work at once, each in a slot: a subtask to `compress` and the private memory it works
 * on. The client's buffer is only ever copied from or to, once: what is hashed, compressed or checked is private.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include <chimaera/modules/compress.h>

#include "store.h"

#define COMPRESS_BYTES_MIN 64u	  /* less than this is kept as it is */
#define BULK_BYTES_MIN	   65536u /* chunks of this size wait behind small ones */

struct slot {
	struct chi_compress_task task;
	struct slot *next_free;
	unsigned char *raw;
	unsigned char *packed; /* put only */
	uint32_t chunk;
} HSHM_ALIGNED(64);

struct transfer {
	struct blob_store *store;
	struct chi_run_context *context;
	struct chi_client *client;
	uint64_t hash; /* spreads the subtasks over the compress pool */
	struct slot *slots;
	struct slot *free_slots;
	uint32_t n_slots;
	uint32_t n_busy;
	void *busy[CHI_BLOB_WINDOW_MAX]; /* slots; each starts with its task */
};

static void transfer_fini(struct transfer *transfer)
{
	for (uint32_t i = 0; i < transfer->n_slots; i++) {
		free(transfer->slots[i].raw);
		free(transfer->slots[i].packed);
	}
	free(transfer->slots);
}

/* @packed: each slot needs room for a chunk's compressed form too */
static int transfer_init(struct transfer *transfer, struct blob_store *store, struct chi_run_context *context,
			 uint64_t hash, const struct blob_object *object, bool packed)
{
	uint32_t n_slots = object->n_chunks < store->window ? object->n_chunks : store->window;
	uint32_t chunk_bytes = object->n_chunks ? object->chunks[0].raw_bytes : 0; /* none is larger */

	memset(transfer, 0, sizeof(*transfer));
	transfer->store = store;
	transfer->context = context;
	transfer->client = chi_context_client(context);
	transfer->hash = hash;
	if (!n_slots)
		return 0;
	transfer->slots = aligned_alloc(64, n_slots * sizeof(struct slot));
	if (!transfer->slots)
		return -ENOMEM;
	memset(transfer->slots, 0, n_slots * sizeof(struct slot));
	transfer->n_slots = n_slots;
	for (uint32_t i = 0; i < n_slots; i++) {
		struct slot *slot = &transfer->slots[i];

		slot->raw = malloc(chunk_bytes);
		slot->packed = packed ? malloc(chi_compress_bound_bytes(chunk_bytes)) : NULL;
		if (!slot->raw || (packed && !slot->packed)) {
			transfer_fini(transfer);
			return -ENOMEM;
		}
		slot->next_free = transfer->free_slots;
		transfer->free_slots = slot;
	}
	return 0;
}

static int submit(struct transfer *transfer, struct slot *slot)
{
	int rc;

	if (slot->task.in.size_bytes > BULK_BYTES_MIN || slot->task.out.size_bytes > BULK_BYTES_MIN)
		slot->task.task.flags |= CHI_TASK_HIGH_LATENCY;
	rc = chi_submit(transfer->client, &slot->task);
	if (rc)
		return rc;
	transfer->free_slots = slot->next_free;
	transfer->busy[transfer->n_busy++] = slot;
	return 0;
}

static struct chi_domain_query spread(const struct transfer *transfer, uint32_t chunk)
{
	return CHI_QUERY_LOCAL_HASH((transfer->hash >> 32) + chunk);
}

/* Wait for one of the busy slots; it is free again once the caller has looked at it. NULL: the wait itself failed. */
static struct slot *next_done(struct transfer *transfer)
{
	int index = chi_wait_any(transfer->busy, transfer->n_busy, HSHM_FOREVER);
	struct slot *slot;

	if (index < 0)
		return NULL;
	slot = transfer->busy[index];
	transfer->busy[index] = transfer->busy[--transfer->n_busy];
	slot->next_free = transfer->free_slots;
	transfer->free_slots = slot;
	return slot;
}

static void cancel_busy(struct transfer *transfer)
{
	for (uint32_t i = 0; i < transfer->n_busy; i++)
		chi_cancel(transfer->busy[i]);
}

/* ---- put ---- */

static int put_begin(struct transfer *transfer, struct blob_object *object, uint32_t index, const unsigned char *value)
{
	struct slot *slot = transfer->free_slots;
	struct blob_chunk *chunk = &object->chunks[index];
	int rc;

	memcpy(slot->raw, value, chunk->raw_bytes);
	chunk->checksum = XXH3_64bits(slot->raw, chunk->raw_bytes);
	if (chunk->raw_bytes < COMPRESS_BYTES_MIN)
		return blob_object_keep(transfer->store, object, index, slot->raw, chunk->raw_bytes);
	slot->chunk = index;
	rc = chi_compress_task_init(transfer->client, &slot->task, transfer->store->compress_pool,
				    spread(transfer, index), slot->raw, chunk->raw_bytes, slot->packed,
				    chi_compress_bound_bytes(chunk->raw_bytes), transfer->store->level);
	slot->task.flags = CHI_COMPRESS_NO_CHECKSUM; /* we keep our own */
	return rc ? rc : submit(transfer, slot);
}

static int put_end(struct transfer *transfer, struct blob_object *object, struct slot *slot)
{
	uint32_t raw_bytes = object->chunks[slot->chunk].raw_bytes;
	uint64_t packed_bytes = slot->task.out_bytes;

	if (slot->task.task.result < 0)
		return slot->task.task.result;
	if (packed_bytes < raw_bytes)
		return blob_object_keep(transfer->store, object, slot->chunk, slot->packed, (uint32_t)packed_bytes);
	return blob_object_keep(transfer->store, object, slot->chunk, slot->raw, raw_bytes);
}

int blob_put_value(struct blob_store *store, struct chi_run_context *context, uint64_t hash, const void *value,
		   uint64_t size_bytes, struct blob_object **ret_object)
{
	struct blob_object *object = blob_object_create(size_bytes, store->chunk_bytes);
	struct transfer transfer;
	uint32_t next = 0;
	int rc;

	if (!object)
		return -ENOMEM;
	rc = transfer_init(&transfer, store, context, hash, object, true);
	if (rc)
		goto put_object;
	while (transfer.n_busy || (!rc && next < object->n_chunks)) {
		struct slot *slot;

		if (!rc && chi_cancelled(context))
			rc = -ECANCELED;
		if (!rc && next < object->n_chunks && transfer.free_slots) {
			const unsigned char *from = (const unsigned char *)value + (uint64_t)next * store->chunk_bytes;

			rc = put_begin(&transfer, object, next++, from);
			continue;
		}
		if (rc)
			cancel_busy(&transfer);
		if (!transfer.n_busy)
			break;
		slot = next_done(&transfer);
		if (!slot)
			return -EIO; /* subtasks may still use slots and object: they stay */
		if (!rc)
			rc = put_end(&transfer, object, slot);
	}
	transfer_fini(&transfer);
	if (!rc) {
		*ret_object = object;
		return 0;
	}
put_object:
	blob_object_put(store, object);
	return rc;
}

/* ---- get ---- */

/* A key may hold any bytes; what is logged is plain text. */
static void key_text(const struct chi_blob_key *key, char text[CHI_BLOB_KEY_MAX + 1])
{
	for (uint32_t i = 0; i < key->size; i++)
		text[i] = key->bytes[i] >= 0x20 && key->bytes[i] < 0x7f ? key->bytes[i] : '?';
	text[key->size] = '\0';
}

static int check(const struct blob_store *store, const struct chi_blob_key *key, const struct blob_object *object,
		 uint32_t index, const void *raw)
{
	char text[CHI_BLOB_KEY_MAX + 1];

	if (XXH3_64bits(raw, object->chunks[index].raw_bytes) == object->chunks[index].checksum)
		return 0;
	key_text(key, text);
	chi_module_log(store->container, CHI_LOG_ERROR, "key \"%s\", chunk %u of %u: wrong checksum", text, index,
		       object->n_chunks);
	return -EBADMSG;
}

static int get_begin(struct transfer *transfer, const struct blob_object *object, uint32_t index)
{
	struct slot *slot = transfer->free_slots;
	const struct blob_chunk *chunk = &object->chunks[index];
	int rc;

	slot->chunk = index;
	rc = chi_decompress_task_init(transfer->client, &slot->task, transfer->store->compress_pool,
				      spread(transfer, index), chunk->bytes, chunk->stored_bytes, slot->raw,
				      chunk->raw_bytes);
	return rc ? rc : submit(transfer, slot);
}

static int get_end(struct transfer *transfer, const struct chi_blob_key *key, const struct blob_object *object,
		   struct slot *slot, unsigned char *value)
{
	const struct blob_chunk *chunk = &object->chunks[slot->chunk];
	int rc = slot->task.task.result;

	/* what we stored was a frame of that very size: anything else is damage too */
	if (rc == -EBADMSG || rc == -ENOSPC || (rc >= 0 && slot->task.out_bytes != chunk->raw_bytes)) {
		char text[CHI_BLOB_KEY_MAX + 1];

		key_text(key, text);
		chi_module_log(transfer->store->container, CHI_LOG_ERROR, "key \"%s\", chunk %u of %u: damaged", text,
			       slot->chunk, object->n_chunks);
		return -EBADMSG;
	}
	if (rc >= 0)
		rc = check(transfer->store, key, object, slot->chunk, slot->raw);
	if (!rc)
		memcpy(value + (uint64_t)slot->chunk * transfer->store->chunk_bytes, slot->raw, chunk->raw_bytes);
	return rc;
}

/* A chunk that is kept as it is: no subtask. */
static int get_raw(struct transfer *transfer, const struct chi_blob_key *key, const struct blob_object *object,
		   uint32_t index, unsigned char *value)
{
	const struct blob_chunk *chunk = &object->chunks[index];
	int rc = check(transfer->store, key, object, index, chunk->bytes);

	if (rc)
		return rc;
	memcpy(value + (uint64_t)index * transfer->store->chunk_bytes, chunk->bytes, chunk->raw_bytes);
	if (index + 1 < object->n_chunks)
		chi_yield(); /* many of them would keep the worker for long */
	return 0;
}

int blob_get_value(struct blob_store *store, struct chi_run_context *context, const struct chi_blob_key *key,
		   uint64_t hash, const struct blob_object *object, void *value)
{
	struct transfer transfer;
	uint32_t next = 0;
	int rc = transfer_init(&transfer, store, context, hash, object, false);

	if (rc)
		return rc;
	while (transfer.n_busy || (!rc && next < object->n_chunks)) {
		struct slot *slot;

		if (!rc && chi_cancelled(context))
			rc = -ECANCELED;
		if (!rc && next < object->n_chunks && transfer.free_slots) {
			const struct blob_chunk *chunk = &object->chunks[next];

			rc = chunk->stored_bytes == chunk->raw_bytes ? get_raw(&transfer, key, object, next, value)
								     : get_begin(&transfer, object, next);
			next++;
			continue;
		}
		if (rc)
			cancel_busy(&transfer);
		if (!transfer.n_busy)
			break;
		slot = next_done(&transfer);
		if (!slot)
			return -EIO; /* subtasks may still use the slots: they stay */
		if (!rc)
			rc = get_end(&transfer, key, object, slot, value);
	}
	transfer_fini(&transfer);
	return rc;
}
