/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heap_internal.h - the inside of the heap, for its unit test
 */
#ifndef HSHM_HEAP_INTERNAL_H
#define HSHM_HEAP_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <hshm/heap.h>

#define HEAP_CLASSES   32u
#define HEAP_SMALL_MAX (UINT64_C(32) << 10)

/* The class of a size from 1 to HEAP_SMALL_MAX, and the bytes of a class's blocks. */
uint32_t heap_class_of(uint64_t size_bytes);
uint64_t heap_class_bytes(uint32_t class);

/* Do all invariants hold? No thread may be inside the heap. */
bool heap_check(struct hshm_heap *heap);

#endif
