/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/client.h - reach a runtime and hand it tasks (the calls on tasks are in chimaera/task.h)
 */
#ifndef CHIMAERA_CLIENT_H
#define CHIMAERA_CLIENT_H

#include <stdint.h>

#include <chimaera/cdefs.h>
#include <chimaera/counters.h>
#include <chimaera/task.h>

CHI_BEGIN_DECLS

struct chi_client; /* opaque */

enum chi_wait_policy {
	CHI_WAIT_SLEEP = 1, /* check, sleep 10 us, check again: the default */
	CHI_WAIT_BUSY,	    /* spin: lowest latency, a whole core */
	CHI_WAIT_HYBRID,    /* spin a little, then sleep until the runtime wakes us */
};

struct chi_client_opts {
	uint32_t size;	      /* sizeof at the caller's compile time */
	uint32_t wait_policy; /* enum chi_wait_policy; 0 = CHI_WAIT_SLEEP */
	const char *name;     /* the runtime's name, or a path with '/' to its socket; NULL = $CHIMAERA_NAME, else
				      * "default". Ignored by chi_runtime_client(). */
	uint64_t connect_timeout_ns; /* for each answer of a runtime that is there; 0 = 5 s; HSHM_FOREVER = no limit */
	uint64_t start_timeout_ns; /* for a runtime that is not there yet, is just going, or does not answer: try again
				      * and again for so long in all, as chi_client_reconnect() does; 0 = try once;
				      * HSHM_FOREVER = no limit */
	uint64_t spin_ns;	   /* CHI_WAIT_HYBRID: spin for so long before sleeping, from when the runtime's
				      * worker is awake, but three times that at most; 0 = 30 us */
};
#define CHI_CLIENT_OPTS(...) ((struct chi_client_opts){ .size = sizeof(struct chi_client_opts), __VA_ARGS__ })

/**
 * chi_client_connect - attach to a running runtime
 * @opts:       borrowed; NULL = all defaults
 * @ret_client: out; release with chi_client_disconnect()
 *
 * A process may have many clients, of one runtime or of several; each has memory and tasks of its own, and a task goes
 * by the client that allocated it.
 *
 * A child of a fork has the handle, but nothing behind it: the client's memory is not mapped there, so it must touch no
 * task and no buffer; every call on the handle answers -ENOTCONN, chi_client_disconnect() releases the child's copy and
 * does nothing to the parent's (of the descriptors the child inherited, socket and memory are closed; those that only
 * ring or watch stay open until it ends or executes a program). The child connects by itself. It may be forked while
 * other threads are in calls.
 *
 * Threads: any. May block up to the timeouts. May switch the fiber: no.
 * Returns: 0, -ENOENT (no such runtime: no socket), -ECONNREFUSED (its process is gone), -ESHUTDOWN (it is stopping),
 *          -EACCES (the runtime is not for us, or its folder's mode is wrong), -EPROTO (other layout version), -EMFILE,
 *          -ENOMEM, -EUSERS (the runtime's client limit), -ETIMEDOUT (it is there and does not answer), -EINVAL, -E2BIG
 *          (options from a newer header). With start_timeout_ns: what the last try found.
 */
CHI_API CHI_NODISCARD int chi_client_connect(const struct chi_client_opts *opts, struct chi_client **ret_client);

/**
 * chi_client_disconnect - detach
 * @client: given; NULL is accepted
 *
 * Tasks in flight, but for fire-and-forget ones, are asked to end early, as by chi_cancel(); so they are when the
 * process dies. Fire-and-forget tasks go on, but for periodic ones, of which the run under way is the last. To have
 * more done, wait for it first.
 *
 * Threads: the last user. May switch the fiber: no.
 */
CHI_API void chi_client_disconnect(struct chi_client *client);

/**
 * chi_client_reconnect - attach to the next runtime of the same name, when this one is gone
 * @client:     borrowed; from chi_client_connect()
 * @timeout_ns: wait for it so long in all: 0 tries once, HSHM_FOREVER has no limit. A try ends by connect_timeout_ns,
 *              too, if that is shorter. Between tries it sleeps 2 ms, then twice as long each time, up to 500 ms, the
 *              second half of it random.
 *
 * Does nothing while the runtime lives, so every thread that finds -EOWNERDEAD may call it. Then the handle is of the
 * new runtime: allocate, submit and wait as before.
 *
 * What was allocated before stays readable, until it is freed as ever or the client disconnects, and no longer belongs
 * to a runtime: a task that was in flight answers -EOWNERDEAD to every wait, even if the runtime that had it still did
 * its work, and may be freed; to submit or lend such memory is -EOWNERDEAD, too. Fire-and-forget tasks that had not
 * ended are gone. Pools have other ids: open them again by name. An old id finds nothing in the new runtime (but for
 * one chance in half a million).
 *
 * Threads: any, while others are in calls on the client: a wait ends with -EOWNERDEAD within 100 ms, other calls work
 * on the runtime they began with. What they use is kept until the next but one reconnect: a call other than a wait must
 * not last longer than that. One thread tries at a time, the others wait for it. May switch the fiber: no.
 * Returns: 0 (attached, or still attached), what the last try found (as chi_client_connect()), -ETIMEDOUT, -ENOTCONN
 *          (child of a fork), -ENOTSUP (from chi_runtime_client(): that runtime does not come back).
 */
CHI_API CHI_NODISCARD int chi_client_reconnect(struct chi_client *client, uint64_t timeout_ns);

typedef void (*chi_notify_fn)(void *task, int result, void *arg);

/**
 * chi_submit_notify - hand in a task whose end is told by a callback
 * @task: as in chi_submit(); lent until the callback is called for it
 * @fn:   called once, by a thread in chi_client_dispatch(): with the task, its result and @arg. The task is the
 *        caller's again then: fn may read it, free it, hand it in again. -EOWNERDEAD as result: the runtime is gone,
 *        see chi_client_reconnect() for what may be done with the task.
 *
 * chi_task_done() says so from the callback on; waiting for it by chi_wait() is -EINVAL. chi_client_disconnect() drops
 * callbacks that were not called.
 * Threads, fiber: as chi_submit(). For clients only.
 * Returns: as chi_submit(), -EINVAL (fire-and-forget, no fn), -ENOMEM, -ENOTSUP (in a method).
 */
CHI_API CHI_NODISCARD int chi_submit_notify(struct chi_client *client, void *task, chi_notify_fn fn, void *arg);

/**
 * chi_client_event_fd - a descriptor for poll(), epoll, libuv, io_uring: readable when it is time to dispatch
 *
 * Level-triggered: readable as long as chi_client_dispatch() has something to do, or to tell (the runtime's end). Only
 * poll it. It stays the same over chi_client_reconnect() and is closed by chi_client_disconnect(). While the loop is
 * not about to sleep, an end costs the runtime no system call; else one.
 * Threads: any; the first call talks to the runtime. May switch the fiber: no.
 * Returns: the descriptor, which is borrowed; -EMFILE, -ENOMEM, -EAGAIN (no answer in time), -EOWNERDEAD, -ENOTCONN,
 *          -ENOTSUP.
 */
CHI_API CHI_NODISCARD int chi_client_event_fd(struct chi_client *client);

/**
 * chi_client_dispatch - call the callbacks of tasks that have ended
 * @n_max: call no more than that; 0 = all that were under way when it began, and perhaps one more: what callbacks hand
 *         in and has ended is left to the next dispatch, so that the loop's other descriptors get their turn
 *
 * What it leaves keeps the descriptor readable; when it leaves nothing, that is asleep until another task ends. Works
 * without the descriptor, too. A callback may use the client as it likes, but not disconnect it.
 * Threads: any, several at once; a callback runs in the thread that dispatches. May switch the fiber: no.
 * Returns: how many were called; -EOWNERDEAD (the runtime is gone, and every callback was called), -ENOTCONN, -ENOTSUP.
 */
CHI_API CHI_NODISCARD int chi_client_dispatch(struct chi_client *client, uint32_t n_max);

/** chi_client_alive - whether the runtime lives. One system call. Returns 0, -EOWNERDEAD, -ENOTCONN (child of a
 * fork). */
CHI_API int chi_client_alive(struct chi_client *client);

/**
 * chi_client_runtime_end - how the runtime has ended
 * @ret_n_given_up: out; tasks, of all clients, that had not ended when its stop did
 *
 * While it is not clear whether the runtime died or only hung up it waits for its process to end, 100 ms at most.
 *
 * Threads: any. May switch the fiber: no.
 * Returns: 0; -EAGAIN: it lives; -EOWNERDEAD: it died (was killed, or crashed) before it had stopped; -ECONNRESET: it
 *          lives, and has ended this client's session; -ENOTCONN (child of a fork).
 */
CHI_API CHI_NODISCARD int chi_client_runtime_end(struct chi_client *client, uint64_t *ret_n_given_up);

struct chi_runtime_info {
	int32_t pid;
	uint32_t n_workers;
	uint64_t generation;
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	struct chi_worker_counters workers[CHI_WORKERS_MAX];
};

/**
 * chi_client_runtime_info - who is at the other side, and what it has counted
 * @ret_info: out. The counters are read while they move: each is right, their sum may be torn.
 *
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -ENOTCONN, -EPROTO (somebody has cut the counters file), or what else reading it says.
 */
CHI_API CHI_NODISCARD int chi_client_runtime_info(struct chi_client *client, struct chi_runtime_info *ret_info);

CHI_END_DECLS
#endif
