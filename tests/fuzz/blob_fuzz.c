/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blob_fuzz.c - the objects of `blob`, and frames for `compress`
 *
 * A decoder makes a program of the input's bytes: put, get, stat, remove, list, usage with keys of any size and bytes, values
 * and buffers that fit or do not, tasks whose buffers lie; a stored chunk is changed or cut behind the store's back and read;
 * bytes of the input, or a good frame that was changed, are unpacked.
 *
 * Held up: every answer is that of a plain table of keys and values; damage is told as -EBADMSG, never handed out; a frame gives its
 * content or an error that the header promises; once all keys are removed the store holds nothing.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <chimaera/modules/blob.h>
#include <chimaera/modules/compress.h>

#include "../../modules/blob/store.h"
#include "runtime/pool_manager.h"
#include "stage.h"

#define OPS_MAX	     48u
#define KEYS_MAX     8u
#define N_CONTAINERS 2u
#define CHUNK	     4096u
#define VALUE_MAX    20480u
#define BUFFER_BYTES 65536u
#define MEMORY_MAX   24576u /* of one container: a few values */
#define INFOS_MAX    12u

static struct fuzz_stage stage;
static uint32_t blob_pool, compress_pool;
static unsigned char *buffer, *frame; /* in the honest client's segment */
static struct chi_blob_info *infos;

/* What a plain table would hold. */
static struct {
	struct chi_blob_key key;
	uint32_t size;
	uint8_t kind;
} model[KEYS_MAX];
static uint32_t n_model;

/* ---- keys and values ---- */

static uint32_t value_sizes(uint8_t which)
{
	static const uint32_t sizes[] = { 0,	1,    63,   64,	  65,	 100,	1000,  4095,
					  4096, 4097, 8192, 8193, 12288, 16385, 20000, VALUE_MAX };

	return sizes[which % 16];
}

/* kind: packs well, not at all, or half of it */
static void make_value(unsigned char *value, uint32_t size, uint8_t kind)
{
	uint64_t random = kind;

	for (uint32_t i = 0; i < size; i++) {
		if (kind % 3 == 0)
			value[i] = (unsigned char)(kind + i / 64);
		else if (kind % 3 == 1 || i / 2048 % 2)
			value[i] = (unsigned char)fuzz_random(&random, 256);
		else
			value[i] = kind;
	}
}

static void some_key(struct fuzz_input *input, struct chi_blob_key *key)
{
	uint8_t how = fuzz_u8(input);

	memset(key, 0, sizeof(*key));
	if (how < 192) { /* one of few, so that they meet */
		key->size = (uint8_t)(1 + how % 6);
		memset(key->bytes, 'a' + how / 6 % 2, key->size);
	} else if (how < 224) {
		key->size = fuzz_u8(input);
		memset(key->bytes, how, sizeof(key->bytes));
	} else {
		key->size = how % 32;
		fuzz_bytes(input, key->bytes, key->size);
	}
}

static bool same_key(const struct chi_blob_key *a, const struct chi_blob_key *b)
{
	return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* Its place; n_model: it is not there. */
static uint32_t find(const struct chi_blob_key *key)
{
	uint32_t i = 0;

	while (i < n_model && !same_key(&model[i].key, key))
		i++;
	return i;
}

/* Of all in the container of the key, as if nothing packed. */
static uint64_t bytes_beside(const struct chi_blob_key *key)
{
	uint64_t container = chi_blob_key_hash(key) % N_CONTAINERS, sum = 0;

	for (uint32_t i = 0; i < n_model; i++)
		if (chi_blob_key_hash(&model[i].key) % N_CONTAINERS == container)
			sum += model[i].size;
	return sum;
}

/* ---- puts, gets and the rest ---- */

static void put(struct fuzz_input *input)
{
	struct chi_blob_size sizes = { 0 };
	struct chi_blob_key key;
	uint32_t at, size;
	uint8_t kind;
	int rc;

	some_key(input, &key);
	size = value_sizes(fuzz_u8(input));
	kind = fuzz_u8(input);
	at = find(&key);
	if (at == KEYS_MAX)
		return;
	make_value(buffer, size, kind);
	rc = chi_blob_put(stage.honest, blob_pool, &key, size ? buffer : NULL, size, &sizes);
	if (!key.size) {
		fuzz_check(rc == -EINVAL);
		return;
	}
	if (rc == -ENOSPC) {
		fuzz_check(bytes_beside(&key) + size > MEMORY_MAX);
		return;
	}
	if (rc != (at == n_model))
		fuzz_fail("put of %u bytes: %d", size, rc);
	fuzz_check(sizes.size_bytes == size && sizes.stored_bytes <= size &&
		   sizes.n_chunks == (size + CHUNK - 1) / CHUNK && sizes.n_chunks_raw <= sizes.n_chunks);
	model[at].key = key;
	model[at].size = size;
	model[at].kind = kind;
	n_model += rc == 1;
}

static void check_value(uint32_t at)
{
	static unsigned char expected[VALUE_MAX];

	make_value(expected, model[at].size, model[at].kind);
	if (memcmp(expected, buffer, model[at].size) != 0)
		fuzz_fail("a get of %u bytes gives others than were put", model[at].size);
}

static void get(struct fuzz_input *input)
{
	struct chi_blob_size sizes = { 0 };
	struct chi_blob_key key;
	uint32_t room, at;
	int rc;

	some_key(input, &key);
	room = value_sizes(fuzz_u8(input));
	at = find(&key);
	if (at < n_model && fuzz_u8(input) % 4)
		room = model[at].size;
	memset(buffer, 0xee, BUFFER_BYTES);
	rc = chi_blob_get(stage.honest, blob_pool, &key, room ? buffer : NULL, room, &sizes);
	for (uint32_t i = room; i < room + 64; i++)
		fuzz_check(buffer[i] == 0xee);
	if (at == n_model) {
		fuzz_check(rc == (key.size ? -ENOENT : -EINVAL));
		return;
	}
	fuzz_check(sizes.size_bytes == model[at].size);
	if (model[at].size > room) {
		fuzz_check(rc == -ENOSPC);
		return;
	}
	fuzz_check(rc == 0);
	check_value(at);
}

static void forget(uint32_t at)
{
	model[at] = model[--n_model];
}

static void stat_or_remove(struct fuzz_input *input, bool removes)
{
	struct chi_blob_size sizes = { 0 };
	struct chi_blob_key key;
	uint32_t at;
	int rc;

	some_key(input, &key);
	at = find(&key);
	rc = removes ? chi_blob_remove(stage.honest, blob_pool, &key)
		     : chi_blob_stat(stage.honest, blob_pool, &key, &sizes);
	if (at == n_model)
		fuzz_check(rc == (key.size ? -ENOENT : -EINVAL));
	else
		fuzz_check(rc == 0 && (removes || sizes.size_bytes == model[at].size));
	if (at < n_model && removes)
		forget(at);
}

static bool has_prefix(const struct chi_blob_key *key, const struct chi_blob_key *prefix)
{
	return key->size >= prefix->size && memcmp(key->bytes, prefix->bytes, prefix->size) == 0;
}

/* A walk over all: each key that begins so, once. */
static void list(struct fuzz_input *input)
{
	struct chi_blob_cursor cursor = { 0 };
	struct chi_blob_key prefix;
	uint32_t n_max, n = 0, n_expected = 0, n_calls = 0;

	some_key(input, &prefix);
	n_max = 1 + fuzz_u8(input) % INFOS_MAX;
	while (!cursor.end) {
		int found = chi_blob_list(stage.honest, blob_pool, &prefix, &cursor, infos, n_max);

		fuzz_check(found >= 0 && (uint32_t)found <= n_max && n_calls++ < 2 * KEYS_MAX + N_CONTAINERS);
		for (int i = 0; i < found; i++) {
			uint32_t at = find(&infos[i].key);

			fuzz_check(at < n_model && has_prefix(&infos[i].key, &prefix) &&
				   infos[i].size_bytes == model[at].size);
		}
		n += (uint32_t)found;
	}
	for (uint32_t i = 0; i < n_model; i++)
		n_expected += has_prefix(&model[i].key, &prefix);
	fuzz_check(n == n_expected);
}

static void check_usage(void)
{
	struct chi_blob_usage usage = { 0 };
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n_model; i++)
		bytes += model[i].size;
	fuzz_check(chi_blob_usage_call(stage.honest, blob_pool, CHI_QUERY_GLOBAL_BCAST(), &usage) == 0);
	fuzz_check(usage.n_objects == n_model && usage.size_bytes == bytes && usage.stored_bytes <= bytes &&
		   usage.n_containers == N_CONTAINERS);
}

/* ---- a task whose buffers lie; its key is none of the model's ---- */

static uint64_t odd_number(struct fuzz_input *input)
{
	static const uint64_t odd[] = {
		0,	 1,   4096, 65536,   BUFFER_BYTES, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 48, UINT64_C(1) << 40,
		1048576, 272, 271,  8388608, 64,	   128,	       INT64_MAX
	};
	uint8_t which = fuzz_u8(input);

	return which < 192 ? odd[which % 16] : fuzz_u64(input);
}

/* Whatever the task has put there. A key cut short may be one of the model's. */
static void remove_odd(const struct chi_blob_key *key)
{
	uint32_t at = find(key);

	(void)!chi_blob_remove(stage.honest, blob_pool, key);
	if (at < n_model)
		forget(at);
}

static void call_with_odd_buffer(struct fuzz_input *input)
{
	static const struct chi_blob_key key = { 9, "odd-tasks" };
	struct chi_blob_list_task *list_task;
	struct chi_blob_key sent = key;
	struct chi_blob_task *task;
	uint8_t how = fuzz_u8(input);

	fuzz_check(chi_task_alloc(stage.honest, sizeof(*list_task), blob_pool, chi_blob_query(&key), how % 5,
				  &list_task) == 0);
	task = (struct chi_blob_task *)list_task;
	/* the first buffer is in the same place in both */
	if (how & 16)
		fuzz_check(chi_buffer_set(stage.honest, &task->value, buffer, BUFFER_BYTES, CHI_BUFFER_OUT) == 0);
	if (how & 8)
		task->value.ptr = hipc_ptr_make(HIPC_SEGMENT_LOCAL, odd_number(input));
	if (how & 32)
		task->value.ptr.word += odd_number(input);
	if (how & 64)
		task->value.size_bytes = odd_number(input);
	task->value.flags = how & 128 ? fuzz_u8(input) : CHI_BUFFER_IN;
	if (how % 5 == CHI_BLOB_LIST) {
		list_task->prefix = key;
		list_task->position = odd_number(input);
		list_task->task.query = CHI_QUERY_GLOBAL_ID(odd_number(input) % 4);
	} else {
		task->task.size_bytes = sizeof(*task);
		task->key = key;
		if (how / 8 % 32 == 31)
			task->key.size = fuzz_u8(input);
		sent = task->key;
	}
	if (chi_submit(stage.honest, task) == 0)
		(void)!chi_wait(task, HSHM_FOREVER);
	chi_task_free(stage.honest, list_task);
	remove_odd(&sent);
}

/* ---- damage ---- */

/* No task is in flight: the table is ours to look at. */
static struct blob_object *stored(const struct chi_blob_key *key)
{
	struct chi_container *container;
	struct blob_store *store;
	struct chi_pool *pool;
	uint8_t epoch;

	pool = chi_pool_get(stage.runtime->pools, blob_pool, &epoch);
	fuzz_check(pool);
	container = pool->by_global_id[chi_blob_key_hash(key) % N_CONTAINERS];
	chi_pool_put(pool, epoch);
	store = container->state;
	for (uint64_t i = 0; i < UINT64_C(1) << store->table.bits; i++)
		for (struct blob_entry *entry = store->table.buckets[i]; entry; entry = entry->next)
			if (same_key(&entry->key, key))
				return entry->object;
	return NULL;
}

/* What was damaged is read, and put right again. */
static void read_damaged(uint32_t at)
{
	int rc = chi_blob_get(stage.honest, blob_pool, &model[at].key, buffer, model[at].size, NULL);

	if (rc != 0 && rc != -EBADMSG)
		fuzz_fail("a damaged value of %u bytes: %d", model[at].size, rc);
	if (rc == 0)
		check_value(at);
}

static void damage(struct fuzz_input *input)
{
	uint32_t at = fuzz_u8(input) % KEYS_MAX;
	uint8_t how = fuzz_u8(input), which = fuzz_u8(input);
	uint16_t where = fuzz_u16(input);
	unsigned char bits = fuzz_u8(input), saved[8] = { 0 };
	struct blob_object *object;
	struct blob_chunk *chunk, before;
	uint32_t n;

	if (at >= n_model || !model[at].size)
		return;
	object = stored(&model[at].key);
	fuzz_check(object && object->n_chunks);
	chunk = &object->chunks[which % object->n_chunks];
	before = *chunk;
	n = chunk->stored_bytes < sizeof(saved) ? chunk->stored_bytes : sizeof(saved);
	where = (uint16_t)(where % (chunk->stored_bytes - n + 1));
	memcpy(saved, chunk->bytes + where, n);
	switch (how % 5) {
	case 0: /* a few bits */
		chunk->bytes[where] ^= bits;
		break;
	case 1: /* a few bytes, of the frame's header above all */
		fuzz_bytes(input, chunk->bytes + where, n);
		break;
	case 2:
		where = 0;
		memcpy(saved, chunk->bytes, n);
		fuzz_bytes(input, chunk->bytes, n);
		break;
	case 3:
		chunk->stored_bytes = how / 5 % chunk->stored_bytes;
		break;
	default:
		chunk->checksum ^= bits;
	}
	read_damaged(at);
	memcpy(before.bytes + where, saved, n);
	*chunk = before;
}

/* ---- frames ---- */

static void unpack(struct fuzz_input *input)
{
	uint16_t n = fuzz_u16(input) % 1024;
	uint32_t room = value_sizes(fuzz_u8(input));
	uint64_t out_bytes = 0;
	int rc;

	fuzz_bytes(input, frame, n);
	if (n >= 4 && fuzz_u8(input) % 4)
		memcpy(frame, "\x28\xb5\x2f\xfd", 4); /* zstd's magic */
	memset(buffer, 0xee, BUFFER_BYTES);
	rc = chi_decompress(stage.honest, compress_pool, n ? frame : NULL, n, room ? buffer : NULL, room, &out_bytes);
	for (uint32_t i = room; i < room + 64; i++)
		fuzz_check(buffer[i] == 0xee);
	if (rc == 0)
		fuzz_check(out_bytes <= room);
	else
		fuzz_check(rc == -EBADMSG || rc == -ENOSPC);
}

/* There and back; the second way perhaps with a changed frame. */
static void pack_and_unpack(struct fuzz_input *input)
{
	uint32_t size = value_sizes(fuzz_u8(input)), room = value_sizes(fuzz_u8(input));
	uint8_t kind = fuzz_u8(input), how = fuzz_u8(input);
	static unsigned char expected[VALUE_MAX];
	uint64_t n = 0, out_bytes = 0;
	int level = (int8_t)fuzz_u8(input) % 21;
	int rc;

	make_value(buffer, size, kind);
	memcpy(expected, buffer, size);
	if (how % 4)
		room = BUFFER_BYTES;
	rc = chi_compress(stage.honest, compress_pool, size ? buffer : NULL, size, room ? frame : NULL, room, level,
			  &n);
	if (level < CHI_COMPRESS_LEVEL_MIN || level > CHI_COMPRESS_LEVEL_MAX) {
		fuzz_check(rc == -EINVAL);
		return;
	}
	fuzz_check(rc == 0 ? n <= room : rc == -ENOSPC && room < chi_compress_bound_bytes(size));
	if (rc)
		return;
	if (how & 64)
		frame[fuzz_u16(input) % n] ^= fuzz_u8(input);
	if (how & 128)
		n = fuzz_u16(input) % (n + 1);
	rc = chi_decompress(stage.honest, compress_pool, n ? frame : NULL, n, buffer, VALUE_MAX, &out_bytes);
	if (!(how & 192))
		fuzz_check(rc == 0);
	fuzz_check(rc == 0 || rc == -EBADMSG || rc == -ENOSPC);
	if (rc == 0) /* the frame has a checksum */
		fuzz_check(out_bytes == size && memcmp(buffer, expected, size) == 0);
}

/* ---- one input ---- */

static void step(struct fuzz_input *input)
{
	switch (fuzz_u8(input) % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		put(input);
		break;
	case 4:
	case 5:
	case 6:
		get(input);
		break;
	case 7:
		stat_or_remove(input, false);
		break;
	case 8:
		stat_or_remove(input, true);
		break;
	case 9:
		list(input);
		break;
	case 10:
		check_usage();
		break;
	case 11:
	case 12:
		damage(input);
		break;
	case 13:
		call_with_odd_buffer(input);
		break;
	case 14:
		unpack(input);
		break;
	default:
		pack_and_unpack(input);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct chi_blob_params params = {
		.size = sizeof(params), .chunk_bytes = CHUNK, .window = 2, .memory_max_bytes = MEMORY_MAX
	};

	(void)argc, (void)argv;
	fuzz_init();
	fuzz_stage_start(&stage, "log_level: error\nlog_file: /dev/null\nworkers: { count: 1, spin_us: 10 }\n"
				 "memory: { private_mib: 256 }\nclients: { max: 8, memory_mib: 8, lanes: 2 }\n");
	if (chi_blob_open(stage.honest, NULL, N_CONTAINERS, &params, &blob_pool) < 0 ||
	    chi_compress_open(stage.honest, N_CONTAINERS, &compress_pool) < 0)
		fuzz_fail("no pools: %s", chi_error_text());
	fuzz_check(chi_alloc(stage.honest, BUFFER_BYTES, &buffer) == 0);
	fuzz_check(chi_alloc(stage.honest, BUFFER_BYTES, &frame) == 0);
	fuzz_check(chi_alloc(stage.honest, INFOS_MAX * sizeof(*infos), &infos) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };

	for (uint32_t i = 0; i < OPS_MAX && input.left; i++)
		step(&input);
	while (n_model) {
		fuzz_check(chi_blob_remove(stage.honest, blob_pool, &model[0].key) == 0);
		forget(0);
	}
	check_usage();
	return 0;
}
