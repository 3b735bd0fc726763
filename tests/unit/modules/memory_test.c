/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory_test.c - what `compress` and `blob` take is under memory.private_mib: at the cap -ENOMEM, and all is right after
 */
/* first: modules_test.h names a variable as they name parameters */
#include "runtime/runtime.h"

#include "modules_test.h"

#include "../../modules/probe.h"

#define MIB	   UINT64_C(1048576)
#define CAP_MIB	   64u /* of it a quarter is not for modules */
#define N_BULK	   64u
#define BULK_BYTES (8 * MIB)

static uint32_t blob, compress;

static int start(const char *config)
{
	int rc = start_runtime_with(config);

	if (!rc && (chi_blob_open(client, NULL, 1, NULL, &blob) < 0 || chi_compress_open(client, 1, &compress) < 0)) {
		fprintf(stderr, "pools: %s\n", chi_error_text());
		rc = -1;
	}
	return rc;
}

static int start_small(void **state)
{
	(void)state;
	return start("workers: { count: 3 }\nmemory: { private_mib: 64 }\n");
}

static int start_large(void **state)
{
	(void)state;
	return start("workers: { count: 3 }\nmemory: { private_mib: 2048 }\n");
}

static struct hshm_heap_stats module_memory(void)
{
	struct hshm_heap_stats stats;

	hshm_heap_get_stats(runtime->module_heap, &stats);
	return stats;
}

static struct chi_blob_key key_of(uint32_t n)
{
	struct chi_blob_key key = { 0 };
	char text[32];

	snprintf(text, sizeof(text), "key %u", n);
	assert_int_equal(chi_blob_key_set(&key, text, strlen(text)), 0);
	return key;
}

/* Values that no one can pack, each its own. */
static int put(uint32_t n, unsigned char *value, uint64_t size_bytes)
{
	struct chi_blob_key key = key_of(n);

	fill(value, size_bytes, n + 1, 1);
	return chi_blob_put(client, blob, &key, value, size_bytes, NULL);
}

static void assert_has(uint32_t n, unsigned char *value, unsigned char *back, uint64_t size_bytes)
{
	struct chi_blob_key key = key_of(n);

	fill(value, size_bytes, n + 1, 1);
	assert_int_equal(chi_blob_get(client, blob, &key, back, size_bytes, NULL), 0);
	assert_memory_equal(value, back, size_bytes);
}

static uint32_t put_until_enomem(uint32_t first, unsigned char *value, uint64_t size_bytes)
{
	uint32_t n = first;
	int rc;

	while ((rc = put(n, value, size_bytes)) == 1 && n * size_bytes < CAP_MIB * MIB)
		n++;
	assert_int_equal(rc, -ENOMEM);
	return n;
}

static void at_the_cap_put_returns_enomem_and_every_object_stays(void **state)
{
	unsigned char *value = lend(MIB), *back = lend(MIB);
	struct chi_blob_usage usage = { 0 };
	struct chi_blob_key key;
	uint32_t n_kept, n;

	(void)state;
	n_kept = put_until_enomem(0, value, MIB);
	assert_true(n_kept > CAP_MIB / 2);
	key = key_of(n_kept);
	assert_int_equal(chi_blob_stat(client, blob, &key, NULL), -ENOENT); /* the one that failed is not there */
	for (uint32_t i = 0; i < n_kept; i++)
		assert_has(i, value, back, MIB);
	assert_int_equal(chi_blob_usage_call(client, blob, CHI_QUERY_GLOBAL_BCAST(), &usage), 0);
	assert_int_equal(usage.n_objects, n_kept);
	assert_int_equal(usage.stored_bytes, n_kept * MIB);

	for (uint32_t i = 0; i < n_kept / 2; i++) {
		key = key_of(i);
		assert_int_equal(chi_blob_remove(client, blob, &key), 0);
	}
	n = put_until_enomem(n_kept, value, MIB); /* what was given back can be had again */
	assert_in_range(n - n_kept, n_kept / 2 - 2, n_kept / 2 + 2);
	for (uint32_t i = n_kept / 2; i < n; i++)
		assert_has(i, value, back, MIB);
	assert_int_equal(chi_pool_destroy(client, blob), 0);
	assert_true(module_memory().used_bytes < 16 * MIB);
	chi_free(client, value);
	chi_free(client, back);
}

/* Take the modules' memory, down to the last block. */
static void **take_all(uint32_t *ret_n)
{
	void **blocks = calloc(200000, sizeof(*blocks));
	uint32_t n = 0;

	assert_non_null(blocks);
	for (uint64_t size_bytes = MIB; size_bytes >= 64; size_bytes /= 2)
		while (n < 200000 && hshm_heap_alloc(runtime->module_heap, size_bytes, &blocks[n]) == 0)
			n++;
	assert_in_range(n, 1, 199999);
	*ret_n = n;
	return blocks;
}

static struct probe_task *submit_probe(uint32_t pool, enum probe_method method)
{
	struct probe_task *task = NULL;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	task->in = 1;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static void end_probe(struct probe_task *task)
{
	assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
	assert_int_equal(task->task.result, 0);
	chi_task_free(client, task);
}

/* Tasks that would give memory back must not fail for want of it. */
static void tasks_run_when_modules_have_taken_everything(void **state)
{
	struct chi_pool_spec spec = { .module = "probe" };
	unsigned char *value = lend(4096), *back = lend(4096);
	struct chi_blob_key key = key_of(1);
	struct probe_task *tasks[512];
	uint32_t probe, n_blocks;
	void **blocks;

	(void)state;
	assert_int_equal(chi_pool_create(client, &spec, &probe), 1);
	assert_int_equal(put(0, value, 4096), 1);
	assert_int_equal(put(1, value, 4096), 1);
	blocks = take_all(&n_blocks);
	assert_int_equal(put(2, value, 4096), -ENOMEM);
	for (uint32_t i = 0; i < 512; i++)
		tasks[i] = submit_probe(probe, PROBE_GATE_WAIT);
	end_probe(submit_probe(probe, PROBE_GATE_OPEN)); /* all are in flight by then: one lane */
	for (uint32_t i = 0; i < 512; i++)
		end_probe(tasks[i]);
	assert_int_equal(chi_blob_remove(client, blob, &key), 0);
	while (n_blocks)
		hshm_heap_free(runtime->module_heap, blocks[--n_blocks]);
	free(blocks);
	assert_has(0, value, back, 4096);
	assert_int_equal(put(2, value, 4096), 1);
	chi_free(client, value);
	chi_free(client, back);
}

/* zstd's own memory too: at this level and size one context wants more than there may be. */
static void compress_beyond_the_cap_returns_enomem_and_then_works(void **state)
{
	uint64_t n = 8 * MIB, frame_max = chi_compress_bound_bytes(n), frame_bytes = 0, back_bytes = 0;
	unsigned char *in = lend(n), *frame = lend(frame_max), *back = lend(n);

	(void)state;
	fill(in, n, 3, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(chi_compress(client, compress, in, n, frame, frame_max, 19, &frame_bytes), -ENOMEM);
		assert_int_equal(chi_compress(client, compress, in, n, frame, frame_max, 3, &frame_bytes), 0);
		assert_int_equal(chi_decompress(client, compress, frame, frame_bytes, back, n, &back_bytes), 0);
		assert_int_equal(back_bytes, n);
		assert_memory_equal(in, back, n);
	}
	assert_int_equal(chi_pool_destroy(client, compress), 0);
	assert_int_equal(chi_pool_destroy(client, blob), 0);
	assert_int_equal(module_memory().used_bytes, 0);
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

/* Puts of one value, all in flight at once; returns how many ended with -ENOMEM. Nothing else may go wrong. */
static uint32_t put_at_once(unsigned char *value)
{
	struct chi_blob_task *tasks[N_BULK];
	uint32_t n_refused = 0;

	for (uint32_t i = 0; i < N_BULK; i++) {
		struct chi_blob_key key = key_of(i);

		assert_int_equal(
			chi_blob_put_alloc(client, blob, chi_blob_query(&key), value, BULK_BYTES, key, &tasks[i]), 0);
		assert_int_equal(chi_submit(client, tasks[i]), 0);
	}
	for (uint32_t i = 0; i < N_BULK; i++) {
		struct chi_blob_key key = key_of(i);
		int result;

		assert_int_equal(chi_wait(tasks[i], HSHM_FOREVER), 0);
		result = tasks[i]->task.result;
		assert_true(result == 1 || result == -ENOMEM);
		assert_int_equal(chi_blob_stat(client, blob, &key, NULL), result == 1 ? 0 : -ENOENT);
		n_refused += result != 1;
		chi_task_free(client, tasks[i]);
	}
	return n_refused;
}

static void many_transfers_at_once_hold_no_more_than_their_gates(void **state)
{
	uint64_t chunk_bytes = MIB + chi_compress_bound_bytes(MIB);
	unsigned char *value = lend(BULK_BYTES);

	(void)state;
	fill(value, BULK_BYTES, 1, 0);
	assert_int_equal(put_at_once(value), 0);
	/* reserved pages never go back, so this is the most there ever was: 8 gates, 8 chunks each; and zstd, and values */
	assert_true(module_memory().reserved_bytes < 8 * 8 * chunk_bytes + 256 * MIB);
	chi_free(client, value);
}

static void many_transfers_at_the_cap_fail_alone(void **state)
{
	unsigned char *value = lend(BULK_BYTES), *back = lend(BULK_BYTES);
	uint32_t n_refused;

	(void)state;
	memset(value, 'v', BULK_BYTES); /* what is kept of it is little */
	n_refused = put_at_once(value);
	for (uint32_t i = 0; i < N_BULK; i++) {
		struct chi_blob_key key = key_of(i);
		int rc = chi_blob_get(client, blob, &key, back, BULK_BYTES, NULL);

		if (rc) {
			assert_int_equal(rc, -ENOENT);
			n_refused--;
			assert_int_equal(chi_blob_put(client, blob, &key, value, BULK_BYTES, NULL), 1);
			assert_int_equal(chi_blob_get(client, blob, &key, back, BULK_BYTES, NULL), 0);
		}
		assert_memory_equal(value, back, BULK_BYTES);
		memset(back, 0, BULK_BYTES);
	}
	assert_int_equal(n_refused, 0);
	chi_free(client, value);
	chi_free(client, back);
}

#define CASE(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, stop_runtime)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(at_the_cap_put_returns_enomem_and_every_object_stays, start_small),
		CASE(tasks_run_when_modules_have_taken_everything, start_small),
		CASE(compress_beyond_the_cap_returns_enomem_and_then_works, start_small),
		CASE(many_transfers_at_once_hold_no_more_than_their_gates, start_large),
		CASE(many_transfers_at_the_cap_fail_alone, start_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
