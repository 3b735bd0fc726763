/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/mpsc_queue.h - a bounded queue of references: many producers, one consumer, any of whom may die
 *
 * struct hipc_mpsc_queue is a process's own description of a queue; the bytes it describes lie in memory that
 * both sides map (or in private memory). Nothing is read back from those bytes but tail and slots, so a
 * description cannot be bent by whoever else can write there. The bytes:
 *
 *   0      tail              one word on two lines of its own
 *   128    user header       header_bytes, rounded up to 128
 *   ...    slots             depth words
 *
 * The consumer's position is in its private memory: struct hipc_mpsc_consumer.
 */
#ifndef HSHM_MPSC_QUEUE_H
#define HSHM_MPSC_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hshm/atomic.h>
#include <hshm/cdefs.h>

HSHM_BEGIN_DECLS

#define HIPC_MPSC_DEPTH_MAX (1u << 20)

struct hipc_mpsc_queue {
	hshm_au64 *tail;
	hshm_au64 *slots;
	void *header;	      /* the user's, in the shared bytes */
	uint32_t depth_shift; /* log2 of the number of slots */
	uint32_t header_bytes;
};

struct hipc_mpsc_consumer {
	hshm_au64 *slots;
	uint64_t head;	   /* the next to take */
	uint64_t released; /* the next slot to give back; at most a lap behind head */
	uint32_t depth_shift;
};

/**
 * hipc_mpsc_queue_bytes - how much memory a queue needs
 * @depth:        slots, a power of two from 2 to HIPC_MPSC_DEPTH_MAX
 * @header_bytes: the user's header
 *
 * Returns: bytes, a multiple of 128; 0 when @depth is not allowed. Threads: any.
 */
HSHM_API size_t hipc_mpsc_queue_bytes(uint32_t depth, uint32_t header_bytes);

/**
 * hipc_mpsc_queue_init - write an empty queue into memory and describe it
 * @memory:    lent until nobody uses the queue; hipc_mpsc_queue_bytes() bytes, aligned to 128; the header is zeroed
 * @ret_queue: out; nothing to release
 *
 * Threads: one, before anyone else attaches. May switch the fiber: no.
 * Returns: 0, -EINVAL (depth or alignment).
 */
HSHM_API HSHM_NODISCARD int hipc_mpsc_queue_init(void *memory, uint32_t depth, uint32_t header_bytes,
						 struct hipc_mpsc_queue *ret_queue);

/**
 * hipc_mpsc_queue_attach - describe a queue that somebody else has initialised
 *
 * Takes the caller's word for depth and header, not the memory's. As hipc_mpsc_queue_init() otherwise.
 */
HSHM_API HSHM_NODISCARD int hipc_mpsc_queue_attach(void *memory, uint32_t depth, uint32_t header_bytes,
						   struct hipc_mpsc_queue *ret_queue);

/**
 * hipc_mpsc_enqueue - publish one reference
 * @ref: not 0
 *
 * Source: our own; one compare-and-swap claims and publishes (invariants in src/hshm/mpsc_queue.c).
 * Threads: any number, in any process. Lock-free: a producer stopped anywhere delays nobody.
 * Async-signal: yes. May switch the fiber: no.
 * Returns: 0, or -EAGAIN (full, nothing changed). When 0, its last access to memory is a read-modify-write:
 * hshm_fence_after_rmw() will do behind it.
 */
HSHM_API HSHM_NODISCARD int hipc_mpsc_enqueue(const struct hipc_mpsc_queue *queue, uint32_t ref);

/** hipc_mpsc_is_full - would an enqueue fail now? A hint to anyone but a sole producer. Threads: any. */
HSHM_API bool hipc_mpsc_is_full(const struct hipc_mpsc_queue *queue);

/** hipc_mpsc_waits - has the consumer left what was enqueued last? A hint. Threads: any. */
HSHM_API bool hipc_mpsc_waits(const struct hipc_mpsc_queue *queue);

/** hipc_mpsc_consumer_init - be the consumer of a queue nobody has consumed from. Threads: the one consumer. */
HSHM_API void hipc_mpsc_consumer_init(struct hipc_mpsc_consumer *consumer, const struct hipc_mpsc_queue *queue);

/**
 * hipc_mpsc_peek - the reference at the head, left there
 *
 * Acquire: what the producer wrote before its enqueue is visible. A word that no honest producer writes counts as
 * empty. Threads: the one consumer. May switch the fiber: no.
 * Returns: the reference, or 0: empty.
 */
static inline uint32_t hipc_mpsc_peek(const struct hipc_mpsc_consumer *consumer)
{
	uint64_t index = consumer->head & ((UINT64_C(1) << consumer->depth_shift) - 1);
	uint32_t lap = (uint32_t)(consumer->head >> consumer->depth_shift);
	/* acquire: pairs with the release of the CAS in hipc_mpsc_enqueue() */
	uint64_t word = hshm_load_acquire(&consumer->slots[index]);

	return (uint32_t)(word >> 32) == lap ? (uint32_t)word : 0;
}

/** hipc_mpsc_prefetch_tail - the line of the slot that the next enqueue will use. Threads: any. */
static inline void hipc_mpsc_prefetch_tail(const struct hipc_mpsc_queue *queue)
{
	/* relaxed: a hint; nothing is read by it */
	uint64_t pos = hshm_load_relaxed(queue->tail);

	hshm_prefetch_write(&queue->slots[pos & ((UINT64_C(1) << queue->depth_shift) - 1)]);
}

/** hipc_mpsc_prefetch_head - the line of the slot at the head, before a look at it. Threads: the one consumer. */
static inline void hipc_mpsc_prefetch_head(const struct hipc_mpsc_consumer *consumer)
{
	hshm_prefetch_write(&consumer->slots[consumer->head & ((UINT64_C(1) << consumer->depth_shift) - 1)]);
}

/* References at the head and behind it that the consumer has copied: each look at a line that producers write takes it
 * from them, so one look is for several. */
#define HIPC_MPSC_AHEAD 16u

struct hipc_mpsc_ahead {
	uint64_t until;			/* copied as far as here; before the head: nothing is */
	uint32_t refs[HIPC_MPSC_AHEAD]; /* by position */
};

/** hipc_mpsc_n_ahead - how many are copied. Threads: the one consumer. */
static inline uint32_t hipc_mpsc_n_ahead(const struct hipc_mpsc_consumer *consumer, const struct hipc_mpsc_ahead *ahead)
{
	return ahead->until > consumer->head ? (uint32_t)(ahead->until - consumer->head) : 0;
}

/** hipc_mpsc_ahead_at - that @n places behind the head, which is copied: below hipc_mpsc_n_ahead(). */
static inline uint32_t hipc_mpsc_ahead_at(const struct hipc_mpsc_consumer *consumer,
					  const struct hipc_mpsc_ahead *ahead, uint32_t n)
{
	return ahead->refs[(consumer->head + n) % HIPC_MPSC_AHEAD];
}

/**
 * hipc_mpsc_look_ahead - copy up to @n_max more references, as far as there are some
 *
 * As a hipc_mpsc_peek() at each. The head stays: they are taken one by one.
 * Threads: the one consumer. May switch the fiber: no. Returns: how many.
 */
static inline uint32_t hipc_mpsc_look_ahead(const struct hipc_mpsc_consumer *consumer, struct hipc_mpsc_ahead *ahead,
					    uint32_t n_max)
{
	struct hipc_mpsc_consumer at = *consumer;
	uint32_t n = 0, ref;

	at.head += hipc_mpsc_n_ahead(consumer, ahead);
	while (n < n_max && at.head - consumer->head < HIPC_MPSC_AHEAD && (ref = hipc_mpsc_peek(&at)) != 0) {
		ahead->refs[at.head++ % HIPC_MPSC_AHEAD] = ref;
		n++;
	}
	ahead->until = at.head;
	return n;
}

/** hipc_mpsc_take_ahead - hipc_mpsc_take() of one that is copied: hipc_mpsc_n_ahead() is not 0. The one consumer. */
static inline uint32_t hipc_mpsc_take_ahead(struct hipc_mpsc_consumer *consumer, const struct hipc_mpsc_ahead *ahead)
{
	return ahead->refs[consumer->head++ % HIPC_MPSC_AHEAD];
}

/**
 * hipc_mpsc_take - peek, and go past it; its slot is not given back to the producers yet
 *
 * Giving a slot back takes its line from the producer who is about to use the next: a consumer that works through many
 * does it for several at once, and not before the work that somebody waits for.
 * Threads: the one consumer. May switch the fiber: no.
 * Returns: the reference, or 0: empty.
 */
static inline uint32_t hipc_mpsc_take(struct hipc_mpsc_consumer *consumer)
{
	uint32_t ref = hipc_mpsc_peek(consumer);

	consumer->head += ref != 0;
	return ref;
}

/** hipc_mpsc_release - give the slots of all that was taken back to the producers. Threads: the one consumer. */
HSHM_API void hipc_mpsc_release(struct hipc_mpsc_consumer *consumer);

/** hipc_mpsc_n_unreleased - how many slots were taken and not given back. Threads: the one consumer. */
static inline uint64_t hipc_mpsc_n_unreleased(const struct hipc_mpsc_consumer *consumer)
{
	return consumer->head - consumer->released;
}

/** hipc_mpsc_dequeue - take one, give its slot back. Returns the reference, or 0: empty. Threads: the one consumer. */
HSHM_API uint32_t hipc_mpsc_dequeue(struct hipc_mpsc_consumer *consumer);

HSHM_END_DECLS
#endif
