/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * events.h - the callbacks of one attachment: who is to be told of which task, and which tasks have ended
 *
 * A task with a callback has a notice, in private memory; its number stands in the task. The runtime puts a task that
 * ended in front of the list in the client's segment (struct chi_client_events), and stores the link to the one before
 * in the task's completion word. Taking turns the list round into `ready`, oldest first, linked by the same words; a
 * task whose link is not stored yet stays as `rest`, and nothing behind it is seen before it is.
 *
 * E1  What ended is seen, or the client is woken: the worker stores the word, fences, looks at `armed`; arm() stores
 *     `armed`, fences, looks at the list and at `rest` (Dekker). verify/client_events.pml
 * E2  A task leaves the list once, by the exchange of the head; a notice is taken once, under `lock`.
 * E3  What stands in the segment is checked before it is followed: it can lose callbacks, not call what was never set.
 * E4  A notice is told as lost only when its task's submit has succeeded: before that the submitter may still get it
 *     back.
 */
#ifndef CLIENT_EVENTS_H
#define CLIENT_EVENTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <chimaera/client.h>
#include <hshm/ptr.h>

struct chi_notice {
	struct chi_task *task; /* NULL: free */
	chi_notify_fn fn;
	void *arg;
	uint32_t next_free;
	uint32_t n_uses; /* of this place: tells the notice from those before and after it */
	bool submitted;	 /* E4 */
};

struct chi_events {
	const struct hipc_mapping *segment;
	pthread_mutex_t lock; /* all below */
	int socket;	      /* readable when it is time to dispatch; -1: not asked for */
	struct chi_notice *notices;
	uint32_t n_notices;  /* places for them */
	uint32_t n_used;     /* of these */
	uint32_t first_free; /* n_notices: none */
	uint32_t rest;	     /* found in the list without its link; 0: none */
	uint32_t ready;	     /* the oldest that ended; 0: none */
	/* Once the runtime is gone no notice before it is submitted: where to look for the next lost one. */
	uint32_t lost_from;
};

/* What is to be called. */
struct chi_event {
	struct chi_task *task;
	chi_notify_fn fn;
	void *arg;
	int result;
};

void chi_events_init(struct chi_events *events, const struct hipc_mapping *segment);
/* Forgets all. The socket is the caller's. */
void chi_events_fini(struct chi_events *events);

/* A notice for a task that is about to be submitted. @ret_notice: names it. Returns 0 or -ENOMEM. Threads: any. */
int chi_events_add(struct chi_events *events, struct chi_task *task, chi_notify_fn fn, void *arg, uint64_t *ret_notice);
/* It was submitted. The task may have been told and be gone by now, and its notice another's. */
void chi_events_submitted(struct chi_events *events, uint64_t notice);
/* It was not submitted. */
void chi_events_remove(struct chi_events *events, struct chi_task *task);

/* Tasks that are still to be told of. Threads: any. */
uint32_t chi_events_count(struct chi_events *events);

/* The next that ended; from here on it is the caller's, and done. Returns false: none. Threads: any. */
bool chi_events_take(struct chi_events *events, struct chi_event *ret_event);
/* Any one that was submitted and has not ended: the runtime is gone, and it never will. */
bool chi_events_take_lost(struct chi_events *events, struct chi_event *ret_event);

/* Take out what is in the socket. Before chi_events_take(). */
void chi_events_drain(struct chi_events *events);
/* Have the socket made readable by the next that ends. Returns false when one has ended meanwhile: take it. */
bool chi_events_arm(struct chi_events *events);

#endif
