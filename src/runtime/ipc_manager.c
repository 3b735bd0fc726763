/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_manager.c - the manager's life: made, started, told to let nobody in, ended
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/ipc_manager.h"
#include "runtime/ipc_internal.h"
#include "runtime/runtime.h"
#include "runtime/watchdog.h"
#include "task/error.h"

static int check_config(const struct chi_runtime *runtime)
{
	const struct chi_config *config = &runtime->config;
	uint64_t heap = chi_client_heap_offset(config->client_lanes, config->client_lane_depth);

	if (heap == 0 || heap + CHI_PAGE > config->client_bytes ||
	    config->client_bytes > (UINT64_C(1) << 32) * HIPC_REF_UNIT)
		return chi_error_set(-EINVAL, "clients: %u lanes of %u slots do not fit into %llu bytes of memory",
				     config->client_lanes, config->client_lane_depth,
				     (unsigned long long)config->client_bytes);
	return 0;
}

static int make_tables(struct chi_ipc_manager *ipc)
{
	const struct chi_runtime *runtime = ipc->runtime;
	uint64_t room = (runtime->main.map.size_bytes - chi_main_armed_offset(0)) / HSHM_FALSE_SHARING;

	ipc->n_slots = runtime->config.clients_max;
	if (ipc->n_slots > HIPC_SEGMENT_MAX - CHI_SEGMENT_CLIENTS + 1)
		ipc->n_slots = HIPC_SEGMENT_MAX - CHI_SEGMENT_CLIENTS + 1;
	ipc->n_armed = room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
	ipc->slots = calloc(ipc->n_slots, sizeof(*ipc->slots));
	ipc->armed_used = calloc((size_t)ipc->n_armed / 64 + 1, sizeof(*ipc->armed_used));
	return ipc->slots && ipc->armed_used ? 0 : chi_error_set(-ENOMEM, "no memory for %u clients", ipc->n_slots);
}

static int make_wait_set(struct chi_ipc_manager *ipc)
{
	ipc->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ipc->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ipc->epoll_fd < 0 || ipc->wake_fd < 0)
		return chi_error_set(errno == ENOMEM ? -ENOMEM : -EMFILE, "epoll: %s", strerror(errno));
	if (chi_ipc_watch(ipc, ipc->wake_fd, EPOLLIN, &ipc->wake_source) < 0)
		return chi_error_set(-ENOMEM, "epoll: %s", strerror(errno));
	return 0;
}

static void destroy(struct chi_ipc_manager *ipc)
{
	chi_ipc_socket_remove(&ipc->listener);
	chi_ipc_socket_close(&ipc->listener);
	if (ipc->wake_fd >= 0)
		close(ipc->wake_fd);
	if (ipc->epoll_fd >= 0)
		close(ipc->epoll_fd);
	chi_watchdog_destroy(ipc->watchdog);
	free(ipc->slots);
	free(ipc->armed_used);
	pthread_mutex_destroy(&ipc->lock);
	chi_background_destroy(ipc->closer);
	free(ipc);
}

int chi_ipc_create(struct chi_runtime *runtime, bool listen, struct chi_ipc_manager **ret_ipc)
{
	struct chi_ipc_manager *ipc;
	int rc;

	rc = check_config(runtime);
	if (rc < 0)
		return rc;
	ipc = calloc(1, sizeof(*ipc));
	if (!ipc)
		return chi_error_set(-ENOMEM, "no memory for the ipc manager");
	ipc->runtime = runtime;
	ipc->epoll_fd = ipc->wake_fd = ipc->listener.fd = -1;
	ipc->wake_source.kind = IPC_SOURCE_WAKE;
	ipc->listen_source.kind = IPC_SOURCE_LISTEN;
	pthread_mutex_init(&ipc->lock, NULL);

	rc = make_tables(ipc);
	if (rc == 0 && chi_fd_closer_create(&ipc->closer) < 0)
		rc = chi_error_set(-ENOMEM, "no memory for the ipc manager");
	if (rc == 0)
		rc = make_wait_set(ipc);
	if (rc == 0 && listen)
		rc = chi_ipc_listen(ipc);
	if (rc < 0) {
		destroy(ipc);
		return rc;
	}
	*ret_ipc = ipc;
	return 0;
}

int chi_ipc_start(struct chi_ipc_manager *ipc)
{
	int rc = 0;

	if (ipc->runtime->config.hang_ns)
		rc = chi_watchdog_create(ipc->runtime, &ipc->watchdog);
	if (rc == 0)
		rc = HSHM_THREAD_MODEL->spawn("chi-ipc", chi_ipc_thread, ipc, &ipc->thread);
	return rc < 0 ? chi_error_set(rc, "cannot start the ipc thread: %s", strerror(-rc)) : 0;
}

void chi_ipc_let_nobody_in(struct chi_ipc_manager *ipc)
{
	/* release: pairs with the acquires that look at it */
	hshm_store_release(&ipc->stopping, 1);
}

static void end_thread(struct chi_ipc_manager *ipc)
{
	chi_ipc_let_nobody_in(ipc);
	/* release: pairs with the acquire in chi_ipc_thread(). Before the listener is shut down, which epoll would
	 * show it again and again. */
	hshm_store_release(&ipc->ending, 1);
	chi_ipc_socket_remove(&ipc->listener);
	chi_ipc_wake(ipc);
	if (ipc->thread)
		HSHM_THREAD_MODEL->join(ipc->thread);

	chi_ipc_stop_accepting(ipc);
	chi_ipc_adopt_local(ipc); /* those that came last: hung up with the other greeters */
	while (ipc->first_greeter)
		chi_ipc_peer_end(ipc, ipc->first_greeter, "the runtime ends");
}

void chi_ipc_abandon(struct chi_ipc_manager *ipc)
{
	end_thread(ipc);
	for (uint32_t i = 0; i < ipc->n_slots; i++) {
		struct ipc_session *session = ipc->slots[i];

		if (!session)
			continue;
		/* release: as in chi_ipc_session_end() */
		hshm_store_release(&session->base.ended, 1);
		shutdown(session->base.socket, SHUT_RDWR);
	}
	chi_ipc_free_dead(ipc);
}

void chi_ipc_destroy(struct chi_ipc_manager *ipc)
{
	if (!ipc)
		return;
	end_thread(ipc);
	/* The workers have ended: nobody but us knows the sessions, whatever references their tasks still hold. */
	for (uint32_t i = 0; i < ipc->n_slots; i++) {
		if (ipc->slots[i])
			chi_ipc_session_abandon(ipc, ipc->slots[i]);
	}
	chi_ipc_free_dead(ipc);
	destroy(ipc);
}

uint32_t chi_ipc_n_sessions(struct chi_ipc_manager *ipc)
{
	/* acquire: pairs with the release in chi_ipc_session_close() */
	return hshm_load_acquire(&ipc->n_sessions);
}
