/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/lies_memory.c - lies in what a client can write: its segment, with everything in it, and the counters file
 */
#include <chimaera/admin.h>
#include <chimaera/task.h>
#include <errno.h>
#include <fcntl.h>
#include <hshm/clock.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostile/lies.h"

#define N_TASKS	  32u
#define BUFFER_AT 48u /* pages into the heap: behind the tasks */

#define N_NEIGHBOURS  24u
#define NEIGHBOURS_AT 128u

static void store_word(char *at, uint64_t word)
{
	__atomic_store_n((uint64_t *)(void *)at, word, __ATOMIC_RELAXED);
}

/* Has to be answered: nothing but its own fields were touched, and its lane is whole. */
static int call(struct liar *liar, struct raw *raw, struct probe_task *task)
{
	int ret;

	if (raw_push(raw, task) < 0) {
		lie_violation(liar, "its empty lane is full");
		return -EAGAIN;
	}
	lie_sent(liar);
	ret = raw_await(task, RAW_ANSWER_MS);
	if (ret == -ETIMEDOUT && !chi_task_done(task))
		lie_violation(liar, "no answer in %d ms", RAW_ANSWER_MS);
	lie_answered(liar, ret);
	return ret;
}

/* ---- anything anywhere ---- */

/* Most of it into the tasks: a slot that is hit stops the lane, and then nothing else is read. */
static void scribble_anywhere(struct raw *raw, uint64_t *random)
{
	bool everywhere = next_random(random) % 1024 == 0;
	uint64_t from = everywhere ? 0 : raw->heap,
		 to = everywhere ? raw->welcome.client_bytes : raw->heap + N_TASKS * CHI_PAGE;

	for (int i = 0; i < 16; i++) {
		uint64_t at = from + next_random(random) % ((to - from) / 8) * 8;

		/* of a page that begins with a task, its first words more often */
		if (!everywhere && i % 2)
			at = at / CHI_PAGE * CHI_PAGE + at % sizeof(struct probe_task) / 8 * 8;
		store_word(raw->segment + at, next_random(random));
	}
}

static void push_under_noise(struct liar *liar, struct raw *raw, uint64_t end_ns)
{
	for (uint64_t n = 0; lie_goes_on(liar) && hshm_clock_ns() < end_ns; n++) {
		struct probe_task *task = lie_task(liar, raw, (uint32_t)lie_pick(liar, N_TASKS), lie_method(liar));
		uint64_t lap = n / raw->welcome.lane_depth;

		/* the tail may be ruined: written by hand where the consumer may be */
		hshm_store_relaxed(&raw->ring.slots[n % raw->welcome.lane_depth], lap << 32 | raw_ref(raw, task));
		raw_ring(raw);
		lie_sent(liar);
		if (n % 16 != 15)
			continue;
		usleep(50);
		if (chi_task_done(task) && task->task.result <= 0 && task->task.result > -(int)ERRNOS_MAX)
			lie_answered(liar, task->task.result);
		else
			lie_unanswered(liar);
	}
}

void lie_segment_noise(struct liar *liar)
{
	while (lie_goes_on(liar)) {
		struct scribbler scribbler;
		struct raw raw;

		if (raw_attach(&raw) < 0)
			return;
		scribbler_start(&scribbler, liar, &raw, scribble_anywhere);
		push_under_noise(liar, &raw, hshm_deadline_ns(8 * HSHM_NSEC_PER_MSEC));
		scribbler_end(&scribbler);
		raw_detach(&raw);
	}
}

/* ---- good when it is pushed, and another thing when it is read, or a moment later ---- */

static void scribble_fields(struct raw *raw, uint64_t *random)
{
	/* the words of a task that the runtime reads; never the method's number, for some methods run as long as they are told */
	static const uint32_t words[] = { 0,
					  offsetof(struct chi_task, query),
					  offsetof(struct chi_task, query) + 8,
					  offsetof(struct chi_task, period_ns),
					  offsetof(struct chi_task, cancel),
					  offsetof(struct chi_task, completion),
					  offsetof(struct chi_task, result),
					  offsetof(struct probe_task, count),
					  offsetof(struct probe_task, buffers),
					  offsetof(struct probe_task, buffers) + 8,
					  offsetof(struct probe_task, buffers) + 16,
					  offsetof(struct probe_task, buffers) + 24 };
	char *task = raw->segment + raw->heap + next_random(random) % N_TASKS * CHI_PAGE;
	uint32_t at = words[next_random(random) % (sizeof(words) / sizeof(words[0]))];
	uint64_t word, bits = next_random(random) & next_random(random) & next_random(random);

	/* the low half of the first word: version and flags; the high half: the size */
	if (at == 0)
		bits &= next_random(random) % 2 ? UINT64_C(0xf0000) : UINT64_C(0xfff) << 32;
	word = __atomic_load_n((uint64_t *)(void *)(task + at), __ATOMIC_RELAXED);
	store_word(task + at, word ^ bits);
	for (uint64_t n = next_random(random) % 200; n > 0; n--)
		hshm_cpu_relax();
	store_word(task + at, word);
}

/* Half of the time a task has its size, and half of the time the largest there is. */
static void scribble_sizes(struct raw *raw, uint64_t *random)
{
	struct chi_task *task =
		(struct chi_task *)(raw->segment + raw->heap + next_random(random) % N_TASKS * CHI_PAGE);

	for (int i = 0; i < 64; i++)
		__atomic_store_n(&task->size_bytes, i % 2 ? (uint32_t)sizeof(struct probe_task) : CHI_TASK_SIZE_MAX,
				 __ATOMIC_RELAXED);
}

/* Contexts that stay, among those that come and go: what is copied too far lies in one of them, and shows when it ends. */
static void leave_neighbours(struct liar *liar, struct raw *raw)
{
	for (uint32_t i = 0; i < N_NEIGHBOURS; i++) {
		struct probe_task *task = lie_task(liar, raw, NEIGHBOURS_AT + i, PROBE_ADD);

		task->task.flags = CHI_TASK_PERIODIC;
		task->task.period_ns = UINT64_MAX / 2;
		(void)raw_push(raw, task);
	}
}

void lie_changed_later(struct liar *liar)
{
	struct scribbler scribbler;
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	leave_neighbours(liar, &raw);
	scribbler_start(&scribbler, liar, &raw, lie_pick(liar, 2) ? scribble_fields : scribble_sizes);
	while (lie_goes_on(liar)) {
		struct probe_task *tasks[N_TASKS];

		for (uint32_t i = 0; i < N_TASKS; i++) {
			tasks[i] = lie_task(liar, &raw, i, i % 2 ? PROBE_COPY : lie_method(liar));
			for (uint32_t b = 0; b < 2; b++)
				tasks[i]->buffers[b] = (struct chi_buffer){
					hipc_ptr_make(raw.welcome.client_segment_id,
						      raw.heap + (BUFFER_AT + i) * CHI_PAGE + b * 2048),
					2048, b ? CHI_BUFFER_OUT : CHI_BUFFER_IN, 0
				};
			if (raw_push(&raw, tasks[i]) == 0)
				lie_sent(liar);
		}
		usleep(200);
		for (uint32_t i = 0; i < N_TASKS; i++) {
			if (chi_task_done(tasks[i]) && tasks[i]->task.result <= 0 &&
			    tasks[i]->task.result > -(int)ERRNOS_MAX)
				lie_answered(liar, tasks[i]->task.result);
			else
				lie_unanswered(liar);
		}
	}
	scribbler_end(&scribbler);
	raw_detach(&raw);
}

/* ---- slots and tail ---- */

void lie_slots_and_tail(struct liar *liar)
{
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	for (uint32_t i = 0; i < N_TASKS; i++)
		lie_task(liar, &raw, i, PROBE_ADD);
	while (lie_goes_on(liar)) {
		uint64_t slot = lie_pick(liar, raw.welcome.lane_depth),
			 lap = lie_pick(liar, 3) ? lie_pick(liar, 40) : lie_word(liar);
		uint64_t ref = lie_pick(liar, 3) ? (raw.heap + lie_pick(liar, N_TASKS) * CHI_PAGE) / HIPC_REF_UNIT
						 : lie_word(liar) & UINT32_MAX;

		hshm_store_relaxed(&raw.ring.slots[slot], lap << 32 | ref);
		if (lie_pick(liar, 8) == 0)
			hshm_store_relaxed(raw.ring.tail, lie_pick(liar, 2) ? lie_word(liar) : lie_pick(liar, 4096));
		if (lie_pick(liar, 16) == 0)
			(void)!hipc_mpsc_enqueue(&raw.ring, (uint32_t)ref | 1); /* ends, whatever it finds */
		if (lie_pick(liar, 16) == 0)
			raw_ring(&raw);
		lie_sent(liar);
	}
	raw_detach(&raw);
}

/* ---- one field of a task ---- */

static void spoil_header(struct liar *liar, struct chi_task *task)
{
	switch (lie_pick(liar, 8)) {
	case 0:
		task->version = (uint16_t)lie_word(liar);
		break;
	case 1:
		/* not those that say that nobody waits for an answer at the usual place */
		task->flags = (uint16_t)(lie_word(liar) & ~(uint64_t)(CHI_TASK_NOTIFY | CHI_TASK_PERIODIC));
		break;
	case 2:
		task->size_bytes = (uint32_t)lie_word(liar);
		break;
	case 3:
		task->pool_id = (uint32_t)lie_word(liar);
		task->pool_id = task->pool_id == CHI_ADMIN_POOL_ID ? 0 : task->pool_id; /* it may stop the runtime */
		break;
	case 4:
		task->method_id = 20 + (uint32_t)lie_word(liar);
		task->method_id = task->method_id < 20 ? UINT32_MAX : task->method_id;
		break;
	case 5:
		task->query.kind = (uint32_t)lie_word(liar) % 9;
		break;
	case 6:
		task->query.kind = 1 + (uint32_t)lie_pick(liar, 4);
		task->query.value = lie_word(liar);
		break;
	default:
		memset(&task->id, (int)lie_pick(liar, 256), sizeof(task->id));
		task->submitter = lie_word(liar);
		task->notice = (uint32_t)lie_word(liar);
		break;
	}
}

void lie_headers(struct liar *liar)
{
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		struct probe_task *task = lie_task(liar, &raw, 0, PROBE_ADD);

		spoil_header(liar, &task->task);
		call(liar, &raw, task);
	}
	raw_detach(&raw);
}

/* References: into the queue, the header, behind the end, half over it; each is refused, and what is no place for an answer gets
 * none. A good one behind it in the lane is served. */
void lie_references(struct liar *liar)
{
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		uint64_t units = raw.welcome.client_bytes / HIPC_REF_UNIT, heap = raw.heap / HIPC_REF_UNIT;
		uint32_t ref = (uint32_t)(lie_pick(liar, 2) ? lie_pick(liar, heap)
							    : units - 1 + lie_pick(liar, 1u << 20));

		if (hipc_mpsc_enqueue(&raw.ring, ref | (ref == 0)) == 0)
			lie_sent(liar);
		call(liar, &raw, lie_task(liar, &raw, 0, PROBE_ADD));
	}
	raw_detach(&raw);
}

/* ---- buffers ---- */

static bool is_inside(const struct raw *raw, const struct chi_buffer *buffer)
{
	uint64_t offset = hipc_ptr_offset(buffer->ptr);

	return hipc_ptr_segment(buffer->ptr) == raw->welcome.client_segment_id && offset <= raw->welcome.client_bytes &&
	       buffer->size_bytes <= raw->welcome.client_bytes - offset;
}

static struct chi_buffer some_buffer(struct liar *liar, const struct raw *raw)
{
	uint64_t size = lie_pick(liar, 2) ? lie_pick(liar, 8192) : lie_word(liar);
	uint64_t offset = lie_pick(liar, 2) ? raw->heap + lie_pick(liar, 1u << 20)
					    : raw->welcome.client_bytes - lie_pick(liar, 64) + lie_pick(liar, 64);
	uint32_t segment = raw->welcome.client_segment_id;

	/* others' numbers, the runtime's own, none, and a plain address */
	if (lie_pick(liar, 4) == 0)
		segment = (uint32_t)(lie_pick(liar, 2) ? lie_pick(liar, 80) : lie_word(liar) & HIPC_SEGMENT_LOCAL);
	return (struct chi_buffer){ hipc_ptr_make(segment, offset), size, CHI_BUFFER_IN, 0 };
}

void lie_buffers(struct liar *liar)
{
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		struct probe_task *task = lie_task(liar, &raw, 0, PROBE_COPY);
		bool inside;
		int ret;

		for (uint32_t b = 0; b < 2; b++)
			task->buffers[b] = some_buffer(liar, &raw);
		/* what it copies may lie over the task, but the answer has to be seen */
		if (hipc_ptr_offset(task->buffers[1].ptr) < raw.heap + CHI_PAGE)
			task->buffers[1].ptr = hipc_ptr_make(hipc_ptr_segment(task->buffers[1].ptr),
							     raw.heap + CHI_PAGE);
		inside = is_inside(&raw, &task->buffers[0]) && is_inside(&raw, &task->buffers[1]);
		ret = call(liar, &raw, task);
		if (!inside && ret != -EFAULT)
			lie_violation(liar, "buffers outside its segment were taken: %d", ret);
	}
	raw_detach(&raw);
}

/* Pointers and sizes change all the time, from inside to outside and back, and over header, lanes and words. */
static void scribble_buffers(struct raw *raw, uint64_t *random)
{
	struct probe_task *task =
		(struct probe_task *)(raw->segment + raw->heap + next_random(random) % N_TASKS * CHI_PAGE);
	struct chi_buffer *buffer = &task->buffers[next_random(random) % 2];
	uint64_t word = next_random(random);

	if (word % 2)
		store_word((char *)&buffer->ptr,
			   hipc_ptr_make(word % 4 == 1 ? raw->welcome.client_segment_id : (uint32_t)(word >> 8) % 80,
					 (word >> 20) % (2 * raw->welcome.client_bytes))
				   .word);
	else
		store_word((char *)&buffer->size_bytes, word % 4 ? (word >> 8) % 4096 : word);
}

void lie_buffers_change(struct liar *liar)
{
	struct scribbler scribbler;
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	scribbler_start(&scribbler, liar, &raw, scribble_buffers);
	for (uint64_t n = 0; lie_goes_on(liar); n++) {
		struct probe_task *task = lie_task(liar, &raw, (uint32_t)(n % N_TASKS), PROBE_COPY);

		hshm_store_relaxed(&raw.ring.slots[n % raw.welcome.lane_depth],
				   n / raw.welcome.lane_depth << 32 | raw_ref(&raw, task));
		raw_ring(&raw);
		lie_sent(liar);
		if (n % N_TASKS == N_TASKS - 1)
			usleep(100);
	}
	scribbler_end(&scribbler);
	raw_detach(&raw);
}

/* ---- completion, parking, events ---- */

void lie_words(struct liar *liar)
{
	struct chi_client_events *events;
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	events = (struct chi_client_events *)(raw.segment + CHI_CLIENT_EVENTS_OFFSET);
	for (uint32_t i = 0; lie_goes_on(liar); i++) {
		/* each in a place of its own: by what it wrote itself, one before it looks done and may be in flight */
		struct probe_task *task = lie_task(liar, &raw, i % 1024, PROBE_ADD);
		uint64_t park = lie_pick(liar, 2) ? lie_pick(liar, 4096) : lie_word(liar);

		hshm_store_relaxed(&task->task.completion, lie_pick(liar, 2) ? 0 : lie_word(liar));
		hshm_store_relaxed(&task->task.sleeper, lie_pick(liar, 3) ? park : lie_word(liar));
		task->task.order = lie_word(liar);
		hshm_store_relaxed((hshm_au32 *)(raw.segment + CHI_CLIENT_SLEEPS_OFFSET), (uint32_t)lie_word(liar));
		hshm_store_relaxed(&events->ended, (uint32_t)lie_word(liar));
		hshm_store_relaxed(&events->armed, (uint32_t)lie_word(liar));
		if (lie_pick(liar, 2)) {
			call(liar, &raw, task);
			continue;
		}
		task->task.flags = CHI_TASK_NOTIFY;
		if (raw_push(&raw, task) == 0)
			lie_sent(liar);
		/* its answer is the word, with what stood in `ended`; the word that it began with may look the same */
		for (int tries = 0; tries < 200 && hshm_load_relaxed(&events->ended) != raw_ref(&raw, task); tries++)
			usleep(20);
		lie_unanswered(liar);
	}
	raw_detach(&raw);
}

/* ---- the counters file: of the user's own, so that it can be opened to write ---- */

void lie_counters_file(struct liar *liar)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/chimaera/" RUNTIME_NAME ".counters", getenv("XDG_RUNTIME_DIR"));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		lie_violation(liar, "%s: %s", path, strerror(errno));
		return;
	}
	while (lie_goes_on(liar)) {
		uint64_t word = lie_word(liar);
		ssize_t n = pwrite(fd, &word, sizeof(word), (off_t)lie_pick(liar, 1u << 18) * 8);

		lie_sent(liar);
		lie_answered(liar, n < 0 ? -errno : 0);
		usleep(10);
	}
	close(fd);
}
