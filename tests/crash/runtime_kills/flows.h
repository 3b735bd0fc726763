/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flows.h - client processes in full flow, and what they and the driver know of each other
 *
 * Each thread works with one runtime after the other: attach, work in its own way until it is told of the end (a flow), attach
 * again. It writes its own row; the driver reads it.
 */
#ifndef CRASH_FLOWS_H
#define CRASH_FLOWS_H

#include <stdint.h>
#include <sys/types.h>

#include <hshm/atomic.h>

#define FLOWS_NAME "killed"

enum flow_phase {
	FLOW_ATTACHES, /* reconnects, opens the pool */
	FLOW_SUBMITS,
	FLOW_WAITS,
	FLOW_CONNECTS, /* a client of its own, which comes and goes */
	FLOW_CREATES,  /* a pool of its own */
	FLOW_PHASES,
};

enum flow_kind {
	FLOW_WAIT_SLEEP, /* chi_wait(), the default policy */
	FLOW_WAIT_BUSY,
	FLOW_WAIT_ALL_HYBRID,
	FLOW_WAIT_ANY_HYBRID,
	FLOW_SHORT_WAITS, /* one time-out after the other */
	FLOW_EVENTS,	  /* callbacks, asleep in poll() on the event descriptor */
	FLOW_BATCHES,	  /* idempotent: what had no answer is handed in again to the next runtime */
	FLOW_MIXED,	  /* buffers, fire-and-forget, a periodic task */
	FLOW_CONNECTOR,
	FLOW_CREATOR,
	FLOW_KINDS,
};

/* More than runtimes die before all threads work with one. */
#define FLOW_NEWS_KEPT 8u

struct flow_news {
	uint64_t told_ns;
	uint64_t waited_ns; /* for a processor, since the thread's begin */
	int pid;	    /* of the runtime that has ended */
};

struct flow_row {
	int pid, tid; /* whose it is; written before @with is for the first time */
	hshm_au32 phase;
	hshm_au32 with;	  /* pid of the runtime it works with; 0: none, it attaches */
	hshm_au32 n_news; /* how often it was told of an end; each one is written before it is counted */
	struct flow_news news[FLOW_NEWS_KEPT];
	hshm_au64 n_answers, n_again;
} HSHM_ALIGNED(128);

/* In memory that all processes share. */
struct flows {
	hshm_au32 over;
	hshm_au32 n_broken;
	uint64_t seed; /* for who reads of a failure */
	struct flow_row rows[];
};

extern const char *const flow_kind_names[FLOW_KINDS];
extern const char *const flow_phase_names[FLOW_PHASES];

/* A process with a thread of each kind; its rows begin at @first. Does not return. */
_Noreturn void flows_run(struct flows *flows, uint32_t first);

#endif
