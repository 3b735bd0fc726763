/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process_client.h - a client: a process (or the embedding application) attached to a runtime
 *
 * The life of an attachment:
 *   opened    handshake, segments, heap; nobody else knows it                     chi_attachment_open()
 *   now       in use: each call loads it once                                     process_client_replace()
 *   former    its runtime is gone: another is `now`; it is still read and freed   process_client_attach()
 *   released  no block of it is left, and it is not the newest of the former      process_client_release_former()
 *
 * What was given away (fire-and-forget) is no block that keeps it. That the newest stays is for threads that have just
 * loaded it: a call may last until the reconnect after next (rule in chimaera/client.h).
 *
 * P1  An attachment is replaced only when its runtime is gone: memory that is not `now`'s is a dead runtime's.
 * P2  `now` is stored with release and loaded once a call with acquire; the call keeps to what it loaded.
 * P3  `former` is walked and changed under `lock`; nothing in the way of a submit or a wait takes it.
 */
#ifndef CLIENT_PROCESS_CLIENT_H
#define CLIENT_PROCESS_CLIENT_H

#include <pthread.h>
#include <stdint.h>

#include <chimaera/client.h>

#include "client/attachment.h"
#include "client/fork_guard.h"
#include "task/submitter.h"

struct process_client {
	struct chi_client base;
	struct chi_fork_guard guard;
	hshm_aptr now;		       /* struct chi_attachment, never NULL once handed out */
	pthread_mutex_t reconnecting;  /* held through a reconnect */
	pthread_mutex_t lock;	       /* guards `former`; held for a moment */
	struct chi_attachment *former; /* (lock) by `older`, the newest first */
	pthread_mutex_t event_lock;    /* opening and moving the event descriptor */
	int event_epoll;	       /* the event descriptor (dispatch.c); -1: not asked for */
	hshm_au32 event_more;	       /* an eventfd in it, plus 1: there is more; 0: not asked for */
	bool named;		       /* reached by name or path: it can be again */
	char *name;		       /* NULL: "default" */
	uint64_t connect_timeout_ns;
};

extern const struct chi_client_ops chi_process_client_ops;

static inline struct chi_attachment *process_client_now(const struct process_client *client)
{
	/* acquire: pairs with the release in process_client_attach(): the attachment is complete */
	return hshm_load_acquire(&client->now);
}

/* Memory that is not the present attachment's: -EOWNERDEAD, or -EINVAL when it is no attachment's. */
int process_client_not_ours(struct process_client *client, const void *task);
/* Use another attachment from here on; the event descriptor, if there is one, follows, for which the runtime is asked
 * until @deadline_ns. Returns 0, or why it cannot. For who reconnects, or is the only user. */
int process_client_replace(struct process_client *client, struct chi_attachment *to, uint64_t deadline_ns);
void process_client_close_events(struct process_client *client);

/* The text and the code of every call in a child. */
int process_client_forked(void);

/* Use another attachment from here on. One thread at a time: who reconnects, or the only user. */
void process_client_attach(struct process_client *client, struct chi_attachment *attachment);
/* Release former attachments that nobody needs: all but the newest, and none with blocks that were not freed. */
void process_client_release_former(struct process_client *client);
/* Release all, in the owner or in a forked child. Accepts a half-made one. */
void process_client_destroy(struct process_client *client);

#endif
