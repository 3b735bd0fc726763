/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ref_ring.c - our ring streamed bare: what tasks per second could be, were a task no more than its way
 *
 * "ring": one process enqueues, another takes, and the 64 slots are all that holds it back. "ring-done": the other writes a
 * word back for each, into a line of its own, and the next enqueue waits for the oldest of 64: the whole way of a task.
 */
#include <errno.h>
#include <stdlib.h>

#include <hshm/atomic.h>
#include <hshm/cdefs.h>
#include <hshm/clock.h>
#include <hshm/mpsc_queue.h>

#include "other.h"
#include "references.h"

#define OUTSTANDING  64u
#define TAKEN_MAX    16u /* taken, before their slots are given back together */
#define WINDOW	     4096u
#define PATIENCE_NS  HSHM_NSEC_PER_SEC
#define STREAM_DEPTH OUTSTANDING
#define DONE_DEPTH   1024u /* as a client's lane */

struct cell {
	hshm_au64 n HSHM_ALIGNED(HSHM_FALSE_SHARING);
};

struct table {
	hshm_au32 playing HSHM_ALIGNED(HSHM_FALSE_SHARING);
	hshm_au64 n_taken HSHM_ALIGNED(HSHM_FALSE_SHARING); /* by the other side, told when it goes to sleep */
	struct cell done[OUTSTANDING];			    /* how often each was done: the other side's */
	char ring[] HSHM_ALIGNED(HSHM_FALSE_SHARING);
};

struct ring {
	struct table *table;
	size_t table_bytes;
	struct hipc_mpsc_queue queue;
	bool answers;
	pid_t pid;
	uint64_t n_sent;
	uint64_t wanted[OUTSTANDING];
	uint32_t oldest;
};

/* ---- the other process ---- */

static uint64_t take_all(struct ring *ring, struct hipc_mpsc_consumer *consumer)
{
	uint64_t n = 0;
	uint32_t ref;

	while ((ref = hipc_mpsc_take(consumer))) {
		n++;
		/* release: pairs with the acquire in call(); wanted[] is this process's copy here, and counts what was done */
		if (ring->answers)
			hshm_store_release(&ring->table->done[ref - 1].n, ++ring->wanted[ref - 1]);
		if (hipc_mpsc_n_unreleased(consumer) == TAKEN_MAX)
			hipc_mpsc_release(consumer);
	}
	if (hipc_mpsc_n_unreleased(consumer))
		hipc_mpsc_release(consumer);
	return n;
}

static void serve(void *arg)
{
	struct ring *ring = arg;
	struct hipc_mpsc_consumer consumer;
	uint64_t n = 0;

	hipc_mpsc_consumer_init(&consumer, &ring->queue);
	for (;;) {
		bench_gate_wait(&ring->table->playing);
		while (hshm_load_acquire(&ring->table->playing))
			n += take_all(ring, &consumer);
		/* the gate was closed after the last enqueue */
		n += take_all(ring, &consumer);
		hshm_store_release(&ring->table->n_taken, n);
	}
}

/* ---- we ---- */

static int enqueue(struct ring *ring, uint32_t ref)
{
	int rc;

	while ((rc = hipc_mpsc_enqueue(&ring->queue, ref)) == -EAGAIN)
		;
	ring->n_sent++;
	return rc;
}

static int stream(void *arg, uint32_t n)
{
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++)
		rc = enqueue(arg, i % OUTSTANDING + 1);
	return rc;
}

static void wait_for(struct ring *ring, uint32_t which)
{
	/* acquire: pairs with the release in take_all() */
	while (hshm_load_acquire(&ring->table->done[which].n) != ring->wanted[which])
		;
}

static int call(void *arg, uint32_t n)
{
	struct ring *ring = arg;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		uint32_t which = ring->oldest++ % OUTSTANDING;

		wait_for(ring, which);
		ring->wanted[which]++;
		rc = enqueue(ring, which + 1);
	}
	return rc;
}

/* All that was sent has been taken. */
static int check(struct ring *ring)
{
	uint64_t end_ns = bench_now_ns() + PATIENCE_NS;

	while (hshm_load_acquire(&ring->table->n_taken) != ring->n_sent)
		if (bench_now_ns() > end_ns)
			return -EBADMSG;
	return 0;
}

static int slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct ring *ring = arg;
	int rc;

	bench_gate_set(&ring->table->playing, 1);
	rc = bench_rate_slice(ring->answers ? call : stream, ring, WINDOW, slice_ns, samples);
	bench_gate_set(&ring->table->playing, 0);
	return rc ? rc : check(ring);
}

static void stop(void *arg)
{
	struct ring *ring = arg;

	bench_other_stop(ring->pid);
	bench_shared_unmap(ring->table, ring->table_bytes);
	free(ring);
}

static int start(struct bench *bench, bool answers, void **ret_arg)
{
	uint32_t depth = answers ? DONE_DEPTH : STREAM_DEPTH;
	struct ring *ring = calloc(1, sizeof(*ring));
	int rc = -ENOMEM;

	if (!ring)
		return rc;
	ring->answers = answers;
	ring->table_bytes = sizeof(*ring->table) + hipc_mpsc_queue_bytes(depth, 0);
	ring->table = bench_shared_map(ring->table_bytes);
	if (ring->table)
		rc = hipc_mpsc_queue_init(ring->table->ring, depth, 0, &ring->queue);
	if (!rc)
		rc = bench_other_start(bench->cpus[1], serve, ring, &ring->pid);
	if (rc)
		stop(ring);
	else
		*ret_arg = ring;
	return rc;
}

static int start_stream(struct bench *bench, void **ret_arg)
{
	return start(bench, false, ret_arg);
}

static int start_done(struct bench *bench, void **ret_arg)
{
	return start(bench, true, ret_arg);
}

const struct bench_reference bench_ref_ring = { "ring", "refs/s", start_stream, slice, stop };
const struct bench_reference bench_ref_ring_done = { "ring-done", "refs/s", start_done, slice, stop };
