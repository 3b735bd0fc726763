/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session.c - the runtime's side of one attached process: its memory, and what of it is in flight
 */
#include "runtime/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "runtime/ipc_internal.h"
#include "runtime/ipc_manager.h"
#include "runtime/log.h"
#include "runtime/worker.h"

#define SEND_TRIES    3
#define UNTOLD_LOGGED 4u			/* a second */
#define USE_CONTEXT   ((UINT64_C(1) << 32) | 1) /* a run context, and its reference */

/* The header is information for whoever looks at the segment; nothing of it is read back. */
static void write_header(const struct chi_session *session)
{
	const struct chi_config *config = &session->runtime->config;
	struct chi_client_header *header = session->segment.map.base;

	*header = (struct chi_client_header){
		.magic = CHI_CLIENT_MAGIC_SEGMENT,
		.layout_version = CHI_LAYOUT_VERSION,
		.client_id = session->client_id,
		.generation = session->runtime->generation,
		.size_bytes = session->segment.map.size_bytes,
		.n_lanes = config->client_lanes,
		.lane_depth = config->client_lane_depth,
	};
}

int chi_ipc_server_init_queues(struct chi_runtime *runtime, struct chi_session *session)
{
	uint32_t n_lanes = runtime->config.client_lanes;
	uint32_t depth = runtime->config.client_lane_depth;
	uint64_t heap = chi_client_heap_offset(n_lanes, depth);
	char *base = session->segment.map.base;
	int rc;

	if (heap == 0 || heap >= session->segment.map.size_bytes)
		return -EINVAL;
	/* from here on neither side can fault on header, parking words or queue */
	rc = hshm_segment_reserve(&session->segment, 0, heap);
	if (rc < 0)
		return rc;
	session->heap_offset = heap;
	write_header(session);
	rc = hipc_multi_mpsc_queue_init(base + chi_client_queue_offset(n_lanes), n_lanes, CHI_PRIOS, depth,
					sizeof(struct chi_lane_header), &session->queue.queue);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < n_lanes * CHI_PRIOS; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&session->queue.queue, i / CHI_PRIOS,
									 i % CHI_PRIOS);
		struct chi_lane_header *header = ring.header;

		header->lane_id = i / CHI_PRIOS;
		header->priority = (uint16_t)(i % CHI_PRIOS);
	}
	session->queue.lanes = calloc((size_t)n_lanes * CHI_PRIOS, sizeof(*session->queue.lanes));
	return session->queue.lanes ? 0 : -ENOMEM;
}

/* Sparse: one page of it for each 256 KiB of the segment that ever held tasks. */
static int make_claims(struct chi_session *session)
{
	uint64_t n_units = session->segment.map.size_bytes / HIPC_REF_UNIT;
	void *claims = mmap(NULL, n_units * sizeof(hshm_au8), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (claims == MAP_FAILED)
		return -ENOMEM;
	session->claims = claims;
	session->n_claims = n_units;
	return 0;
}

int chi_session_init(struct chi_session *session, struct chi_runtime *runtime, uint32_t client_id)
{
	char name[32];
	int rc;

	session->runtime = runtime;
	session->client_id = client_id;
	session->socket = -1;
	session->contexts_max = runtime->config.client_contexts_max;
	session->segment.fd = -1;
	/* relaxed: nobody else knows the session yet */
	hshm_store_relaxed(&session->uses, 1);

	snprintf(name, sizeof(name), "chimaera-client-%u", client_id);
	rc = hshm_segment_create(name, runtime->config.client_bytes, CHI_SEGMENT_CLIENTS + client_id - 1,
				 HSHM_SEAL_SIZE, &session->segment);
	if (rc == 0)
		rc = make_claims(session);
	if (rc == 0)
		rc = chi_ipc_server_init_queues(runtime, session);
	if (rc < 0)
		chi_session_fini(session);
	return rc;
}

void chi_session_fini(struct chi_session *session)
{
	free(session->queue.lanes);
	session->queue.lanes = NULL;
	if (session->claims)
		munmap(session->claims, session->n_claims * sizeof(*session->claims));
	session->claims = NULL;
	hshm_segment_close(&session->segment);
}

/* ---- what is in flight ---- */

void chi_session_share_claims(struct chi_session *session)
{
	/* relaxed: whoever gets the lane gets it by a release (chi_work_orch_schedule_lane()) */
	hshm_store_relaxed(&session->claims_shared, 1);
}

/* Returns whether it is in flight already. Acquire, both: pairs with the release in chi_session_release(): what the run
 * before wrote into this memory is in place before the next reads it, whichever worker had it. */
static bool set_claim(const struct chi_session *session, uint32_t ref)
{
	/* relaxed: each of several workers has seen it, but who was in the midst of a claim (session.h) */
	if (hshm_load_relaxed(&session->claims_shared))
		return hshm_exchange_acquire(&session->claims[ref], 1);
	if (hshm_load_acquire(&session->claims[ref]))
		return true;
	/* relaxed: nobody else looks; a lane that moves takes it along (V1 in lane_move.c) */
	hshm_store_relaxed(&session->claims[ref], 1);
	return false;
}

int chi_session_claim(struct chi_session *session, uint32_t ref, struct chi_task **ret_task)
{
	void *task = hipc_ref_translate(&session->segment.map, ref, sizeof(struct chi_task));

	if (!task || (uint64_t)ref * HIPC_REF_UNIT < session->heap_offset)
		return -EFAULT;
	if (set_claim(session, ref))
		return -EBUSY;
	*ret_task = task;
	return 0;
}

void chi_session_release(struct chi_session *session, uint32_t ref)
{
	/* release: pairs with the acquires in set_claim() */
	hshm_store_release(&session->claims[ref], 0);
}

void chi_session_send_event(struct chi_session *session)
{
	/* acquire: pairs with the release in chi_ipc_session_open_events() */
	uint32_t event_socket = hshm_load_acquire(&session->event_socket);

	if (!event_socket || hshm_load_relaxed(&session->ended)) /* relaxed: a message more harms nobody */
		return;
	/* Full: then there is enough to read. Gone: the client's own doing. A socket of our own and flags of the call:
	 * nothing that the client does to its end makes this one wait (before Linux 6.9: docs/threat-model.md). */
	for (int i = 0; i < SEND_TRIES; i++)
		if (send((int)event_socket - 1, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
		    (errno != ENOBUFS && errno != ENOMEM))
			return;
	/* the kernel has no memory: a client that is hung up on is better off than one that sleeps for ever */
	if (chi_log_allowed(&session->runtime->log_limits.client_untold, UNTOLD_LOGGED))
		chi_log_warn("client %u cannot be told that its task ended, and is hung up on: %s", session->client_id,
			     strerror(errno));
	shutdown(session->socket, SHUT_RDWR);
}

/* ---- who uses it ---- */

void chi_session_get(struct chi_session *session)
{
	/* relaxed: who gets has a reference already, or is the ipc thread, which holds the connection's */
	hshm_fetch_add_relaxed(&session->uses, 1);
}

void chi_session_put(struct chi_session *session)
{
	/* acq_rel: release for our own last use, acquire of everybody else's for the one who unmaps */
	if (hshm_fetch_sub_acq_rel(&session->uses, 1) == 1)
		chi_ipc_reclaim(session->ipc, session);
}

void chi_session_get_context(struct chi_session *session)
{
	/* relaxed: the lane that brings the task has a reference */
	hshm_fetch_add_relaxed(&session->uses, USE_CONTEXT);
}

bool chi_session_try_context(struct chi_session *session)
{
	uint64_t uses = hshm_load_relaxed(&session->uses); /* relaxed: the CAS checks it */

	while (uses >> 32 < session->contexts_max)
		if (hshm_cas_relaxed(&session->uses, &uses, uses + USE_CONTEXT)) /* relaxed: as in get */
			return true;
	return false;
}

void chi_session_put_context(struct chi_session *session)
{
	/* The reference is kept for the look at the lot: after the last one the session may be gone. seq_cst: the count
	 * falls before the look (Dekker with the push and the look of park_until_contexts_end()). */
	hshm_fetch_sub_seq_cst(&session->uses, USE_CONTEXT - 1);
	if (hshm_load_seq_cst(&session->parking.n_parked))
		chi_parking_wake(&session->parking, 1);
	chi_session_put(session);
}

uint32_t chi_session_n_contexts(const struct chi_session *session)
{
	/* seq_cst: in the same order as the count's fall and the push on the lot */
	return (uint32_t)(hshm_load_seq_cst(&session->uses) >> 32);
}
