/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash.h - what the campaign's processes share: a driver, steady clients, victims
 *
 * The driver starts a service, forks steady clients, which check every answer, and victims, which it ends by SIGKILL. It
 * connects to nothing itself, so its children may. All of them write how far they are into one anonymous shared mapping;
 * what a victim wrote there last is where it died.
 *
 * Who writes: a steady client or victim its own slot, the driver the plan of a slot whose process does not run yet, and
 * `order`. Everything is read while it moves, or after the writer's end.
 */
#ifndef CRASH_CLIENTS_CRASH_H
#define CRASH_CLIENTS_CRASH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <hshm/atomic.h>
#include <hshm/clock.h>

#include "support/processor.h"
#include "support/random.h"

#define STEADY_MAX	   8u
#define VICTIMS_MAX	   32u
#define VICTIM_THREADS_MAX 4u
#define VICTIM_KEYS	   4u /* blob objects of a victim's slot */
#define GAP_BUCKETS	   256u
#define ANSWER_LATE_NS	   (10 * HSHM_NSEC_PER_SEC) /* then it is lost */

/* ---- seeded numbers (splitmix64) ---- */

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
	return splitmix64(&rng->state);
}

static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

/* ---- where a victim's thread is ---- */

enum phase {
	PHASE_NONE = 0, /* no such thread */
	PHASE_STARTING,
	PHASE_CONNECTING,
	PHASE_FILLING, /* allocates and fills a task and its buffers */
	PHASE_SUBMITTING,
	PHASE_WAITING,
	PHASE_READING, /* checks the answer, frees the task */
	PHASE_IDLE,
	PHASE_LEAVING,
	PHASES,
};

struct thread_slot {
	hshm_au32 phase;
	hshm_au64 n_submitted; /* counted when the submit has returned */
	/* Ends that the thread has seen: of what counts as in flight, some may have ended. Fire-and-forget and periodic tasks
	 * count in neither. */
	hshm_au64 n_done;
} HSHM_ALIGNED(128);

struct victim_plan {
	uint64_t seed;
	uint32_t slot;
	uint32_t n_threads;
	uint32_t wait_policy; /* enum chi_wait_policy */
	uint32_t rounds;      /* until it leaves and connects again */
};

struct victim_slot {
	struct victim_plan plan;
	hshm_au32 flows; /* it has had answers */
	int32_t error;	 /* it ended by itself, for this reason */
	char text[128];
	hshm_au64 n_right;
	hshm_au64 n_wrong;
	struct thread_slot threads[VICTIM_THREADS_MAX + 1]; /* the last: its main thread, which connects and leaves */
} HSHM_ALIGNED(128);

/* ---- steady clients ---- */

/* Gaps between two answers, by their logarithm: 8 buckets for each factor of two. */
struct gaps {
	hshm_au64 n[GAP_BUCKETS];
	hshm_au64 max_ns;
	hshm_au64 net_max_ns; /* less what the client, and a worker, waited for a processor meanwhile */
};

enum order { ORDER_RUN = 0, ORDER_PAUSE, ORDER_STOP };

struct steady_slot {
	hshm_au32 has; /* enum order that it follows now */
	hshm_au64 n_right;
	hshm_au64 n_wrong;
	hshm_au64 n_lost;    /* no answer in time, or an error */
	hshm_au64 last_ns;   /* of the last answer */
	struct gaps gaps[2]; /* before the first kill, after it */
	char text[128];	     /* what was wrong first */
} HSHM_ALIGNED(128);

struct stage {
	hshm_au32 order;
	hshm_au32 gap_set; /* which gaps count now */
	uint64_t seed;
	struct steady_slot steady[STEADY_MAX];
	struct victim_slot victims[VICTIMS_MAX];
};

/* ---- the runtime as others see it (measure.c) ---- */

enum fd_kind { FD_SOCKET, FD_MEMFD, FD_EVENTFD, FD_PIDFD, FD_OTHER, FD_KINDS };

struct measure {
	uint64_t own_bytes; /* accounted by the runtime */
	uint64_t module_bytes;
	uint64_t in_flight;
	uint64_t fds[FD_KINDS];
	uint64_t segments; /* clients' memfds that it maps */
	uint64_t rss_kib;  /* without these: what a living client has touched is its own */
};

extern const char *const fd_kind_names[FD_KINDS];

/* Returns 0, or -1 when something cannot be read. */
int measure_runtime(const char *name, pid_t pid, struct measure *ret_measure);
/* But for RSS, which is compared with a margin. */
bool measures_are_equal(const struct measure *a, const struct measure *b);
/* Attached and not gone with all their tasks, as the runtime counts them. UINT64_MAX: not to be read. */
uint64_t measure_sessions(const char *name);
/* Are all workers asleep? Then they have given back what they keep from task to task, but for what they keep at rest. */
bool measure_workers_rest(const char *name);

/* ---- what is attacked ---- */

struct service {
	const char *name;
	int (*start)(void);
	/* Ends in order what start() made. Returns 0, or -1: it ended otherwise. */
	int (*stop)(void);
	bool (*alive)(void);
	/* In processes of their own; they return the exit code. */
	int (*steady)(struct stage *stage, uint32_t index);
	int (*victim)(struct stage *stage, struct victim_slot *slot);
	/* NULL: there is nothing to measure. A process that removes what victims may have left; and the measure, when nothing but
	 * @n_steady paused clients is there: until it equals @expected (NULL: is the same twice), at most for some seconds. */
	int (*settle)(void);
	int (*measure)(uint32_t n_steady, const struct measure *expected, struct measure *ret_measure);
};

extern const struct service runtime_service;
extern const struct service naive_service;

/* ---- a steady client's account (steady_account.c) ---- */

/* Note an answer, right or not. @waits: NULL, or whose waits for a processor are told apart. */
void steady_answer(struct stage *stage, struct steady_slot *slot, struct processor_waits *waits, bool right,
		   const char *what);
/* From now on: what went before was the campaign's doing, not the service's. */
void steady_no_gap(struct steady_slot *slot);
void steady_lost(struct steady_slot *slot, const char *what, int error);
/* Follow the driver's order; returns false when it is time to stop. @settle is called once when a pause begins. */
bool steady_goes_on(struct stage *stage, struct steady_slot *slot, void (*settle)(void *arg), void *arg);

uint32_t gap_bucket(uint64_t ns);
uint64_t gap_bucket_ns(uint32_t bucket);

/* ---- a victim's account ---- */

static inline void enter_phase(struct thread_slot *thread, enum phase phase)
{
	hshm_store_relaxed(&thread->phase, phase); /* relaxed: read after the process's end */
}

static inline void count(hshm_au64 *counter, uint64_t n)
{
	hshm_fetch_add_relaxed(counter, n); /* relaxed: a count */
}

/* ---- the campaign ---- */

struct campaign_opts {
	uint64_t seed;
	uint64_t n_kills;
	uint64_t n_warm; /* kills before the first measure */
	uint32_t n_victims;
	uint32_t n_steady;
	bool many;	  /* kills enough for judging shares */
	uint64_t base_ns; /* how long victims live before the first kill */
	bool json;
};

struct campaign_result {
	uint64_t n_kills;      /* all, the warm-up's included */
	uint64_t n_in_flight;  /* of them, with tasks that the victim had not seen end */
	uint64_t in_flight[5]; /* 0, 1.., 8.., 64.., 512.. such tasks */
	uint64_t threads[PHASES];
	uint64_t n_stops;
	uint64_t n_continued; /* went on with right answers after SIGCONT */
	uint64_t n_killed_stopped;
	uint64_t n_right, n_wrong, n_lost;
	uint64_t victims_right, victims_wrong;
	uint64_t gap_max_ns[2], gap_net_ns[2], gap_p999_ns[2];
	uint64_t elapsed_ns;	      /* from the first kill to the last */
	struct measure first;	      /* before the first victim: but for RSS, never more than that */
	struct measure before, after; /* behind the warm-up, behind the last kill */
	bool wedged;
	char violation[256]; /* "" = none */
};

/* The first is kept. Returns -1. */
int violated(struct campaign_result *result, const char *what, const char *text);
/* A child; it is not waited for yet. */
bool has_ended(pid_t pid);
/* Returns 0, or -1 when the campaign itself could not be run. */
int campaign_run(const struct service *service, const struct campaign_opts *opts, struct campaign_result *result);
/* Returns how many promises were not kept. */
int report(const struct campaign_opts *opts, const struct campaign_result *result, const struct campaign_result *naive);

#endif
