/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * background.c - a list of calls, and a few threads that make them
 *
 * A thread is made when all that there are have something to do: one call that hangs holds up nobody else, and when all
 * of them hang the list grows, but never does a thread that serves others wait.
 */
#include "runtime/background.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include <hshm/clock.h>

#include "runtime/log.h"

#define END_NS HSHM_NSEC_PER_SEC /* for calls on their way at the end */

struct call {
	struct call *next;
	void (*fn)(void *arg);
	void *arg;
};

struct chi_background {
	const char *what;
	uint32_t n_threads_max;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* all below: (lock) */
	struct call *first, **last;
	uint32_t n_threads;
	uint32_t n_idle;
	uint32_t n_listed;
	uint32_t n_left; /* in the list or on their way */
	bool ending;
	bool abandoned; /* destroy() has gone: the last thread frees */
};

static struct call *take_first(struct chi_background *background)
{
	struct call *call = background->first;

	background->first = call->next;
	if (!background->first)
		background->last = &background->first;
	background->n_listed--;
	return call;
}

static void make(struct call *call)
{
	call->fn(call->arg);
	free(call);
}

static void free_background(struct chi_background *background)
{
	while (background->first)
		make(take_first(background)); /* no thread was to be had for it: it may wait */
	pthread_cond_destroy(&background->changed);
	pthread_mutex_destroy(&background->lock);
	free(background);
}

static void *make_what_comes(void *arg)
{
	struct chi_background *background = arg;
	bool last;

	pthread_mutex_lock(&background->lock);
	for (;;) {
		struct call *call;

		if (!background->first) {
			if (background->ending)
				break;
			background->n_idle++;
			pthread_cond_wait(&background->changed, &background->lock);
			background->n_idle--;
			continue;
		}
		call = take_first(background);
		pthread_mutex_unlock(&background->lock);
		make(call);
		pthread_mutex_lock(&background->lock);
		background->n_left--;
	}
	background->n_threads--;
	last = background->abandoned && background->n_threads == 0;
	pthread_cond_broadcast(&background->changed);
	pthread_mutex_unlock(&background->lock);
	if (last)
		free_background(background);
	return NULL;
}

/* Under the lock. Without a thread the call waits for the next one, or for the end. */
static void add_thread(struct chi_background *background)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;

	/* the application's signals are not for us */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, make_what_comes, background) == 0)
		background->n_threads++;
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int chi_background_create(const char *what, uint32_t n_threads_max, struct chi_background **ret_background)
{
	struct chi_background *background = calloc(1, sizeof(*background));
	pthread_condattr_t attr;

	if (!background)
		return -ENOMEM;
	background->what = what;
	background->n_threads_max = n_threads_max;
	background->last = &background->first;
	pthread_mutex_init(&background->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&background->changed, &attr);
	pthread_condattr_destroy(&attr);
	*ret_background = background;
	return 0;
}

int chi_background_run(struct chi_background *background, void (*fn)(void *arg), void *arg)
{
	struct call *call = malloc(sizeof(*call));

	if (!call)
		return -ENOMEM;
	*call = (struct call){ NULL, fn, arg };
	pthread_mutex_lock(&background->lock);
	*background->last = call;
	background->last = &call->next;
	background->n_listed++;
	background->n_left++;
	if (background->n_listed > background->n_idle && background->n_threads < background->n_threads_max)
		add_thread(background);
	pthread_cond_signal(&background->changed);
	pthread_mutex_unlock(&background->lock);
	return 0;
}

uint32_t chi_background_n_left(struct chi_background *background)
{
	uint32_t n;

	pthread_mutex_lock(&background->lock);
	if (background->first && background->n_threads == 0)
		add_thread(background); /* there was none to be had; now, perhaps */
	n = background->n_left;
	pthread_mutex_unlock(&background->lock);
	return n;
}

void chi_background_destroy(struct chi_background *background)
{
	uint64_t deadline_ns = hshm_deadline_ns(END_NS);
	struct timespec deadline = { (time_t)(deadline_ns / HSHM_NSEC_PER_SEC),
				     (long)(deadline_ns % HSHM_NSEC_PER_SEC) };
	bool free_it;
	int rc = 0;

	if (!background)
		return;
	pthread_mutex_lock(&background->lock);
	background->ending = true;
	if (background->first && background->n_threads == 0)
		add_thread(background);
	pthread_cond_broadcast(&background->changed);
	while (rc == 0 && background->n_threads > 0)
		rc = pthread_cond_timedwait(&background->changed, &background->lock, &deadline);
	free_it = background->n_threads == 0;
	background->abandoned = true;
	if (!free_it)
		chi_log_warn("%u %s hang: left behind", background->n_threads, background->what);
	pthread_mutex_unlock(&background->lock);
	if (free_it)
		free_background(background);
}
