/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/doorbell.h - wake one sleeping thread of this process, and pay nothing while it is awake
 *
 * An eventfd and the word `sleeping`. Only the sleeper writes the word. The protocol (Dekker; verify/worker_sleep.pml):
 *
 *   sleeper   sleeping = 1; seq_cst fence; look at everything once more; found? sleeping = 0 and work : wait on fd
 *   poster    publish the work; seq_cst fence; sleeping? write the eventfd
 */
#ifndef HSHM_DOORBELL_H
#define HSHM_DOORBELL_H

#include <stdbool.h>

#include <hshm/atomic.h>
#include <hshm/cdefs.h>

HSHM_BEGIN_DECLS

struct hshm_doorbell {
	hshm_au32 sleeping;
	int fd;		    /* eventfd, non-blocking, CLOEXEC; private to this process */
	hshm_au64 n_rings;  /* system calls made to wake the sleeper; any poster counts */
	uint64_t n_drained; /* rings read out of fd; the sleeper's */
};

/** hshm_doorbell_init - Returns 0, -EMFILE, -ENFILE, -ENOMEM. Threads: one. */
HSHM_API HSHM_NODISCARD int hshm_doorbell_init(struct hshm_doorbell *bell);

/** hshm_doorbell_fini - closes the fd; accepts a zeroed (fd 0 with sleeping 0 counts as never made) or finished
 * bell. */
HSHM_API void hshm_doorbell_fini(struct hshm_doorbell *bell);

/**
 * hshm_doorbell_prepare_sleep - announce sleep; the caller must then look at everything once more
 *
 * Threads: the sleeper. May switch the fiber: no.
 */
HSHM_API void hshm_doorbell_prepare_sleep(struct hshm_doorbell *bell);

/** hshm_doorbell_end_sleep - awake again: clears the word and empties the eventfd if it was rung. Threads: the
 * sleeper. */
HSHM_API void hshm_doorbell_end_sleep(struct hshm_doorbell *bell);

/**
 * hshm_doorbell_ring - after publishing work: wake the sleeper if it sleeps
 *
 * Threads: any of the process. Async-signal: yes. May switch the fiber: no.
 * Returns: true when it had to make the system call.
 */
HSHM_API bool hshm_doorbell_ring(struct hshm_doorbell *bell);

/* hshm_doorbell_ring() where the last that this thread wrote was a read-modify-write: on x86-64 a fence less. */
static inline bool hshm_doorbell_ring_after_rmw(struct hshm_doorbell *bell)
{
	/* pairs with the fence in hshm_doorbell_prepare_sleep(), as that of hshm_doorbell_ring() does */
	hshm_fence_after_rmw();
	/* relaxed: the fence orders it, and nothing is read through it */
	return hshm_load_relaxed(&bell->sleeping) && hshm_doorbell_ring(bell);
}

HSHM_END_DECLS
#endif
