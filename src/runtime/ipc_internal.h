/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_internal.h - the ipc manager's own structures, for its files and their tests
 *
 *   ipc_manager.c   the manager's life
 *   ipc_thread.c    the thread: what it looks at
 *   ipc_accept.c    the named socket, and who comes in by it or from this process
 *   ipc_peer.c      connections: before their hello, and their end
 *   ipc_request.c   what a peer asks for
 *   ipc_answer.c    what it is told
 *   ipc_session.c   the life of a session: slot, lanes, end
 *   ipc_socket.c    sockets and credentials, as the kernel has them
 *
 * Nothing that a peer sends, or does not send, can hold the ipc thread: every descriptor is non-blocking, one message
 * is read per event, a greeter has a deadline, an answer that does not fit into the peer's buffer ends the peer, and
 * every number is checked before it is used. What it does for a peer is bounded: a segment of a configured size, one
 * lane a request.
 *
 * It owns everything here but what is marked: `pending` is filled under `lock`; `retired` and `reclaimed` are
 * stacks that workers push to; `stopping`, `ending` and `n_sessions` are flags and a count that others read or set.
 *
 * A peer is a connection. Before its hello it is in the list of greeters, and has a deadline; after, it belongs to a
 * session. The session outlives the peer:
 *
 *   attached --hang-up, pidfd, fault--> ended: lanes retired --done (a worker)--> retired --ipc thread--> lanes freed
 *   ... --last put (any worker)--> reclaimed --ipc thread--> gone, its slot is free
 *
 * The stacks `retired` and `reclaimed`:
 * L1  A session is pushed to each once at most: when its lanes' retirement is done, when its last reference is gone.
 *     Lanes hold references until the ipc thread has taken it off `retired`: it is never on both.
 * L2  Only the ipc thread takes, all at once, by one exchange: no pop, so no ABA. It reads a link before it frees the
 *     node.
 * L3  The push (release) comes before the wake, the exchange (acquire) after the wake was read: none stays.
 */
#ifndef RUNTIME_IPC_INTERNAL_H
#define RUNTIME_IPC_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <hshm/atomic.h>
#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "runtime/fd_closer.h"
#include "runtime/ipc_socket.h"
#include "runtime/log.h"
#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "task/handshake.h"

#define CHI_IPC_LISTEN_PAUSE_NS (100 * HSHM_NSEC_PER_MSEC) /* when we are out of descriptors */
#define CHI_IPC_REFUSALS_LOGGED 10u			   /* a second */
#define CHI_IPC_SESSIONS_LOGGED 20u			   /* a second; beginnings and ends */

struct chi_runtime;
struct ipc_session;

enum ipc_source_kind { IPC_SOURCE_WAKE, IPC_SOURCE_LISTEN, IPC_SOURCE_SOCKET, IPC_SOURCE_PIDFD };

/* What an epoll event points at. */
struct ipc_source {
	enum ipc_source_kind kind;
	struct ipc_peer *peer;
};

struct ipc_peer {
	struct ipc_source socket_source;
	struct ipc_source pidfd_source;
	int socket; /* the session's once there is one */
	int pidfd;  /* -1: none */
	struct chi_ipc_credentials who;
	bool local;	 /* the embedding process */
	bool gone;	 /* freed when the events at hand are done */
	uint32_t serial; /* of the request at hand, for a refusal; 0: none */
	uint64_t deadline_ns;
	struct ipc_session *session;
	struct ipc_peer *prev, *next; /* greeters; `next` also in pending and dead */
};

struct ipc_session {
	struct chi_session base;
	struct ipc_peer *peer; /* NULL: hung up */
	struct chi_lane **open_lanes;
	uint32_t n_open;
	int event_client_end;		  /* of its event channel, should it ask again; -1: it has asked for none */
	uint32_t n_answers;		  /* with a descriptor */
	struct chi_retirement retirement; /* prepared at attach, so that the end cannot fail */
	struct ipc_session *next_retired;
};

struct chi_ipc_manager {
	struct chi_runtime *runtime;
	struct hshm_thread *thread;
	struct chi_background *closer; /* of sockets: this thread never closes one itself */
	int epoll_fd;
	int wake_fd;
	struct ipc_source wake_source;
	struct ipc_source listen_source;
	struct chi_ipc_socket listener;
	uint64_t listen_pause_ns; /* 0, or until when we do not accept: out of descriptors */

	struct chi_watchdog *watchdog; /* NULL: none; made when the thread starts */
	uint64_t watch_ns;	       /* when it looks next */

	struct ipc_peer *first_greeter, *last_greeter;
	uint32_t n_greeters;
	struct ipc_peer *dead;
	struct ipc_session **slots;
	uint32_t n_slots;
	uint32_t next_slot;
	uint64_t *armed_used; /* a bit for each armed word of the main segment */
	uint32_t n_armed;
	uint32_t first_armed; /* none below it is free */
	struct chi_log_limit refusal_limit;
	struct chi_log_limit session_limit;

	pthread_mutex_t lock;
	struct ipc_peer *pending; /* (lock) local connections to adopt */
	hshm_au32 stopping;	  /* set once: nothing new */
	hshm_au32 ending;	  /* set once: the thread shall end */
	hshm_au32 n_sessions;
	hshm_aptr retired;   /* struct ipc_session, by next_retired */
	hshm_aptr reclaimed; /* struct chi_session, by next_reclaim */
};

/* ---- ipc_thread.c ---- */

/* @arg: the manager. */
void chi_ipc_thread(void *arg);
/* The last reference is gone. Threads: any of the runtime. */
void chi_ipc_reclaim(struct chi_ipc_manager *ipc, struct chi_session *session);

/* From here on: the ipc thread, or who starts and ends it. */

/* ---- ipc_accept.c ---- */

/* Take the name. Returns 0, or as chi_ipc_create(). */
int chi_ipc_listen(struct chi_ipc_manager *ipc);
void chi_ipc_stop_accepting(struct chi_ipc_manager *ipc);
void chi_ipc_on_listener(struct chi_ipc_manager *ipc);
/* Those who came by chi_ipc_connect_local(). */
void chi_ipc_adopt_local(struct chi_ipc_manager *ipc);

/* ---- ipc_peer.c ---- */

int chi_ipc_watch(struct chi_ipc_manager *ipc, int fd, uint32_t events, struct ipc_source *source);
/* By hand, before every close: while a forked child holds a copy, closing ours would not take it out. */
void chi_ipc_unwatch(struct chi_ipc_manager *ipc, int fd);
/* NULL: no memory. Threads: any. */
struct ipc_peer *chi_ipc_peer_make(int socket, bool local);
void chi_ipc_greeter_add(struct chi_ipc_manager *ipc, struct ipc_peer *peer);
void chi_ipc_greeter_remove(struct chi_ipc_manager *ipc, struct ipc_peer *peer);
/* The end of a connection, for whatever reason. The struct stays until the events at hand are done. */
void chi_ipc_peer_end(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const char *why);
void chi_ipc_free_dead(struct chi_ipc_manager *ipc);

/* ---- ipc_request.c ---- */

void chi_ipc_on_socket(struct chi_ipc_manager *ipc, struct ipc_peer *peer, uint32_t events);

/* ---- ipc_answer.c ---- */

void chi_ipc_send_refusal(int socket, uint32_t serial, int error, const char *text);
/* Say no and why. The caller decides whether the connection ends. */
void chi_ipc_refuse(struct chi_ipc_manager *ipc, struct ipc_peer *peer, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Descriptors that a peer does not take count for the whole user: whoever hoards them must not end the others. */
void chi_ipc_refuse_descriptor(struct chi_ipc_manager *ipc, struct ipc_peer *peer);
/* A client that gave up waiting asks again; one that asks for ever fills its socket with descriptors. False:
 * it was refused, and ended. */
bool chi_ipc_may_ask(struct chi_ipc_manager *ipc, struct ipc_peer *peer);
/* Its end comes with it, if it does not read. */
void chi_ipc_answer(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const void *answer, size_t size, int fd);

/* ---- ipc_session.c; the ipc thread, or chi_ipc_destroy() after it ---- */

/* A session in a free slot. Returns 0, -EUSERS (none is free), -ENOMEM, -EMFILE, -ENFILE. */
int chi_ipc_session_open(struct chi_ipc_manager *ipc, struct ipc_session **ret_session);
/* The lane, made and scheduled if it is not yet. Returns 0, -ENOMEM, -EMFILE, -ENOSPC. */
int chi_ipc_session_open_lane(struct chi_ipc_manager *ipc, struct ipc_session *session, uint32_t lane, uint32_t prio,
			      struct chi_lane **ret_lane);
/* Its event channel, made if it is not yet. @ret_client_end: borrowed. Returns 0, -EMFILE, -ENOMEM. */
int chi_ipc_session_open_events(struct ipc_session *session, int *ret_client_end);
/* Its client is gone: lanes out of the workers' reach, then drop the connection's reference. */
void chi_ipc_session_end(struct chi_ipc_manager *ipc, struct ipc_session *session);
/* Its lanes are out of reach. */
void chi_ipc_session_retired(struct chi_ipc_manager *ipc, struct ipc_session *session);
/* The workers have ended: lanes and session go at once. */
void chi_ipc_session_abandon(struct chi_ipc_manager *ipc, struct ipc_session *session);
/* Nobody has it any more. */
void chi_ipc_session_close(struct chi_ipc_manager *ipc, struct ipc_session *session);

#endif
