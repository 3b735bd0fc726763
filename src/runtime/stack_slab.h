/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stack_slab.h - memory for fiber stacks, many stacks with their guards in one mapping
 */
#ifndef RUNTIME_STACK_SLAB_H
#define RUNTIME_STACK_SLAB_H

#include <stdint.h>

#include "runtime/fiber.h"

struct chi_stack_layout {
	uint64_t stack_bytes;
	uint64_t guard_bytes;	    /* below each stack */
	enum chi_fiber_guard guard; /* the one in use: not AUTO */
};

/* Rounds to pages and finds out what the kernel can. Returns 0, -EINVAL (0 bytes, or over 1 GiB), -ENOTSUP (MADVISE
 * asked and not there). */
int chi_stack_layout_init(uint64_t stack_bytes, enum chi_fiber_guard guard, struct chi_stack_layout *ret_layout);

/* Map @n_stacks. Returns 0, -EAGAIN (mprotect guards, and the kernel refused one more mapping: logged once, with the
 * sysctl's name), -ENOMEM. */
int chi_stack_slab_map(const struct chi_stack_layout *layout, uint32_t n_stacks, void **ret_base);
void chi_stack_slab_unmap(const struct chi_stack_layout *layout, uint32_t n_stacks, void *base);

/* Lowest address of a stack; its guard ends there. */
static inline char *chi_stack_slab_low(const struct chi_stack_layout *layout, void *base, uint32_t index)
{
	return (char *)base + index * (layout->guard_bytes + layout->stack_bytes) + layout->guard_bytes;
}

#endif
