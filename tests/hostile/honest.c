/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/honest.c - the honest clients: they check every answer, that each task ran once, and all of their memory
 *
 * Each keeps a window of tasks in flight; each task has a number of its own and two buffers. Two kinds: the steady ones run
 * through all phases; the load stands in the place of the liars while these are silent, with as many threads.
 */
#include <chimaera/chimaera.h>
#include <errno.h>
#include <hshm/clock.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/task/segment_layout.h"
#include "hostile/board.h"
#include "modules/tally.h"

#define WINDOW	     8u
#define BUFFER_WORDS 64u
#define GUARD_BYTES  (UINT64_C(2) << 20)
#define GUARD_WORD   UINT64_C(0x6775617264206d65) /* what it holds, exclusive-or its place */

struct slot {
	struct tally_task *task;
	uint64_t *in, *out;
	bool submitted;
};

struct honest {
	struct board *board;
	struct honest_row *row;
	struct chi_client *client;
	uint64_t key, next;
	struct slot slots[WINDOW];
	uint64_t last_ns; /* of its last answer */
	uint64_t turn;	  /* which was it then */
	/* memory that nobody has a reason to touch */
	uint64_t *guard;
	const char *segment;
	char *copy; /* of what lies before the heap, when it began */
	uint64_t heap;
	struct hipc_multi_mpsc_queue queue;
};

/* ---- tasks ---- */

static int submit(struct honest *self, struct slot *slot)
{
	struct tally_task *task = slot->task;
	int ret;

	task->number = self->next;
	task->task.query = CHI_QUERY_LOCAL_HASH(self->next);
	for (uint32_t i = 0; i < BUFFER_WORDS; i++) {
		slot->in[i] = self->next + i;
		slot->out[i] = 0;
	}
	while ((ret = chi_submit(self->client, task)) == -EAGAIN)
		sched_yield();
	self->next += ret == 0;
	slot->submitted = ret == 0;
	return ret;
}

static bool is_right(const struct honest *self, const struct slot *slot)
{
	const struct tally_task *task = slot->task;
	bool right = task->echo == tally_echo(self->key, task->number) && task->n_twice == 0;

	for (uint32_t i = 0; i < BUFFER_WORDS; i++)
		right &= slot->out[i] == ((task->number + i) ^ self->key) && slot->in[i] == task->number + i;
	return right;
}

static void raise_gap(hshm_au64 *longest, uint64_t gap_ns)
{
	if (gap_ns > hshm_load_relaxed(longest))
		hshm_store_relaxed(longest, gap_ns);
}

/* Also one that began before the lies, ended after them, or both: only what lies in one turn of load is the load's. */
static void note_gap(struct honest *self)
{
	uint64_t now_ns = hshm_clock_ns(), gap_ns = now_ns - self->last_ns;
	uint64_t turn = hshm_load_relaxed(&self->board->turn);

	if (turn == self->turn && turn_phase(turn) == PHASE_LOAD)
		raise_gap(&self->row->load_gap_ns, gap_ns);
	else if (turn_phase(self->turn) != PHASE_START && turn_kind(turn, 0) < KINDS_MAX)
		for (uint32_t i = 0; i < SHARED_MAX; i++)
			raise_gap(&self->row->lies_gap_ns[turn_kind(turn, i)], gap_ns);
	self->turn = turn;
	self->last_ns = now_ns;
}

static void collect(struct honest *self, struct slot *slot)
{
	int ret;

	if (!slot->submitted)
		return;
	ret = chi_wait(slot->task, HSHM_FOREVER);
	slot->submitted = false;
	note_gap(self);
	if (ret < 0 || slot->task->task.result < 0) {
		board_violation(self->board, "an honest client's task %llu: wait %d, result %d (%s)",
				(unsigned long long)slot->task->number, ret, slot->task->task.result, chi_error_text());
		hshm_count_add(&self->row->n_errors, 1);
	} else if (is_right(self, slot)) {
		hshm_count_add(&self->row->n_right, 1);
	} else {
		board_violation(
			self->board,
			"an honest client's task %llu: a wrong answer, or run twice (%llu), or its buffers changed",
			(unsigned long long)slot->task->number, (unsigned long long)slot->task->n_twice);
		hshm_count_add(&self->row->n_wrong, 1);
	}
}

/* ---- memory ---- */

/* Where the mapping begins that has this place in it. */
static const char *find_segment(const void *place)
{
	FILE *file = fopen("/proc/self/maps", "re");
	const char *found = NULL;
	char line[512];

	while (file && !found && fgets(line, sizeof(line), file)) {
		unsigned long long from = 0, to = 0;

		if (sscanf(line, "%llx-%llx", &from, &to) == 2 && from <= (uintptr_t)place && (uintptr_t)place < to)
			found = (const char *)(uintptr_t)from;
	}
	if (file)
		fclose(file);
	return found;
}

/* The header's numbers are this client's own view of its segment: copied before anybody lies. */
static int watch_memory(struct honest *self)
{
	struct chi_client_header header;
	int ret = chi_alloc(self->client, GUARD_BYTES, &self->guard);

	self->segment = ret == 0 ? find_segment(self->guard) : NULL;
	if (!self->segment)
		return -1;
	for (uint64_t i = 0; i < GUARD_BYTES / sizeof(*self->guard); i++)
		self->guard[i] = GUARD_WORD ^ i;
	memcpy(&header, self->segment, sizeof(header));
	self->heap = chi_client_heap_offset(header.n_lanes, header.lane_depth);
	self->copy = malloc(self->heap);
	if (!self->copy ||
	    hipc_multi_mpsc_queue_attach((char *)(uintptr_t)self->segment + chi_client_queue_offset(header.n_lanes),
					 header.n_lanes, CHI_PRIOS, header.lane_depth, sizeof(struct chi_lane_header),
					 &self->queue) < 0)
		return -1;
	memcpy(self->copy, self->segment, self->heap);
	return 0;
}

static bool is_same(const struct honest *self, const void *from, size_t n_bytes)
{
	size_t at = (size_t)((const char *)from - self->segment);

	return memcmp(self->copy + at, from, n_bytes) == 0;
}

/* All but the lanes and parking words in use, which are other words now. */
static bool is_memory_whole(const struct honest *self)
{
	uint32_t n_lanes = self->queue.n_lanes;
	/* between them its own threads count their sleeps */
	const char *behind = self->segment + CHI_CLIENT_SLEEPS_OFFSET + HSHM_FALSE_SHARING;
	bool whole = is_same(self, self->segment, CHI_CLIENT_SLEEPS_OFFSET) &&
		     is_same(self, behind, CHI_PAGE - CHI_CLIENT_SLEEPS_OFFSET - HSHM_FALSE_SHARING);

	for (uint64_t i = 0; i < GUARD_BYTES / sizeof(*self->guard); i++)
		whole &= self->guard[i] == (GUARD_WORD ^ i);
	for (uint32_t lane = 0; lane < n_lanes; lane++) {
		bool used = false;

		for (uint32_t prio = 0; prio < CHI_PRIOS; prio++) {
			struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&self->queue, lane, prio);
			bool is_open = hshm_load_relaxed(ring.tail) != 0;

			whole &= is_open || is_same(self, ring.slots, sizeof(uint64_t) << ring.depth_shift);
			whole &= is_same(self, ring.header, sizeof(struct chi_lane_header));
			used |= is_open;
		}
		whole &= used || is_same(self, self->segment + chi_client_park_offset(lane), HSHM_FALSE_SHARING);
	}
	return whole;
}

/* ---- life ---- */

static int call(struct honest *self, uint32_t method, uint64_t *ret_echo, uint64_t *ret_n_twice)
{
	struct tally_task *task;
	int ret = chi_task_alloc(self->client, sizeof(*task), self->board->tally_pool, CHI_QUERY_LOCAL_ID(0), method,
				 &task);

	if (ret < 0)
		return ret;
	task->key = self->key;
	ret = chi_call(self->client, task);
	*ret_echo = task->echo;
	*ret_n_twice = task->n_twice;
	chi_task_free(self->client, task);
	return ret;
}

static int make_slot(struct honest *self, struct slot *slot)
{
	struct tally_task *task;
	uint64_t bytes = BUFFER_WORDS * sizeof(uint64_t);

	if (chi_task_alloc(self->client, sizeof(*task), self->board->tally_pool, CHI_QUERY_LOCAL_HASH(0), TALLY_RUN,
			   &task) < 0 ||
	    chi_alloc(self->client, bytes, &slot->in) < 0 || chi_alloc(self->client, bytes, &slot->out) < 0 ||
	    chi_buffer_set(self->client, &task->buffers[0], slot->in, bytes, CHI_BUFFER_IN) < 0 ||
	    chi_buffer_set(self->client, &task->buffers[1], slot->out, bytes, CHI_BUFFER_OUT) < 0)
		return -1;
	task->key = self->key;
	slot->task = task;
	return 0;
}

static int begin(struct honest *self, uint32_t index, uint32_t wait_policy)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = RUNTIME_NAME, .wait_policy = wait_policy);
	uint64_t seed = self->board->seed + (uint64_t)(index + 1) * UINT64_C(0x9e3779b97f4a7c15), unused;
	int ret = chi_client_connect(&opts, &self->client);

	self->key = next_random(&seed) | 1;
	for (uint32_t i = 0; ret == 0 && i < WINDOW; i++)
		ret = make_slot(self, &self->slots[i]);
	if (ret == 0)
		ret = call(self, TALLY_OPEN, &unused, &unused);
	if (ret == 0)
		ret = watch_memory(self);
	if (ret < 0)
		board_violation(self->board, "an honest client cannot begin: %d (%s)", ret, chi_error_text());
	hshm_store_relaxed(&self->row->ready, 1);
	return ret;
}

/* Every number it submitted was run, and no other. */
static void end(struct honest *self)
{
	uint64_t n_runs = 0, n_twice = 0;
	int ret = call(self, TALLY_READ, &n_runs, &n_twice);

	if (ret < 0 || n_runs != self->next || n_twice != 0)
		board_violation(self->board, "an honest client submitted %llu tasks, %llu were run, %llu twice (%d)",
				(unsigned long long)self->next, (unsigned long long)n_runs, (unsigned long long)n_twice,
				ret);
	else if (!is_memory_whole(self))
		board_violation(self->board, "an honest client's memory was written where nobody has to write");
	else
		hshm_store_relaxed(&self->row->checked, 1);
	chi_client_disconnect(self->client);
	free(self->copy);
}

/* Tasks without a pause while it is to go on; none is in flight when it returns. */
static void work(struct honest *self, bool (*goes_on)(enum phase))
{
	while (goes_on(board_phase(self->board))) {
		for (uint32_t i = 0; i < WINDOW; i++) {
			collect(self, &self->slots[i]);
			if (submit(self, &self->slots[i]) < 0) {
				board_violation(self->board, "an honest client cannot submit: %s", chi_error_text());
				return;
			}
		}
	}
	for (uint32_t i = 0; i < WINDOW; i++)
		collect(self, &self->slots[i]);
}

static bool is_not_the_end(enum phase phase)
{
	return phase != PHASE_END;
}

static bool is_load(enum phase phase)
{
	return phase == PHASE_LOAD;
}

int role_honest(struct board *board, uint32_t index)
{
	static const uint32_t policies[] = { CHI_WAIT_HYBRID, CHI_WAIT_SLEEP };
	struct honest self = { .board = board, .row = &board->honest[index] };

	if (begin(&self, index, policies[index % 2]) < 0)
		return 1;
	work(&self, is_not_the_end);
	end(&self);
	return 0;
}

static void *load_thread(void *arg)
{
	struct honest *self = arg;

	while (board_phase(self->board) != PHASE_END) {
		work(self, is_load);
		usleep(1000);
	}
	end(self);
	return NULL;
}

/* As many threads as a liar has, each with a client of its own. */
int role_load(struct board *board, uint32_t index)
{
	struct honest threads[2] = { { .board = board, .row = &board->load[index] }, { .board = board } };
	struct honest_row second = { 0 };
	pthread_t thread;

	threads[1].row = &second;
	if (begin(&threads[0], HONEST_MAX + 2 * index, CHI_WAIT_HYBRID) < 0 ||
	    begin(&threads[1], HONEST_MAX + 2 * index + 1, CHI_WAIT_HYBRID) < 0 ||
	    pthread_create(&thread, NULL, load_thread, &threads[1]))
		return 1;
	load_thread(&threads[0]);
	pthread_join(thread, NULL);
	/* the row counts for both */
	hshm_count_add(&board->load[index].n_right, hshm_load_relaxed(&second.n_right));
	return 0;
}
