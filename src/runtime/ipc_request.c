/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_request.c - what a peer asks for: to attach, a lane, its event channel
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "runtime/counter_page.h"
#include "runtime/fault.h"
#include "runtime/ipc_internal.h"
#include "runtime/runtime.h"

/* ---- hello ---- */

static int send_welcome(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const struct ipc_session *session)
{
	struct chi_runtime *runtime = ipc->runtime;
	const int fds[CHI_WELCOME_FDS] = { runtime->main.fd, session->base.segment.fd,
					   chi_counter_page_reader_fd(runtime->counters) };
	struct chi_welcome welcome = {
		.type = CHI_MESSAGE_WELCOME,
		.layout_version = CHI_LAYOUT_VERSION,
		.generation = runtime->generation,
		.main_bytes = runtime->main.map.size_bytes,
		.client_bytes = session->base.segment.map.size_bytes,
		.main_segment_id = runtime->main.map.segment_id,
		.client_segment_id = session->base.segment.map.segment_id,
		.client_id = session->base.client_id,
		.runtime_pid = getpid(),
		.n_lanes = runtime->config.client_lanes,
		.lane_depth = runtime->config.client_lane_depth,
		.n_workers = chi_work_orch_n_workers(runtime->orch),
		.spin_us = (uint32_t)(runtime->config.spin_ns / HSHM_NSEC_PER_USEC),
		.abi_version = CHI_ABI_VERSION,
	};
	long n = hshm_fds_send(peer->socket, &welcome, sizeof(welcome), fds, CHI_WELCOME_FDS);

	return n < 0 ? (int)n : 0;
}

static void attach(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	struct ipc_session *session;
	int rc = chi_ipc_session_open(ipc, &session);

	if (rc < 0) {
		if (rc == -EUSERS)
			chi_ipc_refuse(ipc, peer, rc, "all %u places for clients are taken (clients.max)",
				       ipc->n_slots);
		else
			chi_ipc_refuse(ipc, peer, rc, "no room for a client: %s", strerror(-rc));
		chi_ipc_peer_end(ipc, peer, "refused");
		return;
	}
	/* from here on the socket is the session's */
	session->base.socket = peer->socket;
	session->base.pid = peer->who.pid;
	session->base.counters_offset = (uint32_t)sizeof(struct chi_client_counters) *
					chi_counter_page_add_client(ipc->runtime->counters, &session->base,
								    peer->who.uid);
	chi_counter_page_note_memory(ipc->runtime->counters, ipc->runtime->heap, ipc->runtime->module_heap);
	session->peer = peer;
	peer->session = session;
	chi_ipc_greeter_remove(ipc, peer);
	if (chi_log_allowed(&ipc->session_limit, CHI_IPC_SESSIONS_LOGGED))
		chi_log_info("client %u attached: pid %d, uid %u%s", session->base.client_id, (int)peer->who.pid,
			     (unsigned int)peer->who.uid, peer->local ? ", this process" : "");
	if (chi_fault_watch(&session->base) < 0) {
		chi_ipc_refuse(ipc, peer, -ENOMEM, "no room for a client: %s", strerror(ENOMEM));
		chi_ipc_peer_end(ipc, peer, "refused");
		return;
	}
	rc = send_welcome(ipc, peer, session);
	if (rc < 0) {
		if (rc == -ETOOMANYREFS)
			chi_ipc_refuse_descriptor(ipc, peer);
		chi_ipc_peer_end(ipc, peer, "it left during the handshake");
	}
}

static void on_hello(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const struct chi_hello *hello)
{
	if (hello->magic != CHI_HELLO_MAGIC) {
		chi_ipc_refuse(ipc, peer, -EPROTO, "this is no chimaera client");
	} else if (hello->layout_version != CHI_LAYOUT_VERSION) {
		chi_ipc_refuse(ipc, peer, -EPROTO, "layout version %u of the client, %u of this runtime (%s)",
			       hello->layout_version, CHI_LAYOUT_VERSION, CHI_VERSION_TEXT);
	} else if (hello->abi_version != CHI_ABI_VERSION) {
		chi_ipc_refuse(ipc, peer, -EPROTO, "ABI version %u of the client, %u of this runtime (%s)",
			       hello->abi_version, CHI_ABI_VERSION, CHI_VERSION_TEXT);
	} else if (hshm_load_acquire(&ipc->stopping)) { /* acquire: see chi_ipc_let_nobody_in() */
		chi_ipc_refuse(ipc, peer, -ESHUTDOWN, "the runtime is stopping");
	} else {
		attach(ipc, peer);
		return;
	}
	chi_ipc_peer_end(ipc, peer, "refused");
}

/* ---- lanes ---- */

static void on_lane_open(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const struct chi_lane_open *request)
{
	struct chi_lane_opened answer = {
		.type = CHI_MESSAGE_LANE_OPENED,
		.serial = request->serial,
	};
	struct chi_lane *lane;
	int rc;

	peer->serial = request->serial;
	if (request->lane >= ipc->runtime->config.client_lanes || request->prio >= CHI_PRIOS) {
		chi_ipc_refuse(ipc, peer, -EPROTO, "lane %u, priority %u: there are %u lanes, %u priorities",
			       request->lane, request->prio, ipc->runtime->config.client_lanes, CHI_PRIOS);
		chi_ipc_peer_end(ipc, peer, "it asked for a lane that is not there");
		return;
	}
	/* acquire: see chi_ipc_let_nobody_in() */
	if (hshm_load_acquire(&ipc->stopping)) {
		chi_ipc_refuse(ipc, peer, -ESHUTDOWN, "the runtime is stopping");
		return;
	}
	if (!chi_ipc_may_ask(ipc, peer))
		return;
	rc = chi_ipc_session_open_lane(ipc, peer->session, request->lane, request->prio, &lane);
	if (rc < 0) {
		chi_ipc_refuse(ipc, peer, rc, "cannot open lane %u: %s", request->lane, strerror(-rc));
		return;
	}
	answer.armed_index = lane->armed_index;
	chi_ipc_answer(ipc, peer, &answer, sizeof(answer), lane->eventfd);
}

/* ---- events ---- */

static void on_events_open(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const struct chi_events_open *request)
{
	struct chi_events_opened answer = { .type = CHI_MESSAGE_EVENTS_OPENED, .serial = request->serial };
	int fd, rc;

	peer->serial = request->serial;
	if (!chi_ipc_may_ask(ipc, peer))
		return;
	rc = chi_ipc_session_open_events(peer->session, &fd);
	if (rc < 0) {
		chi_ipc_refuse(ipc, peer, rc, "no event channel: %s", strerror(-rc));
		return;
	}
	chi_ipc_answer(ipc, peer, &answer, sizeof(answer), fd);
}

/* ---- messages ---- */

/*
 * Has the next message descriptors with it? Kernels before 6.16 let a peer send them. Taken or thrown away, their last
 * close could wait for ever; a look takes nothing, and the kernel says that it had no place to put them.
 */
static bool brings_fds(int socket)
{
	char byte;
	struct iovec part = { &byte, sizeof(byte) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	return recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT) >= 0 && (message.msg_flags & MSG_CTRUNC);
}

static void on_message(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	union chi_message message;
	uint32_t n_fds = 0;
	long n;

	peer->serial = 0;
	if (brings_fds(peer->socket)) {
		chi_ipc_refuse(ipc, peer, -EPROTO, "a message with descriptors");
		chi_ipc_peer_end(ipc, peer, "it sent descriptors");
		return;
	}
	n = hshm_fds_receive(peer->socket, &message, sizeof(message), NULL, 0, &n_fds);

	if (n == -EAGAIN)
		return;
	if (n == 0 || n == -ECONNRESET || n == -EPIPE) {
		chi_ipc_peer_end(ipc, peer, "it hung up");
	} else if (!peer->session && n == sizeof(message.hello) && message.type == CHI_MESSAGE_HELLO) {
		on_hello(ipc, peer, &message.hello);
	} else if (peer->session && n == sizeof(message.lane_open) && message.type == CHI_MESSAGE_LANE_OPEN) {
		on_lane_open(ipc, peer, &message.lane_open);
	} else if (peer->session && n == sizeof(message.events_open) && message.type == CHI_MESSAGE_EVENTS_OPEN) {
		on_events_open(ipc, peer, &message.events_open);
	} else {
		if (n < 0)
			chi_ipc_refuse(ipc, peer, -EPROTO, "a message that cannot be read: %s", strerror((int)-n));
		else
			chi_ipc_refuse(ipc, peer, -EPROTO, "a message that was not expected (%ld bytes)", n);
		chi_ipc_peer_end(ipc, peer, "it sent rubbish");
	}
}

void chi_ipc_on_socket(struct chi_ipc_manager *ipc, struct ipc_peer *peer, uint32_t events)
{
	if (events & EPOLLIN)
		on_message(ipc, peer);
	else if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		chi_ipc_peer_end(ipc, peer, "it hung up");
}
