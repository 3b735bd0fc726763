/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd_closer.c - a list of descriptors, and a few threads that close them
 *
 * A thread is made when all that there are have something to do: one close that hangs holds up nobody else, and a peer that
 * makes them all hang holds descriptors, up to our limit, but never a thread that serves others.
 */
#include "runtime/fd_closer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "runtime/log.h"

#define THREADS_MAX 8u
#define END_NS	    HSHM_NSEC_PER_SEC /* for closes on their way at the end */

struct open_fd {
	struct open_fd *next;
	int fd;
};

struct chi_fd_closer {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* all below: (lock) */
	struct open_fd *first, **last;
	uint32_t n_threads;
	uint32_t n_idle;
	uint32_t n_open; /* in the list */
	bool ending;
	bool abandoned; /* destroy() has gone: the last thread frees */
};

static void free_closer(struct chi_fd_closer *closer)
{
	while (closer->first) {
		struct open_fd *open_fd = closer->first;

		closer->first = open_fd->next;
		close(open_fd->fd); /* no thread was to be had for it: it may wait, as in chi_fd_closer_close() */
		free(open_fd);
	}
	pthread_cond_destroy(&closer->changed);
	pthread_mutex_destroy(&closer->lock);
	free(closer);
}

static struct open_fd *take_first(struct chi_fd_closer *closer)
{
	struct open_fd *open_fd = closer->first;

	closer->first = open_fd->next;
	if (!closer->first)
		closer->last = &closer->first;
	closer->n_open--;
	return open_fd;
}

static void *close_what_comes(void *arg)
{
	struct chi_fd_closer *closer = arg;
	bool last;

	pthread_mutex_lock(&closer->lock);
	for (;;) {
		struct open_fd *open_fd;

		if (!closer->first) {
			if (closer->ending)
				break;
			closer->n_idle++;
			pthread_cond_wait(&closer->changed, &closer->lock);
			closer->n_idle--;
			continue;
		}
		open_fd = take_first(closer);
		pthread_mutex_unlock(&closer->lock);
		close(open_fd->fd);
		free(open_fd);
		pthread_mutex_lock(&closer->lock);
	}
	closer->n_threads--;
	last = closer->abandoned && closer->n_threads == 0;
	pthread_cond_broadcast(&closer->changed);
	pthread_mutex_unlock(&closer->lock);
	if (last)
		free_closer(closer);
	return NULL;
}

/* Under the lock. Without a thread the descriptor waits for the next one, or for the end. */
static void add_thread(struct chi_fd_closer *closer)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;

	/* the application's signals are not for us */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, close_what_comes, closer) == 0)
		closer->n_threads++;
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int chi_fd_closer_create(struct chi_fd_closer **ret_closer)
{
	struct chi_fd_closer *closer = calloc(1, sizeof(*closer));
	pthread_condattr_t attr;

	if (!closer)
		return -ENOMEM;
	closer->last = &closer->first;
	pthread_mutex_init(&closer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&closer->changed, &attr);
	pthread_condattr_destroy(&attr);
	*ret_closer = closer;
	return 0;
}

void chi_fd_closer_close(struct chi_fd_closer *closer, int fd)
{
	struct open_fd *open_fd = malloc(sizeof(*open_fd));

	if (!open_fd) {
		close(fd); /* it may wait: better than never to close any */
		return;
	}
	*open_fd = (struct open_fd){ NULL, fd };
	pthread_mutex_lock(&closer->lock);
	*closer->last = open_fd;
	closer->last = &open_fd->next;
	closer->n_open++;
	if (closer->n_open > closer->n_idle && closer->n_threads < THREADS_MAX)
		add_thread(closer);
	pthread_cond_signal(&closer->changed);
	pthread_mutex_unlock(&closer->lock);
}

void chi_fd_closer_destroy(struct chi_fd_closer *closer)
{
	uint64_t deadline_ns = hshm_deadline_ns(END_NS);
	struct timespec deadline = { (time_t)(deadline_ns / HSHM_NSEC_PER_SEC),
				     (long)(deadline_ns % HSHM_NSEC_PER_SEC) };
	bool free_it;
	int rc = 0;

	if (!closer)
		return;
	pthread_mutex_lock(&closer->lock);
	closer->ending = true;
	if (closer->first && closer->n_threads == 0)
		add_thread(closer);
	pthread_cond_broadcast(&closer->changed);
	while (rc == 0 && closer->n_threads > 0)
		rc = pthread_cond_timedwait(&closer->changed, &closer->lock, &deadline);
	free_it = closer->n_threads == 0;
	closer->abandoned = true;
	if (!free_it)
		chi_log_warn("%u closes of clients' sockets hang: left behind", closer->n_threads);
	pthread_mutex_unlock(&closer->lock);
	if (free_it)
		free_closer(closer);
}
