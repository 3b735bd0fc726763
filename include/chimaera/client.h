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
	uint64_t connect_timeout_ns; /* 0 = 5 s; HSHM_FOREVER = no limit */
};
#define CHI_CLIENT_OPTS(...) ((struct chi_client_opts){ .size = sizeof(struct chi_client_opts), __VA_ARGS__ })

/**
 * chi_client_connect - attach to a running runtime
 * @opts:       borrowed; NULL = all defaults
 * @ret_client: out; release with chi_client_disconnect()
 *
 * Threads: any. May block up to the timeout. May switch the fiber: no.
 * Returns: 0, -ENOENT (no such runtime: no socket), -ECONNREFUSED (its process is gone), -EACCES (another user's, or
 *          its folder's owner or mode is wrong), -EPROTO (other layout version), -EMFILE, -ENOMEM, -EUSERS (the runtime's
 *          client limit), -ETIMEDOUT, -EINVAL, -E2BIG (options from a newer header).
 */
CHI_API CHI_NODISCARD int chi_client_connect(const struct chi_client_opts *opts, struct chi_client **ret_client);

/**
 * chi_client_disconnect - detach; tasks in flight go on in the runtime, their results are lost
 * @client: given; NULL is accepted
 *
 * Threads: the last user. May switch the fiber: no.
 */
CHI_API void chi_client_disconnect(struct chi_client *client);

/** chi_client_alive - does the runtime live? One system call. Returns 0, -EOWNERDEAD, -ENOTCONN (child of a fork). */
CHI_API int chi_client_alive(struct chi_client *client);

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
