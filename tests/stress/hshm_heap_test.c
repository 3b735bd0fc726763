/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The heap under threads that hand blocks to each other, come and go, and meet its cap.
 * The invariants I1.. are those at the top of src/hshm/heap.c.
 */
#include "hshm_stress.h"

#include <stdio.h>

#include <hshm/atomic.h>
#include <hshm/heap.h>
#include <hshm/thread_model.h>

#include "hshm/heap_internal.h"

#define N_THREADS 4u
#define N_SHELVES 2048u
#define OFFSET	  UINT64_C(65536)
#define SIZE	  (UINT64_C(16) << 20)
#define N_STEPS	  20000u /* of a thread's life */

/* What the first bytes of each block say of it; the rest is filled with `fill`. */
struct stamp {
	uint64_t size;
	uint64_t fill;
};

static struct hshm_segment segment;
static struct hshm_heap *heap;
static hshm_aptr shelves[N_SHELVES]; /* blocks, for whoever comes by */
static hshm_au64 n_allocated;

struct life {
	uint64_t seed;
	bool is_broken;
};

static void put_stamp(void *block, uint64_t size, uint64_t fill)
{
	*(struct stamp *)block = (struct stamp){ size, fill };
	memset((char *)block + sizeof(struct stamp), (int)(fill & 0xff), size - sizeof(struct stamp));
}

/* Did anybody else write into it? I1: no block is in two hands. */
static bool is_whole(const void *block)
{
	const struct stamp *stamp = block;
	const unsigned char *bytes = (const unsigned char *)(stamp + 1);
	uint64_t n = stamp->size - sizeof(*stamp);

	if (stamp->size < sizeof(*stamp) || stamp->size > hshm_heap_block_size(heap, block))
		return false;
	return n == 0 || (bytes[0] == (stamp->fill & 0xff) && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static void live(void *arg)
{
	struct life *life = arg;

	for (uint32_t i = 0; i < N_STEPS && !life->is_broken; i++) {
		/* from 16 bytes to 64 KiB, small ones mostly; now and then a really large one */
		uint64_t shift = random_below(&life->seed, 64) == 0 ? 18 : random_below(&life->seed, 13);
		uint64_t size = sizeof(struct stamp) + random_below(&life->seed, UINT64_C(16) << shift);
		hshm_aptr *shelf = &shelves[random_below(&life->seed, N_SHELVES)];
		void *block = NULL, *found;

		if (random_below(&life->seed, 2) && hshm_heap_alloc(heap, size, &block) == 0) {
			put_stamp(block, size, random_u64(&life->seed));
			hshm_fetch_add_relaxed(&n_allocated, 1); /* relaxed: a count */
		}
		/* acquire and release: the block's bytes go from hand to hand with its address */
		found = hshm_exchange_acq_rel(shelf, block);
		if (found) {
			life->is_broken |= !is_whole(found);
			hshm_heap_free(heap, found);
		}
	}
}

static void threads_hand_blocks_round_and_none_breaks(void **state)
{
	uint64_t seed = stress_seed(), end = stress_end_ns(), n_lives = 0;
	struct hshm_heap_stats stats;
	void *block;

	(void)state;
	assert_int_equal(hshm_segment_create("heap", OFFSET + SIZE, 1, HSHM_SEAL_SIZE, &segment), 0);
	assert_int_equal(hshm_heap_create(&segment, OFFSET, SIZE, &heap), 0);
	do {
		struct hshm_thread *threads[N_THREADS];
		struct life lives[N_THREADS] = { 0 };

		for (uint32_t i = 0; i < N_THREADS; i++, n_lives++) {
			lives[i].seed = random_u64(&seed) | 1;
			assert_int_equal(HSHM_THREAD_MODEL->spawn("life", live, &lives[i], &threads[i]), 0);
		}
		for (uint32_t i = 0; i < N_THREADS; i++)
			HSHM_THREAD_MODEL->join(threads[i]);
		for (uint32_t i = 0; i < N_THREADS; i++)
			assert_false(lives[i].is_broken);
		assert_true(heap_check(heap));
	} while (hshm_clock_ns() < end);

	for (uint32_t i = 0; i < N_SHELVES; i++) {
		if (shelves[i].v)
			assert_true(is_whole(shelves[i].v));
		hshm_heap_free(heap, shelves[i].v);
	}
	hshm_heap_get_stats(heap, &stats);
	assert_int_equal(stats.n_blocks, 0);
	assert_int_equal(stats.used_bytes, 0);
	/* I4: what ended threads left in caches is bounded, the rest is whole again */
	assert_true(stats.cached_bytes <= (N_THREADS + 1) * SIZE / 30);
	assert_int_equal(hshm_heap_alloc(heap, SIZE / 16, &block), 0); /* cached blocks lie all over it */
	assert_true(heap_check(heap));
	printf("%llu threads, %llu blocks\n", (unsigned long long)n_lives, (unsigned long long)n_allocated.v);
	hshm_heap_destroy(heap);
	hshm_segment_close(&segment);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_hand_blocks_round_and_none_breaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
