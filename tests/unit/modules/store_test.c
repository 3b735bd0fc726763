/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of `blob`, against a plain model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include "../../../modules/blob/store.c"

#include "task/submitter.h"

static struct blob_store store;
static int n_blocks; /* taken and not given back */
static int n_until_failure = -1;

static int take(struct chi_client *client, uint64_t size_bytes, void **ret_memory)
{
	(void)client;
	if (n_until_failure >= 0 && n_until_failure-- == 0)
		return -ENOMEM;
	*ret_memory = malloc(size_bytes);
	n_blocks++;
	return *ret_memory ? 0 : -ENOMEM;
}

static void give_back(struct chi_client *client, void *memory)
{
	(void)client;
	n_blocks -= memory != NULL;
	free(memory);
}

static const struct chi_client_ops ops = { .alloc = take, .free = give_back };
static struct chi_client client = { .magic = CHI_CLIENT_MAGIC, .ops = &ops };

static int set_up(void **state)
{
	(void)state;
	memset(&store, 0, sizeof(store));
	store.client = &client;
	store.chunk_bytes = 4096;
	n_until_failure = -1;
	return blob_table_init(&store.table, &client, 42);
}

static int tear_down(void **state)
{
	(void)state;
	blob_table_fini(&store);
	return hshm_load_relaxed(&store.charged_bytes) != 0 || n_blocks != 0; /* all was given back */
}

static struct chi_blob_key key_of(const char *format, unsigned int n)
{
	struct chi_blob_key key;
	char text[64];

	snprintf(text, sizeof(text), format, n);
	assert_int_equal(chi_blob_key_set(&key, text, strlen(text)), 0);
	return key;
}

static struct blob_object *object_with(const char *text)
{
	struct blob_object *object = blob_object_create(&store, strlen(text));

	assert_non_null(object);
	if (*text)
		assert_int_equal(blob_object_keep(&store, object, 0, text, (uint32_t)strlen(text)), 0);
	return object;
}

static int set(const struct chi_blob_key *key, const char *text)
{
	struct blob_object *old = NULL;
	int rc = blob_table_set(&store.table, key, object_with(text), &old);

	blob_object_put(&store, old);
	return rc;
}

static void keys_are_made_replaced_and_removed(void **state)
{
	struct chi_blob_key key = key_of("key", 0), other = key_of("other", 0);
	struct blob_object *object;

	(void)state;
	assert_null(blob_table_find(&store.table, &key));
	assert_int_equal(set(&key, "one"), 1);
	assert_int_equal(set(&key, "seven"), 0);
	assert_null(blob_table_find(&store.table, &other));
	assert_int_equal(store.table.n_entries, 1);
	assert_int_equal(store.table.size_bytes, 5);
	assert_int_equal(store.table.stored_bytes, 5);
	assert_memory_equal(blob_table_find(&store.table, &key)->object->chunks[0].bytes, "seven", 5);
	assert_null(blob_table_remove(&store.table, &other));
	object = blob_table_remove(&store.table, &key);
	assert_non_null(object);
	blob_object_put(&store, object);
	assert_null(blob_table_find(&store.table, &key));
	assert_int_equal(store.table.n_entries, 0);
	assert_int_equal(store.table.size_bytes, 0);
}

static void an_object_outlives_its_key_while_it_is_read(void **state)
{
	struct chi_blob_key key = key_of("key", 0);
	struct blob_object *object;

	(void)state;
	set(&key, "bytes");
	object = blob_table_find(&store.table, &key)->object;
	blob_object_get(object);
	blob_object_put(&store, blob_table_remove(&store.table, &key));
	assert_int_equal(hshm_load_relaxed(&store.charged_bytes), 5);
	assert_memory_equal(object->chunks[0].bytes, "bytes", 5);
	blob_object_put(&store, object);
	assert_int_equal(hshm_load_relaxed(&store.charged_bytes), 0);
}

static void ten_thousand_random_steps_agree_with_a_plain_array(void **state)
{
	static bool there[3000];
	uint64_t seed = 12345, n = 0;

	(void)state;
	for (int step = 0; step < 10000; step++) {
		unsigned int i;
		struct chi_blob_key key;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		i = (seed >> 33) % 3000;
		key = key_of("k%u", i);
		if ((seed >> 60) < 10) {
			assert_int_equal(set(&key, "v"), !there[i]);
			n += !there[i];
			there[i] = true;
		} else {
			struct blob_object *object = blob_table_remove(&store.table, &key);

			assert_int_equal(object != NULL, there[i]);
			n -= there[i];
			there[i] = false;
			blob_object_put(&store, object);
		}
		assert_int_equal(store.table.n_entries, n);
	}
	assert_true(store.table.bits > BITS_MIN);
	for (unsigned int i = 0; i < 3000; i++) {
		struct chi_blob_key key = key_of("k%u", i);

		assert_int_equal(blob_table_find(&store.table, &key) != NULL, there[i]);
	}
}

/* List everything in pages; count how often each key of "a%u" comes. */
static void list_all(const struct chi_blob_key *prefix, uint64_t n_page, unsigned char *seen, unsigned int n_seen,
		     bool grow_meanwhile)
{
	struct chi_blob_info infos[16];
	uint64_t position = 0;
	unsigned int n_more = 0;
	bool end = false;

	while (!end) {
		int n = blob_table_list(&store.table, prefix, position, infos, n_page, &position, &end);

		assert_in_range(n, 0, n_page);
		for (int i = 0; i < n; i++) {
			unsigned int which;

			assert_true(infos[i].key.size >= prefix->size);
			assert_memory_equal(infos[i].key.bytes, prefix->bytes, prefix->size);
			if (sscanf(infos[i].key.bytes, "a%u", &which) == 1 && which < n_seen)
				seen[which]++;
		}
		for (int i = 0; grow_meanwhile && i < 8 && n_more < 4000; i++) {
			struct chi_blob_key key = key_of("more%u", n_more++);

			set(&key, "");
		}
	}
}

static void a_listing_gives_each_key_once(void **state)
{
	static unsigned char seen[2000];
	struct chi_blob_key all = { 0 }, prefix = key_of("a", 0);

	(void)state;
	for (unsigned int i = 0; i < 2000; i++) {
		struct chi_blob_key a = key_of("a%u", i), b = key_of("b%u", i);

		set(&a, "");
		set(&b, "");
	}
	for (uint64_t n_page = 1; n_page <= 16; n_page += 5) {
		memset(seen, 0, sizeof(seen));
		list_all(n_page == 1 ? &all : &prefix, n_page, seen, 2000, false);
		for (unsigned int i = 0; i < 2000; i++)
			assert_int_equal(seen[i], 1);
	}
}

static void a_listing_goes_on_while_the_table_grows(void **state)
{
	static unsigned char seen[500];
	struct chi_blob_key all = { 0 };
	uint32_t bits;

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (unsigned int i = 0; i < 500; i++) {
		struct chi_blob_key key = key_of("a%u", i);

		set(&key, "");
	}
	bits = store.table.bits;
	list_all(&all, 3, seen, 500, true);
	assert_true(store.table.bits > bits);
	for (unsigned int i = 0; i < 500; i++)
		assert_int_equal(seen[i], 1);
}

static void a_listing_looks_at_a_limited_number(void **state)
{
	struct chi_blob_key none = key_of("no such key", 0);
	struct chi_blob_info info;
	uint64_t position = 0;
	int n_calls = 0;
	bool end = false;

	(void)state;
	for (unsigned int i = 0; i < 3 * LIST_ENTRIES_MAX; i++) {
		struct chi_blob_key key = key_of("a%u", i);

		set(&key, "");
	}
	while (!end) {
		assert_int_equal(blob_table_list(&store.table, &none, position, &info, 1, &position, &end), 0);
		n_calls++;
	}
	assert_in_range(n_calls, 3, 4);
}

/* Two keys of one hash: a page that ends between them gives neither half. */
static void a_page_ends_between_hashes_only(void **state)
{
	struct chi_blob_key first = key_of("first", 0), second = key_of("second", 0), all = { 0 };
	struct chi_blob_info infos[2];
	struct blob_entry *a, *b, *entry;
	uint64_t position = 0;
	bool end;

	(void)state;
	set(&first, "");
	set(&second, "");
	a = blob_table_find(&store.table, &first);
	b = blob_table_find(&store.table, &second);
	/* forge the collision: both into the bucket of the first */
	for (struct blob_entry **link = bucket_of(&store.table, b->hash); (entry = *link); link = &entry->next) {
		if (entry == b) {
			*link = b->next;
			break;
		}
	}
	b->hash = a->hash;
	b->next = a->next;
	a->next = b;
	assert_int_equal(blob_table_list(&store.table, &all, 0, infos, 1, &position, &end), -ENOSPC);
	assert_int_equal(blob_table_list(&store.table, &all, 0, infos, 2, &position, &end), 2);
	assert_true(end);
}

static void the_limit_returns_enospc_and_charges_nothing(void **state)
{
	struct blob_object *object = blob_object_create(&store, 5000);
	unsigned char bytes[4096] = { 0 };

	(void)state;
	store.memory_max_bytes = 4500;
	assert_int_equal(object->n_chunks, 2);
	assert_int_equal(object->chunks[1].raw_bytes, 904);
	assert_int_equal(blob_object_keep(&store, object, 0, bytes, 4096), 0);
	assert_int_equal(blob_object_keep(&store, object, 1, bytes, 904), -ENOSPC);
	assert_int_equal(hshm_load_relaxed(&store.charged_bytes), 4096);
	blob_object_put(&store, object);
	assert_int_equal(hshm_load_relaxed(&store.charged_bytes), 0);
}

/* Whichever allocation fails: an error and the old value, or the new one. */
static void every_allocation_may_fail(void **state)
{
	struct chi_blob_key keys[] = { key_of("old", 0), key_of("new", 0) };
	int n_failed = 0, rc = -1;

	(void)state;
	set(&keys[0], "before");
	for (int k = 0; rc < 0; k++) {
		struct blob_object *object, *old = NULL;

		n_until_failure = k;
		object = blob_object_create(&store, 5);
		rc = object ? blob_object_keep(&store, object, 0, "after", 5) : -ENOMEM;
		if (!rc)
			rc = blob_table_set(&store.table, &keys[1], object, &old);
		n_until_failure = -1;
		if (rc < 0) {
			assert_int_equal(rc, -ENOMEM);
			blob_object_put(&store, object);
			assert_null(blob_table_find(&store.table, &keys[1]));
			n_failed++;
		}
		assert_memory_equal(blob_table_find(&store.table, &keys[0])->object->chunks[0].bytes, "before", 6);
	}
	assert_int_equal(n_failed, 3); /* object, chunk, entry */
	assert_memory_equal(blob_table_find(&store.table, &keys[1])->object->chunks[0].bytes, "after", 5);
	assert_int_equal(store.table.n_entries, 2);
}

static void a_table_that_cannot_grow_goes_on(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 100; i++) {
		struct chi_blob_key key = key_of("k%u", i);
		struct blob_object *object = object_with("v"), *old = NULL;

		n_until_failure = 1; /* the entry, not the buckets */
		assert_int_equal(blob_table_set(&store.table, &key, object, &old), 1);
		n_until_failure = -1;
	}
	assert_int_equal(store.table.bits, BITS_MIN);
	for (unsigned int i = 0; i < 100; i++) {
		struct chi_blob_key key = key_of("k%u", i);

		assert_non_null(blob_table_find(&store.table, &key));
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(keys_are_made_replaced_and_removed),
		CASE(an_object_outlives_its_key_while_it_is_read),
		CASE(ten_thousand_random_steps_agree_with_a_plain_array),
		CASE(a_listing_gives_each_key_once),
		CASE(a_listing_goes_on_while_the_table_grows),
		CASE(a_listing_looks_at_a_limited_number),
		CASE(a_page_ends_between_hashes_only),
		CASE(the_limit_returns_enospc_and_charges_nothing),
		CASE(every_allocation_may_fail),
		CASE(a_table_that_cannot_grow_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
