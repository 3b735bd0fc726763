/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/heap.h - an allocator for the inside of a segment, owned by one process
 *
 * Only the process that owns a segment allocates in it, so all bookkeeping lives in that process's private
 * memory: what is in the segment is only the blocks, and nobody can corrupt the heap through them.
 * Every block is aligned to HIPC_REF_UNIT at least. Pages are reserved before a block of them is handed out:
 * the heap says -ENOMEM at its cap or when memory is short, and touching a block never faults.
 */
#ifndef HSHM_HEAP_H
#define HSHM_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include <hshm/cdefs.h>
#include <hshm/segment.h>

HSHM_BEGIN_DECLS

struct hshm_heap; /* opaque */

struct hshm_heap_stats {
	uint64_t capacity_bytes; /* the range given to create */
	uint64_t reserved_bytes; /* pages reserved so far */
	uint64_t used_bytes;	 /* in blocks handed out, rounded to their classes */
	uint64_t cached_bytes;	 /* in thread caches: free, but only for that thread */
	uint64_t n_blocks;	 /* handed out */
};

/**
 * hshm_heap_create - manage [offset, offset + size) of a segment
 * @segment: lent until hshm_heap_destroy()
 * @offset:  in bytes, page-aligned, not 0 (reference 0 means none)
 * @size_bytes: whole pages
 * @ret_heap: out; release with hshm_heap_destroy()
 *
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -EINVAL, -ENOMEM.
 */
HSHM_API HSHM_NODISCARD int hshm_heap_create(struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes,
					     struct hshm_heap **ret_heap);

/** hshm_heap_destroy - forget all blocks; the segment stays. Accepts NULL. Threads: the last user. */
HSHM_API void hshm_heap_destroy(struct hshm_heap *heap);

/**
 * hshm_heap_alloc - a block of at least @size_bytes, not zeroed
 * @ret_block: out; release with hshm_heap_free(), from any thread
 *
 * Threads: any. From the thread's cache without a lock when it can. May switch the fiber: no.
 * Returns: 0, -ENOMEM (cap or memory reached), -EINVAL (size 0).
 */
HSHM_API HSHM_NODISCARD int hshm_heap_alloc(struct hshm_heap *heap, uint64_t size_bytes, void **ret_block);

/**
 * hshm_heap_free - give a block back
 * @block: given; from hshm_heap_alloc() of this heap. NULL is accepted.
 *
 * Threads: any, not only the one that allocated. A pointer that is no block of this heap is a bug and asserted.
 * May switch the fiber: no.
 */
HSHM_API void hshm_heap_free(struct hshm_heap *heap, void *block);

/**
 * hshm_heap_prefetch_next - the first lines of the block that hshm_heap_alloc() would give the calling thread now
 * @size_bytes: of the block; small, else nothing happens
 * @n_bytes:    of it
 *
 * Threads: any. May switch the fiber: no.
 */
HSHM_API void hshm_heap_prefetch_next(struct hshm_heap *heap, uint64_t size_bytes, uint64_t n_bytes);

/** hshm_heap_block_size - the bytes that may be used in a block (at least what was asked). Threads: any. */
HSHM_API uint64_t hshm_heap_block_size(struct hshm_heap *heap, const void *block);

/** hshm_heap_get_stats - a snapshot; exact when no thread is inside the heap. Threads: any. */
HSHM_API void hshm_heap_get_stats(struct hshm_heap *heap, struct hshm_heap_stats *ret_stats);

HSHM_END_DECLS
#endif
