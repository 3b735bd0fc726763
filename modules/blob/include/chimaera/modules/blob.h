/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/modules/blob.h - the module `blob`: byte objects by key, in memory, compressed
 *
 * A key lives in one container of the pool, chosen by its hash. Values are cut into chunks that the pool `compress`
 * packs in parallel; each chunk has a checksum, checked whenever it is read. A put replaces the whole value at once or,
 * when it fails, not at all; a get sees one whole value, whatever is put meanwhile. Of several puts of one key that are
 * in flight at once, any may be the last.
 */
#ifndef CHIMAERA_MODULES_BLOB_H
#define CHIMAERA_MODULES_BLOB_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <chimaera/admin.h>
#include <chimaera/cdefs.h>
#include <chimaera/method.h>
#include <chimaera/task.h>

CHI_BEGIN_DECLS

#define CHI_BLOB_MODULE "blob"

/* Changes whenever a method's number or the layout of a task here does. */
#define CHI_BLOB_INTERFACE_HASH UINT64_C(0x626c6f6273746f01)

#define CHI_BLOB_KEY_MAX	 255u
#define CHI_BLOB_CHUNK_BYTES	 1048576u /* default */
#define CHI_BLOB_CHUNK_BYTES_MIN 4096u
#define CHI_BLOB_CHUNK_BYTES_MAX 16777216u
#define CHI_BLOB_WINDOW		 8u /* default: chunks of one task in work at once */
#define CHI_BLOB_WINDOW_MAX	 64u

enum chi_blob_method {
	CHI_BLOB_PUT = 0,
	CHI_BLOB_GET,
	CHI_BLOB_REMOVE,
	CHI_BLOB_STAT,
	CHI_BLOB_LIST,
	CHI_BLOB_USAGE,
};

/* For chi_pool_create(). Size first, zero means default; a shorter struct is filled up with zeros. */
struct chi_blob_params {
	uint32_t size;		      /* sizeof at the caller's compile time */
	int32_t level;		      /* of compress; 0 = CHI_COMPRESS_LEVEL_DEFAULT */
	uint32_t chunk_bytes;	      /* 0 = CHI_BLOB_CHUNK_BYTES */
	uint32_t window;	      /* 0 = CHI_BLOB_WINDOW */
	uint64_t memory_max_bytes;    /* stored in one container; 0 = no limit. At the limit put says -ENOSPC. */
	uint32_t compress_containers; /* when its pool must be made; 0 = as many as the pool `blob` has */
	uint32_t reserved;
	char compress_module[CHI_NAME_MAX]; /* "" = "compress"; another must speak its interface */
	char compress_pool[CHI_NAME_MAX];   /* "" = the module's name */
};

/* Any bytes, 1 to 255. */
struct chi_blob_key {
	uint8_t size;
	char bytes[CHI_BLOB_KEY_MAX];
};

/*
 * put     value -> the store. Result: 1 made, 0 replaced, -EINVAL (key, or not this container's), -ENOSPC
 *         (memory_max_bytes), -ENOMEM, -ECANCELED, or what `compress` said. After an error the old value is still
 *         there.
 * get     the store -> value. Result: 0, -ENOENT, -ENOSPC (value is too small: size_bytes tells what is needed),
 *         -EBADMSG (a checksum does not fit: the memory was damaged), -EINVAL, -ENOMEM, -ECANCELED. After an error the
 *         contents of value are undefined.
 * remove  Result: 0, -ENOENT, -EINVAL. No value buffer.
 * stat    Result: 0, -ENOENT, -EINVAL. No value buffer.
 */
struct chi_blob_size {
	uint64_t size_bytes;
	uint64_t stored_bytes;
	uint32_t n_chunks;
	uint32_t n_chunks_raw; /* kept as they are: compressing would not have saved anything */
};

/* All four have one task, so that each can be answered the same. */
#define CHI_BLOB_FIELDS(IN, BUFFER, OUT)              \
	BUFFER(value, CHI_BUFFER_IN | CHI_BUFFER_OUT) \
	IN(struct chi_blob_key, key)                  \
	OUT(struct chi_blob_size, size)
CHI_TASK_DEFINE(chi_blob, CHI_BLOB_FIELDS)

#define CHI_BLOB_PUT_FIELDS(IN, BUFFER, OUT) \
	BUFFER(value, CHI_BUFFER_IN)         \
	IN(struct chi_blob_key, key)         \
	OUT(struct chi_blob_size, size)
CHI_CALL_DEFINE(chi_blob_put, chi_blob, CHI_BLOB_PUT, CHI_BLOB_PUT_FIELDS)

#define CHI_BLOB_GET_FIELDS(IN, BUFFER, OUT) \
	BUFFER(value, CHI_BUFFER_OUT)        \
	IN(struct chi_blob_key, key)         \
	OUT(struct chi_blob_size, size)
CHI_CALL_DEFINE(chi_blob_get, chi_blob, CHI_BLOB_GET, CHI_BLOB_GET_FIELDS)

#define CHI_BLOB_NAME_FIELDS(IN, BUFFER, OUT) \
	IN(struct chi_blob_key, key)          \
	OUT(struct chi_blob_size, size)
CHI_CALL_DEFINE(chi_blob_remove, chi_blob, CHI_BLOB_REMOVE, CHI_BLOB_NAME_FIELDS)
CHI_CALL_DEFINE(chi_blob_stat, chi_blob, CHI_BLOB_STAT, CHI_BLOB_NAME_FIELDS)

struct chi_blob_info {
	uint64_t size_bytes;
	uint64_t stored_bytes;
	struct chi_blob_key key;
};

/*
 * list    keys of one container that begin with a prefix, in no useful order, as many as fit in `infos`. Start with
 *         position 0, go on with the position of the answer until `end`. A key that is there all the while is listed
 *         once; one put or removed meanwhile perhaps. May find none and yet not be at the end: it looks at a limited
 *         number.
 *         Result: 0, -EINVAL, -ENOSPC (infos has not even room for the keys of one position: nearly always one key).
 */
#define CHI_BLOB_LIST_FIELDS(IN, BUFFER, OUT)                               \
	BUFFER(infos, CHI_BUFFER_OUT)	/* array of struct chi_blob_info */ \
	IN(struct chi_blob_key, prefix) /* size 0 = all */                  \
	IN(uint64_t, position)                                              \
	OUT(uint64_t, next_position)                                        \
	OUT(uint32_t, n_infos)                                              \
	OUT(uint32_t, end)                                                  \
	OUT(uint32_t, n_containers) /* of the pool */
CHI_METHOD_DEFINE(chi_blob_list, CHI_BLOB_LIST, CHI_BLOB_LIST_FIELDS)

/* usage   what a container holds; with CHI_QUERY_GLOBAL_BCAST() what the pool holds. Result: 0. */
struct chi_blob_usage {
	uint64_t n_objects;
	uint64_t size_bytes;
	uint64_t stored_bytes;
	uint32_t n_containers; /* that answered */
	uint32_t reserved;
};

#define CHI_BLOB_USAGE_FIELDS(IN, BUFFER, OUT) OUT(struct chi_blob_usage, usage)
CHI_METHOD_DEFINE(chi_blob_usage, CHI_BLOB_USAGE, CHI_BLOB_USAGE_FIELDS)

CHI_STATIC_ASSERT(sizeof(struct chi_blob_key) == 256, "part of the interface hash");
CHI_STATIC_ASSERT(sizeof(struct chi_blob_task) == 432, "part of the interface hash");
CHI_STATIC_ASSERT(sizeof(struct chi_blob_info) == 272, "part of the interface hash");
CHI_STATIC_ASSERT(sizeof(struct chi_blob_list_task) == 448, "part of the interface hash");
CHI_STATIC_ASSERT(sizeof(struct chi_blob_usage_task) == 160, "part of the interface hash");
CHI_STATIC_ASSERT(sizeof(struct chi_blob_params) == 160, "part of the interface hash");

/**
 * chi_blob_key_set - Returns 0, or -ENAMETOOLONG (over CHI_BLOB_KEY_MAX bytes), -EINVAL (empty). Threads: any.
 */
CHI_NODISCARD static inline int chi_blob_key_set(struct chi_blob_key *key, const void *bytes, uint64_t size_bytes)
{
	if (size_bytes > CHI_BLOB_KEY_MAX)
		return -ENAMETOOLONG;
	if (!size_bytes)
		return -EINVAL;
	memset(key, 0, sizeof(*key));
	key->size = (uint8_t)size_bytes;
	memcpy(key->bytes, bytes, size_bytes);
	return 0;
}

/**
 * chi_blob_key_hash - which container: the hash for CHI_QUERY_GLOBAL_HASH()
 *
 * FNV-1a with murmur3's finish: in this header, so that a client needs no hash library. Part of the interface.
 * Threads: any.
 */
static inline uint64_t chi_blob_key_hash(const struct chi_blob_key *key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	uint32_t i;

	for (i = 0; i < key->size; i++)
		hash = (hash ^ (uint8_t)key->bytes[i]) * UINT64_C(0x100000001b3);
	hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd);
	hash = (hash ^ (hash >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
	return hash ^ (hash >> 33);
}

/**
 * chi_blob_open - open the blob pool of that name, or make it
 * @name:         NULL = "blob"
 * @n_containers: when it must be made; 0 = 1
 * @params:       when it must be made; NULL = all defaults
 * @ret_pool_id:  out
 *
 * May switch the fiber: yes. Returns: as chi_pool_create().
 */
CHI_NODISCARD static inline int chi_blob_open(struct chi_client *client, const char *name, uint32_t n_containers,
					      const struct chi_blob_params *params, uint32_t *ret_pool_id)
{
	struct chi_pool_spec spec = {
		CHI_BLOB_MODULE, name, n_containers, false, CHI_BLOB_INTERFACE_HASH, params, params ? params->size : 0
	};

	return chi_pool_create(client, &spec, ret_pool_id);
}

/** chi_blob_query - where the tasks of a key go. Threads: any. */
static inline struct chi_domain_query chi_blob_query(const struct chi_blob_key *key)
{
	return CHI_QUERY_GLOBAL_HASH(chi_blob_key_hash(key));
}

/**
 * chi_blob_put / _get / _remove / _stat - the blocking forms, sent where the key lives
 * @key:      borrowed
 * @value:    lent for the call, from chi_alloc(); NULL with 0 bytes: none
 * @ret_size: out, may be NULL; written also when get says -ENOSPC
 *
 * May switch the fiber: yes. Returns: the method's result, or as chi_blob_put_call() and the like, see
 * chimaera/method.h.
 */
CHI_NODISCARD static inline int chi_blob_put(struct chi_client *client, uint32_t pool_id,
					     const struct chi_blob_key *key, void *value, uint64_t value_bytes,
					     struct chi_blob_size *ret_size)
{
	return chi_blob_put_call(client, pool_id, chi_blob_query(key), value, value_bytes, *key, ret_size);
}

CHI_NODISCARD static inline int chi_blob_get(struct chi_client *client, uint32_t pool_id,
					     const struct chi_blob_key *key, void *value, uint64_t value_bytes,
					     struct chi_blob_size *ret_size)
{
	return chi_blob_get_call(client, pool_id, chi_blob_query(key), value, value_bytes, *key, ret_size);
}

CHI_NODISCARD static inline int chi_blob_remove(struct chi_client *client, uint32_t pool_id,
						const struct chi_blob_key *key)
{
	return chi_blob_remove_call(client, pool_id, chi_blob_query(key), *key, NULL);
}

CHI_NODISCARD static inline int chi_blob_stat(struct chi_client *client, uint32_t pool_id,
					      const struct chi_blob_key *key, struct chi_blob_size *ret_size)
{
	return chi_blob_stat_call(client, pool_id, chi_blob_query(key), *key, ret_size);
}

/* Where a walk over all containers stands; zeroed at first. */
struct chi_blob_cursor {
	uint64_t position;
	uint32_t container;
	uint32_t end; /* nothing more */
};

/**
 * chi_blob_list - the next keys of the whole pool
 * @prefix:  borrowed; NULL or size 0 = all
 * @cursor:  the caller's; moved on
 * @infos:   lent for the call, from chi_alloc()
 * @n_max:   how many fit; 1 or more, 64 is sensible
 *
 * May switch the fiber: yes. Returns: how many were written (0 also before the end: see @cursor->end), or a negative
 * errno.
 */
CHI_NODISCARD static inline int chi_blob_list(struct chi_client *client, uint32_t pool_id,
					      const struct chi_blob_key *prefix, struct chi_blob_cursor *cursor,
					      struct chi_blob_info *infos, uint32_t n_max)
{
	static const struct chi_blob_key all = { 0, { 0 } };
	uint64_t next_position = 0;
	uint32_t n = 0, end = 0, n_containers = 0;
	int rc;

	if (cursor->end)
		return 0;
	rc = chi_blob_list_call(client, pool_id, CHI_QUERY_GLOBAL_ID(cursor->container), infos,
				(uint64_t)n_max * sizeof(*infos), prefix ? *prefix : all, cursor->position,
				&next_position, &n, &end, &n_containers);
	if (rc)
		return rc;
	cursor->position = end ? 0 : next_position;
	cursor->container += end ? 1 : 0;
	cursor->end = cursor->container >= n_containers;
	return (int)n;
}

CHI_END_DECLS
#endif
