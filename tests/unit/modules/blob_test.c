/* SPDX-License-Identifier: BSD-3-Clause */
#include "modules_test.h"

#define MIB	   UINT64_C(1048576)
#define CONTAINERS 3u

static uint32_t pool;

static int set_up(void **state)
{
	int rc = start_runtime(state);

	if (!rc && chi_blob_open(client, NULL, CONTAINERS, NULL, &pool) < 0) {
		fprintf(stderr, "blob: %s\n", chi_error_text());
		rc = -1;
	}
	return rc;
}

static struct chi_blob_key key_of(const char *text)
{
	struct chi_blob_key key = { 0 };

	assert_int_equal(chi_blob_key_set(&key, text, strlen(text)), 0);
	return key;
}

static int put_text(uint32_t pool_id, const char *key_text, const char *value)
{
	struct chi_blob_key key = key_of(key_text);
	char *memory = lend(strlen(value));
	int rc;

	memcpy(memory, value, strlen(value));
	rc = chi_blob_put(client, pool_id, &key, memory, strlen(value), NULL);
	chi_free(client, memory);
	return rc;
}

/* Returns what get said; the value is compared when it said 0. */
static int get_text(uint32_t pool_id, const char *key_text, const char *value)
{
	struct chi_blob_key key = key_of(key_text);
	char *memory = lend(strlen(value));
	struct chi_blob_size info = { 0 };
	int rc = chi_blob_get(client, pool_id, &key, memory, strlen(value), &info);

	if (!rc) {
		assert_int_equal(info.size_bytes, strlen(value));
		assert_memory_equal(memory, value, strlen(value));
	}
	chi_free(client, memory);
	return rc;
}

static uint32_t make_pool(const char *name, struct chi_blob_params params)
{
	uint32_t id = 0;

	params.size = sizeof(params);
	assert_int_equal(chi_blob_open(client, name, 1, &params, &id), 1);
	return id;
}

static void destroy_pool(uint32_t id)
{
	assert_int_equal(chi_pool_destroy(client, id), 0);
}

static void round_trip(uint64_t n, int noise)
{
	struct chi_blob_key key = key_of("round trip");
	unsigned char *in = lend(n), *out = lend(n);
	struct chi_blob_size info = { 0 };

	fill(in, n, n + 3, noise);
	assert_true(chi_blob_put(client, pool, &key, in, n, &info) >= 0);
	assert_int_equal(info.size_bytes, n);
	if (noise)
		assert_int_equal(info.stored_bytes, n);
	else if (n > 4096)
		assert_true(info.stored_bytes < n / 2);
	memset(out, 0xee, n ? n : 1);
	assert_int_equal(chi_blob_get(client, pool, &key, n ? out : NULL, n, &info), 0);
	assert_int_equal(info.size_bytes, n);
	assert_memory_equal(in, out, n);
	chi_free(client, in);
	chi_free(client, out);
}

static void every_size_comes_back_the_same(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 63, 64, 4095, MIB - 1, MIB, MIB + 1, 12 * MIB + 345 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		round_trip(sizes[i], 0);
		round_trip(sizes[i], 1);
	}
}

static void chunks_are_counted(void **state)
{
	struct chi_blob_key key = key_of("chunks");
	uint64_t n = 4 * MIB + 1;
	unsigned char *in = lend(n);
	struct chi_blob_task *task = NULL;

	(void)state;
	fill(in, n, 3, 0);
	fill(in + MIB, MIB, 3, 1); /* one that cannot be packed */
	assert_int_equal(chi_blob_put_alloc(client, pool, chi_blob_query(&key), in, n, key, &task), 0);
	assert_true(chi_call(client, task) >= 0);
	assert_int_equal(task->size.n_chunks, 5);
	assert_int_equal(task->size.n_chunks_raw, 2); /* and the last, of one byte */
	chi_task_free(client, task);
	chi_free(client, in);
}

static void put_tells_made_from_replaced(void **state)
{
	struct chi_blob_key key = key_of("a");

	(void)state;
	assert_int_equal(put_text(pool, "a", "first"), 1);
	assert_int_equal(put_text(pool, "a", "the second"), 0);
	assert_int_equal(get_text(pool, "a", "the second"), 0);
	assert_int_equal(chi_blob_remove(client, pool, &key), 0);
	assert_int_equal(put_text(pool, "a", "third"), 1);
	assert_int_equal(chi_blob_remove(client, pool, &key), 0);
}

static void a_missing_key_returns_enoent(void **state)
{
	struct chi_blob_key key = key_of("missing");
	struct chi_blob_size info = { 0 };

	(void)state;
	assert_int_equal(get_text(pool, "missing", "x"), -ENOENT);
	assert_int_equal(chi_blob_remove(client, pool, &key), -ENOENT);
	assert_int_equal(chi_blob_stat(client, pool, &key, &info), -ENOENT);
}

static void a_small_buffer_returns_enospc_and_the_size(void **state)
{
	struct chi_blob_key key = key_of("large");
	struct chi_blob_size info = { 0 };
	char *memory = lend(64);

	(void)state;
	put_text(pool, "large", "twenty bytes of text");
	assert_int_equal(chi_blob_get(client, pool, &key, memory, 19, &info), -ENOSPC);
	assert_int_equal(info.size_bytes, 20);
	assert_int_equal(chi_blob_get(client, pool, &key, NULL, 0, &info), -ENOSPC);
	assert_int_equal(chi_blob_get(client, pool, &key, memory, 64, &info), 0);
	assert_int_equal(info.size_bytes, 20);
	chi_free(client, memory);
}

static void keys_have_1_to_255_bytes(void **state)
{
	struct chi_blob_key key = { 0 };
	char text[300];

	(void)state;
	memset(text, 'k', sizeof(text));
	assert_int_equal(chi_blob_key_set(&key, text, 256), -ENAMETOOLONG);
	assert_int_equal(chi_blob_key_set(&key, text, 0), -EINVAL);
	assert_int_equal(chi_blob_key_set(&key, text, 255), 0);
	assert_int_equal(chi_blob_put(client, pool, &key, NULL, 0, NULL), 1);
	assert_int_equal(chi_blob_remove(client, pool, &key), 0);
}

static void a_key_of_another_container_returns_einval(void **state)
{
	struct chi_blob_key key = key_of("where am I");
	uint64_t home = chi_blob_key_hash(&key) % CONTAINERS;
	struct chi_blob_task *task = NULL;

	(void)state;
	for (uint32_t method = CHI_BLOB_PUT; method <= CHI_BLOB_STAT; method++) {
		struct chi_domain_query wrong = CHI_QUERY_GLOBAL_ID((home + 1) % CONTAINERS);

		assert_int_equal(chi_blob_put_alloc(client, pool, wrong, NULL, 0, key, &task), 0);
		task->task.method_id = method;
		assert_int_equal(chi_call(client, task), -EINVAL);
		/* nor a key of no bytes */
		task->task.query = CHI_QUERY_GLOBAL_ID(home);
		task->key.size = 0;
		assert_int_equal(chi_call(client, task), -EINVAL);
		chi_task_free(client, task);
	}
}

static void list_gives_every_key_of_every_container_once(void **state)
{
	struct chi_blob_info *infos = lend(7 * sizeof(*infos));
	struct chi_blob_key prefix = key_of("list/");
	struct chi_blob_cursor cursor = { 0 };
	unsigned char seen[300] = { 0 };
	char text[32];

	(void)state;
	for (int i = 0; i < 300; i++) {
		snprintf(text, sizeof(text), "list/%d", i);
		assert_int_equal(put_text(pool, text, "value"), 1);
	}
	put_text(pool, "other", "not to be listed");
	while (!cursor.end) {
		int n = chi_blob_list(client, pool, &prefix, &cursor, infos, 7);

		assert_in_range(n, 0, 7);
		for (int i = 0; i < n; i++) {
			infos[i].key.bytes[infos[i].key.size] = '\0';
			assert_int_equal(infos[i].size_bytes, 5);
			assert_memory_equal(infos[i].key.bytes, "list/", 5);
			seen[atoi(infos[i].key.bytes + 5)]++;
		}
	}
	for (int i = 0; i < 300; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(chi_blob_list(client, pool, &prefix, &cursor, infos, 7), 0);
	chi_free(client, infos);
}

static void usage_folds_all_containers(void **state)
{
	struct chi_blob_usage all = { 0 }, one = { 0 };
	uint64_t n_objects = 0, size_bytes = 0;

	(void)state;
	assert_int_equal(chi_blob_usage_call(client, pool, CHI_QUERY_GLOBAL_BCAST(), &all), 0);
	assert_int_equal(all.n_containers, CONTAINERS);
	for (uint32_t i = 0; i < CONTAINERS; i++) {
		assert_int_equal(chi_blob_usage_call(client, pool, CHI_QUERY_GLOBAL_ID(i), &one), 0);
		assert_true(one.n_objects > 50);
		n_objects += one.n_objects;
		size_bytes += one.size_bytes;
	}
	assert_int_equal(all.n_objects, n_objects);
	assert_int_equal(all.size_bytes, size_bytes);
}

static void at_the_memory_limit_put_returns_enospc_and_the_old_value_stays(void **state)
{
	uint32_t id = make_pool("limited", (struct chi_blob_params){ .memory_max_bytes = 100000 });
	struct chi_blob_key key = key_of("noise");
	unsigned char *memory = lend(200000);
	struct chi_blob_usage usage = { 0 };

	(void)state;
	assert_int_equal(put_text(id, "noise", "the old value"), 1);
	fill(memory, 200000, 4, 1);
	assert_int_equal(chi_blob_put(client, id, &key, memory, 200000, NULL), -ENOSPC);
	assert_int_equal(get_text(id, "noise", "the old value"), 0);
	/* what failed took nothing */
	for (int i = 0; i < 20; i++)
		assert_true(chi_blob_put(client, id, &key, memory, 49000, NULL) >= 0);
	assert_int_equal(chi_blob_usage_call(client, id, CHI_QUERY_GLOBAL_BCAST(), &usage), 0);
	assert_int_equal(usage.stored_bytes, 49000);
	chi_free(client, memory);
	destroy_pool(id);
}

static void a_put_whose_compress_fails_leaves_the_old_value(void **state)
{
	struct chi_blob_params params = { .compress_module = "faulty_compress", .chunk_bytes = 4096 };
	uint32_t id = make_pool("failing", params);
	struct chi_blob_key key = key_of("key");
	unsigned char *memory = lend(40960), *back = lend(40960);
	struct chi_blob_size info = { 0 };

	(void)state;
	memset(memory, 'o', 40960);
	assert_int_equal(chi_blob_put(client, id, &key, memory, 40960, NULL), 1);
	memset(back, 'n', 40960);
	memcpy(back + 5 * 4096, "FAIL", 4); /* the sixth chunk of ten */
	assert_int_equal(chi_blob_put(client, id, &key, back, 40960, NULL), -EIO);
	assert_int_equal(chi_blob_get(client, id, &key, back, 40960, &info), 0);
	assert_memory_equal(memory, back, 40960);
	chi_free(client, memory);
	chi_free(client, back);
	destroy_pool(id);
}

static void a_damaged_chunk_returns_ebadmsg(void **state)
{
	struct chi_blob_params params = { .compress_module = "faulty_compress", .chunk_bytes = 4096 };
	uint32_t id = make_pool("damaging", params);
	struct chi_blob_key key = key_of("key");
	unsigned char *memory = lend(20480);

	(void)state;
	memset(memory, 'o', 20480);
	memcpy(memory + 8192, "HURT", 4);
	assert_int_equal(chi_blob_put(client, id, &key, memory, 20480, NULL), 1);
	assert_int_equal(chi_blob_get(client, id, &key, memory, 20480, NULL), -EBADMSG);
	chi_free(client, memory);
	destroy_pool(id);
}

static void wrong_parameters_are_refused(void **state)
{
	static const struct chi_blob_params wrong[] = {
		{ .size = sizeof(wrong[0]), .level = 20 },
		{ .size = sizeof(wrong[0]), .level = -8 },
		{ .size = sizeof(wrong[0]), .chunk_bytes = CHI_BLOB_CHUNK_BYTES_MIN - 1 },
		{ .size = sizeof(wrong[0]), .chunk_bytes = CHI_BLOB_CHUNK_BYTES_MAX + 1 },
		{ .size = sizeof(wrong[0]), .window = CHI_BLOB_WINDOW_MAX + 1 },
		{ .size = sizeof(wrong[0]), .reserved = 1 },
		{ .size = 1 },
	};
	struct {
		struct chi_blob_params params;
		uint64_t later;
	} newer = { .params = { .size = sizeof(newer) }, .later = 1 };
	struct chi_pool_spec spec = { .module = CHI_BLOB_MODULE, .name = "wrong" };
	uint32_t id;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		spec.params = &wrong[i];
		spec.params_size = sizeof(wrong[i]);
		assert_int_equal(chi_pool_create(client, &spec, &id), -EINVAL);
	}
	spec.params = &newer;
	spec.params_size = sizeof(newer);
	assert_int_equal(chi_pool_create(client, &spec, &id), -E2BIG);
	newer.later = 0; /* longer, but it asks for nothing that we do not know */
	assert_int_equal(chi_pool_create(client, &spec, &id), 1);
	destroy_pool(id);
}

static void a_value_that_changes_meanwhile_stays_whole(void **state)
{
	struct chi_blob_key key = key_of("changing");
	uint64_t n = 3 * MIB;
	unsigned char *in = lend(n), *out = lend(n);
	struct scribbler scribbler;

	(void)state;
	fill(in, n, 8, 0);
	scribbler_start(&scribbler, in, n);
	for (int i = 0; i < 10; i++) {
		assert_true(chi_blob_put(client, pool, &key, in, n, NULL) >= 0);
		assert_int_equal(chi_blob_get(client, pool, &key, out, n, NULL), 0); /* its checksums hold */
	}
	scribbler_stop(&scribbler);
	chi_free(client, in);
	chi_free(client, out);
}

/* Several threads put and get one key; each value is one letter throughout, at a size of its own. */
#define RACE_BYTES (2 * MIB + 100)

static void *race(void *arg)
{
	struct chi_blob_key key = key_of("race");
	unsigned char *memory = NULL;
	uintptr_t n_bad = 0;

	if (chi_alloc(client, RACE_BYTES, &memory))
		return (void *)1;
	for (int i = 0; i < 30; i++) {
		struct chi_blob_size info = { 0 };
		uint64_t n = RACE_BYTES - (uint64_t)(i * 7000);

		memset(memory, 'a' + i % 20, n);
		if ((uintptr_t)arg % 2) {
			n_bad += chi_blob_put(client, pool, &key, memory, n, &info) < 0;
			continue;
		}
		if (chi_blob_get(client, pool, &key, memory, RACE_BYTES, &info)) {
			n_bad++;
			continue;
		}
		for (uint64_t at = 1; at < info.size_bytes; at++)
			n_bad += memory[at] != memory[0];
	}
	chi_free(client, memory);
	return (void *)n_bad;
}

static void a_get_sees_one_whole_value_while_others_put(void **state)
{
	struct chi_blob_key key = key_of("race");
	pthread_t threads[4];

	(void)state;
	assert_int_equal(put_text(pool, "race", "aaaa"), 1);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race, (void *)i), 0);
	for (int i = 0; i < 4; i++) {
		void *n_bad;

		pthread_join(threads[i], &n_bad);
		assert_null(n_bad);
	}
	assert_int_equal(chi_blob_remove(client, pool, &key), 0);
}

/* Threads make and remove keys of their own in one container, many at once. */
#define CHURN_KEYS   64u
#define CHURN_ROUNDS 60

static uint32_t churn_pool;

static int churn_round(uintptr_t thread, enum chi_blob_method method, char *value)
{
	struct chi_blob_task *tasks[CHURN_KEYS] = { NULL };
	int n_bad = 0;

	for (uint32_t i = 0; i < CHURN_KEYS; i++) {
		struct chi_blob_key key = { 0 };
		char text[32];
		int rc;

		snprintf(text, sizeof(text), "%u/%u", (unsigned int)thread, i);
		if (chi_blob_key_set(&key, text, strlen(text)))
			return 1;
		if (method == CHI_BLOB_PUT)
			rc = chi_blob_put_alloc(client, churn_pool, chi_blob_query(&key), value, 32, key, &tasks[i]);
		else
			rc = chi_blob_remove_alloc(client, churn_pool, chi_blob_query(&key), key, &tasks[i]);
		if (rc)
			return 1;
		while (chi_submit(client, tasks[i]) == -EAGAIN)
			chi_yield();
	}
	n_bad += chi_wait_all((void *const *)tasks, CHURN_KEYS, HSHM_FOREVER) != 0;
	for (uint32_t i = 0; i < CHURN_KEYS; i++) {
		n_bad += tasks[i]->task.result != (method == CHI_BLOB_PUT);
		chi_task_free(client, tasks[i]);
	}
	return n_bad;
}

static void *churn(void *arg)
{
	uintptr_t n_bad = 0;
	char *value = NULL;

	if (chi_alloc(client, 32, &value))
		return (void *)1;
	memset(value, 'v', 32);
	for (int i = 0; i < CHURN_ROUNDS; i++) {
		n_bad += (uintptr_t)churn_round((uintptr_t)arg, CHI_BLOB_PUT, value);
		if (i + 1 < CHURN_ROUNDS)
			n_bad += (uintptr_t)churn_round((uintptr_t)arg, CHI_BLOB_REMOVE, value);
	}
	chi_free(client, value);
	return (void *)n_bad;
}

static void many_at_once_leave_a_whole_table(void **state)
{
	struct chi_blob_usage usage = { 0 };
	pthread_t threads[3];

	(void)state;
	churn_pool = make_pool("churn", (struct chi_blob_params){ 0 });
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
	for (int i = 0; i < 3; i++) {
		void *n_bad;

		pthread_join(threads[i], &n_bad);
		assert_null(n_bad);
	}
	assert_int_equal(chi_blob_usage_call(client, churn_pool, CHI_QUERY_GLOBAL_BCAST(), &usage), 0);
	assert_int_equal(usage.n_objects, 3 * CHURN_KEYS);
	assert_int_equal(usage.size_bytes, 3 * CHURN_KEYS * 32);
	destroy_pool(churn_pool);
}

static void put_and_get_wait_for_compress(void **state)
{
	struct chi_runtime_info before = { 0 }, after = { 0 };
	uint64_t n_waits = 0;

	(void)state;
	assert_int_equal(chi_client_runtime_info(client, &before), 0);
	/* of one chunk, so that there is nothing else to do meanwhile */
	for (int i = 0; i < 20; i++)
		round_trip(200000, 0);
	assert_int_equal(chi_client_runtime_info(client, &after), 0);
	for (uint32_t i = 0; i < after.n_workers; i++)
		n_waits += after.workers[i].waits.v - before.workers[i].waits.v;
	assert_true(n_waits > 0); /* not each time: on a busy machine the subtask may be done before we look */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_comes_back_the_same),
		cmocka_unit_test(chunks_are_counted),
		cmocka_unit_test(put_tells_made_from_replaced),
		cmocka_unit_test(a_missing_key_returns_enoent),
		cmocka_unit_test(a_small_buffer_returns_enospc_and_the_size),
		cmocka_unit_test(keys_have_1_to_255_bytes),
		cmocka_unit_test(a_key_of_another_container_returns_einval),
		cmocka_unit_test(list_gives_every_key_of_every_container_once),
		cmocka_unit_test(usage_folds_all_containers),
		cmocka_unit_test(at_the_memory_limit_put_returns_enospc_and_the_old_value_stays),
		cmocka_unit_test(a_put_whose_compress_fails_leaves_the_old_value),
		cmocka_unit_test(a_damaged_chunk_returns_ebadmsg),
		cmocka_unit_test(wrong_parameters_are_refused),
		cmocka_unit_test(a_value_that_changes_meanwhile_stays_whole),
		cmocka_unit_test(a_get_sees_one_whole_value_while_others_put),
		cmocka_unit_test(many_at_once_leave_a_whole_table),
		cmocka_unit_test(put_and_get_wait_for_compress),
	};

	return cmocka_run_group_tests(tests, set_up, stop_runtime);
}
