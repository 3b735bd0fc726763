/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/atomic.h - atomic words whose order stands in the name of the operation
 *
 * The words are one-member structs, so that no one reads or writes them by accident, and so that
 * the same headers compile as C11 and as C++17. Each use says beside it why its order is right
 * and what it pairs with.
 */
#ifndef HSHM_ATOMIC_H
#define HSHM_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include <hshm/cdefs.h>

typedef struct {
	uint8_t v;
} hshm_au8;

typedef struct {
	uint32_t v;
} hshm_au32;

typedef struct {
	uint64_t v;
} hshm_au64;

typedef struct {
	void *v;
} hshm_aptr;

HSHM_STATIC_ASSERT(sizeof(hshm_au8) == 1 && sizeof(hshm_au32) == 4 && sizeof(hshm_au64) == 8,
		   "atomic words are bare words");

#define hshm_load_relaxed(word) __atomic_load_n(&(word)->v, __ATOMIC_RELAXED)
#define hshm_load_acquire(word) __atomic_load_n(&(word)->v, __ATOMIC_ACQUIRE)

#define hshm_store_relaxed(word, value) __atomic_store_n(&(word)->v, (value), __ATOMIC_RELAXED)
#define hshm_store_release(word, value) __atomic_store_n(&(word)->v, (value), __ATOMIC_RELEASE)

#define hshm_exchange_relaxed(word, value) __atomic_exchange_n(&(word)->v, (value), __ATOMIC_RELAXED)
#define hshm_exchange_acquire(word, value) __atomic_exchange_n(&(word)->v, (value), __ATOMIC_ACQUIRE)
#define hshm_exchange_release(word, value) __atomic_exchange_n(&(word)->v, (value), __ATOMIC_RELEASE)
#define hshm_exchange_acq_rel(word, value) __atomic_exchange_n(&(word)->v, (value), __ATOMIC_ACQ_REL)

/* Strong compare-and-swap: true when *word was *expected and is now desired; else *expected is what was
 * seen (read relaxed, so decide nothing from other memory by it). */
#define hshm_cas_relaxed(word, expected, desired) \
	__atomic_compare_exchange_n(&(word)->v, (expected), (desired), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define hshm_cas_acquire(word, expected, desired) \
	__atomic_compare_exchange_n(&(word)->v, (expected), (desired), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define hshm_cas_release(word, expected, desired) \
	__atomic_compare_exchange_n(&(word)->v, (expected), (desired), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define hshm_cas_acq_rel(word, expected, desired) \
	__atomic_compare_exchange_n(&(word)->v, (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)

#define hshm_fetch_add_relaxed(word, n)	  __atomic_fetch_add(&(word)->v, (n), __ATOMIC_RELAXED)
#define hshm_fetch_add_release(word, n)	  __atomic_fetch_add(&(word)->v, (n), __ATOMIC_RELEASE)
#define hshm_fetch_add_acq_rel(word, n)	  __atomic_fetch_add(&(word)->v, (n), __ATOMIC_ACQ_REL)
#define hshm_fetch_sub_relaxed(word, n)	  __atomic_fetch_sub(&(word)->v, (n), __ATOMIC_RELAXED)
#define hshm_fetch_sub_release(word, n)	  __atomic_fetch_sub(&(word)->v, (n), __ATOMIC_RELEASE)
#define hshm_fetch_sub_acq_rel(word, n)	  __atomic_fetch_sub(&(word)->v, (n), __ATOMIC_ACQ_REL)
#define hshm_fetch_or_acq_rel(word, bits) __atomic_fetch_or(&(word)->v, (bits), __ATOMIC_ACQ_REL)

/* One total order over all of these: Dekker without a fence, where the write is a read-modify-write anyway. */
#define hshm_load_seq_cst(word)		__atomic_load_n(&(word)->v, __ATOMIC_SEQ_CST)
#define hshm_fetch_add_seq_cst(word, n) __atomic_fetch_add(&(word)->v, (n), __ATOMIC_SEQ_CST)
#define hshm_fetch_sub_seq_cst(word, n) __atomic_fetch_sub(&(word)->v, (n), __ATOMIC_SEQ_CST)

/* The full barrier between "I wrote mine" and "I read yours" (Dekker): both sides need it. */
#define hshm_fence_seq_cst() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define hshm_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
/* For the compiler alone: the side of a Dekker that is on a hot path, when the other side calls membarrier(), which is
 * a full barrier in every thread of the process. */
#define hshm_fence_compiler() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* hshm_fence_seq_cst() where a read-modify-write of this thread is the last thing before it: on x86-64 that was a full
 * barrier already, and a second one costs as much again. */
#if defined(__x86_64__)
#define hshm_fence_after_rmw() hshm_fence_compiler()
#else
#define hshm_fence_after_rmw() hshm_fence_seq_cst()
#endif

#if defined(__SANITIZE_THREAD__)
#define HSHM_UNDER_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HSHM_UNDER_TSAN
#endif
#endif

/* A counter with one writer: a plain add that other threads may read while it happens. Compilers do not make one
 * instruction of the two atomic accesses; ThreadSanitizer has to see them. */
static inline void hshm_count_add(hshm_au64 *word, uint64_t n)
{
#if defined(__x86_64__) && !defined(HSHM_UNDER_TSAN)
	__asm__("addq %1, %0" : "+m"(word->v) : "er"(n) : "cc");
#else
	hshm_store_relaxed(word, hshm_load_relaxed(word) + n);
#endif
}

/* The line is about to be written: have it here alone, instead of reading it now and asking once more for the write. A
 * hint, which may name any address. */
static inline void hshm_prefetch_write(const void *memory)
{
#if defined(__x86_64__)
	/* what __builtin_prefetch() would be for x86-64 without extensions is a prefetch for reading */
	__asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)memory));
#else
	__builtin_prefetch(memory, 1);
#endif
}

/* Tell the core that this is a spin loop. */
static inline void hshm_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
