/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/min_heap.h - an intrusive min heap: insert, update, remove in O(log n), the minimum in O(1)
 *
 * A compact 4-ary array of (key, node); each node knows its place, so any can be moved or removed.
 * Nodes live inside the caller's structures: the heap never allocates for a node, only for its array.
 * Equal keys leave in any order. One thread at a time.
 */
#ifndef HSHM_MIN_HEAP_H
#define HSHM_MIN_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include <hshm/cdefs.h>

HSHM_BEGIN_DECLS

struct hshm_min_heap_node {
	uint32_t place; /* index + 1 in the array; 0 = in no heap */
};

struct hshm_min_heap_entry {
	uint64_t key;
	struct hshm_min_heap_node *node;
};

struct hshm_min_heap {
	struct hshm_min_heap_entry *entries;
	uint32_t n_entries;
	uint32_t n_allocated;
};

/** hshm_min_heap_init - empty; allocates nothing yet. */
HSHM_API void hshm_min_heap_init(struct hshm_min_heap *heap);

/** hshm_min_heap_fini - frees the array; nodes still inside are forgotten. Accepts a zeroed heap. */
HSHM_API void hshm_min_heap_fini(struct hshm_min_heap *heap);

/**
 * hshm_min_heap_insert - @node: lent until removed; in no heap. O(log n).
 * Returns: 0, -ENOMEM (nothing changed).
 */
HSHM_API HSHM_NODISCARD int hshm_min_heap_insert(struct hshm_min_heap *heap, struct hshm_min_heap_node *node,
						 uint64_t key);

/** hshm_min_heap_update - give a node in the heap a new key, smaller or larger. O(log n). */
HSHM_API void hshm_min_heap_update(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key);

/** hshm_min_heap_remove - take a node out, wherever it is. O(log n). A node in no heap is left alone. */
HSHM_API void hshm_min_heap_remove(struct hshm_min_heap *heap, struct hshm_min_heap_node *node);

/** hshm_min_heap_min - the entry with the smallest key, or NULL: empty. Valid until the heap changes. */
static inline const struct hshm_min_heap_entry *hshm_min_heap_min(const struct hshm_min_heap *heap)
{
	return heap->n_entries ? &heap->entries[0] : (const struct hshm_min_heap_entry *)0;
}

/** hshm_min_heap_check - do order and places hold? O(n); for tests and debug builds. */
HSHM_API bool hshm_min_heap_check(const struct hshm_min_heap *heap);

HSHM_END_DECLS
#endif
