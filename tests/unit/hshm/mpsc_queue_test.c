/* SPDX-License-Identifier: BSD-3-Clause */
/* The invariants I1.. are those at the top of src/hshm/mpsc_queue.c. */
#include "hshm_test.h"

#include <hshm/clock.h>
#include <hshm/mpsc_queue.h>

#define DEPTH  8u
#define SHIFT  3u
#define SEED   UINT64_C(0x1a9)
#define HEADER 200u

static char memory[4096] HSHM_ALIGNED(HSHM_FALSE_SHARING);

struct ring {
	struct hipc_mpsc_queue queue;
	struct hipc_mpsc_consumer consumer;
};

static struct ring make_ring(void)
{
	struct ring ring;

	memset(memory, 0xa5, sizeof(memory));
	assert_int_equal(hipc_mpsc_queue_init(memory, DEPTH, HEADER, &ring.queue), 0);
	hipc_mpsc_consumer_init(&ring.consumer, &ring.queue);
	return ring;
}

/* As if that many enqueues and dequeues had happened. */
static void move_to(struct ring *ring, uint64_t pos)
{
	for (uint64_t at = pos; at < pos + DEPTH; at++)
		ring->queue.slots[at % DEPTH].v = (at >> SHIFT) << 32;
	ring->queue.tail->v = pos;
	ring->consumer.head = ring->consumer.released = pos;
}

static void fill(struct ring *ring, uint32_t first_ref)
{
	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(hipc_mpsc_enqueue(&ring->queue, first_ref + i), 0);
}

static void depth_must_be_a_power_of_two_in_range(void **state)
{
	struct hipc_mpsc_queue queue;

	(void)state;
	assert_int_equal(hipc_mpsc_queue_bytes(0, 0), 0);
	assert_int_equal(hipc_mpsc_queue_bytes(1, 0), 0);
	assert_int_equal(hipc_mpsc_queue_bytes(3, 0), 0);
	assert_int_equal(hipc_mpsc_queue_bytes(HIPC_MPSC_DEPTH_MAX * 2, 0), 0);
	assert_int_equal(hipc_mpsc_queue_bytes(2, 0), 256);
	assert_int_equal(hipc_mpsc_queue_bytes(DEPTH, HEADER), 128 + 256 + 128);
	assert_int_equal(hipc_mpsc_queue_bytes(HIPC_MPSC_DEPTH_MAX, 1), 256 + 8 * (size_t)HIPC_MPSC_DEPTH_MAX);
	assert_true(hipc_mpsc_queue_bytes(2, UINT32_MAX) > UINT32_MAX);
	assert_int_equal(hipc_mpsc_queue_init(memory, 3, 0, &queue), -EINVAL);
	assert_int_equal(hipc_mpsc_queue_init(memory + 64, DEPTH, 0, &queue), -EINVAL);
	assert_int_equal(hipc_mpsc_queue_attach(memory + 64, DEPTH, 0, &queue), -EINVAL);
	assert_int_equal(hipc_mpsc_queue_attach(NULL, DEPTH, 0, &queue), -EINVAL);
}

static void init_zeroes_the_header_and_stays_in_its_bytes(void **state)
{
	size_t size_bytes = hipc_mpsc_queue_bytes(DEPTH, HEADER);
	struct ring ring = make_ring();

	(void)state;
	for (uint32_t i = 0; i < HEADER; i++)
		assert_int_equal(((char *)ring.queue.header)[i], 0);
	fill(&ring, 1);
	for (size_t i = size_bytes; i < sizeof(memory); i++)
		assert_int_equal((unsigned char)memory[i], 0xa5);
	assert_true((char *)ring.queue.header >= (char *)ring.queue.tail + HSHM_FALSE_SHARING);
	assert_true((char *)ring.queue.slots >= (char *)ring.queue.header + HEADER);
}

static void references_leave_in_the_order_they_came(void **state)
{
	struct ring ring = make_ring();

	(void)state;
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
	for (uint32_t i = 1; i <= 1000; i++) {
		assert_int_equal(hipc_mpsc_enqueue(&ring.queue, i), 0);
		assert_int_equal(hipc_mpsc_enqueue(&ring.queue, UINT32_MAX - i), 0);
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), i);
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), UINT32_MAX - i);
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
	}
}

static void peek_leaves_the_reference_there(void **state)
{
	struct ring ring = make_ring();

	(void)state;
	assert_int_equal(hipc_mpsc_peek(&ring.consumer), 0);
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 5), 0);
	assert_int_equal(hipc_mpsc_peek(&ring.consumer), 5);
	assert_int_equal(hipc_mpsc_peek(&ring.consumer), 5);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 5);
	assert_int_equal(hipc_mpsc_peek(&ring.consumer), 0);
}

static void a_taken_slot_is_full_until_it_is_released(void **state)
{
	struct ring ring = make_ring();

	(void)state;
	fill(&ring, 1);
	for (uint32_t ref = 1; ref <= DEPTH; ref++) {
		assert_int_equal(hipc_mpsc_take(&ring.consumer), ref);
		assert_int_equal(hipc_mpsc_n_unreleased(&ring.consumer), ref);
	}
	/* not one of the last lap is taken for one of this */
	assert_int_equal(hipc_mpsc_take(&ring.consumer), 0);
	assert_int_equal(hipc_mpsc_peek(&ring.consumer), 0);
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 99), -EAGAIN);
	hipc_mpsc_release(&ring.consumer);
	assert_int_equal(hipc_mpsc_n_unreleased(&ring.consumer), 0);
	fill(&ring, 100);
	for (uint32_t ref = 100; ref < 100 + DEPTH; ref++)
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), ref);
}

static void what_was_enqueued_waits_until_its_slot_is_released(void **state)
{
	struct ring ring = make_ring();

	(void)state;
	assert_false(hipc_mpsc_waits(&ring.queue));
	for (uint32_t ref = 1; ref <= 2 * DEPTH; ref++) {
		assert_int_equal(hipc_mpsc_enqueue(&ring.queue, ref), 0);
		assert_true(hipc_mpsc_waits(&ring.queue));
		assert_int_equal(hipc_mpsc_take(&ring.consumer), ref);
		hipc_mpsc_release(&ring.consumer);
		assert_false(hipc_mpsc_waits(&ring.queue));
	}
}

static void enqueue_on_full_lane_returns_eagain(void **state)
{
	struct ring ring = make_ring();

	(void)state;
	fill(&ring, 1);
	assert_true(hipc_mpsc_is_full(&ring.queue));
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 99), -EAGAIN);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 1);
	assert_false(hipc_mpsc_is_full(&ring.queue));
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 9), 0);
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 99), -EAGAIN);
	for (uint32_t i = 2; i <= 9; i++)
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), i);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
}

static void attached_description_reaches_the_same_ring(void **state)
{
	struct ring ring = make_ring();
	struct hipc_mpsc_queue other;

	(void)state;
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 3), 0);
	assert_int_equal(hipc_mpsc_queue_attach(memory, DEPTH, HEADER, &other), 0);
	assert_int_equal(hipc_mpsc_enqueue(&other, 4), 0);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 3);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 4);
	assert_ptr_equal(other.header, ring.queue.header);
}

static void laps_wrap_around_at_32_bits(void **state)
{
	struct ring ring = make_ring();
	uint32_t ref = 1;

	(void)state;
	move_to(&ring, (UINT64_C(0xfffffffe) << SHIFT) + 5);
	for (int round = 0; round < 4; round++) {
		fill(&ring, ref);
		assert_true(hipc_mpsc_is_full(&ring.queue));
		assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 99), -EAGAIN);
		for (uint32_t i = 0; i < DEPTH; i++, ref++) {
			assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), ref);
			assert_false(hipc_mpsc_is_full(&ring.queue));
		}
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
	}
	assert_true(ring.consumer.head >> SHIFT > UINT32_MAX);
}

/* I1, I2: the moment between a slot's CAS and the tail's */
static void producer_stopped_after_its_claim_leaves_a_whole_ring(void **state)
{
	struct ring ring = make_ring();

	(void)state;
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 1), 0);
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 2), 0);
	ring.queue.tail->v = 0; /* neither of them got to the tail */
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 3), 0);
	for (uint32_t i = 1; i <= 3; i++)
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), i);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
	assert_int_equal(ring.queue.tail->v, 3);
}

static void stale_tail_over_a_full_ring_still_means_full(void **state)
{
	struct ring ring = make_ring();

	(void)state;
	move_to(&ring, 5 * DEPTH + 3);
	fill(&ring, 1);
	ring.queue.tail->v -= 4;
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 99), -EAGAIN);
	assert_int_equal(ring.queue.tail->v, 6 * DEPTH + 3);
	for (uint32_t i = 1; i <= DEPTH; i++)
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), i);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
}

/* I4 */
static void claim_prepared_in_an_earlier_lap_fails(void **state)
{
	struct ring ring = make_ring();
	uint64_t prepared = ring.queue.slots[0].v;

	(void)state;
	fill(&ring, 1);
	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), i + 1);
	assert_false(hshm_cas_release(&ring.queue.slots[0], &prepared, 99));
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
}

/* I5 */
static void slot_words_of_other_laps_count_as_empty(void **state)
{
	static const uint64_t words[] = { 0x0000000500000001, 0x0000000300000001, 0x8000000400000001,
					  0xffffffffffffffff, 0x0000000400000000, 0x00000000ffffffff };
	struct ring ring = make_ring();

	(void)state;
	move_to(&ring, 4 * DEPTH);
	for (size_t i = 0; i < N_ELEMENTS(words); i++) {
		ring.queue.slots[0].v = words[i];
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
		assert_int_equal(ring.consumer.head, 4 * DEPTH);
		assert_true(ring.queue.slots[0].v == words[i]);
	}
	/* one in this lap is what any producer might have written: the caller checks the reference */
	ring.queue.slots[0].v = 0x00000004fffffff1;
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0xfffffff1);
}

/* I5, I6 */
static void no_bytes_in_the_ring_make_a_call_loop(void **state)
{
	struct hipc_mpsc_ahead ahead = { 0 };
	struct ring ring = make_ring();
	uint64_t seed = SEED;

	(void)state;
	for (int round = 0; round < 200; round++) {
		uint64_t before = hshm_clock_ns();

		ring.queue.tail->v = random_u64(&seed) >> random_below(&seed, 64);
		for (uint32_t i = 0; i < DEPTH; i++)
			ring.queue.slots[i].v = random_u64(&seed) >> random_below(&seed, 64);
		for (uint32_t i = 0; i < 2 * DEPTH; i++) {
			int rc = hipc_mpsc_enqueue(&ring.queue, 1);

			assert_true(rc == 0 || rc == -EAGAIN);
			hipc_mpsc_is_full(&ring.queue);
			assert_true(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 4) <= 4);
			assert_true(hipc_mpsc_n_ahead(&ring.consumer, &ahead) <= HIPC_MPSC_AHEAD);
			hipc_mpsc_dequeue(&ring.consumer);
		}
		assert_true(hshm_clock_ns() - before < 10 * HSHM_NSEC_PER_SEC); /* not for ever */
	}
	/* what a lap ahead everywhere does: each try moves the tail by one, and the end of tries ends it */
	ring.queue.tail->v = 0;
	for (uint32_t i = 0; i < DEPTH; i++)
		ring.queue.slots[i].v = UINT64_C(0x7fffffff) << 32;
	assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 1), -EAGAIN);
}

/* ---- references copied ahead ---- */

#define DEEP (4 * HIPC_MPSC_AHEAD)

static struct ring make_deep_ring(void)
{
	struct ring ring;

	assert_true(hipc_mpsc_queue_bytes(DEEP, HEADER) <= sizeof(memory));
	assert_int_equal(hipc_mpsc_queue_init(memory, DEEP, HEADER, &ring.queue), 0);
	hipc_mpsc_consumer_init(&ring.consumer, &ring.queue);
	return ring;
}

static void put(struct ring *ring, uint32_t first_ref, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(hipc_mpsc_enqueue(&ring->queue, first_ref + i), 0);
}

static void expect_ahead(const struct ring *ring, const struct hipc_mpsc_ahead *ahead, uint32_t first_ref, uint32_t n)
{
	assert_int_equal(hipc_mpsc_n_ahead(&ring->consumer, ahead), n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(hipc_mpsc_ahead_at(&ring->consumer, ahead, i), first_ref + i);
}

static void take_ahead(struct ring *ring, const struct hipc_mpsc_ahead *ahead, uint32_t first_ref, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(hipc_mpsc_take_ahead(&ring->consumer, ahead), first_ref + i);
	hipc_mpsc_release(&ring->consumer);
}

static void a_look_ahead_ends_at_an_empty_slot(void **state)
{
	struct ring ring = make_deep_ring();
	struct hipc_mpsc_ahead ahead = { 0 };

	(void)state;
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 8), 0);
	expect_ahead(&ring, &ahead, 0, 0);
	put(&ring, 1, 3);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 8), 3);
	assert_int_equal(ring.consumer.head, 0);
	expect_ahead(&ring, &ahead, 1, 3);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 8), 0);
	/* what came later is behind what was copied, which it leaves as it is */
	put(&ring, 4, 2);
	assert_int_equal(hipc_mpsc_take_ahead(&ring.consumer, &ahead), 1);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 8), 2);
	expect_ahead(&ring, &ahead, 2, 4);
	take_ahead(&ring, &ahead, 2, 4);
	assert_int_equal(hipc_mpsc_n_ahead(&ring.consumer, &ahead), 0);
	assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), 0);
}

static void a_look_ahead_ends_at_as_many_as_it_may_and_as_there_is_room_for(void **state)
{
	struct ring ring = make_deep_ring();
	struct hipc_mpsc_ahead ahead = { 0 };

	(void)state;
	put(&ring, 1, DEEP);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 5), 5);
	expect_ahead(&ring, &ahead, 1, 5);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, DEEP), HIPC_MPSC_AHEAD - 5);
	expect_ahead(&ring, &ahead, 1, HIPC_MPSC_AHEAD);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, DEEP), 0);
	/* what was taken makes room, and its place is written over */
	take_ahead(&ring, &ahead, 1, 3);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, DEEP), 3);
	expect_ahead(&ring, &ahead, 4, HIPC_MPSC_AHEAD);
}

static void a_look_ahead_goes_on_over_the_end_of_a_lap_and_not_into_the_next(void **state)
{
	struct ring ring = make_ring();
	struct hipc_mpsc_ahead ahead = { 0 };

	(void)state;
	/* where the lap's number wraps around, too */
	move_to(&ring, (UINT64_C(0xffffffff) << SHIFT) + 5);
	for (uint32_t round = 0; round < 3; round++) {
		fill(&ring, 1 + round * DEPTH);
		/* a ring shorter than that: its first slot, seen again, is of this lap */
		assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, HIPC_MPSC_AHEAD), DEPTH);
		expect_ahead(&ring, &ahead, 1 + round * DEPTH, DEPTH);
		for (uint32_t i = 0; i < DEPTH; i++)
			assert_int_equal(hipc_mpsc_take_ahead(&ring.consumer, &ahead), 1 + round * DEPTH + i);
		/* taken, and not released: not the producers' yet, nor there again */
		assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, HIPC_MPSC_AHEAD), 0);
		assert_int_equal(hipc_mpsc_enqueue(&ring.queue, 99), -EAGAIN);
		hipc_mpsc_release(&ring.consumer);
	}
}

/* I5: a hostile producer's */
static void what_was_copied_is_what_is_taken(void **state)
{
	struct ring ring = make_deep_ring();
	struct hipc_mpsc_ahead ahead = { 0 };

	(void)state;
	put(&ring, 1, 4);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 4), 4);
	ring.queue.slots[0].v = 77;
	ring.queue.slots[1].v = 0;
	ring.queue.slots[2].v = UINT64_MAX;
	ring.queue.tail->v = 1;
	expect_ahead(&ring, &ahead, 1, 4);
	take_ahead(&ring, &ahead, 1, 4);
	/* released as ever: the ring goes on */
	ring.queue.tail->v = 4;
	put(&ring, 5, DEEP);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 4), 4);
	take_ahead(&ring, &ahead, 5, 4);
}

static void a_head_past_what_was_copied_has_nothing_ahead(void **state)
{
	struct ring ring = make_deep_ring();
	struct hipc_mpsc_ahead ahead = { 0 };

	(void)state;
	put(&ring, 1, 8);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 2), 2);
	for (uint32_t ref = 1; ref <= 5; ref++)
		assert_int_equal(hipc_mpsc_dequeue(&ring.consumer), ref);
	assert_int_equal(hipc_mpsc_n_ahead(&ring.consumer, &ahead), 0);
	assert_int_equal(hipc_mpsc_look_ahead(&ring.consumer, &ahead, 8), 3);
	expect_ahead(&ring, &ahead, 6, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(depth_must_be_a_power_of_two_in_range),
		cmocka_unit_test(init_zeroes_the_header_and_stays_in_its_bytes),
		cmocka_unit_test(references_leave_in_the_order_they_came),
		cmocka_unit_test(peek_leaves_the_reference_there),
		cmocka_unit_test(a_taken_slot_is_full_until_it_is_released),
		cmocka_unit_test(what_was_enqueued_waits_until_its_slot_is_released),
		cmocka_unit_test(enqueue_on_full_lane_returns_eagain),
		cmocka_unit_test(attached_description_reaches_the_same_ring),
		cmocka_unit_test(laps_wrap_around_at_32_bits),
		cmocka_unit_test(producer_stopped_after_its_claim_leaves_a_whole_ring),
		cmocka_unit_test(stale_tail_over_a_full_ring_still_means_full),
		cmocka_unit_test(claim_prepared_in_an_earlier_lap_fails),
		cmocka_unit_test(slot_words_of_other_laps_count_as_empty),
		cmocka_unit_test(no_bytes_in_the_ring_make_a_call_loop),
		cmocka_unit_test(a_look_ahead_ends_at_an_empty_slot),
		cmocka_unit_test(a_look_ahead_ends_at_as_many_as_it_may_and_as_there_is_room_for),
		cmocka_unit_test(a_look_ahead_goes_on_over_the_end_of_a_lap_and_not_into_the_next),
		cmocka_unit_test(what_was_copied_is_what_is_taken),
		cmocka_unit_test(a_head_past_what_was_copied_has_nothing_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
