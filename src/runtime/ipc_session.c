/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_session.c - the life of a session: slot, lanes, end
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/counter_page.h"
#include "runtime/fault.h"
#include "runtime/ipc_internal.h"
#include "runtime/ipc_manager.h"
#include "runtime/runtime.h"

#define BITS_PER_WORD 64u

/* ---- armed words ---- */

static hshm_au32 *armed_word(struct chi_ipc_manager *ipc, uint32_t index)
{
	return (hshm_au32 *)((char *)ipc->runtime->main.map.base + chi_main_armed_offset(index));
}

static int armed_get(struct chi_ipc_manager *ipc, uint32_t *ret_index)
{
	/* the lowest that is free: a page of them is reserved for good once one was used */
	for (uint32_t index = ipc->first_armed; index < ipc->n_armed; index++) {
		uint64_t bit = UINT64_C(1) << (index % BITS_PER_WORD);
		int rc;

		if (ipc->armed_used[index / BITS_PER_WORD] & bit)
			continue;
		rc = hshm_segment_reserve(&ipc->runtime->main, chi_main_armed_offset(index), HSHM_FALSE_SHARING);
		if (rc < 0)
			return rc;
		ipc->armed_used[index / BITS_PER_WORD] |= bit;
		ipc->first_armed = index + 1;
		*ret_index = index;
		return 0;
	}
	return -ENOSPC;
}

static void armed_put(struct chi_ipc_manager *ipc, uint32_t index)
{
	ipc->armed_used[index / BITS_PER_WORD] &= ~(UINT64_C(1) << (index % BITS_PER_WORD));
	if (index < ipc->first_armed)
		ipc->first_armed = index;
}

/* ---- lanes ---- */

/* The workers do not know it, or no more. */
static void free_lane(struct chi_ipc_manager *ipc, struct chi_lane *lane)
{
	struct chi_session *session = lane->session;

	chi_counter_page_remove(ipc->runtime->counters, CHI_COUNTERS_LANES, lane->counter_row);
	close(lane->eventfd);
	armed_put(ipc, lane->armed_index);
	hshm_heap_free(ipc->runtime->heap, lane);
	chi_session_put(session);
}

static int make_lane(struct chi_ipc_manager *ipc, struct ipc_session *session, uint32_t lane_id, uint32_t prio,
		     struct chi_lane **ret_lane)
{
	struct chi_lane *lane;
	void *memory;
	int rc;

	rc = hshm_heap_alloc(ipc->runtime->heap, sizeof(*lane), &memory);
	if (rc < 0)
		return rc;
	lane = memset(memory, 0, sizeof(*lane));
	rc = armed_get(ipc, &lane->armed_index);
	if (rc < 0)
		goto free_memory;
	lane->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (lane->eventfd < 0) {
		rc = errno == ENOMEM ? -ENOMEM : -EMFILE;
		goto put_armed;
	}
	lane->ring = hipc_multi_mpsc_queue_lane(&session->base.queue.queue, lane_id, prio);
	hipc_mpsc_consumer_init(&lane->consumer, &lane->ring);
	/* what the runtime goes by is out of the client's reach */
	lane->header = &lane->own;
	lane->own.lane_id = lane_id;
	lane->own.priority = (uint16_t)prio;
	lane->armed = armed_word(ipc, lane->armed_index);
	/* relaxed: the client learns the word's place from the answer, which the kernel orders behind this. Armed: its
	 * first enqueue rings. */
	hshm_store_relaxed(lane->armed, 1);
	chi_session_get(&session->base);
	lane->session = &session->base;
	*ret_lane = lane;
	return 0;

put_armed:
	armed_put(ipc, lane->armed_index);
free_memory:
	hshm_heap_free(ipc->runtime->heap, memory);
	return rc;
}

int chi_ipc_session_open_lane(struct chi_ipc_manager *ipc, struct ipc_session *session, uint32_t lane_id, uint32_t prio,
			      struct chi_lane **ret_lane)
{
	struct chi_lane **place = &session->base.queue.lanes[lane_id * CHI_PRIOS + prio];
	struct chi_lane *lane;
	int rc;

	/* asked twice: a client that did not wait for the first answer */
	if (*place) {
		*ret_lane = *place;
		return 0;
	}
	rc = make_lane(ipc, session, lane_id, prio, &lane);
	if (rc < 0)
		return rc;
	*place = lane;
	if (session->n_open && chi_work_orch_n_workers(ipc->runtime->orch) > 1)
		chi_session_share_claims(&session->base);
	rc = chi_work_orch_schedule_lane(ipc->runtime->orch, lane);
	if (rc < 0) {
		*place = NULL;
		free_lane(ipc, lane);
		return rc;
	}
	session->open_lanes[session->n_open++] = lane;
	*ret_lane = lane;
	return 0;
}

/* ---- events ---- */

int chi_ipc_session_open_events(struct ipc_session *session, int *ret_client_end)
{
	static const int bytes_max = 1; /* the kernel makes its least of it: a byte for each sleep is sent */
	int ends[2];

	/* asked twice: as for a lane */
	if (session->event_client_end >= 0) {
		*ret_client_end = session->event_client_end;
		return 0;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return errno == ENOMEM || errno == ENOBUFS ? -ENOMEM : -EMFILE;
	(void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes_max, sizeof(bytes_max));
	/* nothing can be sent to us, descriptors least of all */
	shutdown(ends[0], SHUT_RD);
	/* release: pairs with the acquire in chi_session_send_event() */
	hshm_store_release(&session->base.event_socket, (uint32_t)ends[0] + 1);
	session->event_client_end = ends[1];
	*ret_client_end = ends[1];
	return 0;
}

/* ---- life ---- */

static int find_slot(struct chi_ipc_manager *ipc, uint32_t *ret_slot)
{
	for (uint32_t i = 0; i < ipc->n_slots; i++) {
		uint32_t slot = (ipc->next_slot + i) % ipc->n_slots;

		if (!ipc->slots[slot]) {
			*ret_slot = slot;
			return 0;
		}
	}
	return -EUSERS;
}

int chi_ipc_session_open(struct chi_ipc_manager *ipc, struct ipc_session **ret_session)
{
	struct ipc_session *session;
	uint32_t slot;
	int rc;

	rc = find_slot(ipc, &slot);
	if (rc < 0)
		return rc;
	session = calloc(1, sizeof(*session));
	if (!session)
		return -ENOMEM;
	rc = chi_session_init(&session->base, ipc->runtime, slot + 1);
	if (rc < 0)
		goto free_session;
	session->base.ipc = ipc;
	session->event_client_end = -1;
	session->open_lanes = calloc((size_t)ipc->runtime->config.client_lanes * CHI_PRIOS,
				     sizeof(*session->open_lanes));
	if (!session->open_lanes) {
		rc = -ENOMEM;
		goto fini_session;
	}
	rc = chi_work_orch_retire_prepare(ipc->runtime->orch, &session->retirement);
	if (rc < 0)
		goto free_lanes;
	ipc->slots[slot] = session;
	ipc->next_slot = slot + 1;
	/* relaxed: a count for whoever asks */
	hshm_fetch_add_relaxed(&ipc->n_sessions, 1);
	*ret_session = session;
	return 0;

free_lanes:
	free(session->open_lanes);
fini_session:
	chi_session_fini(&session->base);
free_session:
	free(session);
	return rc;
}

/* On a worker's thread, or ours. */
static void lanes_retired(void *arg)
{
	struct ipc_session *session = arg;
	struct chi_ipc_manager *ipc = session->base.ipc;
	/* relaxed: the CAS decides. No ABA: the ipc thread takes all at once. */
	void *head = hshm_load_relaxed(&ipc->retired);

	do {
		session->next_retired = head;
		/* release: pairs with the acquire with which the ipc thread takes the list; no worker uses the lanes
		 * after */
	} while (!hshm_cas_release(&ipc->retired, &head, session));
	chi_ipc_wake(ipc);
}

void chi_ipc_session_end(struct chi_ipc_manager *ipc, struct ipc_session *session)
{
	session->peer = NULL;
	/* not closed yet: see session.h */
	shutdown(session->base.socket, SHUT_RDWR);
	/* release: as in fault.c; workers drop the lanes where they find them, tasks see that their client is gone */
	hshm_store_release(&session->base.ended, 1);
	if (session->n_open == 0) { /* without a lane, without a task */
		chi_session_put(&session->base);
		return;
	}
	chi_work_orch_expire_periodic(ipc->runtime->orch);
	session->retirement.lanes = session->open_lanes;
	session->retirement.n_lanes = session->n_open;
	session->retirement.of_client = true;
	session->retirement.done = lanes_retired;
	session->retirement.arg = session;
	chi_work_orch_retire_lanes(ipc->runtime->orch, &session->retirement);
}

void chi_ipc_session_retired(struct chi_ipc_manager *ipc, struct ipc_session *session)
{
	uint32_t n_open = session->n_open;

	session->n_open = 0;
	for (uint32_t i = 0; i < n_open; i++)
		free_lane(ipc, session->open_lanes[i]);
	chi_session_put(&session->base);
}

void chi_ipc_session_abandon(struct chi_ipc_manager *ipc, struct ipc_session *session)
{
	struct ipc_peer *peer = session->peer;

	if (peer && peer->pidfd >= 0)
		close(peer->pidfd);
	free(peer);
	shutdown(session->base.socket, SHUT_RDWR);
	/* The lanes' references are enough: the connection's is not dropped, so none of these is the last. */
	for (uint32_t i = 0; i < session->n_open; i++)
		free_lane(ipc, session->open_lanes[i]);
	chi_ipc_session_close(ipc, session);
}

void chi_ipc_session_close(struct chi_ipc_manager *ipc, struct ipc_session *session)
{
	/* before the client counts as gone: who waits for that finds its memory taken off */
	chi_counter_page_note_memory(ipc->runtime->counters, ipc->runtime->heap, ipc->runtime->module_heap);
	chi_counter_page_remove(ipc->runtime->counters, CHI_COUNTERS_CLIENTS,
				session->base.counters_offset / (uint32_t)sizeof(struct chi_client_counters));
	chi_fault_unwatch(&session->base);
	chi_work_orch_retire_fini(&session->retirement);
	if (session->base.socket >= 0)
		chi_fd_closer_close(ipc->closer, session->base.socket);
	/* relaxed: nobody else has the session any more */
	if (hshm_load_relaxed(&session->base.event_socket))
		chi_fd_closer_close(ipc->closer, (int)hshm_load_relaxed(&session->base.event_socket) - 1);
	if (session->event_client_end >= 0)
		chi_fd_closer_close(ipc->closer, session->event_client_end);
	ipc->slots[session->base.client_id - 1] = NULL;
	free(session->open_lanes);
	chi_session_fini(&session->base);
	free(session);
	/* release: who reads 0 finds the sessions' memory given back */
	hshm_fetch_sub_release(&ipc->n_sessions, 1);
}
