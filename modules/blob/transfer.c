/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transfer.c - a value becomes chunks, and chunks become a value
 *
 * Both ways are one loop: a task has up to `window` chunks in work at once, each in a slot: a subtask to `compress` and
 * the private memory it works on. The client's buffer is only ever copied from or to, once: what is hashed, compressed
 * or checked is private. When memory is short a task does with fewer slots, down to one; and no more than BLOB_GATES
 * tasks of a container have bulk in work, so what they hold is bounded however many are asked for.
 */
#include <errno.h>
#include <string.h>

#include <xxhash.h>

#include <chimaera/modules/compress.h>

#include "store.h"

#define COMPRESS_BYTES_MIN 64u /* less than this is kept as it is */

struct slot {
	struct chi_compress_task task;
	struct slot *next_free;
	unsigned char *raw;
	unsigned char *packed; /* put only */
	uint32_t chunk;
} HSHM_ALIGNED(64);

struct transfer {
	const struct blob_call *call;
	struct blob_object *object;
	struct chi_client *client; /* of the running task: whose slots and subtasks they are */
	struct slot *slots;
	struct slot *free_slots;
	uint32_t n_slots;
	uint32_t n_busy;
	void *busy[CHI_BLOB_WINDOW_MAX]; /* slots; each starts with its task */
};

/* What a put and a get do differently. */
struct direction {
	bool packs; /* slots need room for a chunk's compressed form too */
	/* Begin with a chunk, and perhaps be done with it at once: there is a free slot. */
	int (*begin)(struct transfer *transfer, uint32_t index);
	/* The subtask of the slot has ended. */
	int (*end)(struct transfer *transfer, struct slot *slot);
};

/* ---- slots ---- */

static void transfer_fini(struct transfer *transfer)
{
	for (uint32_t i = 0; i < transfer->n_slots; i++) {
		chi_free(transfer->client, transfer->slots[i].raw);
		chi_free(transfer->client, transfer->slots[i].packed);
	}
	chi_free(transfer->client, transfer->slots);
}

static int slot_init(struct transfer *transfer, struct slot *slot, bool packs)
{
	uint32_t chunk_bytes = transfer->object->chunks[0].raw_bytes; /* none is larger */
	int rc;

	memset(slot, 0, sizeof(*slot));
	rc = chi_alloc(transfer->client, chunk_bytes, &slot->raw);
	if (!rc && packs)
		rc = chi_alloc(transfer->client, chi_compress_bound_bytes(chunk_bytes), &slot->packed);
	if (rc) {
		chi_free(transfer->client, slot->raw);
		return rc;
	}
	slot->next_free = transfer->free_slots;
	transfer->free_slots = slot;
	return 0;
}

static int transfer_init(struct transfer *transfer, const struct blob_call *call, struct blob_object *object,
			 bool packs)
{
	uint32_t n_wanted = object->n_chunks < call->store->window ? object->n_chunks : call->store->window;
	int rc;

	memset(transfer, 0, sizeof(*transfer));
	transfer->call = call;
	transfer->object = object;
	transfer->client = chi_context_client(call->context);
	if (!n_wanted)
		return 0;
	rc = chi_alloc(transfer->client, n_wanted * sizeof(struct slot), &transfer->slots);
	while (!rc && transfer->n_slots < n_wanted) {
		rc = slot_init(transfer, &transfer->slots[transfer->n_slots], packs);
		if (!rc)
			transfer->n_slots++;
	}
	if (transfer->n_slots)
		return 0; /* slower with few, but it will do */
	transfer_fini(transfer);
	return rc;
}

static int submit(struct transfer *transfer, struct slot *slot)
{
	int rc;

	/* chunks of this size wait behind small ones */
	if (slot->task.in.size_bytes > BLOB_BULK_BYTES || slot->task.out.size_bytes > BLOB_BULK_BYTES)
		slot->task.task.flags |= CHI_TASK_HIGH_LATENCY;
	rc = chi_submit(transfer->client, &slot->task);
	if (rc)
		return rc;
	transfer->free_slots = slot->next_free;
	transfer->busy[transfer->n_busy++] = slot;
	return 0;
}

/* Spreads the subtasks over the compress pool. */
static struct chi_domain_query spread(const struct transfer *transfer, uint32_t chunk)
{
	return CHI_QUERY_LOCAL_HASH((transfer->call->hash >> 32) + chunk);
}

/* Wait for one of the busy slots; it is free again once the caller has looked at it. */
static struct slot *next_done(struct transfer *transfer)
{
	struct slot *slot;
	int index;

	/* without memory to wait we look again and again: the subtasks work in our slots, so we must stay */
	while ((index = chi_wait_any(transfer->busy, transfer->n_busy, HSHM_FOREVER)) < 0)
		chi_yield();
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

/* ---- the loop ---- */

static int move_chunks(struct transfer *transfer, const struct direction *direction)
{
	uint32_t n_chunks = transfer->object->n_chunks, next = 0;
	int rc = 0;

	while (transfer->n_busy || (!rc && next < n_chunks)) {
		struct slot *slot;

		if (!rc && chi_cancelled(transfer->call->context))
			rc = -ECANCELED;
		if (!rc && next < n_chunks && transfer->free_slots) {
			rc = direction->begin(transfer, next++);
			continue;
		}
		if (rc)
			cancel_busy(transfer);
		if (!transfer->n_busy)
			break;
		slot = next_done(transfer);
		if (!rc)
			rc = direction->end(transfer, slot);
	}
	return rc;
}

static int transfer_value(const struct blob_call *call, struct blob_object *object, const struct direction *direction)
{
	struct blob_store *store = call->store;
	struct chi_mutex *gate = NULL;
	struct transfer transfer;
	int rc;

	if (object->size_bytes > BLOB_BULK_BYTES) {
		/* relaxed: any order of turns is as good */
		gate = &store->gates[hshm_fetch_add_relaxed(&store->next_gate, 1) % BLOB_GATES];
		chi_mutex_lock(gate);
	}
	rc = transfer_init(&transfer, call, object, direction->packs);
	if (!rc) {
		rc = move_chunks(&transfer, direction);
		transfer_fini(&transfer);
	}
	if (gate)
		chi_mutex_unlock(gate);
	return rc;
}

/* Where the value has the chunk. */
static unsigned char *value_at(const struct transfer *transfer, uint32_t index)
{
	return transfer->call->value + (uint64_t)index * transfer->call->store->chunk_bytes;
}

/* ---- put ---- */

static int put_begin(struct transfer *transfer, uint32_t index)
{
	struct blob_store *store = transfer->call->store;
	struct blob_chunk *chunk = &transfer->object->chunks[index];
	struct slot *slot = transfer->free_slots;
	int rc;

	memcpy(slot->raw, value_at(transfer, index), chunk->raw_bytes);
	chunk->checksum = XXH3_64bits(slot->raw, chunk->raw_bytes);
	if (chunk->raw_bytes < COMPRESS_BYTES_MIN)
		return blob_object_keep(store, transfer->object, index, slot->raw, chunk->raw_bytes);
	slot->chunk = index;
	/* no checksum in the frame: we keep our own */
	rc = chi_compress_init(transfer->client, &slot->task, store->compress_pool, spread(transfer, index), slot->raw,
			       chunk->raw_bytes, slot->packed, chi_compress_bound_bytes(chunk->raw_bytes), store->level,
			       CHI_COMPRESS_NO_CHECKSUM);
	return rc ? rc : submit(transfer, slot);
}

static int put_end(struct transfer *transfer, struct slot *slot)
{
	struct blob_store *store = transfer->call->store;
	uint32_t raw_bytes = transfer->object->chunks[slot->chunk].raw_bytes;
	uint64_t packed_bytes = slot->task.out_bytes;

	if (slot->task.task.result < 0)
		return slot->task.task.result;
	if (packed_bytes < raw_bytes)
		return blob_object_keep(store, transfer->object, slot->chunk, slot->packed, (uint32_t)packed_bytes);
	return blob_object_keep(store, transfer->object, slot->chunk, slot->raw, raw_bytes);
}

int blob_put_value(const struct blob_call *call, struct blob_object **ret_object)
{
	static const struct direction direction = { .packs = true, .begin = put_begin, .end = put_end };
	struct blob_object *object = blob_object_create(call->store, call->value_bytes);
	int rc;

	if (!object)
		return -ENOMEM;
	rc = transfer_value(call, object, &direction);
	if (rc)
		blob_object_put(call->store, object);
	else
		*ret_object = object;
	return rc;
}

/* ---- get ---- */

/* A key may hold any bytes; what is logged is plain text. */
static int damaged(const struct transfer *transfer, uint32_t index, const char *how)
{
	const struct chi_blob_key *key = &transfer->call->task->key;
	char text[CHI_BLOB_KEY_MAX + 1];

	for (uint32_t i = 0; i < key->size; i++)
		text[i] = key->bytes[i] >= 0x20 && key->bytes[i] < 0x7f ? key->bytes[i] : '?';
	text[key->size] = '\0';
	chi_module_log(transfer->call->store->container, CHI_LOG_ERROR, "key \"%s\", chunk %u of %u: %s", text, index,
		       transfer->object->n_chunks, how);
	return -EBADMSG;
}

/* Private bytes of a chunk to the client, if they are what was put. */
static int hand_out(struct transfer *transfer, uint32_t index, const unsigned char *raw)
{
	const struct blob_chunk *chunk = &transfer->object->chunks[index];

	if (XXH3_64bits(raw, chunk->raw_bytes) != chunk->checksum)
		return damaged(transfer, index, "wrong checksum");
	memcpy(value_at(transfer, index), raw, chunk->raw_bytes);
	return 0;
}

static int get_begin(struct transfer *transfer, uint32_t index)
{
	const struct blob_chunk *chunk = &transfer->object->chunks[index];
	struct slot *slot = transfer->free_slots;
	int rc;

	if (chunk->stored_bytes == chunk->raw_bytes) { /* kept as it is: no subtask */
		rc = hand_out(transfer, index, chunk->bytes);
		if (!rc && index + 1 < transfer->object->n_chunks)
			chi_yield(); /* many of them would keep the worker for long */
		return rc;
	}
	slot->chunk = index;
	rc = chi_decompress_init(transfer->client, &slot->task, transfer->call->store->compress_pool,
				 spread(transfer, index), chunk->bytes, chunk->stored_bytes, slot->raw,
				 chunk->raw_bytes);
	return rc ? rc : submit(transfer, slot);
}

static int get_end(struct transfer *transfer, struct slot *slot)
{
	const struct blob_chunk *chunk = &transfer->object->chunks[slot->chunk];
	int rc = slot->task.task.result;

	/* what we stored was a frame of that very size: anything else is damage too */
	if (rc == -EBADMSG || rc == -ENOSPC || (rc >= 0 && slot->task.out_bytes != chunk->raw_bytes))
		return damaged(transfer, slot->chunk, "damaged");
	return rc < 0 ? rc : hand_out(transfer, slot->chunk, slot->raw);
}

int blob_get_value(const struct blob_call *call, struct blob_object *object)
{
	static const struct direction direction = { .packs = false, .begin = get_begin, .end = get_end };

	return transfer_value(call, object, &direction);
}
