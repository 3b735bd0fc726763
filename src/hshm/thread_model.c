/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread_model.c - POSIX threads behind the table HSHM_THREAD_MODEL
 *
 * Thread indices: a bitmap under a mutex. A thread takes the lowest free bit at its first index() and keeps it in a
 * thread-local; the destructor of a pthread key gives it back. The mutex orders the former owner before the next.
 * A forked child has one thread: it keeps its own index, and those of the threads that did not come along are free.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "hshm_internal.h"

#define CPU_MAX 65536u

struct hshm_thread {
	pthread_t handle;
	void (*fn)(void *);
	void *arg;
	char name[HSHM_THREAD_NAME_MAX];
};

struct hshm_tls {
	pthread_key_t key;
};

static void *thread_main(void *arg)
{
	struct hshm_thread *thread = arg;

	pthread_setname_np(pthread_self(), thread->name);
	thread->fn(thread->arg);
	return NULL;
}

/* All but those that a fault raises: blocked, they would kill the process without its handler. */
static void block_signals(sigset_t *ret_before)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };
	sigset_t blocked;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&blocked, faults[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, ret_before);
}

static int posix_spawn_thread(const char *name, void (*fn)(void *), void *arg, struct hshm_thread **ret_thread)
{
	struct hshm_thread *thread = calloc(1, sizeof(*thread));
	sigset_t before;
	int error;

	if (!thread)
		return -ENOMEM;
	thread->fn = fn;
	thread->arg = arg;
	snprintf(thread->name, sizeof(thread->name), "%s", name);

	/* a thread inherits the mask of its maker */
	block_signals(&before);
	error = pthread_create(&thread->handle, NULL, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		free(thread);
		return error == ENOMEM ? -ENOMEM : -EAGAIN;
	}
	*ret_thread = thread;
	return 0;
}

static void posix_join(struct hshm_thread *thread)
{
	if (!thread)
		return;
	hshm_assert(pthread_join(thread->handle, NULL) == 0);
	free(thread);
}

static void posix_detach(struct hshm_thread *thread)
{
	hshm_assert(pthread_detach(thread->handle) == 0);
	free(thread); /* read at the thread's start alone */
}

static void posix_yield(void)
{
	sched_yield();
}

static void posix_sleep_for_us(uint64_t microseconds)
{
	static __thread bool slack_is_set;
	uint64_t seconds = microseconds / 1000000;
	struct timespec until;

	if (!slack_is_set) {
		/* the default slack of 50 us would make six sleeps of one */
		prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
		slack_is_set = true;
	}
	/* to a point in time: signals in between do not stretch it. 68 years are long enough. */
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(seconds < INT32_MAX ? seconds : INT32_MAX);
	until.tv_nsec += (long)(microseconds % 1000000 * HSHM_NSEC_PER_USEC);
	if (until.tv_nsec >= (long)HSHM_NSEC_PER_SEC) {
		until.tv_nsec -= (long)HSHM_NSEC_PER_SEC;
		until.tv_sec++;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static int posix_set_affinity(uint32_t cpu)
{
	size_t size_bytes;
	cpu_set_t *set;
	int rc = 0;

	if (cpu >= CPU_MAX)
		return -EINVAL;
	set = CPU_ALLOC(cpu + 1);
	if (!set)
		return -EINVAL;
	size_bytes = CPU_ALLOC_SIZE(cpu + 1);
	CPU_ZERO_S(size_bytes, set);
	CPU_SET_S(cpu, size_bytes, set);
	if (pthread_setaffinity_np(pthread_self(), size_bytes, set) != 0)
		rc = -EINVAL;
	CPU_FREE(set);
	return rc;
}

static int posix_tls_create(void (*destructor)(void *), struct hshm_tls **ret_tls)
{
	struct hshm_tls *tls = malloc(sizeof(*tls));

	if (!tls)
		return -EAGAIN;
	if (pthread_key_create(&tls->key, destructor) != 0) {
		free(tls);
		return -EAGAIN;
	}
	*ret_tls = tls;
	return 0;
}

static void posix_tls_destroy(struct hshm_tls *tls)
{
	if (!tls)
		return;
	pthread_key_delete(tls->key);
	free(tls);
}

static void *posix_tls_get(struct hshm_tls *tls)
{
	return pthread_getspecific(tls->key);
}

static int posix_tls_set(struct hshm_tls *tls, void *value)
{
	return pthread_setspecific(tls->key, value) == 0 ? 0 : -ENOMEM;
}

/* --- indices --- */

#define WORD_BITS 64u

/* INDEX_UNKNOWN until the first call; HSHM_THREAD_INDEX_NONE when all are taken, or at the thread's very end. */
#define INDEX_UNKNOWN (UINT32_MAX - 1)

static struct {
	pthread_mutex_t lock;
	uint64_t taken[HSHM_THREAD_INDEX_MAX / WORD_BITS]; /* under the lock */
	pthread_once_t once;
	pthread_key_t key; /* its value counts the rounds of destructors */
	bool has_key;
} indices = { .lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT };

/* initial-exec: two instructions instead of a call, at every allocation; four bytes fit the loader's spare room
 * even when the library comes by dlopen() */
static __thread uint32_t my_index __attribute__((tls_model("initial-exec"))) = INDEX_UNKNOWN;

static void release_index(void)
{
	pthread_mutex_lock(&indices.lock);
	indices.taken[my_index / WORD_BITS] &= ~(UINT64_C(1) << my_index % WORD_BITS);
	pthread_mutex_unlock(&indices.lock);
	my_index = HSHM_THREAD_INDEX_NONE;
}

/* Waits for the last round but one, so that the destructors of others may still use what hangs on the index. The last
 * one belongs to sanitizers: after it no lock may be touched. */
static void on_thread_end(void *round)
{
	uintptr_t n = (uintptr_t)round;

	if (n < PTHREAD_DESTRUCTOR_ITERATIONS - 1 && pthread_setspecific(indices.key, (void *)(n + 1)) == 0)
		return;
	release_index();
}

static void before_fork(void)
{
	pthread_mutex_lock(&indices.lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&indices.lock);
}

static void after_fork_in_child(void)
{
	memset(indices.taken, 0, sizeof(indices.taken));
	if (my_index < HSHM_THREAD_INDEX_MAX)
		indices.taken[my_index / WORD_BITS] = UINT64_C(1) << my_index % WORD_BITS;
	pthread_mutex_unlock(&indices.lock);
}

static void init_indices(void)
{
	indices.has_key = pthread_key_create(&indices.key, on_thread_end) == 0 &&
			  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

static uint32_t lowest_free(void)
{
	for (uint32_t word = 0; word < HSHM_THREAD_INDEX_MAX / WORD_BITS; word++) {
		if (~indices.taken[word]) {
			uint32_t bit = (uint32_t)__builtin_ctzll(~indices.taken[word]);

			indices.taken[word] |= UINT64_C(1) << bit;
			return word * WORD_BITS + bit;
		}
	}
	return HSHM_THREAD_INDEX_NONE;
}

static uint32_t take_index(void)
{
	pthread_once(&indices.once, init_indices);
	my_index = HSHM_THREAD_INDEX_NONE;
	/* without its destructor an index would never come back: better none */
	if (!indices.has_key || pthread_setspecific(indices.key, (void *)(uintptr_t)1) != 0)
		return my_index;
	pthread_mutex_lock(&indices.lock);
	my_index = lowest_free();
	pthread_mutex_unlock(&indices.lock);
	if (my_index == HSHM_THREAD_INDEX_NONE)
		pthread_setspecific(indices.key, NULL);
	return my_index;
}

static uint32_t posix_index(void)
{
	return __builtin_expect(my_index != INDEX_UNKNOWN, 1) ? my_index : take_index();
}

static const struct hshm_thread_model posix_model = {
	.name = "pthread",
	.spawn = posix_spawn_thread,
	.join = posix_join,
	.detach = posix_detach,
	.yield = posix_yield,
	.sleep_for_us = posix_sleep_for_us,
	.set_affinity = posix_set_affinity,
	.tls_create = posix_tls_create,
	.tls_destroy = posix_tls_destroy,
	.tls_get = posix_tls_get,
	.tls_set = posix_tls_set,
	.index = posix_index,
};

const struct hshm_thread_model *const HSHM_THREAD_MODEL = &posix_model;
