/* SPDX-License-Identifier: BSD-3-Clause */
#include "modules_test.h"

#define MIB UINT64_C(1048576)

static uint32_t pool;

static int set_up(void **state)
{
	int rc = start_runtime(state);

	if (!rc && chi_compress_open(client, 2, &pool) < 0) {
		fprintf(stderr, "compress: %s\n", chi_error_text());
		rc = -1;
	}
	return rc;
}

static uint64_t packed(const unsigned char *in, uint64_t n, unsigned char *frame, uint64_t frame_max, int32_t level)
{
	uint64_t frame_bytes = 0;

	assert_int_equal(chi_compress(client, pool, (void *)(uintptr_t)in, n, frame, frame_max, level, &frame_bytes),
			 0);
	assert_in_range(frame_bytes, 1, frame_max);
	return frame_bytes;
}

static void round_trip(uint64_t n, int32_t level, int noise)
{
	uint64_t frame_max = chi_compress_bound_bytes(n), frame_bytes, back_bytes = ~UINT64_C(0);
	unsigned char *in = lend(n), *frame = lend(frame_max), *back = lend(n);

	fill(in, n, n + (uint64_t)(level + 10), noise);
	frame_bytes = packed(in, n, frame, frame_max, level);
	if (!noise && n > 4096)
		assert_true(frame_bytes < n / 2);
	assert_int_equal(chi_decompress(client, pool, frame, frame_bytes, back, n ? n : 1, &back_bytes), 0);
	assert_int_equal(back_bytes, n);
	assert_memory_equal(in, back, n);
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

static void every_size_comes_back_the_same(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 63, 64, 4096, 131071, MIB - 1, MIB, MIB + 1, 5 * MIB + 12345 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		round_trip(sizes[i], CHI_COMPRESS_LEVEL_DEFAULT, 0);
		round_trip(sizes[i], 1, 1);
	}
}

static void every_level_comes_back_the_same(void **state)
{
	(void)state;
	for (int32_t level = CHI_COMPRESS_LEVEL_MIN; level <= CHI_COMPRESS_LEVEL_MAX; level++)
		round_trip(70000, level, 0);
}

static void a_frame_is_a_zstd_frame(void **state)
{
	static const unsigned char magic[4] = { 0x28, 0xb5, 0x2f, 0xfd };
	unsigned char *in = lend(100), *frame = lend(256);

	(void)state;
	fill(in, 100, 1, 0);
	packed(in, 100, frame, 256, 3);
	assert_memory_equal(frame, magic, sizeof(magic));
	chi_free(client, in);
	chi_free(client, frame);
}

static void a_level_out_of_range_returns_einval(void **state)
{
	static const int32_t levels[] = { CHI_COMPRESS_LEVEL_MIN - 1, CHI_COMPRESS_LEVEL_MAX + 1, INT32_MIN,
					  INT32_MAX };
	unsigned char *in = lend(64), *out = lend(256);
	uint64_t out_bytes = 0;

	(void)state;
	memset(in, 'a', 64);
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		assert_int_equal(chi_compress(client, pool, in, 64, out, 256, levels[i], &out_bytes), -EINVAL);
	chi_free(client, in);
	chi_free(client, out);
}

static void unknown_flags_return_einval(void **state)
{
	struct chi_compress_task *task = NULL;
	unsigned char *in = lend(64), *out = lend(256);

	(void)state;
	memset(in, 'a', 64);
	assert_int_equal(chi_compress_alloc(client, pool, CHI_QUERY_LOCAL_ID(0), in, 64, out, 256, 3, 1u << 31, &task),
			 0);
	for (uint32_t method = CHI_COMPRESS_COMPRESS; method <= CHI_COMPRESS_DECOMPRESS; method++) {
		task->task.method_id = method;
		assert_int_equal(chi_call(client, task), -EINVAL);
	}
	chi_task_free(client, task);
	chi_free(client, in);
	chi_free(client, out);
}

static void too_little_room_returns_enospc(void **state)
{
	uint64_t n = 3 * MIB, frame_max = chi_compress_bound_bytes(n), frame_bytes = 0, out_bytes = 0;
	unsigned char *in = lend(n), *frame = lend(frame_max), *back = lend(n);

	(void)state;
	fill(in, n, 5, 1);
	assert_int_equal(chi_compress(client, pool, in, n, frame, n / 2, 1, &out_bytes), -ENOSPC);
	assert_int_equal(chi_compress(client, pool, in, n, frame, 1, 1, &out_bytes), -ENOSPC);
	frame_bytes = packed(in, n, frame, frame_max, 1);
	assert_int_equal(chi_compress(client, pool, in, n, frame, frame_bytes - 1, 1, &out_bytes), -ENOSPC);
	assert_int_equal(packed(in, n, frame, frame_bytes, 1), frame_bytes);
	/* and says how much it takes */
	assert_int_equal(chi_decompress(client, pool, frame, frame_bytes, back, n - 1, &out_bytes), -ENOSPC);
	assert_int_equal(out_bytes, n);
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

/* Whatever byte is turned, the answer is an error or the right bytes (some header bits mean nothing). */
static void a_corrupt_frame_returns_ebadmsg(void **state)
{
	uint64_t n = 3000, frame_bytes = 0, out_bytes = 0;
	unsigned char *in = lend(n), *frame = lend(4096), *back = lend(n);
	int n_bad = 0;

	(void)state;
	fill(in, n, 9, 0);
	frame_bytes = packed(in, n, frame, 4096, 3);
	for (uint64_t at = 0; at < frame_bytes; at++) {
		for (int bit = 0; bit < 8; bit += 3) {
			int rc;

			frame[at] ^= (unsigned char)(1 << bit);
			rc = chi_decompress(client, pool, frame, frame_bytes, back, n, &out_bytes);
			frame[at] ^= (unsigned char)(1 << bit);
			n_bad += rc == -EBADMSG;
			if (rc == 0)
				assert_memory_equal(in, back, n);
			else
				assert_true(rc == -EBADMSG || rc == -ENOSPC);
		}
	}
	assert_true((uint64_t)n_bad > 2 * frame_bytes);
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

static void a_cut_or_longer_frame_returns_ebadmsg(void **state)
{
	uint64_t n = 2 * MIB + 77, frame_max = chi_compress_bound_bytes(n) + 1, frame_bytes = 0, out_bytes = 0;
	unsigned char *in = lend(n), *frame = lend(frame_max), *back = lend(n);

	(void)state;
	fill(in, n, 11, 0);
	frame_bytes = packed(in, n, frame, frame_max - 1, 1);
	for (uint64_t cut = 1; cut <= frame_bytes; cut += 1 + frame_bytes / 37)
		assert_int_equal(chi_decompress(client, pool, frame, frame_bytes - cut, back, n, &out_bytes), -EBADMSG);
	frame[frame_bytes] = 0;
	assert_int_equal(chi_decompress(client, pool, frame, frame_bytes + 1, back, n, &out_bytes), -EBADMSG);
	assert_int_equal(chi_decompress(client, pool, frame, frame_bytes, back, n, &out_bytes), 0);
	assert_memory_equal(in, back, n);
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

static void noise_is_no_frame(void **state)
{
	unsigned char *in = lend(4096), *out = lend(4096);
	uint64_t out_bytes = 0;

	(void)state;
	for (uint64_t seed = 1; seed < 100; seed++) {
		fill(in, 4096, seed, 1);
		if (seed % 2)
			memcpy(in, "\x28\xb5\x2f\xfd", 4); /* the right beginning */
		assert_true(chi_decompress(client, pool, in, 4096, out, 4096, &out_bytes) < 0);
	}
	chi_free(client, in);
	chi_free(client, out);
}

static void input_that_changes_meanwhile_still_gives_a_whole_frame(void **state)
{
	uint64_t n = 2 * MIB, frame_max = chi_compress_bound_bytes(n), out_bytes = 0;
	unsigned char *in = lend(n), *frame = lend(frame_max), *back = lend(n);
	struct scribbler scribbler;

	(void)state;
	fill(in, n, 13, 0);
	scribbler_start(&scribbler, in, n);
	for (int i = 0; i < 10; i++) {
		uint64_t frame_bytes = packed(in, n, frame, frame_max, 1);

		assert_int_equal(chi_decompress(client, pool, frame, frame_bytes, back, n, &out_bytes), 0);
		assert_int_equal(out_bytes, n);
	}
	scribbler_stop(&scribbler);
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

static void a_frame_that_changes_meanwhile_harms_nobody(void **state)
{
	uint64_t n = 2 * MIB, frame_max = chi_compress_bound_bytes(n), frame_bytes = 0, out_bytes = 0;
	unsigned char *in = lend(n), *frame = lend(frame_max), *back = lend(n);
	struct scribbler in_frame, in_output;

	(void)state;
	fill(in, n, 17, 0);
	for (int i = 0; i < 20; i++) {
		int rc;

		frame_bytes = packed(in, n, frame, frame_max, 1);
		scribbler_start(&in_frame, frame, frame_bytes);
		scribbler_start(&in_output, back, n);
		rc = chi_decompress(client, pool, frame, frame_bytes, back, n, &out_bytes);
		scribbler_stop(&in_frame);
		scribbler_stop(&in_output);
		assert_true(rc == 0 || rc == -EBADMSG || rc == -ENOSPC);
	}
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

/* The frame's checksum is taken over memory that nobody else writes. */
static void output_that_changes_meanwhile_does_not_spoil_the_check(void **state)
{
	uint64_t n = 2 * MIB, frame_max = chi_compress_bound_bytes(n), frame_bytes = 0, out_bytes = 0;
	unsigned char *in = lend(n), *frame = lend(frame_max), *back = lend(n);
	struct scribbler scribbler;

	(void)state;
	fill(in, n, 19, 0);
	frame_bytes = packed(in, n, frame, frame_max, 1);
	scribbler_start(&scribbler, back, n);
	for (int i = 0; i < 20; i++)
		assert_int_equal(chi_decompress(client, pool, frame, frame_bytes, back, n, &out_bytes), 0);
	scribbler_stop(&scribbler);
	chi_free(client, in);
	chi_free(client, frame);
	chi_free(client, back);
}

static void bound_is_what_the_header_computes(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 131072, MIB, UINT64_C(1) << 40 };
	uint64_t out_bytes = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(chi_compress_bound_call(client, pool, CHI_QUERY_LOCAL_ID(0), sizes[i], &out_bytes), 0);
		assert_int_equal(out_bytes, chi_compress_bound_bytes(sizes[i]));
	}
	assert_int_equal(chi_compress_bound_call(client, pool, CHI_QUERY_LOCAL_ID(0), UINT64_MAX, NULL), -EINVAL);
}

static void parameters_are_refused(void **state)
{
	struct chi_pool_spec spec = { .module = CHI_COMPRESS_MODULE, .name = "other", .params = "x", .params_size = 1 };
	uint32_t id;

	(void)state;
	assert_int_equal(chi_pool_create(client, &spec, &id), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_comes_back_the_same),
		cmocka_unit_test(every_level_comes_back_the_same),
		cmocka_unit_test(a_frame_is_a_zstd_frame),
		cmocka_unit_test(a_level_out_of_range_returns_einval),
		cmocka_unit_test(unknown_flags_return_einval),
		cmocka_unit_test(too_little_room_returns_enospc),
		cmocka_unit_test(a_corrupt_frame_returns_ebadmsg),
		cmocka_unit_test(a_cut_or_longer_frame_returns_ebadmsg),
		cmocka_unit_test(noise_is_no_frame),
		cmocka_unit_test(input_that_changes_meanwhile_still_gives_a_whole_frame),
		cmocka_unit_test(a_frame_that_changes_meanwhile_harms_nobody),
		cmocka_unit_test(output_that_changes_meanwhile_does_not_spoil_the_check),
		cmocka_unit_test(bound_is_what_the_header_computes),
		cmocka_unit_test(parameters_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, stop_runtime);
}
