/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store.c - the table of a container, and its objects
 */
#include <errno.h>
#include <string.h>

#include <xxhash.h>

#include "store.h"

#define BITS_MIN	 4u
#define BITS_MAX	 30u
#define LIST_ENTRIES_MAX 4096u /* looked at in one call: some 100 us under the lock */
#define LIST_BUCKETS_MAX 65536u

static uint64_t hash_of(const struct blob_table *table, const struct chi_blob_key *key)
{
	return XXH3_64bits_withSeed(key->bytes, key->size, table->seed);
}

static struct blob_entry **bucket_of(const struct blob_table *table, uint64_t hash)
{
	return &table->buckets[hash >> (64 - table->bits)];
}

static bool same_key(const struct chi_blob_key *a, const struct chi_blob_key *b)
{
	return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* Where the key's entry is linked, or would have to be. */
static struct blob_entry **place_of(const struct blob_table *table, uint64_t hash, const struct chi_blob_key *key)
{
	struct blob_entry **link = bucket_of(table, hash);

	while (*link && ((*link)->hash < hash || ((*link)->hash == hash && !same_key(&(*link)->key, key))))
		link = &(*link)->next;
	return link;
}

static bool is_at(struct blob_entry *const *link, uint64_t hash)
{
	return *link && (*link)->hash == hash;
}

/* NULL: no memory. */
static void *alloc_zeroed(struct chi_client *client, uint64_t size_bytes)
{
	void *memory;

	if (chi_alloc(client, size_bytes, &memory))
		return NULL;
	return memset(memory, 0, size_bytes);
}

int blob_table_init(struct blob_table *table, struct chi_client *client, uint64_t seed)
{
	memset(table, 0, sizeof(*table));
	table->buckets = alloc_zeroed(client, sizeof(*table->buckets) << BITS_MIN);
	if (!table->buckets)
		return -ENOMEM;
	table->client = client;
	table->bits = BITS_MIN;
	table->seed = seed;
	return 0;
}

void blob_table_fini(struct blob_store *store)
{
	struct blob_table *table = &store->table;

	for (size_t i = 0; table->buckets && i < (size_t)1 << table->bits; i++) {
		struct blob_entry *entry = table->buckets[i];

		while (entry) {
			struct blob_entry *next = entry->next;

			blob_object_put(store, entry->object);
			chi_free(table->client, entry);
			entry = next;
		}
	}
	if (table->buckets)
		chi_free(table->client, table->buckets);
	memset(table, 0, sizeof(*table));
}

/* Twice the buckets; each chain falls apart into two, in order. Without memory the chains just grow longer. */
static void grow(struct blob_table *table)
{
	size_t n_old = (size_t)1 << table->bits;
	struct blob_entry **buckets;

	if (table->bits >= BITS_MAX)
		return;
	buckets = alloc_zeroed(table->client, 2 * n_old * sizeof(*buckets));
	if (!buckets)
		return;
	for (size_t i = 0; i < n_old; i++) {
		struct blob_entry **link = &table->buckets[i];
		uint64_t upper = ((uint64_t)(2 * i + 1)) << (63 - table->bits);

		while (*link && (*link)->hash < upper)
			link = &(*link)->next;
		buckets[2 * i + 1] = *link;
		*link = NULL;
		buckets[2 * i] = table->buckets[i];
	}
	chi_free(table->client, table->buckets);
	table->buckets = buckets;
	table->bits++;
}

static void count(struct blob_table *table, const struct blob_object *object, int sign)
{
	table->size_bytes += sign > 0 ? object->size_bytes : -object->size_bytes;
	table->stored_bytes += sign > 0 ? object->stored_bytes : -object->stored_bytes;
}

struct blob_entry *blob_table_find(struct blob_table *table, const struct chi_blob_key *key)
{
	uint64_t hash = hash_of(table, key);
	struct blob_entry **link = place_of(table, hash, key);

	return is_at(link, hash) ? *link : NULL;
}

int blob_table_set(struct blob_table *table, const struct chi_blob_key *key, struct blob_object *object,
		   struct blob_object **ret_old)
{
	uint64_t hash = hash_of(table, key);
	struct blob_entry **link = place_of(table, hash, key);
	struct blob_entry *entry;

	if (is_at(link, hash)) {
		count(table, (*link)->object, -1);
		*ret_old = (*link)->object;
		(*link)->object = object;
		count(table, object, 1);
		return 0;
	}
	if (chi_alloc(table->client, sizeof(*entry), &entry))
		return -ENOMEM;
	entry->next = *link;
	entry->hash = hash;
	entry->object = object;
	entry->key = *key;
	*link = entry;
	count(table, object, 1);
	if (++table->n_entries > (uint64_t)1 << table->bits)
		grow(table);
	return 1;
}

struct blob_object *blob_table_remove(struct blob_table *table, const struct chi_blob_key *key)
{
	uint64_t hash = hash_of(table, key);
	struct blob_entry **link = place_of(table, hash, key);
	struct blob_entry *entry = *link;
	struct blob_object *object;

	if (!is_at(link, hash))
		return NULL;
	object = entry->object;
	count(table, object, -1);
	*link = entry->next;
	table->n_entries--;
	chi_free(table->client, entry);
	return object;
}

static bool has_prefix(const struct chi_blob_key *key, const struct chi_blob_key *prefix)
{
	return key->size >= prefix->size && memcmp(key->bytes, prefix->bytes, prefix->size) == 0;
}

/* @to: of a struct chi_blob_info; a client's memory, aligned as it likes */
static void describe(const struct blob_entry *entry, void *to)
{
	struct chi_blob_info info = {
		.size_bytes = entry->object->size_bytes,
		.stored_bytes = entry->object->stored_bytes,
		.key = entry->key,
	};

	memcpy(to, &info, sizeof(info));
}

int blob_table_list(const struct blob_table *table, const struct chi_blob_key *prefix, uint64_t position,
		    struct chi_blob_info *infos, uint64_t n_max, uint64_t *ret_next, bool *ret_end)
{
	size_t first = position >> (64 - table->bits), n_buckets = (size_t)1 << table->bits;
	uint64_t hash = 0; /* the one at hand; n of its keys stand from n_before on */
	uint32_t n = 0, n_before = 0, n_looked = 0;

	*ret_end = false;
	for (size_t i = first; i < n_buckets; i++) {
		if (i - first >= LIST_BUCKETS_MAX) {
			*ret_next = (uint64_t)i << (64 - table->bits);
			return (int)n;
		}
		for (struct blob_entry *entry = table->buckets[i]; entry; entry = entry->next) {
			if (entry->hash < position)
				continue;
			/* stop only between two hashes: a position cannot name a place between equal ones */
			if (!n_looked || entry->hash != hash) {
				if (n_looked >= LIST_ENTRIES_MAX) {
					*ret_next = entry->hash;
					return (int)n;
				}
				hash = entry->hash;
				n_before = n;
			}
			n_looked++;
			if (!has_prefix(&entry->key, prefix))
				continue;
			if (n >= n_max) {
				*ret_next = hash;
				return n_before ? (int)n_before : -ENOSPC;
			}
			describe(entry, &infos[n++]);
		}
	}
	*ret_next = 0;
	*ret_end = true;
	return (int)n;
}

struct blob_object *blob_object_create(struct blob_store *store, uint64_t size_bytes)
{
	uint32_t chunk_bytes = store->chunk_bytes;
	uint64_t n_chunks = size_bytes / chunk_bytes + (size_bytes % chunk_bytes != 0);
	struct blob_object *object;

	if (n_chunks > UINT32_MAX)
		return NULL;
	object = alloc_zeroed(store->client, sizeof(*object) + n_chunks * sizeof(object->chunks[0]));
	if (!object)
		return NULL;
	hshm_store_relaxed(&object->references, 1); /* nobody else knows it */
	object->n_chunks = (uint32_t)n_chunks;
	object->size_bytes = size_bytes;
	for (uint64_t i = 0; i < n_chunks; i++) {
		uint64_t rest = size_bytes - i * chunk_bytes;

		object->chunks[i].raw_bytes = rest < chunk_bytes ? (uint32_t)rest : chunk_bytes;
	}
	return object;
}

void blob_object_get(struct blob_object *object)
{
	/* relaxed: the caller holds the table's lock, under which the table's own reference keeps the object alive */
	hshm_fetch_add_relaxed(&object->references, 1);
}

void blob_object_put(struct blob_store *store, struct blob_object *object)
{
	/* release: our reads of the chunks are over before another frees them; acquire: pairs with the others' release
	 * for the one who does */
	if (!object || hshm_fetch_sub_acq_rel(&object->references, 1) != 1)
		return;
	for (uint32_t i = 0; i < object->n_chunks; i++) {
		if (!object->chunks[i].bytes)
			continue;
		chi_free(store->client, object->chunks[i].bytes);
		/* relaxed: a count, it orders nothing */
		hshm_fetch_sub_relaxed(&store->charged_bytes, object->chunks[i].stored_bytes);
	}
	chi_free(store->client, object);
}

int blob_object_keep(struct blob_store *store, struct blob_object *object, uint32_t chunk, const void *bytes,
		     uint32_t stored_bytes)
{
	/* relaxed: a count, it orders nothing; added before it is compared, so that two at once cannot both slip in */
	uint64_t charged = hshm_fetch_add_relaxed(&store->charged_bytes, stored_bytes) + stored_bytes;
	unsigned char *copy;
	int rc = 0;

	if (store->memory_max_bytes && charged > store->memory_max_bytes)
		rc = -ENOSPC;
	else if (chi_alloc(store->client, stored_bytes, &copy))
		rc = -ENOMEM;
	if (rc) {
		hshm_fetch_sub_relaxed(&store->charged_bytes, stored_bytes); /* relaxed: as above */
		return rc;
	}
	memcpy(copy, bytes, stored_bytes);
	object->chunks[chunk].bytes = copy;
	object->chunks[chunk].stored_bytes = stored_bytes;
	object->stored_bytes += stored_bytes;
	object->n_chunks_raw += stored_bytes == object->chunks[chunk].raw_bytes;
	return 0;
}
