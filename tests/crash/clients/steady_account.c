/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * steady_account.c - what a steady client found, and how long it had to wait between two answers
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crash.h"

#define PAUSE_LOOK_NS (200 * HSHM_NSEC_PER_USEC)

uint32_t gap_bucket(uint64_t ns)
{
	uint32_t power;

	if (ns < 8)
		return (uint32_t)ns;
	power = 63u - (uint32_t)__builtin_clzll(ns);
	return (power - 2) * 8 + ((ns >> (power - 3)) & 7);
}

/* The upper end of what the bucket holds. */
uint64_t gap_bucket_ns(uint32_t bucket)
{
	uint32_t power = bucket / 8 + 2;

	if (bucket < 8)
		return bucket;
	return ((UINT64_C(8) + bucket % 8 + 1) << (power - 3)) - 1;
}

static void raise_to(hshm_au64 *max, uint64_t value)
{
	/* relaxed: one writer */
	if (value > hshm_load_relaxed(max))
		hshm_store_relaxed(max, value);
}

static void note_gap(struct gaps *gaps, uint64_t ns, uint64_t waited_ns)
{
	uint32_t bucket = gap_bucket(ns);

	count(&gaps->n[bucket < GAP_BUCKETS ? bucket : GAP_BUCKETS - 1], 1);
	raise_to(&gaps->max_ns, ns);
	raise_to(&gaps->net_max_ns, ns > waited_ns ? ns - waited_ns : 0);
}

void steady_answer(struct stage *stage, struct steady_slot *slot, struct processor_waits *waits, bool right,
		   const char *what)
{
	uint64_t waited_ns = waits ? processor_waited_ns(waits) : 0;
	uint64_t now_ns = hshm_clock_ns(), last_ns = hshm_load_relaxed(&slot->last_ns);

	if (last_ns)
		note_gap(&slot->gaps[hshm_load_relaxed(&stage->gap_set) & 1], now_ns - last_ns, waited_ns);
	hshm_store_relaxed(&slot->last_ns, now_ns); /* relaxed: the driver compares it with its clock */
	count(right ? &slot->n_right : &slot->n_wrong, 1);
	if (!right && !slot->text[0])
		snprintf(slot->text, sizeof(slot->text), "wrong answer: %s", what);
}

void steady_no_gap(struct steady_slot *slot)
{
	hshm_store_relaxed(&slot->last_ns, hshm_clock_ns()); /* relaxed: as in steady_answer() */
}

void steady_lost(struct steady_slot *slot, const char *what, int error)
{
	count(&slot->n_lost, 1);
	if (!slot->text[0])
		snprintf(slot->text, sizeof(slot->text), "lost: %s: %s", what, strerror(-error));
}

bool steady_goes_on(struct stage *stage, struct steady_slot *slot, void (*settle)(void *arg), void *arg)
{
	const struct timespec look = { .tv_nsec = PAUSE_LOOK_NS };
	uint32_t order = hshm_load_acquire(&stage->order); /* acquire: pairs with the driver's release */

	if (order != ORDER_PAUSE)
		return order == ORDER_RUN;
	settle(arg);
	/* release: pairs with the driver's acquire: it is settled */
	hshm_store_release(&slot->has, ORDER_PAUSE);
	while ((order = hshm_load_acquire(&stage->order)) == ORDER_PAUSE) /* acquire: as above */
		nanosleep(&look, NULL);
	steady_no_gap(slot);
	hshm_store_release(&slot->has, order); /* release: as above */
	return order == ORDER_RUN;
}
