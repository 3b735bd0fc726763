/* SPDX-License-Identifier: BSD-3-Clause */
#include "hshm_test.h"

#include <hshm/multi_mpsc_queue.h>

#define N_LANES 5u
#define N_PRIOS 3u
#define DEPTH	4u
#define HEADER	40u

static char *memory;

static int setup(void **state)
{
	size_t size_bytes = hipc_multi_mpsc_queue_bytes(N_LANES, N_PRIOS, DEPTH, HEADER);

	(void)state;
	memory = aligned_alloc(HSHM_FALSE_SHARING, size_bytes);
	if (memory)
		memset(memory, 0xa5, size_bytes);
	return memory ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

static void numbers_out_of_range_are_refused(void **state)
{
	struct hipc_multi_mpsc_queue queue;

	(void)state;
	assert_int_equal(hipc_multi_mpsc_queue_bytes(0, 1, DEPTH, 0), 0);
	assert_int_equal(hipc_multi_mpsc_queue_bytes(1, 0, DEPTH, 0), 0);
	assert_int_equal(hipc_multi_mpsc_queue_bytes(HIPC_MULTI_MPSC_LANES_MAX + 1, 1, DEPTH, 0), 0);
	assert_int_equal(hipc_multi_mpsc_queue_bytes(1, HIPC_MULTI_MPSC_PRIOS_MAX + 1, DEPTH, 0), 0);
	assert_int_equal(hipc_multi_mpsc_queue_bytes(1, 1, 5, 0), 0);
	assert_int_equal(hipc_multi_mpsc_queue_init(memory, 0, 1, DEPTH, 0, &queue), -EINVAL);
	assert_int_equal(hipc_multi_mpsc_queue_init(memory + 8, 1, 1, DEPTH, 0, &queue), -EINVAL);
	assert_int_equal(hipc_multi_mpsc_queue_attach(NULL, 1, 1, DEPTH, 0, &queue), -EINVAL);
}

static void largest_numbers_do_not_overflow(void **state)
{
	size_t one = hipc_mpsc_queue_bytes(HIPC_MPSC_DEPTH_MAX, UINT32_MAX);
	size_t all = hipc_multi_mpsc_queue_bytes(HIPC_MULTI_MPSC_LANES_MAX, HIPC_MULTI_MPSC_PRIOS_MAX,
						 HIPC_MPSC_DEPTH_MAX, UINT32_MAX);

	(void)state;
	assert_int_equal(all / HIPC_MULTI_MPSC_LANES_MAX / HIPC_MULTI_MPSC_PRIOS_MAX, one);
}

static void each_lane_and_priority_is_a_queue_of_its_own(void **state)
{
	struct hipc_multi_mpsc_queue queue;

	(void)state;
	assert_int_equal(hipc_multi_mpsc_queue_init(memory, N_LANES, N_PRIOS, DEPTH, HEADER, &queue), 0);
	for (uint32_t i = 0; i < N_LANES * N_PRIOS; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&queue, i / N_PRIOS, i % N_PRIOS);

		assert_ptr_equal(hipc_multi_mpsc_queue_header(&queue, i / N_PRIOS, i % N_PRIOS), ring.header);
		for (uint32_t k = 0; k < HEADER; k++)
			assert_int_equal(((char *)ring.header)[k], 0);
		memset(ring.header, (int)i, HEADER);
		for (uint32_t k = 0; k < DEPTH; k++)
			assert_int_equal(hipc_mpsc_enqueue(&ring, 1 + i * DEPTH + k), 0);
		assert_int_equal(hipc_mpsc_enqueue(&ring, 1), -EAGAIN);
	}
	for (uint32_t i = 0; i < N_LANES * N_PRIOS; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&queue, i / N_PRIOS, i % N_PRIOS);
		struct hipc_mpsc_consumer consumer;

		for (uint32_t k = 0; k < HEADER; k++)
			assert_int_equal(((char *)ring.header)[k], i);
		hipc_mpsc_consumer_init(&consumer, &ring);
		for (uint32_t k = 0; k < DEPTH; k++)
			assert_int_equal(hipc_mpsc_dequeue(&consumer), 1 + i * DEPTH + k);
		assert_int_equal(hipc_mpsc_dequeue(&consumer), 0);
	}
}

static void attached_description_reaches_the_same_lanes(void **state)
{
	struct hipc_multi_mpsc_queue queue, other;
	struct hipc_mpsc_consumer consumer;
	struct hipc_mpsc_queue ring;

	(void)state;
	assert_int_equal(hipc_multi_mpsc_queue_init(memory, N_LANES, N_PRIOS, DEPTH, HEADER, &queue), 0);
	assert_int_equal(hipc_multi_mpsc_queue_attach(memory, N_LANES, N_PRIOS, DEPTH, HEADER, &other), 0);
	ring = hipc_multi_mpsc_queue_lane(&other, N_LANES - 1, N_PRIOS - 1);
	assert_int_equal(hipc_mpsc_enqueue(&ring, 77), 0);
	ring = hipc_multi_mpsc_queue_lane(&queue, N_LANES - 1, N_PRIOS - 1);
	hipc_mpsc_consumer_init(&consumer, &ring);
	assert_int_equal(hipc_mpsc_dequeue(&consumer), 77);
}

static void ask_for_lane_out_of_range(void *queue)
{
	hipc_multi_mpsc_queue_lane(queue, N_LANES, 0);
}

static void ask_for_priority_out_of_range(void *queue)
{
	hipc_multi_mpsc_queue_lane(queue, 0, N_PRIOS);
}

static void lane_out_of_range_is_a_bug(void **state)
{
	struct hipc_multi_mpsc_queue queue;

	(void)state;
	assert_int_equal(hipc_multi_mpsc_queue_init(memory, N_LANES, N_PRIOS, DEPTH, HEADER, &queue), 0);
	assert_true(aborts(ask_for_lane_out_of_range, &queue));
	assert_true(aborts(ask_for_priority_out_of_range, &queue));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_out_of_range_are_refused),
		cmocka_unit_test(largest_numbers_do_not_overflow),
		cmocka_unit_test(each_lane_and_priority_is_a_queue_of_its_own),
		cmocka_unit_test(attached_description_reaches_the_same_lanes),
		cmocka_unit_test(lane_out_of_range_is_a_bug),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
