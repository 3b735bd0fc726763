/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring under threads, and under processes that are stopped and killed at any moment.
 * The invariants I1.. are those at the top of src/hshm/mpsc_queue.c.
 */
#include "hshm_stress.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <hshm/mpsc_queue.h>
#include <hshm/thread_model.h>

#define N_PRODUCERS 4u
#define DEPTH	    16u
/* ref: producer above, its number below */
#define NUMBER_BITS 28u
#define NUMBER_MASK ((1u << NUMBER_BITS) - 1)
/* no honest wait of the consumer lasts this long on a machine that is merely slow */
#define STUCK_NS (20 * HSHM_NSEC_PER_SEC)

static uint32_t ref_of(uint32_t producer, uint64_t number)
{
	return ((producer + 1) << NUMBER_BITS) | (uint32_t)(number & NUMBER_MASK);
}

/* --- threads --- */

#define N_PAYLOADS 256u

struct thread_producer {
	struct hipc_mpsc_queue *queue;
	hshm_au32 *stop;
	uint32_t producer;
	uint64_t n_sent;
	uint64_t n_full;
	hshm_au64 n_seen HSHM_ALIGNED(HSHM_FALSE_SHARING); /* by the consumer */
	uint64_t payloads[N_PAYLOADS];			   /* plain: the ring alone orders them */
};

static void produce(void *arg)
{
	struct thread_producer *self = arg;

	/* relaxed: the join orders what matters */
	while (!hshm_load_relaxed(self->stop)) {
		uint64_t number = self->n_sent + 1;

		/* acquire: pairs with the release in consume_one(); the payload's last reader is done */
		while (number - hshm_load_acquire(&self->n_seen) > N_PAYLOADS)
			HSHM_THREAD_MODEL->yield();
		self->payloads[number % N_PAYLOADS] = number;
		while (hipc_mpsc_enqueue(self->queue, ref_of(self->producer, number)) < 0) {
			self->n_full++;
			HSHM_THREAD_MODEL->yield();
		}
		self->n_sent = number;
	}
}

static bool consume_one(struct hipc_mpsc_consumer *consumer, struct thread_producer *producers)
{
	uint32_t ref = hipc_mpsc_dequeue(consumer);
	struct thread_producer *from;
	uint64_t number;

	if (ref == 0)
		return false;
	assert_in_range(ref >> NUMBER_BITS, 1, N_PRODUCERS);
	from = &producers[(ref >> NUMBER_BITS) - 1];
	number = hshm_load_relaxed(&from->n_seen) + 1; /* relaxed: written here alone */
	/* I3: in order, none lost, none twice; and the payload is the one written before the enqueue */
	assert_int_equal(ref, ref_of(from->producer, number));
	assert_int_equal(from->payloads[number % N_PAYLOADS], number);
	hshm_store_release(&from->n_seen, number); /* release: pairs with the acquire in produce() */
	return true;
}

static void threads_lose_and_double_nothing(void **state)
{
	static char memory[4096] HSHM_ALIGNED(HSHM_FALSE_SHARING);
	static struct thread_producer producers[N_PRODUCERS];
	struct hshm_thread *threads[N_PRODUCERS];
	struct hipc_mpsc_consumer consumer;
	struct hipc_mpsc_queue queue;
	uint64_t end = stress_end_ns(), n_sent = 0, n_full = 0;
	hshm_au32 stop = { 0 };

	(void)state;
	assert_int_equal(hipc_mpsc_queue_init(memory, DEPTH, 0, &queue), 0);
	hipc_mpsc_consumer_init(&consumer, &queue);
	for (uint32_t i = 0; i < N_PRODUCERS; i++) {
		producers[i].queue = &queue;
		producers[i].stop = &stop;
		producers[i].producer = i;
		assert_int_equal(HSHM_THREAD_MODEL->spawn("producer", produce, &producers[i], &threads[i]), 0);
	}
	while (hshm_clock_ns() < end) {
		for (int i = 0; i < 1000; i++)
			if (!consume_one(&consumer, producers))
				HSHM_THREAD_MODEL->yield();
	}
	/* relaxed: seen soon is enough */
	hshm_store_relaxed(&stop, 1);
	/* a producer that waits for room or for its payload needs the consumer to go on */
	for (uint64_t linger = hshm_deadline_ns(100 * HSHM_NSEC_PER_MSEC); hshm_clock_ns() < linger;)
		while (consume_one(&consumer, producers))
			;
	for (uint32_t i = 0; i < N_PRODUCERS; i++) {
		HSHM_THREAD_MODEL->join(threads[i]);
		while (consume_one(&consumer, producers))
			;
	}
	for (uint32_t i = 0; i < N_PRODUCERS; i++) {
		assert_int_equal(producers[i].n_seen.v, producers[i].n_sent);
		n_sent += producers[i].n_sent;
		n_full += producers[i].n_full;
	}
	assert_true(n_sent > 1000);
	printf("%llu references, %llu times full\n", (unsigned long long)n_sent, (unsigned long long)n_full);
}

/* --- processes --- */

/* deep enough that a producer is mostly at work when the signal comes, not waiting for room */
#define PROCESS_DEPTH 256u

struct shared {
	hshm_au32 stop;
	struct {
		hshm_au64 n_sent HSHM_ALIGNED(HSHM_FALSE_SHARING); /* stored after each enqueue */
	} producers[N_PRODUCERS];
	char ring[4096] HSHM_ALIGNED(HSHM_FALSE_SHARING);
};

struct child {
	pid_t pid;
	bool is_stopped;
	uint64_t n_seen;
};

struct arena {
	struct shared *shared;
	struct hipc_mpsc_queue queue;
	struct hipc_mpsc_consumer consumer;
	struct child children[N_PRODUCERS];
	uint64_t n_killed, n_stopped, n_unsaid, n_seen;
};

static void child_main(struct shared *shared, uint32_t producer)
{
	struct hipc_mpsc_queue queue;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (hipc_mpsc_queue_attach(shared->ring, PROCESS_DEPTH, 0, &queue) < 0)
		_exit(1);
	/* relaxed, all: the parent reads the count after this process has ended */
	for (uint64_t number = 1; !hshm_load_relaxed(&shared->stop); number++) {
		while (hipc_mpsc_enqueue(&queue, ref_of(producer, number)) < 0) {
			if (hshm_load_relaxed(&shared->stop))
				_exit(0);
			HSHM_THREAD_MODEL->yield();
		}
		hshm_store_relaxed(&shared->producers[producer].n_sent, number);
	}
	_exit(0);
}

static void start_child(struct arena *arena, uint32_t producer)
{
	pid_t pid;

	hshm_store_relaxed(&arena->shared->producers[producer].n_sent, 0);
	arena->children[producer] = (struct child){ 0 };
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child_main(arena->shared, producer);
	arena->children[producer].pid = pid;
}

static bool take_one(struct arena *arena)
{
	uint32_t ref = hipc_mpsc_dequeue(&arena->consumer);
	uint32_t producer = (ref >> NUMBER_BITS) - 1;

	if (ref == 0)
		return false;
	assert_true(producer < N_PRODUCERS);
	arena->n_seen++;
	assert_int_equal(ref, ref_of(producer, ++arena->children[producer].n_seen));
	return true;
}

/* The child has been reaped: what it enqueued lies within the next PROCESS_DEPTH references. */
static void check_the_dead(struct arena *arena, uint32_t producer)
{
	uint64_t n_sent = hshm_load_relaxed(&arena->shared->producers[producer].n_sent);
	uint64_t n_seen;

	for (uint32_t i = 0; i < PROCESS_DEPTH; i++)
		take_one(arena);
	n_seen = arena->children[producer].n_seen;
	/* it may have ended between its enqueue and saying so */
	assert_true(n_seen == n_sent || n_seen == n_sent + 1);
	arena->n_unsaid += n_seen - n_sent;
}

static void kill_child(struct arena *arena, uint32_t producer)
{
	pid_t pid = arena->children[producer].pid;
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	check_the_dead(arena, producer);
	arena->n_killed++;
}

/* Take references for that long; more must come while a producer that is not stopped lives. */
static void consume_for(struct arena *arena, uint64_t duration_ns)
{
	uint64_t end = hshm_deadline_ns(duration_ns), stuck = hshm_deadline_ns(STUCK_NS);
	bool is_one = false;

	do {
		while (take_one(arena))
			is_one = true;
		if (!is_one)
			HSHM_THREAD_MODEL->yield();
		assert_true(hshm_clock_ns() < stuck);
	} while (hshm_clock_ns() < end || !is_one);
}

/* Stop, continue or kill someone; child 0 is left alone, so that there is always one to go on. */
static void disturb(struct arena *arena, uint64_t *seed)
{
	uint32_t producer = 1 + (uint32_t)random_below(seed, N_PRODUCERS - 1);
	struct child *child = &arena->children[producer];

	if (child->is_stopped && random_below(seed, 2)) {
		assert_int_equal(kill(child->pid, SIGCONT), 0);
		child->is_stopped = false;
	} else if (random_below(seed, 3) == 0) {
		assert_int_equal(kill(child->pid, SIGSTOP), 0);
		child->is_stopped = true;
		arena->n_stopped++;
	} else {
		kill_child(arena, producer);
		start_child(arena, producer);
	}
}

static void end_children(struct arena *arena)
{
	hshm_store_relaxed(&arena->shared->stop, 1);
	for (uint32_t i = 0; i < N_PRODUCERS; i++) {
		int status;

		kill(arena->children[i].pid, SIGCONT);
		assert_int_equal(waitpid(arena->children[i].pid, &status, 0), arena->children[i].pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		/* the living: all they have sent, and no more */
		for (uint32_t k = 0; k < PROCESS_DEPTH; k++)
			take_one(arena);
		assert_int_equal(arena->children[i].n_seen, hshm_load_relaxed(&arena->shared->producers[i].n_sent));
	}
	assert_false(take_one(arena));
}

/* I2: whoever is stopped or killed, the others go on, and of what he sent nothing is lost */
static void killed_and_stopped_processes_hold_up_nobody(void **state)
{
	uint64_t seed = stress_seed(), end = stress_end_ns();
	struct arena arena = { 0 };

	(void)state;
	arena.shared = mmap(NULL, sizeof(*arena.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(arena.shared != MAP_FAILED);
	assert_int_equal(hipc_mpsc_queue_init(arena.shared->ring, PROCESS_DEPTH, 0, &arena.queue), 0);
	hipc_mpsc_consumer_init(&arena.consumer, &arena.queue);
	for (uint32_t i = 0; i < N_PRODUCERS; i++)
		start_child(&arena, i);
	while (hshm_clock_ns() < end) {
		consume_for(&arena, random_below(&seed, 500000));
		disturb(&arena, &seed);
	}
	end_children(&arena);
	munmap(arena.shared, sizeof(*arena.shared));
	printf("%llu references; %llu killed, %llu of them between an enqueue and saying so; %llu stopped\n",
	       (unsigned long long)arena.n_seen, (unsigned long long)arena.n_killed, (unsigned long long)arena.n_unsaid,
	       (unsigned long long)arena.n_stopped);
	assert_true(arena.n_killed > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_lose_and_double_nothing),
		cmocka_unit_test(killed_and_stopped_processes_hold_up_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
