/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_manager.c - one thread that accepts processes, talks with them, and sees their end
 *
 * Nothing that a peer sends, or does not send, can hold this thread: every descriptor is non-blocking, one message is
 * read per event, a greeter has a deadline, an answer that does not fit into the peer's buffer ends the peer, and every
 * number is checked before it is used. What it does for a peer is bounded: a segment of a configured size, one lane a
 * request.
 */
#include "runtime/ipc_manager.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "runtime/counter_page.h"
#include "runtime/fault.h"
#include "runtime/ipc_internal.h"
#include "runtime/runtime.h"
#include "runtime/watchdog.h"
#include "task/error.h"

#define EVENTS_MAX	  64
#define ACCEPTS_PER_EVENT 16
#define GREETERS_MAX	  256u
#define ANSWERS_AGAIN	  16u			     /* to who asks for what is open */
#define GREETING_NS	  (3 * HSHM_NSEC_PER_SEC)    /* from accept to hello */
#define LISTEN_PAUSE_NS	  (100 * HSHM_NSEC_PER_MSEC) /* when we are out of descriptors */
#define REFUSALS_LOGGED	  10u			     /* a second */
#define SESSIONS_LOGGED	  20u			     /* a second; beginnings and ends */

/* ---- descriptors in the epoll set ---- */

static int watch_fd(struct chi_ipc_manager *ipc, int fd, uint32_t events, struct ipc_source *source)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(ipc->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* By hand, before every close: while a forked child holds a copy, closing ours would not take it out. */
static void unwatch_fd(struct chi_ipc_manager *ipc, int fd)
{
	if (fd >= 0)
		epoll_ctl(ipc->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- peers ---- */

static struct ipc_peer *make_peer(int socket, bool local)
{
	struct ipc_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->socket_source = (struct ipc_source){ IPC_SOURCE_SOCKET, peer };
	peer->pidfd_source = (struct ipc_source){ IPC_SOURCE_PIDFD, peer };
	peer->socket = socket;
	peer->pidfd = -1;
	peer->local = local;
	return peer;
}

static void add_greeter(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	peer->next = NULL;
	peer->prev = ipc->last_greeter;
	if (ipc->last_greeter)
		ipc->last_greeter->next = peer;
	else
		ipc->first_greeter = peer;
	ipc->last_greeter = peer;
	ipc->n_greeters++;
}

static void remove_greeter(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	*(peer->prev ? &peer->prev->next : &ipc->first_greeter) = peer->next;
	*(peer->next ? &peer->next->prev : &ipc->last_greeter) = peer->prev;
	ipc->n_greeters--;
}

static void log_detached(struct chi_ipc_manager *ipc, const struct ipc_session *session, const char *why)
{
	if (!chi_log_allowed(&ipc->session_limit, SESSIONS_LOGGED))
		return;
	chi_log_info("client %u detached (pid %d): %s; %u of its tasks still run", session->base.client_id,
		     (int)session->base.pid, chi_fault_hit(&session->base) ? "it broke its own memory" : why,
		     chi_session_n_contexts(&session->base));
}

/* The end of a connection, for whatever reason. The struct stays until the events at hand are done. */
static void end_peer(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const char *why)
{
	if (peer->gone)
		return;
	peer->gone = true;
	unwatch_fd(ipc, peer->socket);
	unwatch_fd(ipc, peer->pidfd);
	if (peer->pidfd >= 0)
		close(peer->pidfd);
	if (peer->session) {
		log_detached(ipc, peer->session, why);
		chi_ipc_session_end(ipc, peer->session);
	} else {
		remove_greeter(ipc, peer);
		shutdown(peer->socket, SHUT_RDWR);
		chi_fd_closer_close(ipc->closer, peer->socket);
	}
	peer->next = ipc->dead;
	ipc->dead = peer;
}

static void free_dead(struct chi_ipc_manager *ipc)
{
	while (ipc->dead) {
		struct ipc_peer *peer = ipc->dead;

		ipc->dead = peer->next;
		free(peer);
	}
}

/* ---- answers ---- */

static void send_refusal(int socket, uint32_t serial, int error, const char *text)
{
	struct chi_refusal refusal = { .type = CHI_MESSAGE_REFUSAL, .serial = serial, .error = error };

	snprintf(refusal.text, sizeof(refusal.text), "%s", text);
	if (hshm_fds_send(socket, &refusal, sizeof(refusal), NULL, 0) < 0)
		chi_log_debug("a peer left before it was told: %s", text);
}

/* Say no and why. The caller decides whether the connection ends. */
static void refuse(struct chi_ipc_manager *ipc, struct ipc_peer *peer, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void refuse(struct chi_ipc_manager *ipc, struct ipc_peer *peer, int error, const char *format, ...)
{
	char text[sizeof(((struct chi_refusal *)0)->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (chi_log_allowed(&ipc->refusal_limit, REFUSALS_LOGGED))
		chi_log_warn("pid %d (uid %u) refused: %s", (int)peer->who.pid, (unsigned int)peer->who.uid, text);
	send_refusal(peer->socket, peer->serial, error, text);
}

/* A client that gave up waiting asks again; one that asks for ever fills its socket with descriptors. */
static bool may_ask(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	if (peer->session->n_answers <= ipc->runtime->config.client_lanes * CHI_PRIOS + ANSWERS_AGAIN)
		return true;
	refuse(ipc, peer, -EPROTO, "a request for what is open, again and again");
	end_peer(ipc, peer, "it asked again and again");
	return false;
}

/* Descriptors that a peer does not take count for the whole user: whoever hoards them must not end the others. */
static void refuse_descriptor(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	refuse(ipc, peer, -ETOOMANYREFS, "too many descriptors of user %u are on their way", (unsigned int)geteuid());
}

static void answer_with(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const void *answer, size_t size, int fd)
{
	long n = hshm_fds_send(peer->socket, answer, size, &fd, 1);

	if (n >= 0)
		peer->session->n_answers++;
	else if (n == -ETOOMANYREFS)
		refuse_descriptor(ipc, peer);
	else
		end_peer(ipc, peer, "it does not read our answers");
}

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
			refuse(ipc, peer, rc, "all %u places for clients are taken (clients.max)", ipc->n_slots);
		else
			refuse(ipc, peer, rc, "no room for a client: %s", strerror(-rc));
		end_peer(ipc, peer, "refused");
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
	remove_greeter(ipc, peer);
	if (chi_log_allowed(&ipc->session_limit, SESSIONS_LOGGED))
		chi_log_info("client %u attached: pid %d, uid %u%s", session->base.client_id, (int)peer->who.pid,
			     (unsigned int)peer->who.uid, peer->local ? ", this process" : "");
	if (chi_fault_watch(&session->base) < 0) {
		refuse(ipc, peer, -ENOMEM, "no room for a client: %s", strerror(ENOMEM));
		end_peer(ipc, peer, "refused");
		return;
	}
	rc = send_welcome(ipc, peer, session);
	if (rc < 0) {
		if (rc == -ETOOMANYREFS)
			refuse_descriptor(ipc, peer);
		end_peer(ipc, peer, "it left during the handshake");
	}
}

static void on_hello(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const struct chi_hello *hello)
{
	if (hello->magic != CHI_HELLO_MAGIC) {
		refuse(ipc, peer, -EPROTO, "this is no chimaera client");
	} else if (hello->layout_version != CHI_LAYOUT_VERSION) {
		refuse(ipc, peer, -EPROTO, "layout version %u of the client, %u of this runtime (%s)",
		       hello->layout_version, CHI_LAYOUT_VERSION, CHI_VERSION_TEXT);
	} else if (hello->abi_version != CHI_ABI_VERSION) {
		refuse(ipc, peer, -EPROTO, "ABI version %u of the client, %u of this runtime (%s)", hello->abi_version,
		       CHI_ABI_VERSION, CHI_VERSION_TEXT);
	} else if (hshm_load_acquire(&ipc->stopping)) { /* acquire: see chi_ipc_let_nobody_in() */
		refuse(ipc, peer, -ESHUTDOWN, "the runtime is stopping");
	} else {
		attach(ipc, peer);
		return;
	}
	end_peer(ipc, peer, "refused");
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
		refuse(ipc, peer, -EPROTO, "lane %u, priority %u: there are %u lanes, %u priorities", request->lane,
		       request->prio, ipc->runtime->config.client_lanes, CHI_PRIOS);
		end_peer(ipc, peer, "it asked for a lane that is not there");
		return;
	}
	/* acquire: see chi_ipc_let_nobody_in() */
	if (hshm_load_acquire(&ipc->stopping)) {
		refuse(ipc, peer, -ESHUTDOWN, "the runtime is stopping");
		return;
	}
	if (!may_ask(ipc, peer))
		return;
	rc = chi_ipc_session_open_lane(ipc, peer->session, request->lane, request->prio, &lane);
	if (rc < 0) {
		refuse(ipc, peer, rc, "cannot open lane %u: %s", request->lane, strerror(-rc));
		return;
	}
	answer.armed_index = lane->armed_index;
	answer_with(ipc, peer, &answer, sizeof(answer), lane->eventfd);
}

/* ---- events ---- */

static void on_events_open(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const struct chi_events_open *request)
{
	struct chi_events_opened answer = { .type = CHI_MESSAGE_EVENTS_OPENED, .serial = request->serial };
	int fd, rc;

	peer->serial = request->serial;
	if (!may_ask(ipc, peer))
		return;
	rc = chi_ipc_session_open_events(peer->session, &fd);
	if (rc < 0) {
		refuse(ipc, peer, rc, "no event channel: %s", strerror(-rc));
		return;
	}
	answer_with(ipc, peer, &answer, sizeof(answer), fd);
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
		refuse(ipc, peer, -EPROTO, "a message with descriptors");
		end_peer(ipc, peer, "it sent descriptors");
		return;
	}
	n = hshm_fds_receive(peer->socket, &message, sizeof(message), NULL, 0, &n_fds);

	if (n == -EAGAIN)
		return;
	if (n == 0 || n == -ECONNRESET || n == -EPIPE) {
		end_peer(ipc, peer, "it hung up");
	} else if (!peer->session && n == sizeof(message.hello) && message.type == CHI_MESSAGE_HELLO) {
		on_hello(ipc, peer, &message.hello);
	} else if (peer->session && n == sizeof(message.lane_open) && message.type == CHI_MESSAGE_LANE_OPEN) {
		on_lane_open(ipc, peer, &message.lane_open);
	} else if (peer->session && n == sizeof(message.events_open) && message.type == CHI_MESSAGE_EVENTS_OPEN) {
		on_events_open(ipc, peer, &message.events_open);
	} else {
		if (n < 0)
			refuse(ipc, peer, -EPROTO, "a message that cannot be read: %s", strerror((int)-n));
		else
			refuse(ipc, peer, -EPROTO, "a message that was not expected (%ld bytes)", n);
		end_peer(ipc, peer, "it sent rubbish");
	}
}

static void on_socket(struct chi_ipc_manager *ipc, struct ipc_peer *peer, uint32_t events)
{
	if (events & EPOLLIN)
		on_message(ipc, peer);
	else if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		end_peer(ipc, peer, "it hung up");
}

/* ---- new peers ---- */

/* @peer: given; its credentials are filled in. On failure it is refused, and freed. */
static void greet(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	int rc = 0;

	if (!peer->local) {
		if (!chi_ipc_may_attach(peer->socket, &peer->who, ipc->listener.group)) {
			refuse(ipc, peer, -EACCES, "user %u may not use the runtime of user %u",
			       (unsigned int)peer->who.uid, (unsigned int)geteuid());
			goto fail;
		}
		if (ipc->n_greeters >= GREETERS_MAX) {
			refuse(ipc, peer, -EUSERS, "%u are connecting already", ipc->n_greeters);
			goto fail;
		}
		rc = chi_ipc_pidfd(peer->socket, peer->who.pid, &peer->pidfd);
		if (rc < 0 && rc != -ENOTSUP) {
			refuse(ipc, peer, rc, "no descriptor for your process: %s", strerror(-rc));
			goto fail;
		}
		if (rc == -ENOTSUP)
			peer->pidfd = -1;
	}
	if (watch_fd(ipc, peer->socket, EPOLLIN | EPOLLRDHUP, &peer->socket_source) < 0 ||
	    (peer->pidfd >= 0 && watch_fd(ipc, peer->pidfd, EPOLLIN, &peer->pidfd_source) < 0)) {
		refuse(ipc, peer, -ENOMEM, "no room in the epoll set");
		goto fail;
	}
	peer->deadline_ns = hshm_deadline_ns(GREETING_NS);
	add_greeter(ipc, peer);
	return;

fail:
	unwatch_fd(ipc, peer->socket);
	if (peer->pidfd >= 0)
		close(peer->pidfd);
	shutdown(peer->socket, SHUT_RDWR);
	chi_fd_closer_close(ipc->closer, peer->socket);
	free(peer);
}

static void pause_listening(struct chi_ipc_manager *ipc)
{
	unwatch_fd(ipc, ipc->listener.fd);
	ipc->listen_pause_ns = hshm_deadline_ns(LISTEN_PAUSE_NS);
	if (chi_log_allowed(&ipc->refusal_limit, REFUSALS_LOGGED))
		chi_log_warn("cannot accept a client: %s", strerror(errno));
}

static void on_listener(struct chi_ipc_manager *ipc)
{
	for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
		int fd = accept4(ipc->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct ipc_peer *peer;

		if (fd < 0) {
			/* the connection stays in the backlog: without the pause epoll would show it again at once */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				pause_listening(ipc);
			return;
		}
		peer = make_peer(fd, false);
		if (!peer || chi_ipc_credentials(fd, &peer->who) < 0) {
			send_refusal(fd, 0, -ENOMEM, "no memory for a connection");
			free(peer);
			shutdown(fd, SHUT_RDWR);
			chi_fd_closer_close(ipc->closer, fd);
			return;
		}
		chi_ipc_refuse_fds(fd);
		greet(ipc, peer);
	}
}

static void adopt_local(struct chi_ipc_manager *ipc)
{
	struct ipc_peer *peer;

	pthread_mutex_lock(&ipc->lock);
	peer = ipc->pending;
	ipc->pending = NULL;
	pthread_mutex_unlock(&ipc->lock);
	while (peer) {
		struct ipc_peer *next = peer->next;

		greet(ipc, peer);
		peer = next;
	}
}

/* ---- the thread ---- */

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

		refuse(ipc, peer, -ETIMEDOUT, "no hello in time");
		end_peer(ipc, peer, "refused");
	}
	if (ipc->listen_pause_ns && ipc->listen_pause_ns <= now_ns) {
		ipc->listen_pause_ns = 0;
		if (ipc->listener.fd >= 0 && watch_fd(ipc, ipc->listener.fd, EPOLLIN, &ipc->listen_source) < 0)
			ipc->listen_pause_ns = hshm_deadline_ns(LISTEN_PAUSE_NS);
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
			on_listener(ipc);
		break;
	case IPC_SOURCE_SOCKET:
		if (!source->peer->gone)
			on_socket(ipc, source->peer, events);
		break;
	case IPC_SOURCE_PIDFD:
		end_peer(ipc, source->peer, "its process ended");
		break;
	}
}

static void stop_accepting(struct chi_ipc_manager *ipc)
{
	if (ipc->listener.fd < 0)
		return;
	unwatch_fd(ipc, ipc->listener.fd);
	/* who was not yet accepted may have sent something, too */
	chi_fd_closer_close(ipc->closer, ipc->listener.fd);
	ipc->listener.fd = -1;
}

static void ipc_thread(void *arg)
{
	struct chi_ipc_manager *ipc = arg;
	struct epoll_event events[EVENTS_MAX];

	/* acquire: pairs with the release in chi_ipc_destroy() */
	while (!hshm_load_acquire(&ipc->ending)) {
		int n = epoll_wait(ipc->epoll_fd, events, EVENTS_MAX, timeout_ms(ipc, hshm_clock_ns()));

		for (int i = 0; i < n; i++)
			on_event(ipc, events[i].data.ptr, events[i].events);
		adopt_local(ipc);
		if (ipc->watchdog)
			chi_watchdog_retire(ipc->watchdog); /* of those whose end was seen just now, too */
		take_lists(ipc);
		look_at_clock(ipc, hshm_clock_ns());
		free_dead(ipc);
	}
}

/* ---- life ---- */

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
	if (watch_fd(ipc, ipc->wake_fd, EPOLLIN, &ipc->wake_source) < 0)
		return chi_error_set(-ENOMEM, "epoll: %s", strerror(errno));
	return 0;
}

static int start_listening(struct chi_ipc_manager *ipc)
{
	struct chi_ipc_socket made;
	gid_t group;
	int rc;

	rc = chi_ipc_group(ipc->runtime->config.group, &group);
	if (rc < 0)
		return rc;
	rc = chi_ipc_socket_open(ipc->runtime->config.name, group, &made);
	if (rc < 0)
		return rc;
	ipc->listener = made;
	return 0;
}

int chi_ipc_let_in(struct chi_ipc_manager *ipc)
{
	if (ipc->listener.fd >= 0 && watch_fd(ipc, ipc->listener.fd, EPOLLIN, &ipc->listen_source) < 0)
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
		rc = start_listening(ipc);
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
		rc = HSHM_THREAD_MODEL->spawn("chi-ipc", ipc_thread, ipc, &ipc->thread);
	return rc < 0 ? chi_error_set(rc, "cannot start the ipc thread: %s", strerror(-rc)) : 0;
}

const struct chi_ipc_socket *chi_ipc_listener(const struct chi_ipc_manager *ipc)
{
	return ipc->listener.fd >= 0 ? &ipc->listener : NULL;
}

int chi_ipc_connect_local(struct chi_ipc_manager *ipc, int *ret_socket)
{
	struct ipc_peer *peer;
	int ends[2];

	/* acquire: see chi_ipc_let_nobody_in() */
	if (hshm_load_acquire(&ipc->stopping))
		return chi_error_set(-ESHUTDOWN, "the runtime is stopping");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return chi_error_set(errno == ENOMEM || errno == ENOBUFS ? -ENOMEM : -EMFILE, "socketpair: %s",
				     strerror(errno));
	peer = make_peer(ends[0], true);
	if (!peer) {
		close(ends[0]);
		close(ends[1]);
		return chi_error_set(-ENOMEM, "no memory for a connection");
	}
	peer->who = (struct chi_ipc_credentials){ getpid(), geteuid(), getegid() };
	pthread_mutex_lock(&ipc->lock);
	peer->next = ipc->pending;
	ipc->pending = peer;
	pthread_mutex_unlock(&ipc->lock);
	chi_ipc_wake(ipc);
	*ret_socket = ends[1];
	return 0;
}

void chi_ipc_let_nobody_in(struct chi_ipc_manager *ipc)
{
	/* release: pairs with the acquires that look at it */
	hshm_store_release(&ipc->stopping, 1);
}

static void end_thread(struct chi_ipc_manager *ipc)
{
	chi_ipc_let_nobody_in(ipc);
	/* release: pairs with the acquire in ipc_thread(). Before the listener is shut down, which epoll would show it
	 * again and again. */
	hshm_store_release(&ipc->ending, 1);
	chi_ipc_socket_remove(&ipc->listener);
	chi_ipc_wake(ipc);
	if (ipc->thread)
		HSHM_THREAD_MODEL->join(ipc->thread);

	stop_accepting(ipc);
	adopt_local(ipc); /* those that came last: hung up with the other greeters */
	while (ipc->first_greeter)
		end_peer(ipc, ipc->first_greeter, "the runtime ends");
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
	free_dead(ipc);
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
	free_dead(ipc);
	destroy(ipc);
}

uint32_t chi_ipc_n_sessions(struct chi_ipc_manager *ipc)
{
	/* acquire: pairs with the release in chi_ipc_session_close() */
	return hshm_load_acquire(&ipc->n_sessions);
}
