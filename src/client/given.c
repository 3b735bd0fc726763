/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * given.c - take back the memory of fire-and-forget tasks
 */
#include <stdlib.h>

#include "client/given.h"

void chi_given_init(struct chi_given_list *list)
{
	*list = (struct chi_given_list){ .first = NULL };
	pthread_mutex_init(&list->lock, NULL);
}

static void append(struct chi_given_list *list, struct chi_given *node)
{
	node->next = NULL;
	if (list->last)
		list->last->next = node;
	else
		list->first = node;
	list->last = node;
	list->n_queued++;
}

static struct chi_given *take_first(struct chi_given_list *list)
{
	struct chi_given *node = list->first;

	list->first = node->next;
	if (!list->first)
		list->last = NULL;
	list->n_queued--;
	return node;
}

/* Under the lock: incoming is newest first, the queue oldest first. */
static void take_over(struct chi_given_list *list)
{
	/* acquire: pairs with the release in chi_given_add(); node->task and node->next are visible */
	struct chi_given *node = hshm_exchange_acquire(&list->incoming, NULL);
	struct chi_given *oldest_first = NULL;

	while (node) {
		struct chi_given *next = node->next;

		node->next = oldest_first;
		oldest_first = node;
		node = next;
	}
	while (oldest_first) {
		struct chi_given *next = oldest_first->next;

		append(list, oldest_first);
		oldest_first = next;
	}
}

/* Under the lock. */
static uint32_t look_at(struct chi_given_list *list, struct hshm_heap *heap, uint32_t n_max)
{
	uint32_t n_looks = list->n_queued < n_max ? list->n_queued : n_max;
	uint32_t n_freed = 0;

	for (uint32_t i = 0; i < n_looks && list->first; i++) {
		struct chi_given *node = take_first(list);

		/* acquires: the runtime's last write to the task is behind us, the block may be used for another */
		if (!chi_task_done(node->task)) {
			append(list, node);
			continue;
		}
		hshm_heap_free(heap, node->task);
		free(node);
		n_freed++;
	}
	return n_freed;
}

void chi_given_add(struct chi_given_list *list, struct chi_given *node)
{
	/* relaxed: the CAS below decides, and nothing is read through it here. No ABA: nodes leave only all at once. */
	void *newest = hshm_load_relaxed(&list->incoming);

	do {
		node->next = newest;
		/* release: pairs with the acquire in take_over() */
	} while (!hshm_cas_release(&list->incoming, &newest, node));
}

void chi_given_sweep(struct chi_given_list *list, struct hshm_heap *heap, uint32_t n_max)
{
	if (pthread_mutex_trylock(&list->lock) != 0)
		return;
	take_over(list);
	look_at(list, heap, n_max);
	pthread_mutex_unlock(&list->lock);
}

uint32_t chi_given_sweep_all(struct chi_given_list *list, struct hshm_heap *heap)
{
	uint32_t n_freed;

	pthread_mutex_lock(&list->lock);
	take_over(list);
	n_freed = look_at(list, heap, UINT32_MAX);
	pthread_mutex_unlock(&list->lock);
	return n_freed;
}

void chi_given_drop_all(struct chi_given_list *list, struct hshm_heap *heap)
{
	pthread_mutex_lock(&list->lock);
	take_over(list);
	while (list->first) {
		struct chi_given *node = take_first(list);

		hshm_heap_free(heap, node->task);
		free(node);
	}
	pthread_mutex_unlock(&list->lock);
}

void chi_given_fini(struct chi_given_list *list)
{
	take_over(list);
	while (list->first)
		free(take_first(list));
	pthread_mutex_destroy(&list->lock);
}
