/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sanitizer.h - tells ASan, TSan and valgrind of our stacks, and TSan of the way through a client; empty without them
 *
 * All functions, but for the one that TSan shall not see into, are inlined by force: TSan counts the calls of each
 * fiber, and a function that is entered in one fiber and left in another would unbalance both.
 */
#ifndef RUNTIME_SANITIZER_H
#define RUNTIME_SANITIZER_H

#include <stddef.h>
#include <stdint.h>

#include <hshm/atomic.h>

/* gcc says it by macros, clang by __has_feature */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define CHI_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define CHI_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define CHI_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define CHI_TSAN 0
#endif
#if __has_include(<valgrind/valgrind.h>)
#define CHI_VALGRIND 1
#include <valgrind/valgrind.h>
#else
#define CHI_VALGRIND 0
#endif

#define CHI_SANITIZER_INLINE static inline __attribute__((always_inline))

/* What the tools know of one stack: a fiber's, or the thread's own. */
struct chi_sanitizer_stack {
	const void *bottom; /* ASan: lowest address */
	size_t size;
	void *fake_stack; /* ASan: of who left */
	void *tsan;
	unsigned valgrind_id;
};

/* The thread's own stack. ASan tells its bounds at the first switch away from it. */
CHI_SANITIZER_INLINE void chi_sanitizer_init_thread(struct chi_sanitizer_stack *stack)
{
	*stack = (struct chi_sanitizer_stack){ 0 };
#if CHI_TSAN
	stack->tsan = __tsan_get_current_fiber();
#endif
}

CHI_SANITIZER_INLINE void chi_sanitizer_init_fiber(struct chi_sanitizer_stack *stack, const void *low, size_t size)
{
	*stack = (struct chi_sanitizer_stack){ .bottom = low, .size = size };
#if CHI_VALGRIND
	stack->valgrind_id = VALGRIND_STACK_REGISTER(low, (const char *)low + size);
#endif
}

/* Its memory goes, perhaps with frames on it. Not the running stack. */
CHI_SANITIZER_INLINE void chi_sanitizer_fini_fiber(struct chi_sanitizer_stack *stack)
{
#if CHI_ASAN
	/* the frames of an abandoned fiber; the address may be mapped again */
	__asan_unpoison_memory_region(stack->bottom, stack->size);
#endif
#if CHI_TSAN
	if (stack->tsan)
		__tsan_destroy_fiber(stack->tsan);
#endif
#if CHI_VALGRIND
	VALGRIND_STACK_DEREGISTER(stack->valgrind_id);
#endif
	(void)stack;
}

/* Last thing before the switch. */
CHI_SANITIZER_INLINE void chi_sanitizer_leave(struct chi_sanitizer_stack *from, struct chi_sanitizer_stack *to)
{
#if CHI_ASAN
	__sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->size);
#endif
#if CHI_TSAN
	/* made at its first use: each costs TSan a thread. Flags 0: the switch orders memory, as on one thread it
	 * does */
	if (!to->tsan)
		to->tsan = __tsan_create_fiber(0);
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
	(void)from;
	(void)to;
}

/* First thing after it. @came_from: whose bounds are still to be learned, or NULL. */
CHI_SANITIZER_INLINE void chi_sanitizer_arrive(struct chi_sanitizer_stack *here, struct chi_sanitizer_stack *came_from)
{
#if CHI_ASAN
	const void *bottom;
	size_t size;

	__sanitizer_finish_switch_fiber(here->fake_stack, &bottom, &size);
	if (came_from) {
		came_from->bottom = bottom;
		came_from->size = size;
	}
#endif
	(void)here;
	(void)came_from;
}

/*
 * A client in this process has a mapping of its own of its segment. What orders two tasks of its that use the same
 * memory, it sees the one done, then submits the other, goes through that mapping, and TSan knows memory by its
 * address: it would take two workers that touch the memory one after the other for a race. So the runtime's ends of
 * that way are told to it.
 */
CHI_SANITIZER_INLINE void chi_sanitizer_to_client(const void *session)
{
#if CHI_TSAN
	__tsan_release((void *)(uintptr_t)session);
#endif
	(void)session;
}

CHI_SANITIZER_INLINE void chi_sanitizer_from_client(const void *session)
{
#if CHI_TSAN
	__tsan_acquire((void *)(uintptr_t)session);
#endif
	(void)session;
}

/* A relaxed load of memory that is the client's again, and by now, through the client, perhaps another task's: what
 * that one's worker writes there is no race with a look that takes any answer. */
#if CHI_TSAN
__attribute__((noinline, unused, no_sanitize("thread"))) static uint64_t chi_sanitizer_late_look(const hshm_au64 *word)
{
	return *(const volatile uint64_t *)&word->v;
}
#else
CHI_SANITIZER_INLINE uint64_t chi_sanitizer_late_look(const hshm_au64 *word)
{
	return hshm_load_relaxed(word);
}
#endif

#endif
