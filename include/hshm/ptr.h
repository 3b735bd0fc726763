/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/ptr.h - pointers that mean the same in every process that maps a segment
 *
 *   hipc_ptr, 64 bits:  segment:16 | offset:48        0 = null
 *
 * Segment ids are given by the runtime, from 1. The id HIPC_SEGMENT_LOCAL marks a plain address of
 * this process: for tasks that never leave it. It is never accepted from another process.
 */
#ifndef HSHM_PTR_H
#define HSHM_PTR_H

#include <stdbool.h>
#include <stdint.h>

#include <hshm/cdefs.h>

HSHM_BEGIN_DECLS

#define HIPC_SEGMENT_NONE  0u
#define HIPC_SEGMENT_MAX   0xfffeu
#define HIPC_SEGMENT_LOCAL 0xffffu
#define HIPC_OFFSET_MAX	   ((UINT64_C(1) << 48) - 1)

/* A short reference, as lanes carry it: an offset in units of HIPC_REF_UNIT; 0 = none. */
#define HIPC_REF_UNIT 64u

struct hipc_ptr {
	uint64_t word;
};

/* What a process knows of a segment it has mapped; its own memory, never the segment's word for it. */
struct hipc_mapping {
	void *base;
	uint64_t size_bytes;
	uint32_t segment_id;
};

static inline struct hipc_ptr hipc_ptr_make(uint32_t segment_id, uint64_t offset)
{
	struct hipc_ptr ptr = { ((uint64_t)segment_id << 48) | (offset & HIPC_OFFSET_MAX) };
	return ptr;
}

static inline struct hipc_ptr hipc_ptr_local(const void *address)
{
	return hipc_ptr_make(HIPC_SEGMENT_LOCAL, (uint64_t)(uintptr_t)address);
}

static inline uint32_t hipc_ptr_segment(struct hipc_ptr ptr)
{
	return (uint32_t)(ptr.word >> 48);
}

static inline uint64_t hipc_ptr_offset(struct hipc_ptr ptr)
{
	return ptr.word & HIPC_OFFSET_MAX;
}

static inline bool hipc_ptr_is_null(struct hipc_ptr ptr)
{
	return ptr.word == 0;
}

/**
 * hipc_ptr_translate - the address of a range in a mapped segment, checked
 * @mapping:    borrowed; a segment this process has mapped
 * @ptr:        by value: the caller loaded it once
 * @size_bytes: bytes that must lie inside; 0 checks the position alone
 *
 * Threads: any. Async-signal: yes. May switch the fiber: no.
 * Returns: the address, or NULL when @ptr is null, of another segment (HIPC_SEGMENT_LOCAL too), or when any
 *          byte of the range lies outside. Does not overflow, whatever the numbers.
 */
HSHM_API void *hipc_ptr_translate(const struct hipc_mapping *mapping, struct hipc_ptr ptr, uint64_t size_bytes);

/**
 * hipc_ptr_of - the portable pointer to an address
 * @mapping: borrowed
 * @address: any address
 *
 * Threads: any. Async-signal: yes. May switch the fiber: no.
 * Returns: the pointer, or the null pointer when @address is not inside @mapping.
 */
HSHM_API struct hipc_ptr hipc_ptr_of(const struct hipc_mapping *mapping, const void *address);

/**
 * hipc_ref_translate - the address a short reference names, checked
 * @mapping:    borrowed
 * @ref:        by value; offset / HIPC_REF_UNIT
 * @size_bytes: bytes that must lie inside
 *
 * Threads: any. Async-signal: yes. May switch the fiber: no.
 * Returns: the address (aligned to HIPC_REF_UNIT when the mapping is), or NULL: 0, or outside.
 */
HSHM_API void *hipc_ref_translate(const struct hipc_mapping *mapping, uint32_t ref, uint64_t size_bytes);

/**
 * hipc_ref_of - the short reference to an address
 * @mapping: borrowed
 * @address: any address
 *
 * Threads: any. Async-signal: yes. May switch the fiber: no.
 * Returns: the reference, or 0 when @address is outside, unaligned, at offset 0, or beyond 32 bits of units.
 */
HSHM_API uint32_t hipc_ref_of(const struct hipc_mapping *mapping, const void *address);

HSHM_END_DECLS
#endif
