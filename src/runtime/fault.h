/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault.h - what happens at SIGSEGV and SIGBUS
 *
 * SIGSEGV in a task    says which module and method (and that it is the stack, when it is), then goes the way it would
 *                      have gone without us: the previous handler, or death by the signal.
 * SIGBUS in a client's segment    ends that client's session; the runtime goes on.
 * SIGBUS in the counters file     its place is taken by private memory; the runtime goes on.
 * Anything else        the previous handler, or death by the signal.
 */
#ifndef RUNTIME_FAULT_H
#define RUNTIME_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct chi_fiber;
struct chi_run_context;
struct chi_session;

/* The task that this thread runs: set by the worker before each switch to its fiber, NULL after. initial-exec: the
 * handler must not be the first to touch it, which in a loaded library would allocate. */
extern _Thread_local struct chi_run_context *volatile chi_fault_current
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Install the handlers, once for all runtimes of the process; counted. Returns 0, or a negative errno. */
int chi_fault_install(void);
/* The last one puts the previous handlers back, unless somebody has installed others since: then ours stay, and only
 * pass on. */
void chi_fault_uninstall(void);

/* The calling thread gets a signal stack, since a fiber that has used up its own has no room for a handler. Kept when
 * there is one that is large enough. Returns 0, -ENOMEM. */
int chi_fault_thread_init(void);
/* On the same thread. Accepts a thread without init. */
void chi_fault_thread_fini(void);

/**
 * chi_fault_watch - a SIGBUS in this session's segment ends the session
 * @session: lent until chi_fault_unwatch(); its segment is mapped and its socket is open until then. (The socket too:
 *           the handler hangs it up, and a number that was closed may be another file by then.)
 *
 * The handler maps private memory over the whole segment, sets session->ended and hangs up the socket; the ipc thread
 * sees the hang-up, and asks chi_fault_hit() to log why.
 * Threads: any. Returns 0, -ENOMEM.
 */
int chi_fault_watch(struct chi_session *session);
/* Nobody uses the segment any more. Accepts a session that is not watched. */
void chi_fault_unwatch(struct chi_session *session);
/* Has there been a SIGBUS in this session's segment? Watched sessions only. */
bool chi_fault_hit(const struct chi_session *session);

/**
 * chi_fault_watch_memory - a SIGBUS in this memory is told on stderr, and private memory, all 0, takes its place
 * @base: lent until chi_fault_unwatch_memory()
 *
 * For a mapped file that others may cut. Threads: any. Returns 0, -ENOMEM.
 */
int chi_fault_watch_memory(const void *base, uint64_t size_bytes);
void chi_fault_unwatch_memory(const void *base);

/* The switch found that a fiber has left its stack: say whose, and abort. */
_Noreturn void chi_fault_stack_overflow(const struct chi_fiber *fiber);

#endif
