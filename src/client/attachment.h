/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attachment.h - one attachment to one runtime: its connection, its segments, its lanes
 *
 * A client has one, and after chi_client_reconnect() another; an attachment itself is never attached twice.
 *
 * Who writes what: everything but `dead`, `looked_ns`, `n_full`, the lanes and the segment's contents is written before
 * the attachment is handed out. A lane's bell is written once, under `lane_lock`, before `opened` is set with release.
 */
#ifndef CLIENT_ATTACHMENT_H
#define CLIENT_ATTACHMENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <hshm/heap.h>
#include <hshm/segment.h>

#include "client/events.h"
#include "client/given.h"
#include "client/messages.h"
#include "task/task_queue.h"

struct client_lane {
	hshm_au32 opened; /* its bell may be used */
	struct chi_given_list given;
} HSHM_ALIGNED(HSHM_FALSE_SHARING);

/* A descriptor and the file behind it, so that a forked child can tell whether its descriptor of that number is a
 * copy. */
struct chi_marked_fd {
	int fd;
	dev_t device;
	ino_t inode;
};

#define CHI_MARKED_FDS 4

struct chi_attachment {
	struct chi_connection connection;
	uint64_t timeout_ns;	     /* for the runtime's answers */
	hshm_au32 dead;		     /* the runtime is gone: it does not come back */
	hshm_au32 n_full;	     /* full lanes found */
	hshm_au64 looked_ns;	     /* when its life was last looked at while somebody waited */
	struct hshm_segment main;    /* read-only */
	struct hshm_segment segment; /* ours */
	int counters_fd;	     /* the runtime's counters file, to read; -1: none */
	uint64_t heap_offset;	     /* tasks and buffers lie behind it */
	struct hshm_heap *heap;
	struct chi_welcome welcome; /* checked */

	struct chi_task_queue queue;
	struct client_lane *lanes; /* [lane * CHI_PRIOS + prio], like queue.bells */
	uint32_t n_lanes_all;	   /* n_lanes * CHI_PRIOS */
	pthread_mutex_t lane_lock; /* one conversation at a time on the socket */
	uint32_t last_serial;	   /* (lane_lock) of a request */

	struct chi_events events;

	struct chi_marked_fd marked[CHI_MARKED_FDS]; /* what a child closes */

	struct chi_attachment *older; /* of the same client, replaced, not released yet */
};

/**
 * chi_attachment_open - shake hands over a connected, non-blocking socket
 * @socket, @pidfd: given in any case
 * @timeout_ns:     for later answers of the runtime
 * @deadline_ns:    of the handshake
 * @ret_attachment: out; release with chi_attachment_destroy()
 *
 * Threads: any. Returns: as chi_client_connect().
 */
int chi_attachment_open(int socket, int pidfd, uint64_t timeout_ns, uint64_t deadline_ns,
			struct chi_attachment **ret_attachment);
/* Nobody uses it any more. Accepts NULL and a half-made one. */
void chi_attachment_destroy(struct chi_attachment *attachment);
/*
 * In a forked child: close its copies of the socket and of the segments' files, and touch nothing else. A number alone
 * does not tell a copy: the child may have closed all descriptors and opened its own; and a fork copies descriptors
 * before memory, so what another thread received in between is a number without a copy. The others (bells, the
 * process's descriptor, all of the events) stay open until the child ends or executes a program: eventfds, pidfds and
 * epoll sets are all of one file, so a copy cannot be told.
 */
void chi_attachment_abandon(struct chi_attachment *attachment);

/* Does the runtime live? One system call, and none once it is known to be gone. Returns 0 or -EOWNERDEAD. */
int chi_attachment_alive(struct chi_attachment *attachment);
/* The same for somebody who waits and asks often: looks once in ATTACHMENT_LOOK_NS. */
#define ATTACHMENT_LOOK_NS (15 * HSHM_NSEC_PER_MSEC)
int chi_attachment_alive_lately(struct chi_attachment *attachment, uint64_t now_ns);
/* Remember, and say, that the runtime is gone. */
int chi_attachment_gone(struct chi_attachment *attachment);
/* Is it known that the runtime is gone? No system call. */
static inline bool chi_attachment_is_dead(const struct chi_attachment *attachment)
{
	/* relaxed: a flag that carries nothing; it is only ever set */
	return hshm_load_relaxed(&attachment->dead) != 0;
}

/* Is the memory in its heap's part? */
bool chi_attachment_has(const struct chi_attachment *attachment, const void *memory);

/* Ask for the lane's bell, unless it is there. Returns 0, -ETIMEDOUT, -EOWNERDEAD, -EPROTO, a refusal. */
int chi_attachment_open_lane(struct chi_attachment *attachment, uint32_t lane, uint32_t prio);

/* Ask for the event channel, unless it is there. Returns as chi_attachment_open_lane(). */
int chi_attachment_open_events(struct chi_attachment *attachment, uint64_t deadline_ns);

/* Free fire-and-forget tasks that are done. Returns how many. */
uint32_t chi_attachment_sweep_given(struct chi_attachment *attachment);
/* Free those, too, that are not: the runtime is gone, and they were given away. */
void chi_attachment_drop_given(struct chi_attachment *attachment);
/* Wait for the runtime to have taken what was submitted, at most @timeout_ns. */
void chi_attachment_drain(struct chi_attachment *attachment, uint64_t timeout_ns);

#endif
