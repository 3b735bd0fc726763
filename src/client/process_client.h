/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process_client.h - a client: a process (or the embedding application) attached to a runtime
 *
 * Who writes what: everything but `dead`, `n_full`, the lanes and the segment's contents is written before the client is
 * handed out. A lane's bell is written once, under `lane_lock`, before `opened` is set with release.
 */
#ifndef CLIENT_PROCESS_CLIENT_H
#define CLIENT_PROCESS_CLIENT_H

#include <pthread.h>
#include <stdint.h>

#include <chimaera/client.h>
#include <hshm/heap.h>
#include <hshm/segment.h>

#include "client/fork_guard.h"
#include "client/given.h"
#include "client/messages.h"
#include "task/submitter.h"
#include "task/task_queue.h"

struct client_lane {
	hshm_au32 opened; /* its bell may be used */
	struct chi_given_list given;
} HSHM_ALIGNED(HSHM_FALSE_SHARING);

struct process_client {
	struct chi_client base;
	struct chi_fork_guard guard;
	struct chi_connection connection;
	uint64_t timeout_ns; /* for the runtime's answers */
	hshm_au32 dead;	     /* the runtime is gone: it does not come back */
	hshm_au32 n_full;    /* full lanes found */

	struct hshm_segment main;    /* read-only */
	struct hshm_segment segment; /* ours */
	int counters_fd;	     /* the runtime's counters file, to read; -1: none */
	uint64_t heap_offset;	     /* tasks and buffers lie behind it */
	struct hshm_heap *heap;
	struct chi_welcome welcome; /* checked */

	struct chi_task_queue queue;
	struct client_lane *lanes; /* [lane * CHI_PRIOS + prio], like queue.bells */
	uint32_t n_lanes_all;	   /* n_lanes * CHI_PRIOS */
	pthread_mutex_t lane_lock; /* one conversation at a time on the socket */
};

extern const struct chi_client_ops chi_process_client_ops;

/* Lanes, bells and the process queue, when main, segment and welcome are there. Returns 0 or -ENOMEM, -EPROTO. */
int process_client_init_lanes(struct process_client *client);
/* Wait for the runtime to have taken what was submitted, at most @timeout_ns. */
void process_client_drain(struct process_client *client, uint64_t timeout_ns);
/* Release all, in the owner or in a forked child. Accepts a half-made one. */
void process_client_destroy(struct process_client *client);

#endif
