/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ptr.c - checked translation between portable pointers and addresses
 *
 * The numbers may come from another process: every comparison is written so that it cannot overflow.
 */
#include <stddef.h>

#include <hshm/ptr.h>

static void *translate(const struct hipc_mapping *mapping, uint64_t offset, uint64_t size_bytes)
{
	if (offset >= mapping->size_bytes || size_bytes > mapping->size_bytes - offset)
		return NULL;
	return (char *)mapping->base + offset;
}

/* Returns false when the address is not inside. */
static bool offset_of(const struct hipc_mapping *mapping, const void *address, uint64_t *ret_offset)
{
	/* below the base the difference wraps to a number larger than any size */
	uint64_t offset = (uint64_t)((uintptr_t)address - (uintptr_t)mapping->base);

	if (offset >= mapping->size_bytes)
		return false;
	*ret_offset = offset;
	return true;
}

void *hipc_ptr_translate(const struct hipc_mapping *mapping, struct hipc_ptr ptr, uint64_t size_bytes)
{
	uint32_t segment_id = hipc_ptr_segment(ptr);

	if (segment_id == HIPC_SEGMENT_NONE || segment_id == HIPC_SEGMENT_LOCAL || segment_id != mapping->segment_id)
		return NULL;
	return translate(mapping, hipc_ptr_offset(ptr), size_bytes);
}

struct hipc_ptr hipc_ptr_of(const struct hipc_mapping *mapping, const void *address)
{
	uint64_t offset;

	if (!offset_of(mapping, address, &offset))
		return (struct hipc_ptr){ 0 };
	return hipc_ptr_make(mapping->segment_id, offset);
}

void *hipc_ref_translate(const struct hipc_mapping *mapping, uint32_t ref, uint64_t size_bytes)
{
	if (ref == 0)
		return NULL;
	return translate(mapping, (uint64_t)ref * HIPC_REF_UNIT, size_bytes);
}

uint32_t hipc_ref_of(const struct hipc_mapping *mapping, const void *address)
{
	uint64_t offset;

	if (!offset_of(mapping, address, &offset) || offset % HIPC_REF_UNIT != 0 || offset / HIPC_REF_UNIT > UINT32_MAX)
		return 0;
	return (uint32_t)(offset / HIPC_REF_UNIT);
}
