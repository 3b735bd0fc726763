/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session.h - the runtime's side of one attached process: its segment, its process queue, what it has in flight
 *
 * Counted: by the ipc manager while the connection stands, by each open lane, by each run context that may use its
 * memory. When the last goes, the segment is unmapped by the ipc thread (verify/reclaim.pml). Nothing here lies in
 * memory that the client can write.
 */
#ifndef RUNTIME_SESSION_H
#define RUNTIME_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <hshm/atomic.h>
#include <hshm/segment.h>

#include "task/lane.h"
#include "task/task_queue.h"

struct chi_runtime;
struct chi_ipc_manager;

struct chi_session {
	struct chi_runtime *runtime;
	struct chi_ipc_manager *ipc; /* gets the session back with the last put */
	uint32_t client_id;	     /* slot + 1 */
	uint32_t counters_offset;    /* of its counters, in each worker's set; 0: among the others */
	pid_t pid;
	int socket; /* open as long as the session is there: who finds the client at fault hangs up */
	/* The client is gone: its lanes are dropped where they are found, its tasks asked to end. Beside the segment's
	 * address, which each start of a task reads anyway: not a line more, nor one that is written. */
	hshm_au32 ended;
	struct hshm_segment segment;
	uint64_t heap_offset;	     /* tasks lie behind it, never on the queue or the parking words */
	struct chi_task_queue queue; /* the process queue */
	/* for each HIPC_REF_UNIT of the segment: 1, a task there is in flight. Whole bytes: given back by a store */
	hshm_au8 *claims;
	uint64_t n_claims;
	/* It has, or had, several lanes: several workers may claim, each by an exchange. Else there is one at a time,
	 * who looks and stores: a locked instruction would wait for the answers before, which are on their way to the
	 * client. */
	hshm_au32 claims_shared;
	/* references:32 low, run contexts of its root tasks:32 high; each is a reference, but while it is held by a
	 * turn (turn.c), as the lane is one */
	hshm_au64 uses;
	hshm_au32 event_socket;		/* our end of its event channel, plus 1; 0: it has asked for none */
	uint32_t contexts_max;		/* at which its lanes are not popped */
	struct chi_parking_lot parking; /* lanes that wait for run contexts to end */
	struct chi_session *next_reclaim;
};

_Static_assert(offsetof(struct chi_session, ended) / 16 == offsetof(struct chi_session, segment.map.base) / 16,
	       "in one line, as calloc() aligns to 16");

/**
 * chi_session_init - a session with its segment, its process queue and one reference
 * @session:   zeroed; release with chi_session_fini()
 * @client_id: slot + 1
 *
 * Threads: ipc. Returns 0, -ENOMEM, -EMFILE, -ENFILE.
 */
int chi_session_init(struct chi_session *session, struct chi_runtime *runtime, uint32_t client_id);
/* Unmap all. Nobody has a reference. Accepts a zeroed one. */
void chi_session_fini(struct chi_session *session);

/* Before its second lane is in reach of a worker. Who is just claiming by a look and a store may let in a task that
 * another lets in at that moment: then the client has submitted it twice, two runs share a claim from then on, and what
 * both write is its own memory. */
void chi_session_share_claims(struct chi_session *session);

/**
 * chi_session_claim - take the task a reference names
 * @ref:      from the ring: input
 * @ret_task: out; in the client's segment, where at least sizeof(struct chi_task) bytes are inside
 *
 * Threads: workers. Returns 0, -EFAULT (outside, or not in the heap's part), -EBUSY (in flight already).
 */
int chi_session_claim(struct chi_session *session, uint32_t ref, struct chi_task **ret_task);
/* The claim ends: before the completion word is set. */
void chi_session_release(struct chi_session *session, uint32_t ref);

/* The task at a reference that was checked. */
static inline struct chi_task *chi_session_task(const struct chi_session *session, uint32_t ref)
{
	return (struct chi_task *)((char *)session->segment.map.base + (uint64_t)ref * HIPC_REF_UNIT);
}

/* Make the client's event descriptor readable, if it has one. Never blocks. The caller has a reference. */
void chi_session_send_event(struct chi_session *session);

void chi_session_get(struct chi_session *session);
/* The last put hands the session to the ipc thread, which unmaps it. Any thread. */
void chi_session_put(struct chi_session *session);

/* A reference for the run context of a root task, counted towards contexts_max; and its end, which tells lanes that
 * wait. */
void chi_session_get_context(struct chi_session *session);
void chi_session_put_context(struct chi_session *session);
/* As get, but never past contexts_max: false at the cap. */
bool chi_session_try_context(struct chi_session *session);
/* How many root tasks and parts of broadcasts have a run context, without those that a turn holds. Any thread; with the
 * seq_cst order that a look before parking needs. */
uint32_t chi_session_n_contexts(const struct chi_session *session);

#endif
