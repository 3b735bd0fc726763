/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * min_heap.c - a 4-ary heap of (key, node) in one array
 *
 * Four children of 16 bytes each are one cache line: half the levels of a binary heap for about the same misses.
 *
 * I1  the key of an entry is not smaller than its parent's
 * I2  entries[i].node->place == i + 1, and every node outside has place 0
 */
#include <errno.h>
#include <stdlib.h>

#include <hshm/min_heap.h>

#include "hshm_internal.h"

#define ARITY		4u
#define N_ENTRIES_FIRST 64u

static void put(struct hshm_min_heap *heap, uint32_t index, struct hshm_min_heap_entry entry)
{
	heap->entries[index] = entry;
	entry.node->place = index + 1;
}

/* Find the place for an entry at or above the hole. */
static void sift_up(struct hshm_min_heap *heap, uint32_t hole, struct hshm_min_heap_entry entry)
{
	while (hole > 0) {
		uint32_t parent = (hole - 1) / ARITY;

		if (heap->entries[parent].key <= entry.key)
			break;
		put(heap, hole, heap->entries[parent]);
		hole = parent;
	}
	put(heap, hole, entry);
}

/* All four children there: two pairs, then the lesser ones; no branch that goes by the keys. */
static uint32_t least_of_four(const struct hshm_min_heap_entry *children)
{
	uint32_t left = children[1].key < children[0].key;
	uint32_t right = 2 + (children[3].key < children[2].key);

	return children[right].key < children[left].key ? right : left;
}

static uint32_t least_of(const struct hshm_min_heap_entry *children, uint32_t n)
{
	uint32_t least = 0;

	for (uint32_t i = 1; i < n; i++)
		if (children[i].key < children[least].key)
			least = i;
	return least;
}

/* Find the place for an entry at or below the hole. */
static void sift_down(struct hshm_min_heap *heap, uint32_t hole, struct hshm_min_heap_entry entry)
{
	/* 64 bits: the first child of the last entries lies beyond 32 */
	uint64_t first, n = heap->n_entries;

	while ((first = (uint64_t)hole * ARITY + 1) < n) {
		const struct hshm_min_heap_entry *children = &heap->entries[first];
		uint32_t least = n - first >= ARITY ? least_of_four(children)
						    : least_of(children, (uint32_t)(n - first));

		if (entry.key <= children[least].key)
			break;
		put(heap, hole, children[least]);
		hole = (uint32_t)first + least;
	}
	put(heap, hole, entry);
}

/* Put an entry where it belongs, given a hole anywhere. */
static void settle(struct hshm_min_heap *heap, uint32_t hole, struct hshm_min_heap_entry entry)
{
	if (hole > 0 && entry.key < heap->entries[(hole - 1) / ARITY].key)
		sift_up(heap, hole, entry);
	else
		sift_down(heap, hole, entry);
}

static uint32_t index_of(const struct hshm_min_heap *heap, const struct hshm_min_heap_node *node)
{
	hshm_assert(node->place > 0 && node->place <= heap->n_entries);
	hshm_assert(heap->entries[node->place - 1].node == node);
	return node->place - 1;
}

void hshm_min_heap_init(struct hshm_min_heap *heap)
{
	*heap = (struct hshm_min_heap){ 0 };
}

void hshm_min_heap_fini(struct hshm_min_heap *heap)
{
	for (uint32_t i = 0; i < heap->n_entries; i++)
		heap->entries[i].node->place = 0;
	free(heap->entries);
	*heap = (struct hshm_min_heap){ 0 };
}

static int grow(struct hshm_min_heap *heap)
{
	uint32_t n = heap->n_allocated ? heap->n_allocated * 2 : N_ENTRIES_FIRST;
	struct hshm_min_heap_entry *entries;

	/* the doubling has wrapped: places do not fit 32 bits any more */
	if (n < heap->n_allocated)
		return -ENOMEM;
	entries = reallocarray(heap->entries, n, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	heap->entries = entries;
	heap->n_allocated = n;
	return 0;
}

int hshm_min_heap_insert(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key)
{
	hshm_assert(node->place == 0);
	if (heap->n_entries == heap->n_allocated) {
		int rc = grow(heap);

		if (rc < 0)
			return rc;
	}
	heap->n_entries++;
	sift_up(heap, heap->n_entries - 1, (struct hshm_min_heap_entry){ key, node });
	return 0;
}

void hshm_min_heap_update(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key)
{
	settle(heap, index_of(heap, node), (struct hshm_min_heap_entry){ key, node });
}

void hshm_min_heap_remove(struct hshm_min_heap *heap, struct hshm_min_heap_node *node)
{
	struct hshm_min_heap_entry last;
	uint32_t hole;

	if (node->place == 0)
		return;
	hole = index_of(heap, node);
	node->place = 0;
	last = heap->entries[--heap->n_entries];
	if (hole < heap->n_entries)
		settle(heap, hole, last);
}

bool hshm_min_heap_check(const struct hshm_min_heap *heap)
{
	for (uint32_t i = 0; i < heap->n_entries; i++) {
		if (i > 0 && heap->entries[i].key < heap->entries[(i - 1) / ARITY].key)
			return false;
		if (heap->entries[i].node->place != i + 1)
			return false;
	}
	return true;
}
