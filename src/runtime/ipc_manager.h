/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_manager.h - the socket, the handshake, and a session for each attached process; one thread of its own
 */
#ifndef RUNTIME_IPC_MANAGER_H
#define RUNTIME_IPC_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

struct chi_ipc_manager;
struct chi_ipc_socket;
struct chi_runtime;
struct chi_session;

/* With @listen, take the name: who connects from here on waits until chi_ipc_let_in(). Returns 0, -EADDRINUSE (a
 * runtime of that name lives), -EACCES (the socket's folder), -EMFILE, -ENOMEM. chi_error_text() says more. */
int chi_ipc_create(struct chi_runtime *runtime, bool listen, struct chi_ipc_manager **ret_ipc);
/* Start the thread. Workers and pools must be there already. Returns 0, -EAGAIN, -ENOMEM. */
int chi_ipc_start(struct chi_ipc_manager *ipc);
/* The named socket, NULL: none. */
const struct chi_ipc_socket *chi_ipc_listener(const struct chi_ipc_manager *ipc);

/* Serve those who connect to the named socket. Returns 0, -ENOMEM. */
int chi_ipc_let_in(struct chi_ipc_manager *ipc);

/* One end of a socket whose other end is treated like an accepted connection: the embedding process's own. Taken by the
 * caller. Returns 0, -EMFILE, -ESHUTDOWN. */
int chi_ipc_connect_local(struct chi_ipc_manager *ipc, int *ret_socket);

/* Let the thread look at its lists, and at workers that hang. Threads: any. */
void chi_ipc_wake(struct chi_ipc_manager *ipc);

/* The process queue of a new session: written into its segment; lanes are opened when a client's thread first asks. */
int chi_ipc_server_init_queues(struct chi_runtime *runtime, struct chi_session *session);

/* No new clients or lanes from here on: who asks is told that the runtime is stopping. It keeps its name until it is
 * destroyed or abandoned, so that no other takes it meanwhile. Any thread. */
void chi_ipc_let_nobody_in(struct chi_ipc_manager *ipc);
/* Hang up on all and end the thread, but keep the sessions' memory, for good: a worker is stuck in a method that may
 * use it. */
void chi_ipc_abandon(struct chi_ipc_manager *ipc);
/* Hang up on all; workers have ended, so sessions go at once. Accepts NULL, and one that was not started. */
void chi_ipc_destroy(struct chi_ipc_manager *ipc);

uint32_t chi_ipc_n_sessions(struct chi_ipc_manager *ipc);

#endif
