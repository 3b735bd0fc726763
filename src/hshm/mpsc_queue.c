/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mpsc_queue.c - a bounded ring of references that no producer can hold up (verify/ring.pml, verify/ring_take.pml)
 *
 * Slot word, 64 bits:  lap:32 | ref:32     ref 0 = empty
 *
 *             enqueue (one CAS)               release (store)
 *   EMPTY,L ---------------------> FULL,L,ref ---------------> EMPTY,L+1
 *
 * slot   written by any producer while EMPTY, by the consumer while FULL: some time after he took the reference
 * tail   moved by any producer, by one, only past a slot that is not EMPTY in its lap
 * head   the consumer's, in its private memory
 *
 * A position is 64 bits: lap above, index below (depth_shift bits). A slot keeps the low 32 bits of its lap, laps are
 * compared by their signed difference.
 *
 * I1  tail is a hint; the slot's CAS is the enqueue. A stale tail costs a retry.
 * I2  there is no state between claim and publish: a producer stopped anywhere leaves a whole ring.
 * I3  tail never passes a slot that is EMPTY in tail's lap: so references leave in the order of their CAS, and
 *     the consumer, who waits at the first EMPTY slot, misses none.
 * I4  a CAS that was prepared in one lap fails in every other (for 2^32 laps): a producer that slept does no harm.
 * I5  head is never read from memory that others write. A slot whose word is neither state above in the consumer's
 *     lap counts as empty: who wrote it has stopped his own queue, and nobody turns in a loop for it.
 * I6  no call loops longer than enqueue_tries_max(): a tail or slots that a hostile producer keeps moving end
 *     in -EAGAIN.
 */
#include <errno.h>
#include <string.h>

#include <hshm/mpsc_queue.h>

#define DEPTH_MIN 2u

static uint64_t round_up_apart(uint64_t bytes)
{
	return (bytes + HSHM_FALSE_SHARING - 1) & ~(uint64_t)(HSHM_FALSE_SHARING - 1);
}

static uint64_t slot_word(uint64_t lap, uint32_t ref)
{
	return (lap << 32) | ref;
}

/* Is the slot's lap before (negative), at (0) or after (positive) this lap? Right across the wrap of 32 bits. */
static int32_t lap_diff(uint64_t word, uint64_t lap)
{
	return (int32_t)((uint32_t)(word >> 32) - (uint32_t)lap);
}

static hshm_au64 *slot_at(const struct hipc_mpsc_queue *queue, uint64_t pos)
{
	return &queue->slots[pos & ((UINT64_C(1) << queue->depth_shift) - 1)];
}

/* An honest retry means that somebody else's enqueue got through; no one loses this many in a row. */
static uint64_t enqueue_tries_max(const struct hipc_mpsc_queue *queue)
{
	return (UINT64_C(2) << queue->depth_shift) + (1u << 16);
}

size_t hipc_mpsc_queue_bytes(uint32_t depth, uint32_t header_bytes)
{
	if (depth < DEPTH_MIN || depth > HIPC_MPSC_DEPTH_MAX || (depth & (depth - 1)) != 0)
		return 0;
	return HSHM_FALSE_SHARING + round_up_apart(header_bytes) + round_up_apart(depth * sizeof(uint64_t));
}

int hipc_mpsc_queue_attach(void *memory, uint32_t depth, uint32_t header_bytes, struct hipc_mpsc_queue *ret_queue)
{
	char *bytes = memory;

	if (!memory || (uintptr_t)memory % HSHM_FALSE_SHARING != 0 || hipc_mpsc_queue_bytes(depth, header_bytes) == 0)
		return -EINVAL;
	*ret_queue = (struct hipc_mpsc_queue){
		.tail = (hshm_au64 *)bytes,
		.header = bytes + HSHM_FALSE_SHARING,
		.slots = (hshm_au64 *)(bytes + HSHM_FALSE_SHARING + round_up_apart(header_bytes)),
		.depth_shift = (uint32_t)__builtin_ctz(depth),
		.header_bytes = header_bytes,
	};
	return 0;
}

int hipc_mpsc_queue_init(void *memory, uint32_t depth, uint32_t header_bytes, struct hipc_mpsc_queue *ret_queue)
{
	int rc = hipc_mpsc_queue_attach(memory, depth, header_bytes, ret_queue);

	if (rc < 0)
		return rc;
	/* tail 0, and every slot EMPTY in lap 0 */
	memset(memory, 0, hipc_mpsc_queue_bytes(depth, header_bytes));
	return 0;
}

int hipc_mpsc_enqueue(const struct hipc_mpsc_queue *queue, uint32_t ref)
{
	for (uint64_t tries = enqueue_tries_max(queue); tries > 0; tries--) {
		/* relaxed: a hint (I1); the slot carries the ordering */
		uint64_t pos = hshm_load_relaxed(queue->tail);
		uint64_t lap = pos >> queue->depth_shift;
		hshm_au64 *slot = slot_at(queue, pos);
		uint64_t hint = pos, seen;
		bool won;

		/* the consumer has the line: fetch it once, for the CAS, instead of for the load and again for the
		 * CAS */
		hshm_prefetch_write(slot);
		/* relaxed: decides only whether the CAS below is worth trying, and the CAS checks it again */
		seen = hshm_load_relaxed(slot);

		if (lap_diff(seen, lap) < 0) {
			/* relaxed: same word as above, so this is not older; if it moved, seen belonged to another
			 * pos */
			if (hshm_load_relaxed(queue->tail) == pos)
				return -EAGAIN; /* not taken since the last lap: full */
			continue;
		}
		/* release: pairs with the acquire in hipc_mpsc_peek(); the task's bytes are visible before its
		 * reference. Relaxed when it fails: nothing is read. */
		won = seen == slot_word(lap, 0) && hshm_cas_release(slot, &seen, slot_word(lap, ref));

		/* Won or lost, this slot is taken: help the tail past it, no matter who did (I3). Relaxed: a hint (I1);
		 * who reads the new tail too early finds the slot by coherence, or fails its CAS there. */
		hshm_cas_relaxed(queue->tail, &hint, pos + 1);
		if (won)
			return 0;
	}
	return -EAGAIN; /* I6 */
}

bool hipc_mpsc_is_full(const struct hipc_mpsc_queue *queue)
{
	/* relaxed, both: a hint, and nothing else is read by it */
	uint64_t pos = hshm_load_relaxed(queue->tail);

	return lap_diff(hshm_load_relaxed(slot_at(queue, pos)), pos >> queue->depth_shift) < 0;
}

bool hipc_mpsc_waits(const struct hipc_mpsc_queue *queue)
{
	/* relaxed, both: a hint, and nothing else is read by it */
	uint64_t pos = hshm_load_relaxed(queue->tail) - 1;

	return (uint32_t)hshm_load_relaxed(slot_at(queue, pos)) != 0;
}

void hipc_mpsc_consumer_init(struct hipc_mpsc_consumer *consumer, const struct hipc_mpsc_queue *queue)
{
	*consumer = (struct hipc_mpsc_consumer){
		.slots = queue->slots,
		.depth_shift = queue->depth_shift,
	};
}

void hipc_mpsc_release(struct hipc_mpsc_consumer *consumer)
{
	for (; consumer->released != consumer->head; consumer->released++) {
		uint64_t index = consumer->released & ((UINT64_C(1) << consumer->depth_shift) - 1);
		uint64_t lap = consumer->released >> consumer->depth_shift;

		/* relaxed: the slot hands no memory back, only itself; the reference was read from this same word
		 * before */
		hshm_store_relaxed(&consumer->slots[index], slot_word(lap + 1, 0));
	}
}

uint32_t hipc_mpsc_dequeue(struct hipc_mpsc_consumer *consumer)
{
	uint32_t ref = hipc_mpsc_take(consumer);

	if (ref != 0)
		hipc_mpsc_release(consumer);
	return ref;
}
