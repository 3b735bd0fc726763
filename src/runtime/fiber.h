/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fiber.h - stackful fibers of one worker: boost.context's two functions, stacks from slabs, known to the sanitizers
 *
 * A fiber never changes its thread. The pool belongs to one worker; only its thread calls these functions.
 */
#ifndef RUNTIME_FIBER_H
#define RUNTIME_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chi_fiber;
struct chi_fiber_pool;

enum chi_fiber_guard {
	CHI_FIBER_GUARD_AUTO = 0, /* madvise where the kernel has it, else mprotect */
	CHI_FIBER_GUARD_MADVISE,  /* MADV_GUARD_INSTALL, Linux 6.13: no mapping of its own */
	CHI_FIBER_GUARD_MPROTECT, /* two mappings a stack: vm.max_map_count limits them */
};

struct chi_fiber_opts {
	uint64_t stack_bytes; /* for each piece of work; whole pages, guard not included */
	uint32_t fibers_max;  /* of this pool; past it -EAGAIN */
	enum chi_fiber_guard guard;
	uint64_t more_bytes; /* besides: as much may be in use when the next begins above */
};

typedef void (*chi_fiber_fn)(void *arg);

/* The pool of the calling thread, with the main context of that thread. -ENOTSUP: MADVISE asked and not there;
 * -ENOMEM. */
int chi_fiber_pool_create(const struct chi_fiber_opts *opts, struct chi_fiber_pool **ret_pool);
/* All fibers must be idle, or are abandoned (their stacks go). Accepts NULL. */
void chi_fiber_pool_destroy(struct chi_fiber_pool *pool);

/* An idle fiber, recycled if there is one. -EAGAIN: fibers_max reached, or the kernel refused a mapping; the log names
 * vm.max_map_count once when it is that (mprotect guards). -ENOMEM. */
int chi_fiber_get(struct chi_fiber_pool *pool, struct chi_fiber **ret_fiber);

/* From the main context: let the fiber run fn(arg) from its start, until it ends or leaves for the first time. In a
 * fiber errno is kept. */
void chi_fiber_start(struct chi_fiber *fiber, chi_fiber_fn fn, void *arg);
/* From the main context: go on with a fiber that left. */
void chi_fiber_resume(struct chi_fiber *fiber);
/* From inside a fiber: back to the main context; to be resumed later. */
void chi_fiber_leave(struct chi_fiber *fiber);
/* What it is at: the argument it was started with, or what stands in its place since. */
void chi_fiber_set_arg(struct chi_fiber *fiber, void *arg);
void *chi_fiber_arg(const struct chi_fiber *fiber);
/* On the fiber: are stack_bytes of its stack free? Then another piece of work may be run on it, above this one. */
bool chi_fiber_has_room(const struct chi_fiber *fiber);
/* On the fiber, between two pieces of work of its own: the look for an overflow that a switch makes. */
void chi_fiber_check(const struct chi_fiber *fiber);
/* It is resumed soon: what it used of its stack. */
void chi_fiber_prefetch(const struct chi_fiber *fiber);
/* Fibers are taken from the pool one after the other: what those that come next will use. */
void chi_fiber_pool_prefetch(const struct chi_fiber_pool *pool);
/* Has fn returned? Then the fiber can be put back. From the main context. */
bool chi_fiber_ended(const struct chi_fiber *fiber);
/* Back to the pool, for the next chi_fiber_get(). */
void chi_fiber_put(struct chi_fiber_pool *pool, struct chi_fiber *fiber);

/* Lowest and highest address of the stack; the guard lies below the lowest. Async-signal: yes. */
void chi_fiber_stack(const struct chi_fiber *fiber, const void **ret_low, const void **ret_high);
/* What each piece of work on it has: stack_bytes as asked for. Async-signal: yes. */
uint64_t chi_fiber_stack_bytes(const struct chi_fiber *fiber);
/* Is the address in the fiber's guard? Async-signal: yes. */
bool chi_fiber_in_guard(const struct chi_fiber *fiber, const void *address);

/* Call @look with the argument of each fiber whose fn has begun and not returned. Any thread, once the pool's own has
 * ended. */
void chi_fiber_pool_each_begun(const struct chi_fiber_pool *pool, void (*look)(void *fiber_arg, void *arg), void *arg);

struct chi_fiber_stats {
	uint32_t n_made;
	uint32_t n_idle;
	enum chi_fiber_guard guard; /* the one in use */
};
void chi_fiber_pool_get_stats(const struct chi_fiber_pool *pool, struct chi_fiber_stats *ret_stats);

#endif
