/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_thread.c - the thread: sockets, pidfds, the lists that workers push to, the clock
 */
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <hshm/clock.h>

#include "runtime/ipc_internal.h"
#include "runtime/ipc_manager.h"
#include "runtime/watchdog.h"

#define EVENTS_MAX 64

void chi_ipc_wake(struct chi_ipc_manager *ipc)
{
	/* fails only when the counter is full: then it is awake */
	(void)eventfd_write(ipc->wake_fd, 1);
}

void chi_ipc_reclaim(struct chi_ipc_manager *ipc, struct chi_session *session)
{
	/* relaxed: the CAS decides. No ABA: the ipc thread takes all at once. */
	void *head = hshm_load_relaxed(&ipc->reclaimed);

	do {
		session->next_reclaim = head;
		/* release: pairs with the acquire in take_lists() */
	} while (!hshm_cas_release(&ipc->reclaimed, &head, session));
	chi_ipc_wake(ipc);
}

static void take_lists(struct chi_ipc_manager *ipc)
{
	struct ipc_session *retired;
	struct chi_session *reclaimed;

	/* acquire: pairs with the release in lanes_retired() */
	retired = hshm_exchange_acquire(&ipc->retired, NULL);
	while (retired) {
		struct ipc_session *next = retired->next_retired;

		chi_ipc_session_retired(ipc, retired);
		retired = next;
	}
	/* acquire: pairs with the release in chi_ipc_reclaim() */
	reclaimed = hshm_exchange_acquire(&ipc->reclaimed, NULL);
	while (reclaimed) {
		struct chi_session *next = reclaimed->next_reclaim;

		chi_ipc_session_close(ipc, (struct ipc_session *)reclaimed);
		reclaimed = next;
	}
}

static void look_at_clock(struct chi_ipc_manager *ipc, uint64_t now_ns)
{
	while (ipc->first_greeter && ipc->first_greeter->deadline_ns <= now_ns) {
		struct ipc_peer *peer = ipc->first_greeter;

		chi_ipc_refuse(ipc, peer, -ETIMEDOUT, "no hello in time");
		chi_ipc_peer_end(ipc, peer, "refused");
	}
	if (ipc->listen_pause_ns && ipc->listen_pause_ns <= now_ns) {
		ipc->listen_pause_ns = 0;
		if (ipc->listener.fd >= 0 && chi_ipc_watch(ipc, ipc->listener.fd, EPOLLIN, &ipc->listen_source) < 0)
			ipc->listen_pause_ns = hshm_deadline_ns(CHI_IPC_LISTEN_PAUSE_NS);
	}
	if (ipc->watchdog && ipc->watch_ns <= now_ns)
		ipc->watch_ns = chi_watchdog_look(ipc->watchdog, now_ns);
}

static int timeout_ms(const struct chi_ipc_manager *ipc, uint64_t now_ns)
{
	uint64_t next_ns = HSHM_FOREVER;

	if (ipc->first_greeter)
		next_ns = ipc->first_greeter->deadline_ns;
	if (ipc->listen_pause_ns && ipc->listen_pause_ns < next_ns)
		next_ns = ipc->listen_pause_ns;
	if (ipc->watchdog && ipc->watch_ns < next_ns)
		next_ns = ipc->watch_ns;
	if (next_ns == HSHM_FOREVER)
		return -1;
	return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / HSHM_NSEC_PER_MSEC) + 1;
}

static void on_event(struct chi_ipc_manager *ipc, const struct ipc_source *source, uint32_t events)
{
	eventfd_t rings;

	switch (source->kind) {
	case IPC_SOURCE_WAKE:
		(void)eventfd_read(ipc->wake_fd, &rings);
		break;
	case IPC_SOURCE_LISTEN:
		if (ipc->listener.fd >= 0)
			chi_ipc_on_listener(ipc);
		break;
	case IPC_SOURCE_SOCKET:
		if (!source->peer->gone)
			chi_ipc_on_socket(ipc, source->peer, events);
		break;
	case IPC_SOURCE_PIDFD:
		chi_ipc_peer_end(ipc, source->peer, "its process ended");
		break;
	}
}

void chi_ipc_thread(void *arg)
{
	struct chi_ipc_manager *ipc = arg;
	struct epoll_event events[EVENTS_MAX];

	/* acquire: pairs with the release in chi_ipc_destroy() */
	while (!hshm_load_acquire(&ipc->ending)) {
		int n = epoll_wait(ipc->epoll_fd, events, EVENTS_MAX, timeout_ms(ipc, hshm_clock_ns()));

		for (int i = 0; i < n; i++)
			on_event(ipc, events[i].data.ptr, events[i].events);
		chi_ipc_adopt_local(ipc);
		if (ipc->watchdog)
			chi_watchdog_retire(ipc->watchdog); /* of those whose end was seen just now, too */
		take_lists(ipc);
		look_at_clock(ipc, hshm_clock_ns());
		chi_ipc_free_dead(ipc);
	}
}
