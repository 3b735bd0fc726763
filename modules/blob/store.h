/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store.h - what one container of `blob` holds: objects by key
 *
 * An object never changes once it is in the table and is counted: a get keeps the one it found while others replace or
 * remove it. The table itself is under the store's lock; nothing waits inside it but for the lock.
 */
#ifndef BLOB_STORE_H
#define BLOB_STORE_H

#include <stdint.h>

#include <chimaera/module.h>
#include <chimaera/modules/blob.h>

struct blob_chunk {
	unsigned char *bytes; /* stored_bytes of them; compressed when that is less than raw_bytes */
	uint64_t checksum;    /* XXH3 of the raw bytes */
	uint32_t raw_bytes;
	uint32_t stored_bytes;
};

struct blob_object {
	hshm_au32 references;
	uint32_t n_chunks;
	uint32_t n_chunks_raw;
	uint64_t size_bytes;
	uint64_t stored_bytes;
	struct blob_chunk chunks[];
};

/*
 * Buckets by the hash's highest bits, chains ordered by hash: so all entries stand in the order of their hashes,
 * whatever the number of buckets, and a listing that stops at a hash can go on there after the table has grown. The
 * hash is keyed with a random seed: nobody can choose keys that fall into one chain.
 */
struct blob_entry {
	struct blob_entry *next;
	uint64_t hash;
	struct blob_object *object; /* counted */
	struct chi_blob_key key;
};

struct blob_table {
	struct chi_client *client; /* borrowed: whose memory buckets and entries are */
	struct blob_entry **buckets;
	uint32_t bits;
	uint64_t seed;
	uint64_t n_entries;
	uint64_t size_bytes; /* of all objects in it */
	uint64_t stored_bytes;
};

/*
 * Puts and gets of a container that move more than BLOB_BULK_BYTES at once; the others wait their turn. With the
 * default window that many keep as many workers busy as there may be. More would only hold memory.
 */
#define BLOB_GATES	8u
#define BLOB_BULK_BYTES 65536u

struct blob_store {
	struct chi_container *container; /* borrowed */
	struct chi_client *client;	 /* borrowed: whose memory all this is */
	uint32_t compress_pool;
	int32_t level;
	uint32_t chunk_bytes;
	uint32_t window;
	uint64_t memory_max_bytes; /* 0 = no limit */
	hshm_au64 charged_bytes;   /* chunks in memory, of running puts and of replaced objects still read too */
	struct chi_mutex lock;	   /* of the table */
	struct blob_table table;
	struct chi_mutex gates[BLOB_GATES];
	hshm_au32 next_gate;
};

/* A task on a key, admitted: the key lives here. */
struct blob_call {
	struct blob_store *store;
	struct chi_run_context *context;
	struct chi_blob_task *task; /* the runtime's checked copy */
	uint64_t hash;		    /* of the key */
	unsigned char *value;	    /* shared with the client */
	uint64_t value_bytes;	    /* 0 without a value */
};

int blob_table_init(struct blob_table *table, struct chi_client *client, uint64_t seed);
/* Drops all objects. Accepts a zeroed table. */
void blob_table_fini(struct blob_store *store);

struct blob_entry *blob_table_find(struct blob_table *table, const struct chi_blob_key *key);
/* @object: given. Returns 1 made, 0 replaced (@ret_old: taken, to be put), -ENOMEM. */
int blob_table_set(struct blob_table *table, const struct chi_blob_key *key, struct blob_object *object,
		   struct blob_object **ret_old);
/* Returns the object (taken, to be put), or NULL. */
struct blob_object *blob_table_remove(struct blob_table *table, const struct chi_blob_key *key);

/* From @position on, at most @n_max and after a limited look. Returns how many, or -ENOSPC. */
int blob_table_list(const struct blob_table *table, const struct chi_blob_key *prefix, uint64_t position,
		    struct chi_blob_info *infos, uint64_t n_max, uint64_t *ret_next, bool *ret_end);

/* One reference, no chunk has bytes yet. NULL: no memory. */
struct blob_object *blob_object_create(struct blob_store *store, uint64_t size_bytes);
void blob_object_get(struct blob_object *object);
/* Accepts NULL. */
void blob_object_put(struct blob_store *store, struct blob_object *object);
/* Keep a private copy of a chunk's bytes. -ENOSPC (the store's limit), -ENOMEM. */
int blob_object_keep(struct blob_store *store, struct blob_object *object, uint32_t chunk, const void *bytes,
		     uint32_t stored_bytes);

/* transfer.c: cut, compress and keep a value; or the way back. In a method. */
int blob_put_value(const struct blob_call *call, struct blob_object **ret_object);
int blob_get_value(const struct blob_call *call, struct blob_object *object);

#endif
