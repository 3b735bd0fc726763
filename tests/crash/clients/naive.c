/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * naive.c - the control: a ring as one would write it first, and the same campaign against it
 *
 * A producer takes a ticket by fetch_add, writes its request into the slot of that number, then marks the slot. One ring in
 * a mapping shared by all, a consumer that takes the slots in order. A producer that dies between ticket and mark leaves a
 * slot that is never marked: the consumer waits there for ever, and with it everybody. A campaign that does not find
 * that finds nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crash.h"

#define SLOTS	  64u
#define BURST_MAX 16u
#define ANSWERS	  ((VICTIMS_MAX * VICTIM_THREADS_MAX) + STEADY_MAX)
#define WORDS_MAX 32u

struct request {
	uint64_t answer; /* where the answer goes */
	uint64_t n_words;
	uint64_t words[WORDS_MAX]; /* to be added up */
};

struct answer {
	hshm_au64 serial; /* of the request that it answers */
	uint64_t sum;
} HSHM_ALIGNED(128);

struct ring {
	hshm_au64 ticket;
	struct {
		hshm_au64 mark; /* ticket + 1: written; ticket + SLOTS: free for the next round */
		struct request request;
		uint64_t serial;
	} slots[SLOTS];
	struct answer answers[ANSWERS];
};

static struct ring *ring;
static pid_t consumer_pid = -1;

static void let_others_go(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
}

/* ---- the consumer ---- */

static void consume(uint64_t ticket)
{
	uint32_t at = (uint32_t)(ticket % SLOTS);
	const struct request *request = &ring->slots[at].request;
	struct answer *answer;
	uint64_t sum = 0;

	/* acquire: pairs with the release in produce() */
	while (hshm_load_acquire(&ring->slots[at].mark) != ticket + 1)
		let_others_go();
	for (uint64_t i = 0; i < request->n_words && i < WORDS_MAX; i++)
		sum += request->words[i];
	answer = &ring->answers[request->answer % ANSWERS];
	answer->sum = sum;
	/* release, both: pair with the acquires in produce() and call() */
	hshm_store_release(&answer->serial, ring->slots[at].serial);
	hshm_store_release(&ring->slots[at].mark, ticket + SLOTS);
}

static int naive_start(void)
{
	ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ring == MAP_FAILED)
		return -1;
	for (uint64_t i = 0; i < SLOTS; i++)
		hshm_store_relaxed(&ring->slots[i].mark, i); /* relaxed: before the others are forked */
	consumer_pid = fork();
	if (consumer_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (uint64_t ticket = 0;; ticket++)
			consume(ticket);
	}
	return consumer_pid > 0 ? 0 : -1;
}

static bool naive_alive(void)
{
	return true;
}

static int naive_stop(void)
{
	if (consumer_pid > 0) {
		kill(consumer_pid, SIGKILL);
		waitpid(consumer_pid, NULL, 0);
	}
	munmap(ring, sizeof(*ring));
	return 0;
}

/* ---- producers ---- */

static void produce(const struct request *request, uint64_t serial)
{
	/* relaxed: the mark carries the order */
	uint64_t ticket = hshm_fetch_add_relaxed(&ring->ticket, 1);
	uint32_t at = (uint32_t)(ticket % SLOTS);

	/* acquire: pairs with the release in consume() */
	while (hshm_load_acquire(&ring->slots[at].mark) != ticket)
		let_others_go();
	ring->slots[at].request = *request;
	ring->slots[at].serial = serial;
	/* release: pairs with the acquire in consume() */
	hshm_store_release(&ring->slots[at].mark, ticket + 1);
}

/* A burst, and the answer to its last. */
static bool call(struct thread_slot *thread, struct rng *rng, uint64_t index)
{
	uint64_t n = 1 + rng_below(rng, BURST_MAX), serial = 0, sum = 0;
	struct answer *answer = &ring->answers[index];

	for (uint64_t k = 0; k < n; k++) {
		struct request request = { .answer = index, .n_words = 1 + rng_below(rng, WORDS_MAX) };

		enter_phase(thread, PHASE_FILLING);
		sum = 0;
		for (uint64_t i = 0; i < request.n_words; i++)
			sum += request.words[i] = rng_next(rng);
		serial = rng_next(rng);
		enter_phase(thread, PHASE_SUBMITTING);
		produce(&request, serial);
		count(&thread->n_submitted, 1);
	}
	enter_phase(thread, PHASE_WAITING);
	/* acquire: pairs with the release in consume() */
	while (hshm_load_acquire(&answer->serial) != serial)
		let_others_go();
	count(&thread->n_done, n);
	enter_phase(thread, PHASE_READING);
	return answer->sum == sum;
}

static void settle_nothing(void *arg)
{
	(void)arg;
}

static int naive_steady(struct stage *stage, uint32_t index)
{
	struct steady_slot *slot = &stage->steady[index];
	struct rng rng = { stage->seed ^ (UINT64_C(1000) + index) };
	struct thread_slot thread = { .phase = { 0 } };

	while (steady_goes_on(stage, slot, settle_nothing, NULL))
		steady_answer(stage, slot, NULL, call(&thread, &rng, VICTIMS_MAX * VICTIM_THREADS_MAX + index), "sum");
	return EXIT_SUCCESS;
}

struct naive_thread {
	struct victim_slot *slot;
	uint32_t index;
	pthread_t thread;
};

static void *naive_thread(void *arg)
{
	struct naive_thread *self = arg;
	struct victim_slot *slot = self->slot;
	struct rng rng = { slot->plan.seed + self->index };

	for (;;) {
		if (!call(&slot->threads[self->index], &rng, slot->plan.slot * VICTIM_THREADS_MAX + self->index))
			count(&slot->n_wrong, 1);
		count(&slot->n_right, 1);
		hshm_store_relaxed(&slot->flows, 1); /* relaxed: the driver's clock starts */
	}
	return NULL;
}

static int naive_victim(struct stage *stage, struct victim_slot *slot)
{
	struct naive_thread threads[VICTIM_THREADS_MAX];

	(void)stage;
	for (uint32_t i = 0; i < slot->plan.n_threads; i++) {
		threads[i] = (struct naive_thread){ .slot = slot, .index = i };
		if (pthread_create(&threads[i].thread, NULL, naive_thread, &threads[i]))
			return EXIT_FAILURE;
	}
	enter_phase(&slot->threads[VICTIM_THREADS_MAX], PHASE_NONE);
	for (;;)
		pause();
}

const struct service naive_service = {
	.name = "naive ring",
	.start = naive_start,
	.stop = naive_stop,
	.alive = naive_alive,
	.steady = naive_steady,
	.victim = naive_victim,
};
