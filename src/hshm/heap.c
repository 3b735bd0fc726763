/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heap.c - blocks in size classes, with a cache per thread
 *
 *   thread cache (no lock)  <-- batches -->  spans (lock)  <-- runs of pages -->  heap_pages.c (lock)
 *
 * Up to 32 KiB a size is rounded to one of 32 classes (multiples of 64, four to each power of two) and comes out of a
 * span: a run of pages cut into blocks of one class. Larger blocks are runs themselves. Nothing is kept in the
 * segment, not even the links of free lists: caches and spans hold them in arrays of their own, so whoever else can
 * write there cannot harm the heap.
 *
 * state[]  a byte for each 64 bytes of the range: 0, or at the first byte of a live block its class + 1, or LARGE. So
 *          free() knows the class at once, and knows a pointer that is no live block. Written by alloc and free,
 *          each for the block it owns at that moment: the user's own hand-over orders the two.
 * caches[] a cache belongs to the thread that has the index (HSHM_THREAD_MODEL->index()); the index goes from thread
 *          to thread under a lock of the thread model, which orders their uses of the cache. Others read its
 *          counters, for statistics. It stays until the heap is destroyed.
 * lock     everything else.
 *
 * I1  a block is in one place: handed out (state[] says so), in one thread's cache, in its span's stack, or fresh.
 * I2  a span is in its class's list when it has blocks to give (stacked or fresh), and else not.
 * I3  of a class, at most one span without a block outside is kept; further ones give their pages back.
 * I4  no cache holds more than n_max blocks of a class: a thread hoards at most a thirtieth of the range.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hshm/atomic.h>
#include <hshm/heap.h>
#include <hshm/thread_model.h>

#include "heap_internal.h"
#include "heap_pages.h"
#include "hshm_internal.h"

#define UNIT_SHIFT  6u
#define STATE_LARGE 0xffu
#define BIN_MAX	    64u

/* Per class and thread; below the first no cache is worth its lines. */
#define CACHE_BYTES_MIN (UINT64_C(2) << 10)
#define CACHE_BYTES_MAX (UINT64_C(64) << 10)
#define CACHE_SHARE	1024u

#define SPAN_BYTES_MIN	(UINT64_C(64) << 10)
#define SPAN_BLOCKS_MIN 8u
#define SPANS_MIN	64u

HSHM_STATIC_ASSERT(1u << UNIT_SHIFT == HIPC_REF_UNIT, "a block can be named by a reference");

struct bin {
	hshm_au32 n;	  /* blocks here; the owner writes, statistics read */
	hshm_au64 n_live; /* handed out less taken back by this thread, modulo 2^64: right in the sum over all */
	void *blocks[BIN_MAX];
};

struct cache {
	struct bin bins[HEAP_CLASSES];
};

struct class
{
	uint64_t block_bytes;
	uint64_t span_pages;
	uint32_t n_max;		/* blocks in a thread's bin; 0: not cached */
	uint32_t n_batch;	/* blocks to exchange at once */
	uint64_t recip;		/* 2^32 / units of a block, and 1: a division without one, right below 2^16 units */
	struct heap_run *spans; /* under the lock; those with blocks to give */
	uint64_t n_live;	/* under the lock; of threads without a cache, like bin.n_live */
};

struct hshm_heap {
	char *base; /* of the range */
	uint64_t size_bytes;
	uint8_t *state;
	struct class classes[HEAP_CLASSES];
	hshm_aptr caches[HSHM_THREAD_INDEX_MAX];

	pthread_mutex_t lock HSHM_ALIGNED(HSHM_FALSE_SHARING);
	struct heap_pages pages;
	uint64_t n_large;     /* blocks */
	uint64_t large_bytes; /* in them */
};

/* --- classes --- */

uint32_t heap_class_of(uint64_t size_bytes)
{
	uint32_t n_units = (uint32_t)((size_bytes + HIPC_REF_UNIT - 1) >> UNIT_SHIFT);
	uint32_t top;

	if (n_units <= 8)
		return n_units - 1;
	top = 31 - (uint32_t)__builtin_clz(n_units - 1);
	return 8 + (top - 3) * 4 + (((n_units - 1) >> (top - 2)) & 3);
}

uint64_t heap_class_bytes(uint32_t class)
{
	if (class < 8)
		return (class + 1) * HIPC_REF_UNIT;
	return (uint64_t)((class - 8) % 4 + 5) << ((class - 8) / 4 + 1) << UNIT_SHIFT;
}

/* The pages of a span: at least 64 KiB and eight blocks, less in a small heap, which has room for few spans; and of
 * the sizes up to half as much again the one with the least waste at its end. */
static uint64_t choose_span_pages(uint64_t block_bytes, uint64_t heap_bytes)
{
	uint64_t bytes = block_bytes * SPAN_BLOCKS_MIN > SPAN_BYTES_MIN ? block_bytes * SPAN_BLOCKS_MIN
									: SPAN_BYTES_MIN;
	uint64_t n_least, n_best;

	if (bytes > heap_bytes / SPANS_MIN)
		bytes = heap_bytes / SPANS_MIN > block_bytes ? heap_bytes / SPANS_MIN : block_bytes;
	n_least = (bytes + HEAP_PAGE_BYTES - 1) >> HEAP_PAGE_SHIFT;
	n_best = n_least;
	for (uint64_t n = n_least; n <= n_least + n_least / 2; n++) {
		uint64_t waste = (n << HEAP_PAGE_SHIFT) % block_bytes;

		/* as parts of the whole, without a division */
		if (waste * n_best < (n_best << HEAP_PAGE_SHIFT) % block_bytes * n)
			n_best = n;
	}
	return n_best;
}

static void init_classes(struct hshm_heap *heap)
{
	uint64_t cache_bytes = heap->size_bytes / CACHE_SHARE;

	if (cache_bytes < CACHE_BYTES_MIN)
		cache_bytes = CACHE_BYTES_MIN;
	if (cache_bytes > CACHE_BYTES_MAX)
		cache_bytes = CACHE_BYTES_MAX;
	for (uint32_t i = 0; i < HEAP_CLASSES; i++) {
		struct class *class = &heap->classes[i];
		uint64_t n = cache_bytes / heap_class_bytes(i);

		class->block_bytes = heap_class_bytes(i);
		class->span_pages = choose_span_pages(class->block_bytes, heap->size_bytes);
		class->n_max = n < 2 ? 0 : n < BIN_MAX ? (uint32_t)n : BIN_MAX;
		class->n_batch = class->n_max / 2;
		class->recip = (UINT64_C(1) << 32) / (class->block_bytes >> UNIT_SHIFT) + 1;
	}
}

/* --- spans; all under the lock --- */

static void list_span(struct class *class, struct heap_run *span)
{
	span->prev = NULL;
	span->next = class->spans;
	if (class->spans)
		class->spans->prev = span;
	class->spans = span;
}

static void unlist_span(struct class *class, struct heap_run *span)
{
	if (span->prev)
		span->prev->next = span->next;
	else
		class->spans = span->next;
	if (span->next)
		span->next->prev = span->prev;
}

static bool has_blocks(const struct heap_run *span)
{
	return span->n_stacked > 0 || span->n_fresh < span->n_blocks;
}

static bool is_unused(const struct heap_run *span)
{
	return span->n_stacked == span->n_fresh;
}

static void release_span(struct hshm_heap *heap, struct heap_run *span)
{
	unlist_span(&heap->classes[span->class], span);
	free(span->stack);
	heap_pages_free(&heap->pages, span);
}

static struct heap_run *make_span(struct hshm_heap *heap, uint32_t class_no)
{
	struct class *class = &heap->classes[class_no];
	uint64_t n_pages = class->span_pages;
	struct heap_run *span;

	if (heap_pages_alloc(&heap->pages, n_pages, HEAP_RUN_SPAN, &span) < 0) {
		/* near the cap any gap that holds a block will do */
		n_pages = (class->block_bytes + HEAP_PAGE_BYTES - 1) >> HEAP_PAGE_SHIFT;
		if (heap_pages_alloc(&heap->pages, n_pages, HEAP_RUN_SPAN, &span) < 0)
			return NULL;
	}
	span->class = class_no;
	span->n_blocks = (uint32_t)((n_pages << HEAP_PAGE_SHIFT) / class->block_bytes);
	span->n_fresh = 0;
	span->n_stacked = 0;
	span->stack = malloc(span->n_blocks * sizeof(span->stack[0]));
	if (!span->stack) {
		heap_pages_free(&heap->pages, span);
		return NULL;
	}
	list_span(class, span);
	return span;
}

/* Take up to n blocks of a class, at least one unless memory is out. Returns how many. */
static uint32_t take_blocks(struct hshm_heap *heap, uint32_t class_no, void **blocks, uint32_t n)
{
	struct class *class = &heap->classes[class_no];
	uint32_t n_taken = 0;

	while (n_taken < n) {
		struct heap_run *span = class->spans;
		char *start;

		if (!span && n_taken == 0)
			span = make_span(heap, class_no);
		if (!span)
			break;
		start = heap->base + (span->first_page << HEAP_PAGE_SHIFT);
		while (n_taken < n && has_blocks(span)) {
			/* used ones first: their lines and pages are warm */
			uint32_t number = span->n_stacked ? span->stack[--span->n_stacked] : span->n_fresh++;

			blocks[n_taken++] = start + number * class->block_bytes;
		}
		if (!has_blocks(span))
			unlist_span(class, span);
	}
	return n_taken;
}

static void give_block(struct hshm_heap *heap, uint32_t class_no, void *block)
{
	struct class *class = &heap->classes[class_no];
	uint64_t at = (uint64_t)((char *)block - heap->base);
	struct heap_run *span = heap_pages_run_at(&heap->pages, at >> HEAP_PAGE_SHIFT);
	uint64_t unit = (at - (span->first_page << HEAP_PAGE_SHIFT)) >> UNIT_SHIFT;
	uint32_t number = (uint32_t)(unit * class->recip >> 32);

	hshm_assert(span->kind == HEAP_RUN_SPAN && span->class == class_no);
	hshm_assert(number < span->n_fresh && number * (class->block_bytes >> UNIT_SHIFT) == unit);
	if (!has_blocks(span))
		list_span(class, span);
	span->stack[span->n_stacked++] = (uint16_t)number;
	if (is_unused(span) && (class->spans != span || span->next))
		release_span(heap, span); /* I3 */
}

/* Memory is out: give back the spans kept in reserve. */
static void release_unused_spans(struct hshm_heap *heap)
{
	for (uint32_t i = 0; i < HEAP_CLASSES; i++) {
		struct heap_run *next;

		for (struct heap_run *span = heap->classes[i].spans; span; span = next) {
			next = span->next;
			if (is_unused(span))
				release_span(heap, span);
		}
	}
}

/* --- caches --- */

static struct cache *make_cache(struct hshm_heap *heap, uint32_t index)
{
	struct cache *cache = aligned_alloc(HSHM_FALSE_SHARING, (sizeof(*cache) + HSHM_FALSE_SHARING - 1) &
									~(size_t)(HSHM_FALSE_SHARING - 1));

	if (!cache)
		return NULL;
	memset(cache, 0, sizeof(*cache));
	/* release: pairs with the acquire in sum_caches(); who finds the cache finds its counters zeroed */
	hshm_store_release(&heap->caches[index], cache);
	return cache;
}

/* The calling thread's, or NULL: it has no index, or there is no memory for one. */
static struct cache *my_cache(struct hshm_heap *heap)
{
	uint32_t index = HSHM_THREAD_MODEL->index();
	struct cache *cache;

	if (index == HSHM_THREAD_INDEX_NONE)
		return NULL;
	/* relaxed: written by this thread, or by a former owner of the index, who came before it under a lock */
	cache = hshm_load_relaxed(&heap->caches[index]);
	return __builtin_expect(cache != NULL, 1) ? cache : make_cache(heap, index);
}

/* Under the lock: give the oldest n blocks of a bin back. */
static void flush_bin(struct hshm_heap *heap, uint32_t class_no, struct bin *bin, uint32_t n)
{
	uint32_t n_left = hshm_load_relaxed(&bin->n) - n; /* relaxed: the owner is who flushes */

	for (uint32_t i = 0; i < n; i++)
		give_block(heap, class_no, bin->blocks[i]);
	memmove(bin->blocks, bin->blocks + n, n_left * sizeof(bin->blocks[0]));
	/* relaxed: only the owner decides by it */
	hshm_store_relaxed(&bin->n, n_left);
}

/* Under the lock, memory is out: give back all that this thread holds, and the spare spans. */
static void reclaim(struct hshm_heap *heap, struct cache *cache)
{
	for (uint32_t i = 0; cache && i < HEAP_CLASSES; i++)
		/* relaxed: the thread's own cache */
		flush_bin(heap, i, &cache->bins[i], hshm_load_relaxed(&cache->bins[i].n));
	release_unused_spans(heap);
}

/* --- alloc --- */

static void mark_live(struct hshm_heap *heap, void *block, uint8_t state)
{
	heap->state[(uint64_t)((char *)block - heap->base) >> UNIT_SHIFT] = state;
}

/* The bin is empty, or there is none. */
static __attribute__((noinline)) int alloc_central(struct hshm_heap *heap, struct cache *cache, uint32_t class_no,
						   void **ret_block)
{
	struct class *class = &heap->classes[class_no];
	uint32_t n_wanted = cache && class->n_max ? class->n_batch : 1;
	void *blocks[BIN_MAX];
	uint32_t n;

	pthread_mutex_lock(&heap->lock);
	n = take_blocks(heap, class_no, blocks, n_wanted);
	if (n == 0) {
		reclaim(heap, cache);
		n = take_blocks(heap, class_no, blocks, 1);
	}
	if (n > 0 && !cache)
		class->n_live++;
	pthread_mutex_unlock(&heap->lock);
	if (n == 0)
		return -ENOMEM;

	if (cache) {
		struct bin *bin = &cache->bins[class_no];

		/* the first goes out, and of the rest the lowest address first */
		for (uint32_t i = 1; i < n; i++)
			bin->blocks[n - 1 - i] = blocks[i];
		/* relaxed, both: for statistics; nobody else decides by them */
		hshm_store_relaxed(&bin->n, n - 1);
		hshm_count_add(&bin->n_live, 1);
	}
	mark_live(heap, blocks[0], (uint8_t)(class_no + 1));
	*ret_block = blocks[0];
	return 0;
}

static int alloc_large(struct hshm_heap *heap, uint64_t size_bytes, void **ret_block)
{
	uint64_t n_pages = (size_bytes + HEAP_PAGE_BYTES - 1) >> HEAP_PAGE_SHIFT;
	struct heap_run *run;
	int rc;

	if (size_bytes > heap->size_bytes)
		return -ENOMEM;
	pthread_mutex_lock(&heap->lock);
	rc = heap_pages_alloc(&heap->pages, n_pages, HEAP_RUN_LARGE, &run);
	if (rc < 0) {
		reclaim(heap, my_cache(heap));
		rc = heap_pages_alloc(&heap->pages, n_pages, HEAP_RUN_LARGE, &run);
	}
	if (rc == 0) {
		heap->n_large++;
		heap->large_bytes += n_pages << HEAP_PAGE_SHIFT;
		*ret_block = heap->base + (run->first_page << HEAP_PAGE_SHIFT);
		mark_live(heap, *ret_block, STATE_LARGE);
	}
	pthread_mutex_unlock(&heap->lock);
	return rc;
}

int hshm_heap_alloc(struct hshm_heap *heap, uint64_t size_bytes, void **ret_block)
{
	struct cache *cache;
	uint32_t class_no, n;
	struct bin *bin;

	if (size_bytes - 1 >= HEAP_SMALL_MAX) /* 0 too, by its wrap */
		return size_bytes == 0 ? -EINVAL : alloc_large(heap, size_bytes, ret_block);
	class_no = heap_class_of(size_bytes);
	cache = my_cache(heap);
	if (__builtin_expect(!cache, 0))
		return alloc_central(heap, NULL, class_no, ret_block);
	bin = &cache->bins[class_no];
	/* relaxed, all: this thread's own; others read them for statistics only */
	n = hshm_load_relaxed(&bin->n);
	if (__builtin_expect(n == 0, 0))
		return alloc_central(heap, cache, class_no, ret_block);
	*ret_block = bin->blocks[n - 1];
	hshm_store_relaxed(&bin->n, n - 1);
	hshm_count_add(&bin->n_live, 1);
	mark_live(heap, *ret_block, (uint8_t)(class_no + 1));
	return 0;
}

void hshm_heap_prefetch_next(struct hshm_heap *heap, uint64_t size_bytes, uint64_t n_bytes)
{
	struct cache *cache = size_bytes - 1 < HEAP_SMALL_MAX ? my_cache(heap) : NULL;
	struct bin *bin = cache ? &cache->bins[heap_class_of(size_bytes)] : NULL;
	uint32_t n = bin ? hshm_load_relaxed(&bin->n) : 0; /* relaxed: this thread's own */

	for (uint64_t at = 0; n > 0 && at < n_bytes; at += HIPC_REF_UNIT)
		hshm_prefetch_write((const char *)bin->blocks[n - 1] + at);
}

/* --- free --- */

/* The state byte of a live block, or the end of the process. */
static uint8_t *live_state(struct hshm_heap *heap, const void *block)
{
	uint64_t at = (uint64_t)((uintptr_t)block - (uintptr_t)heap->base);
	uint8_t *state;

	if (__builtin_expect(at >= heap->size_bytes || at % HIPC_REF_UNIT != 0, 0))
		hshm_bug("%p is no block of this heap", block);
	state = &heap->state[at >> UNIT_SHIFT];
	if (__builtin_expect(*state == 0, 0))
		hshm_bug("%p is no live block: freed twice, or never allocated", block);
	return state;
}

/* The bin is full, or there is none. */
static __attribute__((noinline)) void free_central(struct hshm_heap *heap, struct cache *cache, uint32_t class_no,
						   void *block)
{
	struct class *class = &heap->classes[class_no];

	pthread_mutex_lock(&heap->lock);
	if (cache && class->n_max) {
		struct bin *bin = &cache->bins[class_no];

		flush_bin(heap, class_no, bin, class->n_batch);
		bin->blocks[hshm_load_relaxed(&bin->n)] = block;
		/* relaxed: for statistics */
		hshm_store_relaxed(&bin->n, hshm_load_relaxed(&bin->n) + 1);
	} else {
		give_block(heap, class_no, block);
	}
	if (cache)
		hshm_count_add(&cache->bins[class_no].n_live, UINT64_MAX); /* relaxed: for statistics */
	else
		class->n_live--;
	pthread_mutex_unlock(&heap->lock);
}

static void free_large(struct hshm_heap *heap, void *block)
{
	uint64_t page = (uint64_t)((char *)block - heap->base) >> HEAP_PAGE_SHIFT;
	struct heap_run *run;

	pthread_mutex_lock(&heap->lock);
	run = heap_pages_run_at(&heap->pages, page);
	hshm_assert(run->kind == HEAP_RUN_LARGE && run->first_page == page);
	heap->n_large--;
	heap->large_bytes -= run->n_pages << HEAP_PAGE_SHIFT;
	heap_pages_free(&heap->pages, run);
	pthread_mutex_unlock(&heap->lock);
}

void hshm_heap_free(struct hshm_heap *heap, void *block)
{
	struct cache *cache;
	uint32_t class_no, n;
	struct bin *bin;
	uint8_t *state;

	if (!block)
		return;
	state = live_state(heap, block);
	class_no = *state - 1u;
	*state = 0;
	if (class_no >= HEAP_CLASSES) {
		free_large(heap, block);
		return;
	}
	cache = my_cache(heap);
	if (__builtin_expect(!cache, 0)) {
		free_central(heap, NULL, class_no, block);
		return;
	}
	bin = &cache->bins[class_no];
	/* relaxed, all: this thread's own; others read them for statistics only */
	n = hshm_load_relaxed(&bin->n);
	if (__builtin_expect(n == heap->classes[class_no].n_max, 0)) {
		free_central(heap, cache, class_no, block);
		return;
	}
	bin->blocks[n] = block;
	hshm_store_relaxed(&bin->n, n + 1);
	hshm_count_add(&bin->n_live, UINT64_MAX);
}

uint64_t hshm_heap_block_size(struct hshm_heap *heap, const void *block)
{
	uint8_t state = *live_state(heap, block);
	uint64_t page = (uint64_t)((const char *)block - heap->base) >> HEAP_PAGE_SHIFT;

	if (state != STATE_LARGE)
		return heap->classes[state - 1u].block_bytes;
	/* no lock: the entry of a live block does not change, its neighbours write their own */
	return heap_pages_run_at(&heap->pages, page)->n_pages << HEAP_PAGE_SHIFT;
}

/* --- life --- */

int hshm_heap_create(struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes, struct hshm_heap **ret_heap)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct hshm_heap *heap;
	void *memory;
	int rc = -ENOMEM;

	if (offset == 0 || offset % page != 0 || size_bytes == 0 || size_bytes % page != 0 ||
	    offset > segment->map.size_bytes || size_bytes > segment->map.size_bytes - offset)
		return -EINVAL;
	if (posix_memalign(&memory, HSHM_FALSE_SHARING, sizeof(*heap)) != 0)
		return -ENOMEM;
	heap = memset(memory, 0, sizeof(*heap));
	heap->base = (char *)segment->map.base + offset;
	heap->size_bytes = size_bytes;
	init_classes(heap);
	/* sparse: a byte for each 64 that are ever used */
	heap->state = mmap(NULL, size_bytes >> UNIT_SHIFT, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (heap->state == MAP_FAILED)
		goto free_heap;
	rc = heap_pages_init(&heap->pages, segment, offset, size_bytes);
	if (rc < 0)
		goto unmap_state;
	pthread_mutex_init(&heap->lock, NULL);
	*ret_heap = heap;
	return 0;

unmap_state:
	munmap(heap->state, size_bytes >> UNIT_SHIFT);
free_heap:
	free(heap);
	return rc;
}

void hshm_heap_destroy(struct hshm_heap *heap)
{
	if (!heap)
		return;
	for (uint32_t i = 0; i < HSHM_THREAD_INDEX_MAX; i++)
		free(hshm_load_acquire(&heap->caches[i])); /* acquire: as in sum_caches() */
	heap_pages_fini(&heap->pages);
	munmap(heap->state, heap->size_bytes >> UNIT_SHIFT);
	pthread_mutex_destroy(&heap->lock);
	free(heap);
}

/* --- statistics and check --- */

static void sum_caches(struct hshm_heap *heap, uint64_t *n_live, uint64_t *n_cached)
{
	for (uint32_t i = 0; i < HSHM_THREAD_INDEX_MAX; i++) {
		/* acquire: pairs with the release in make_cache() */
		struct cache *cache = hshm_load_acquire(&heap->caches[i]);

		for (uint32_t k = 0; cache && k < HEAP_CLASSES; k++) {
			/* relaxed: a snapshot of counters, each with its one writer */
			n_live[k] += hshm_load_relaxed(&cache->bins[k].n_live);
			n_cached[k] += hshm_load_relaxed(&cache->bins[k].n);
		}
	}
}

void hshm_heap_get_stats(struct hshm_heap *heap, struct hshm_heap_stats *ret_stats)
{
	uint64_t n_live[HEAP_CLASSES] = { 0 }, n_cached[HEAP_CLASSES] = { 0 };
	struct hshm_heap_stats stats = { .capacity_bytes = heap->size_bytes };

	sum_caches(heap, n_live, n_cached);
	pthread_mutex_lock(&heap->lock);
	stats.reserved_bytes = heap->pages.n_reserved << HEAP_PAGE_SHIFT;
	stats.n_blocks = heap->n_large;
	stats.used_bytes = heap->large_bytes;
	for (uint32_t i = 0; i < HEAP_CLASSES; i++)
		n_live[i] += heap->classes[i].n_live;
	pthread_mutex_unlock(&heap->lock);
	for (uint32_t i = 0; i < HEAP_CLASSES; i++) {
		/* while others free what was counted elsewhere, a sum can be short of zero for a moment */
		uint64_t n = (int64_t)n_live[i] < 0 ? 0 : n_live[i];

		stats.n_blocks += n;
		stats.used_bytes += n * heap->classes[i].block_bytes;
		stats.cached_bytes += n_cached[i] * heap->classes[i].block_bytes;
	}
	*ret_stats = stats;
}

/* Blocks outside the spans of a class: they must be with users or in caches. */
static bool check_spans(struct hshm_heap *heap, uint64_t *n_outside)
{
	uint64_t page = 0;

	while (page < heap->pages.n_reserved) {
		struct heap_run *span = heap_pages_run_at(&heap->pages, page);
		bool is_listed = false;

		page += span->n_pages;
		if (span->kind != HEAP_RUN_SPAN)
			continue;
		for (struct heap_run *at = heap->classes[span->class].spans; at; at = at->next)
			is_listed |= at == span;
		if (is_listed != has_blocks(span) || span->n_stacked > span->n_fresh || span->n_fresh > span->n_blocks)
			return false;
		n_outside[span->class] += span->n_fresh - span->n_stacked;
	}
	return true;
}

bool heap_check(struct hshm_heap *heap)
{
	uint64_t n_live[HEAP_CLASSES] = { 0 }, n_cached[HEAP_CLASSES] = { 0 }, n_outside[HEAP_CLASSES] = { 0 };
	bool holds;

	sum_caches(heap, n_live, n_cached);
	pthread_mutex_lock(&heap->lock);
	holds = heap_pages_check(&heap->pages) && check_spans(heap, n_outside);
	for (uint32_t i = 0; i < HEAP_CLASSES; i++)
		holds = holds && n_live[i] + heap->classes[i].n_live + n_cached[i] == n_outside[i];
	pthread_mutex_unlock(&heap->lock);
	return holds;
}
