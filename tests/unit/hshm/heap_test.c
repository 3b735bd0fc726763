/* SPDX-License-Identifier: BSD-3-Clause */
/* The invariants I1.. are those at the top of src/hshm/heap.c; heap_check() looks at all of them. */
#include "hshm_test.h"

#include <sys/mman.h>
#include <unistd.h>

#include <hshm/clock.h>
#include <hshm/heap.h>
#include <hshm/thread_model.h>

#include "hshm/heap_internal.h"

#define OFFSET	 UINT64_C(65536) /* a page on every machine */
#define SIZE	 (UINT64_C(32) << 20)
#define SEED	 UINT64_C(0xb10c)
#define N_BLOCKS 9000u

static struct hshm_segment segment;
static struct hshm_heap *heap;

static int setup_sized(uint64_t size_bytes)
{
	if (hshm_segment_create("heap", OFFSET + size_bytes, 1, HSHM_SEAL_SIZE, &segment) < 0)
		return -1;
	return hshm_heap_create(&segment, OFFSET, size_bytes, &heap);
}

static int setup(void **state)
{
	(void)state;
	return setup_sized(SIZE);
}

static int setup_tiny(void **state)
{
	(void)state;
	return setup_sized(256 << 10);
}

static int teardown(void **state)
{
	bool holds = heap_check(heap);

	(void)state;
	hshm_heap_destroy(heap);
	hshm_segment_close(&segment);
	return holds ? 0 : -1;
}

static void *alloc(uint64_t size_bytes)
{
	void *block;

	assert_int_equal(hshm_heap_alloc(heap, size_bytes, &block), 0);
	return block;
}

static struct hshm_heap_stats stats(void)
{
	struct hshm_heap_stats now;

	hshm_heap_get_stats(heap, &now);
	return now;
}

static void classes_are_the_tightest_multiples_of_64(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= HEAP_SMALL_MAX; size++) {
		uint32_t class = heap_class_of(size);

		assert_true(class < HEAP_CLASSES);
		assert_true(heap_class_bytes(class) >= size);
		assert_true(class == 0 || heap_class_bytes(class - 1) < size);
		assert_int_equal(heap_class_bytes(class) % 64, 0);
		/* four steps to a power of two: a quarter lost at most, beyond the first few */
		assert_true(size <= 256 || heap_class_bytes(class) <= size + size / 4 + 64);
	}
	assert_int_equal(heap_class_bytes(HEAP_CLASSES - 1), HEAP_SMALL_MAX);
}

static void bad_ranges_are_refused(void **state)
{
	struct hshm_heap *other;

	(void)state;
	assert_int_equal(hshm_heap_create(&segment, 0, SIZE, &other), -EINVAL);
	assert_int_equal(hshm_heap_create(&segment, OFFSET + 64, SIZE / 2, &other), -EINVAL);
	assert_int_equal(hshm_heap_create(&segment, OFFSET, 0, &other), -EINVAL);
	assert_int_equal(hshm_heap_create(&segment, OFFSET, SIZE - 1, &other), -EINVAL);
	assert_int_equal(hshm_heap_create(&segment, OFFSET, SIZE + OFFSET, &other), -EINVAL);
	assert_int_equal(hshm_heap_create(&segment, OFFSET + SIZE + OFFSET, OFFSET, &other), -EINVAL);
	assert_int_equal(hshm_heap_create(&segment, OFFSET, UINT64_MAX - OFFSET + 1, &other), -EINVAL);
	hshm_heap_destroy(NULL);
}

static void block_of_every_size_is_aligned_and_large_enough(void **state)
{
	(void)state;
	for (uint64_t size = 1; size < 300000; size += size / 50 + 1) {
		void *block = alloc(size);

		assert_int_equal((uintptr_t)block % HIPC_REF_UNIT, 0);
		assert_true(hipc_ref_of(&segment.map, block) != 0);
		assert_true(hshm_heap_block_size(heap, block) >= size);
		memset(block, 0x5a, hshm_heap_block_size(heap, block));
		hshm_heap_free(heap, block);
	}
}

static void size_zero_and_beyond_all_are_refused(void **state)
{
	void *block = NULL;

	(void)state;
	assert_int_equal(hshm_heap_alloc(heap, 0, &block), -EINVAL);
	assert_int_equal(hshm_heap_alloc(heap, SIZE + 1, &block), -ENOMEM);
	assert_int_equal(hshm_heap_alloc(heap, UINT64_MAX, &block), -ENOMEM);
	assert_int_equal(hshm_heap_alloc(heap, UINT64_MAX - 4095, &block), -ENOMEM);
	assert_null(block);
	hshm_heap_free(heap, NULL);
}

static void a_prefetch_takes_nothing(void **state)
{
	uint64_t sizes[] = { 0, 64, 700, HEAP_SMALL_MAX, HEAP_SMALL_MAX + 1, UINT64_MAX };
	struct hshm_heap_stats before, now;
	void *block;

	(void)state;
	for (int round = 0; round < 2; round++) {
		before = stats();
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			hshm_heap_prefetch_next(heap, sizes[i], 700);
		now = stats();
		assert_memory_equal(&now, &before, sizeof(now));
		block = alloc(700); /* there is a next one, from here on */
		hshm_heap_free(heap, block);
	}
}

static void whole_range_can_be_one_block(void **state)
{
	void *block, *small;

	(void)state;
	for (int i = 0; i < 3; i++) {
		block = alloc(SIZE);
		assert_ptr_equal(block, (char *)segment.map.base + OFFSET);
		assert_int_equal(hshm_heap_alloc(heap, 1, &small), -ENOMEM);
		memset(block, i, SIZE);
		hshm_heap_free(heap, block);
	}
}

/* What a heap of one 64-byte block cannot hold: used, cached and reserved say where the bytes are. */
static void statistics_add_up(void **state)
{
	void *small = alloc(100), *large = alloc(100000);

	(void)state;
	assert_int_equal(stats().capacity_bytes, SIZE);
	assert_int_equal(stats().n_blocks, 2);
	assert_int_equal(stats().used_bytes, 128 + 102400);
	assert_true(stats().reserved_bytes >= stats().used_bytes + stats().cached_bytes);
	assert_true(stats().reserved_bytes <= UINT64_C(2) << 20);
	hshm_heap_free(heap, small);
	hshm_heap_free(heap, large);
	assert_int_equal(stats().n_blocks, 0);
	assert_int_equal(stats().used_bytes, 0);
	assert_true(stats().cached_bytes >= 128);
}

static void pages_are_there_before_a_block_is_handed_out(void **state)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned char resident[64];

	(void)state;
	skip_under_qemu("has a mincore() of its own");
	for (uint64_t size = 64; size < 16 * page; size *= 2) {
		char *block = alloc(size);
		char *first = (char *)((uintptr_t)block & ~(page - 1));
		size_t n_pages = (size_t)(block + size - first + page - 1) / page;

		assert_int_equal(mincore(first, n_pages * page, resident), 0);
		for (size_t i = 0; i < n_pages; i++)
			assert_true(resident[i] & 1);
	}
}

struct model {
	unsigned char *block;
	uint64_t size;
	unsigned char fill;
};

static bool is_filled(const unsigned char *bytes, unsigned char fill, uint64_t size)
{
	/* the first is right and each is like the next */
	return bytes[0] == fill && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static uint64_t random_size(uint64_t *seed)
{
	/* as many of 64 bytes as of 128 KiB */
	return 1 + random_below(seed, UINT64_C(1) << (1 + random_below(seed, 17)));
}

/* Blocks keep their bytes, so none overlap; the counts are the model's. */
static void random_steps_agree_with_a_plain_list(void **state)
{
	static struct model blocks[N_BLOCKS];
	uint64_t seed = SEED, n_live = 0, n_full = 0;

	(void)state;
	for (int i = 0; i < 60000; i++) {
		struct model *at = &blocks[random_below(&seed, N_BLOCKS)];

		if (at->block) {
			assert_true(is_filled(at->block, at->fill, at->size));
			hshm_heap_free(heap, at->block);
			at->block = NULL;
			n_live--;
		} else {
			void *block;

			at->size = random_size(&seed);
			at->fill = (unsigned char)random_u64(&seed);
			if (hshm_heap_alloc(heap, at->size, &block) < 0) {
				n_full++;
				continue;
			}
			at->block = block;
			memset(block, at->fill, at->size);
			n_live++;
		}
		if (i % 1000 == 0) {
			assert_true(heap_check(heap));
			assert_int_equal(stats().n_blocks, n_live);
		}
	}
	/* the range was small enough to meet its cap, and large enough to work */
	assert_in_range(n_full, 1, 20000);
	for (uint32_t i = 0; i < N_BLOCKS; i++) {
		if (blocks[i].block)
			assert_true(is_filled(blocks[i].block, blocks[i].fill, blocks[i].size));
		hshm_heap_free(heap, blocks[i].block);
	}
	assert_int_equal(stats().n_blocks, 0);
	/* all of it comes together again */
	hshm_heap_free(heap, alloc(SIZE));
}

static void freed_block_is_used_again(void **state)
{
	static const uint64_t sizes[] = { 64, 1000, 32768, 100000 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(sizes); i++) {
		void *block = alloc(sizes[i]);

		hshm_heap_free(heap, block);
		assert_ptr_equal(alloc(sizes[i]), block);
	}
}

static void cap_is_enomem_and_what_comes_back_is_usable(void **state)
{
	static void *blocks[SIZE / 4096];
	void *block;
	size_t n = 0;

	(void)state;
	while (hshm_heap_alloc(heap, 4096, &block) == 0)
		blocks[n++] = block;
	/* no other thread hoards, so it is full to the last block */
	assert_int_equal(n, SIZE / 4096);
	assert_int_equal(hshm_heap_alloc(heap, 4096, &block), -ENOMEM);
	assert_int_equal(hshm_heap_alloc(heap, 100000, &block), -ENOMEM);
	assert_int_equal(stats().used_bytes, SIZE);
	hshm_heap_free(heap, blocks[--n]);
	assert_int_equal(hshm_heap_alloc(heap, 4096, &block), 0);
	blocks[n++] = block;
	while (n > 0)
		hshm_heap_free(heap, blocks[--n]);
	/* what lies in this thread's cache is given up for it */
	hshm_heap_free(heap, alloc(SIZE));
}

/* Small blocks to the cap, then small blocks of another class: the spans of the first become those of the second. */
static void memory_moves_from_class_to_class(void **state)
{
	static void *blocks[SIZE / 64];
	static const uint64_t sizes[] = { 64, 320, 5000, 30000, 192 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(sizes); i++) {
		size_t n = 0;

		while (hshm_heap_alloc(heap, sizes[i], &blocks[n]) == 0)
			n++;
		assert_true(n * heap_class_bytes(heap_class_of(sizes[i])) > SIZE - SIZE / 16);
		assert_true(heap_check(heap));
		for (size_t k = 0; k < n; k++)
			hshm_heap_free(heap, blocks[k]);
		assert_int_equal(stats().n_blocks, 0);
	}
}

/* I3 */
static void spans_without_blocks_give_their_pages_back(void **state)
{
	static void *blocks[4096];
	uint64_t reserved_bytes;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(blocks); i++)
		blocks[i] = alloc(2048);
	reserved_bytes = stats().reserved_bytes;
	for (size_t i = 0; i < N_ELEMENTS(blocks); i++)
		hshm_heap_free(heap, blocks[i]);
	alloc(6 << 20);
	assert_int_equal(stats().reserved_bytes, reserved_bytes);
}

/* A range of four spans of the usual size, and more classes than that */
static void tiny_heap_serves_many_classes(void **state)
{
	void *blocks[HEAP_CLASSES];
	uint32_t n = 0;

	(void)state;
	while (n < 24 && hshm_heap_alloc(heap, heap_class_bytes(n), &blocks[n]) == 0)
		n++;
	assert_int_equal(n, 24);
	while (n > 0)
		hshm_heap_free(heap, blocks[--n]);
	hshm_heap_free(heap, alloc(256 << 10));
}

static void free_unaligned(void *block)
{
	hshm_heap_free(heap, (char *)block + 8);
}

static void free_inside(void *block)
{
	hshm_heap_free(heap, (char *)block + 64);
}

static void free_outside(void *block)
{
	(void)block;
	hshm_heap_free(heap, segment.map.base);
}

static void free_foreign(void *block)
{
	hshm_heap_free(heap, &block);
}

static void free_twice(void *block)
{
	hshm_heap_free(heap, block);
	hshm_heap_free(heap, block);
}

static void freeing_what_is_no_live_block_is_a_bug(void **state)
{
	void *small = alloc(200), *large = alloc(70000);

	(void)state;
	assert_true(aborts(free_unaligned, small));
	assert_true(aborts(free_inside, small));
	assert_true(aborts(free_inside, large));
	assert_true(aborts(free_outside, small));
	assert_true(aborts(free_foreign, small));
	assert_true(aborts(free_twice, small));
	assert_true(aborts(free_twice, large));
}

struct handover {
	void *blocks[2000];
};

static void free_all(void *arg)
{
	struct handover *handover = arg;

	for (size_t i = 0; i < N_ELEMENTS(handover->blocks); i++)
		hshm_heap_free(heap, handover->blocks[i]);
}

static void any_thread_may_free(void **state)
{
	static struct handover handover;

	(void)state;
	/* each round the other thread's cache fills up; more than the range if it kept them */
	for (int round = 0; round < 20; round++) {
		struct hshm_thread *thread;

		for (size_t i = 0; i < N_ELEMENTS(handover.blocks); i++)
			handover.blocks[i] = alloc(1 + i % 8 * 500);
		assert_int_equal(stats().n_blocks, N_ELEMENTS(handover.blocks));
		assert_int_equal(HSHM_THREAD_MODEL->spawn("free", free_all, &handover, &thread), 0);
		HSHM_THREAD_MODEL->join(thread);
		assert_int_equal(stats().n_blocks, 0);
		assert_true(heap_check(heap));
	}
	/* I4: what the caches hold is bounded: two threads, 8 classes, at most 64 KiB of each */
	assert_true(stats().cached_bytes <= 2 * 8 * (64 << 10));
}

static void hostile_bytes_in_the_segment_change_nothing(void **state)
{
	static void *blocks[1000];

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(blocks); i++)
		blocks[i] = alloc(1 + i * 40);
	for (size_t i = 0; i < N_ELEMENTS(blocks); i += 2)
		hshm_heap_free(heap, blocks[i]);
	/* whoever else maps the segment writes all over it, free blocks too */
	memset((char *)segment.map.base + OFFSET, 0xff, stats().reserved_bytes);
	assert_true(heap_check(heap));
	for (size_t i = 0; i < N_ELEMENTS(blocks); i += 2)
		blocks[i] = alloc(1 + i * 40);
	for (size_t i = 0; i < N_ELEMENTS(blocks); i++)
		hshm_heap_free(heap, blocks[i]);
	assert_true(heap_check(heap));
}

static void heap_works_in_a_private_segment(void **state)
{
	struct hshm_segment private;
	struct hshm_heap *other;
	void *block;

	(void)state;
	assert_int_equal(hshm_segment_create_private(SIZE + OFFSET, 2, &private), 0);
	assert_int_equal(hshm_heap_create(&private, OFFSET, SIZE, &other), 0);
	assert_int_equal(hshm_heap_alloc(other, 5000, &block), 0);
	memset(block, 1, 5000);
	assert_int_equal(hshm_heap_alloc(heap, 64, &block), 0);
	hshm_heap_destroy(other);
	hshm_segment_close(&private);
}

/* Is the page that holds the address in a mapping with that flag of /proc/self/smaps? */
static bool mapping_has(const void *address, const char *flag)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long low, high;
	bool is_it = false, has = false;
	char line[512];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
			is_it = (uintptr_t)address >= low && (uintptr_t)address < high;
		else if (is_it && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line, flag) != NULL;
	}
	fclose(file);
	return has;
}

static void private_memory_past_four_mib_is_asked_for_in_huge_pages(void **state)
{
	struct hshm_segment private;
	struct hshm_heap *of_private;
	void *first, *large;

	(void)state;
	skip_under_qemu("keeps the wish for huge pages to itself");
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) < 0)
		skip_because("a kernel without transparent huge pages");
	assert_int_equal(hshm_segment_create_private(SIZE + OFFSET, 2, &private), 0);
	assert_int_equal(hshm_heap_create(&private, OFFSET, SIZE, &of_private), 0);
	assert_int_equal(hshm_heap_alloc(of_private, 4 << 20, &first), 0);
	assert_int_equal(hshm_heap_alloc(of_private, 4 << 20, &large), 0);
	assert_false(mapping_has(first, " hg"));
	assert_true(mapping_has(large, " hg"));
	hshm_heap_free(of_private, first);
	hshm_heap_free(of_private, large);
	hshm_heap_destroy(of_private);
	hshm_segment_close(&private);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_are_the_tightest_multiples_of_64),
		cmocka_unit_test_setup_teardown(bad_ranges_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(block_of_every_size_is_aligned_and_large_enough, setup, teardown),
		cmocka_unit_test_setup_teardown(size_zero_and_beyond_all_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_prefetch_takes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_range_can_be_one_block, setup, teardown),
		cmocka_unit_test_setup_teardown(statistics_add_up, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_are_there_before_a_block_is_handed_out, setup, teardown),
		cmocka_unit_test_setup_teardown(random_steps_agree_with_a_plain_list, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_block_is_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(cap_is_enomem_and_what_comes_back_is_usable, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_moves_from_class_to_class, setup, teardown),
		cmocka_unit_test_setup_teardown(spans_without_blocks_give_their_pages_back, setup, teardown),
		cmocka_unit_test_setup_teardown(tiny_heap_serves_many_classes, setup_tiny, teardown),
		cmocka_unit_test_setup_teardown(freeing_what_is_no_live_block_is_a_bug, setup, teardown),
		cmocka_unit_test_setup_teardown(any_thread_may_free, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_bytes_in_the_segment_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(heap_works_in_a_private_segment, setup, teardown),
		cmocka_unit_test(private_memory_past_four_mib_is_asked_for_in_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
