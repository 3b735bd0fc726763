/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_internal.h - the ipc manager's own structures, for its files and their tests
 *
 * One thread owns everything here but what is marked: `pending` is filled under `lock`; `retired` and `reclaimed` are
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
#include <hshm/thread_model.h>

#include "runtime/fd_closer.h"
#include "runtime/ipc_socket.h"
#include "runtime/log.h"
#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "task/handshake.h"

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

/* ---- ipc_manager.c ---- */

/* The last reference is gone. Threads: any of the runtime. */
void chi_ipc_reclaim(struct chi_ipc_manager *ipc, struct chi_session *session);

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
