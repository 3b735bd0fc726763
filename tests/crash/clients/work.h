/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.h - the tasks that steady clients and victims hand in, each with a check of its answer
 *
 * Both do the same work; they differ in what they make of an answer that is wrong.
 */
#ifndef CRASH_CLIENTS_WORK_H
#define CRASH_CLIENTS_WORK_H

#include <chimaera/chimaera.h>
#include <chimaera/modules/blob.h>

#include "crash.h"

#define WORK_POOL	"work"
#define VICTIM_KEYS	4u /* objects of a steady client, or of a victim's slot */
#define WORK_CONTAINERS 2u
#define WORK_BURST_MAX	64u
#define WORK_LARGE_MAX	(512u << 10)

struct worker {
	struct chi_client *client;
	struct thread_slot *thread; /* where it is */
	struct rng rng;
	uint32_t probe_pool, compress_pool, blob_pool;
	bool alone;	 /* no other thread uses its client, nobody else its objects */
	uint64_t n_adds; /* PROBE_ADD that shall have run, here and in fans */
	char key_prefix[32];
	/* what was found; @what is static */
	void (*answer)(struct worker *worker, bool right, const char *what);
	void (*lost)(struct worker *worker, const char *what, int error);
	void *arg;
};

struct work {
	const char *name;
	uint32_t weight;
	/* Returns 0, or a negative errno: something got lost, and was told. */
	int (*run)(struct worker *worker);
};

/* Opens the pools: the probe pool of that name, compress, blob. Returns 0, or a negative errno. */
int work_open(struct worker *worker, const char *probe_pool);
/* A piece of work, at random, by its weight. */
int work_any(struct worker *worker, const struct work *list, uint32_t n);

/* Whatever the client will ever ask the runtime for, descriptors and lanes, it has after this. */
int work_every_channel(struct worker *worker);
/* Many tasks at once that take the runtime's memory: more than the campaign ever has under way. */
int work_crowd(struct worker *worker);
/* The last piece of a victim's thread before it leaves. */
int work_leave_behind(struct worker *worker);

extern const struct work work_of_victims[];
extern const struct work work_of_steady[];
extern const uint32_t n_work_of_victims, n_work_of_steady;

/* The key of an object; @index below VICTIM_KEYS. */
void work_key(const char *prefix, uint32_t index, struct chi_blob_key *ret_key);

#endif
