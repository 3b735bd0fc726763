/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * events.c - notices, and the list of tasks that ended
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "client/events.h"
#include "task/error.h"
#include "task/segment_layout.h"
#include "task/submitter.h"

#define NOTICES_FIRST 64u
#define NOTICES_MAX   (1u << 30)

void chi_events_init(struct chi_events *events, const struct hipc_mapping *segment)
{
	*events = (struct chi_events){ .segment = segment, .socket = -1 };
	pthread_mutex_init(&events->lock, NULL);
}

void chi_events_fini(struct chi_events *events)
{
	free(events->notices);
	pthread_mutex_destroy(&events->lock);
}

/* ---- notices; under the lock ---- */

static int grow(struct chi_events *events)
{
	uint32_t n = events->n_notices ? events->n_notices * 2 : NOTICES_FIRST;
	struct chi_notice *notices = n <= NOTICES_MAX ? realloc(events->notices, n * sizeof(*notices)) : NULL;

	if (!notices)
		return chi_error_set(-ENOMEM, "no memory to remember %u callbacks", n);
	for (uint32_t i = events->n_notices; i < n; i++)
		notices[i] = (struct chi_notice){ .next_free = i + 1 };
	events->first_free = events->n_notices;
	events->notices = notices;
	events->n_notices = n;
	return 0;
}

/* The notice of a task, checked (E3). NULL: there is none. */
static struct chi_notice *notice_of(struct chi_events *events, const struct chi_task *task)
{
	uint32_t i = task->notice;

	return i < events->n_notices && events->notices[i].task == task ? &events->notices[i] : NULL;
}

static void release(struct chi_events *events, struct chi_notice *notice)
{
	notice->task->flags &= (uint16_t)~CHI_TASK_NOTIFY;
	notice->task = NULL;
	notice->next_free = events->first_free;
	events->first_free = (uint32_t)(notice - events->notices);
	events->n_used--;
}

int chi_events_add(struct chi_events *events, struct chi_task *task, chi_notify_fn fn, void *arg, uint64_t *ret_notice)
{
	int rc = 0;

	pthread_mutex_lock(&events->lock);
	if (events->first_free == events->n_notices)
		rc = grow(events);
	if (rc == 0) {
		struct chi_notice *notice = &events->notices[events->first_free];

		task->notice = events->first_free;
		task->flags |= CHI_TASK_NOTIFY;
		events->first_free = notice->next_free;
		events->n_used++;
		*notice = (struct chi_notice){ .task = task, .fn = fn, .arg = arg, .n_uses = notice->n_uses + 1 };
		*ret_notice = (uint64_t)notice->n_uses << 32 | task->notice;
	}
	pthread_mutex_unlock(&events->lock);
	return rc;
}

void chi_events_submitted(struct chi_events *events, uint64_t which)
{
	uint32_t i = (uint32_t)which;
	struct chi_notice *notice;

	pthread_mutex_lock(&events->lock);
	notice = &events->notices[i];
	if (notice->task && notice->n_uses == (uint32_t)(which >> 32)) {
		notice->submitted = true;
		if (i < events->lost_from)
			events->lost_from = i;
	}
	pthread_mutex_unlock(&events->lock);
}

void chi_events_remove(struct chi_events *events, struct chi_task *task)
{
	struct chi_notice *notice;

	pthread_mutex_lock(&events->lock);
	notice = notice_of(events, task);
	if (notice)
		release(events, notice);
	pthread_mutex_unlock(&events->lock);
}

uint32_t chi_events_count(struct chi_events *events)
{
	uint32_t n;

	pthread_mutex_lock(&events->lock);
	n = events->n_used;
	pthread_mutex_unlock(&events->lock);
	return n;
}

/* ---- the list; under the lock ---- */

static struct chi_task *task_at(const struct chi_events *events, uint32_t ref)
{
	return hipc_ref_translate(events->segment, ref, sizeof(struct chi_task));
}

static bool is_linked(const struct chi_events *events, uint32_t ref)
{
	const struct chi_task *task = task_at(events, ref);

	/* relaxed: whoever goes on from here loads it again */
	return !task || chi_completion_is_listed(hshm_load_relaxed(&task->completion));
}

/* Newest first in the list, oldest first in `ready`. */
static void walk(struct chi_events *events)
{
	/* acquire: pairs with the worker's exchange in announce() */
	uint32_t at = events->rest ? events->rest
				   : hshm_exchange_acquire(&chi_client_events_of(events->segment)->ended, 0);

	events->rest = 0;
	/* E3: not longer than there are notices, should somebody have tied the list into a ring */
	for (uint32_t i = 0; at && i < events->n_notices; i++) {
		struct chi_task *task = task_at(events, at);
		uint64_t word;

		if (!task)
			return;
		/* acquire: pairs with the release in announce(): result, outputs and link are in place */
		word = hshm_load_acquire(&task->completion);
		if (!chi_completion_is_listed(word)) {
			events->rest = at;
			return;
		}
		/* relaxed: ours since the exchange, and nobody but the holder of the lock follows it */
		hshm_store_relaxed(&task->completion, chi_completion_listed(events->ready));
		events->ready = at;
		at = (uint32_t)(word >> 32);
	}
}

static struct chi_task *pop_ready(struct chi_events *events)
{
	struct chi_task *task = task_at(events, events->ready);
	uint64_t word = hshm_load_relaxed(&task->completion); /* relaxed: as in walk() */

	events->ready = chi_completion_is_listed(word) ? (uint32_t)(word >> 32) : 0;
	/* release: a thread that only looks at chi_task_done() sees what walk() acquired */
	hshm_store_release(&task->completion, CHI_COMPLETION_DONE);
	return task;
}

/* ---- taking ---- */

static void hand_over(struct chi_events *events, struct chi_notice *notice, int result, struct chi_event *ret_event)
{
	*ret_event = (struct chi_event){ notice->task, notice->fn, notice->arg, result };
	release(events, notice);
}

bool chi_events_take(struct chi_events *events, struct chi_event *ret_event)
{
	bool found = false;

	pthread_mutex_lock(&events->lock);
	if (!events->ready)
		walk(events);
	while (!found && events->ready) {
		struct chi_task *task = pop_ready(events);
		struct chi_notice *notice = notice_of(events, task);

		found = notice != NULL;
		if (found)
			hand_over(events, notice, task->result, ret_event);
	}
	pthread_mutex_unlock(&events->lock);
	return found;
}

bool chi_events_take_lost(struct chi_events *events, struct chi_event *ret_event)
{
	bool found = false;

	pthread_mutex_lock(&events->lock);
	for (; events->lost_from < events->n_notices && !found; events->lost_from++) {
		struct chi_notice *notice = &events->notices[events->lost_from];

		found = notice->task && notice->submitted;
		if (!found)
			continue;
		/* relaxed: nobody announces it any more; it may be freed then */
		hshm_store_relaxed(&notice->task->completion, CHI_COMPLETION_PENDING);
		hand_over(events, notice, -EOWNERDEAD, ret_event);
	}
	pthread_mutex_unlock(&events->lock);
	return found;
}

/* ---- sleeping ---- */

void chi_events_drain(struct chi_events *events)
{
	char bytes[64]; /* there is one, seldom two */

	pthread_mutex_lock(&events->lock);
	if (events->socket >= 0)
		(void)recv(events->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
	pthread_mutex_unlock(&events->lock);
}

bool chi_events_arm(struct chi_events *events)
{
	struct chi_client_events *shared = chi_client_events_of(events->segment);
	bool found;

	pthread_mutex_lock(&events->lock);
	if (events->socket < 0) {
		pthread_mutex_unlock(&events->lock);
		return true;
	}
	/* relaxed: the fence orders it (E1) */
	hshm_store_relaxed(&shared->armed, 1);
	hshm_fence_seq_cst();
	/* relaxed: taken with acquire when it is taken */
	found = events->ready ||
		(events->rest ? is_linked(events, events->rest) : hshm_load_relaxed(&shared->ended) != 0);
	pthread_mutex_unlock(&events->lock);
	return !found;
}
