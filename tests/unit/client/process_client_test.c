/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process_client_test.c - memory, lanes, fire-and-forget, and the end of the runtime or of the process
 */
#include "fake_runtime.h"

#include <chimaera/admin.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "client/process_client.h"
#include "support/skip.h"
#include "task/submit_order.h"
#include "task/submitter.h"

#define SOON_NS	   (100 * HSHM_NSEC_PER_MSEC) /* as promised */
#define NEVER_NS   (2 * HSHM_NSEC_PER_SEC)    /* on a machine that others use, too */
#define SOON_TRIES 5u

struct fixture {
	struct fake_runtime fake;
	struct chi_client *client;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fake_init(&fixture->fake);
	assert_int_equal(fake_connect(&fixture->fake, &fixture->client), 0);
	*state = fixture;
	return 0;
}

/* The fake takes nothing: hang up first, or disconnect would wait for it to do so. */
static int teardown(void **state)
{
	struct fixture *fixture = *state;

	fake_hang_up(&fixture->fake);
	chi_client_disconnect(fixture->client);
	fake_fini(&fixture->fake);
	free(fixture);
	return 0;
}

static struct chi_task *new_task(struct chi_client *client, uint16_t flags)
{
	struct chi_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), 9, CHI_QUERY_LOCAL_ID(0), 0, &task), 0);
	task->flags = flags;
	return task;
}

/* ---- submit ---- */

static void submitted_tasks_arrive_in_order_at_their_priority(void **state)
{
	struct fixture *fixture = *state;
	struct hipc_mpsc_consumer low = { 0 }, high = { 0 };
	struct chi_task *first = new_task(fixture->client, 0);
	struct chi_task *second = new_task(fixture->client, 0);
	struct chi_task *slow = new_task(fixture->client, CHI_TASK_HIGH_LATENCY);
	uint32_t lane = HSHM_THREAD_MODEL->index() % FAKE_LANES;
	struct chi_buffer buffer;

	assert_int_equal(chi_submit(fixture->client, first), 0);
	assert_int_equal(chi_submit(fixture->client, slow), 0);
	assert_int_equal(chi_submit(fixture->client, second), 0);
	assert_int_equal(chi_submit_order_n_behind(first), 2);
	assert_int_equal(chi_submit_order_n_behind(second), 0);
	assert_int_equal(chi_buffer_set(fixture->client, &buffer, first, 1, CHI_BUFFER_IN), 0);
	assert_int_equal(fake_take(&fixture->fake, &low, lane, CHI_PRIO_LOW_LATENCY) * HIPC_REF_UNIT,
			 hipc_ptr_offset(buffer.ptr));
	assert_int_equal(chi_buffer_set(fixture->client, &buffer, second, 1, CHI_BUFFER_IN), 0);
	assert_int_equal(fake_take(&fixture->fake, &low, lane, CHI_PRIO_LOW_LATENCY) * HIPC_REF_UNIT,
			 hipc_ptr_offset(buffer.ptr));
	assert_int_equal(chi_buffer_set(fixture->client, &buffer, slow, 1, CHI_BUFFER_IN), 0);
	assert_int_equal(fake_take(&fixture->fake, &high, lane, CHI_PRIO_HIGH_LATENCY) * HIPC_REF_UNIT,
			 hipc_ptr_offset(buffer.ptr));
	assert_int_equal(fake_take(&fixture->fake, &low, lane, CHI_PRIO_LOW_LATENCY), 0);
	/* each priority's lane was asked for once */
	assert_int_equal(hshm_load_relaxed(&fixture->fake.n_lanes_asked), 2);
}

static void armed_lane_is_rung_and_a_hot_one_is_not(void **state)
{
	struct fixture *fixture = *state;
	hshm_au32 *armed = (hshm_au32 *)((char *)fixture->fake.main.map.base + chi_main_armed_offset(0));
	eventfd_t rings;

	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
	assert_int_equal(eventfd_read(fixture->fake.eventfd, &rings), -1);
	hshm_store_relaxed(armed, 1);
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
	assert_int_equal(eventfd_read(fixture->fake.eventfd, &rings), 0);
}

/* It is, from the ring of an armed lane until its worker takes `armed` back; but nobody is while nothing waits there. */
static void a_worker_is_being_woken_while_its_armed_lane_has_work(void **state)
{
	struct fixture *fixture = *state;
	hshm_au32 *armed = (hshm_au32 *)((char *)fixture->fake.main.map.base + chi_main_armed_offset(0));
	struct hipc_mpsc_consumer low = { 0 };
	uint32_t lane = HSHM_THREAD_MODEL->index() % FAKE_LANES;
	bool (*is_waking)(struct chi_client *) = fixture->client->ops->is_waking;

	assert_false(is_waking(fixture->client)); /* no lane is open */
	hshm_store_relaxed(armed, 1);
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
	assert_true(is_waking(fixture->client));
	hshm_store_relaxed(armed, 0);
	assert_false(is_waking(fixture->client));
	assert_int_not_equal(fake_take(&fixture->fake, &low, lane, CHI_PRIO_LOW_LATENCY), 0);
	hshm_store_relaxed(armed, 1);
	assert_false(is_waking(fixture->client));
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, CHI_TASK_HIGH_LATENCY)), 0);
	assert_true(is_waking(fixture->client));
}

static void many_of_both_priorities_ring_each_armed_lane_once(void **state)
{
	struct fixture *fixture = *state;
	hshm_au32 *armed = (hshm_au32 *)((char *)fixture->fake.main.map.base + chi_main_armed_offset(0));
	void *tasks[FAKE_DEPTH];
	eventfd_t rings;

	/* the fake has one armed word and one eventfd for all lanes */
	hshm_store_relaxed(armed, 1);
	for (uint32_t i = 0; i < FAKE_DEPTH; i++)
		tasks[i] = new_task(fixture->client, i % 2 ? CHI_TASK_HIGH_LATENCY : 0);
	assert_int_equal(chi_submit_many(fixture->client, tasks, FAKE_DEPTH), FAKE_DEPTH);
	assert_int_equal(eventfd_read(fixture->fake.eventfd, &rings), 0);
	assert_int_equal(rings, 2);
	hshm_store_relaxed(armed, 0);
	for (uint32_t i = 0; i < FAKE_DEPTH; i++)
		tasks[i] = new_task(fixture->client, 0);
	assert_int_equal(chi_submit_many(fixture->client, tasks, FAKE_DEPTH), FAKE_DEPTH / 2);
	assert_int_equal(eventfd_read(fixture->fake.eventfd, &rings), -1);
}

static void memory_that_is_not_the_clients_is_refused(void **state)
{
	struct fixture *fixture = *state;
	_Alignas(64) struct chi_task on_stack;
	struct chi_task *task = new_task(fixture->client, 0);
	char *base = (char *)task;
	struct chi_buffer buffer;

	chi_task_init(&on_stack, sizeof(on_stack), 9, CHI_QUERY_LOCAL_ID(0), 0);
	assert_int_equal(chi_submit(fixture->client, &on_stack), -EINVAL);
	assert_int_equal(on_stack.submitter, 0);
	assert_int_equal(chi_buffer_set(fixture->client, &buffer, &on_stack, 1, CHI_BUFFER_IN), -EFAULT);

	/* not aligned to a reference's unit */
	memset(base + 8, 0, sizeof(*task) - 8);
	assert_int_equal(chi_submit(fixture->client, base + 8), -EINVAL);
	/* says that it is larger than what is left of the segment */
	chi_task_init(task, sizeof(*task), 9, CHI_QUERY_LOCAL_ID(0), 0);
	task->size_bytes = FAKE_CLIENT_BYTES;
	assert_int_equal(chi_submit(fixture->client, task), -EINVAL);
	assert_int_equal(chi_buffer_set(fixture->client, &buffer, task, FAKE_CLIENT_BYTES, CHI_BUFFER_IN), -EFAULT);
	assert_int_equal(chi_buffer_set(fixture->client, &buffer, task, UINT64_MAX, CHI_BUFFER_IN), -EFAULT);
	/* nothing of it came to the runtime */
	assert_int_equal(hshm_load_relaxed(&fixture->fake.n_lanes_asked), 0);
}

static void queue_and_parking_words_cannot_be_lent(void **state)
{
	struct fixture *fixture = *state;
	struct chi_parking_place place = fixture->client->ops->park(fixture->client);
	struct chi_buffer buffer;
	/* a task laid over the segment's first lane: header, tail and slots */
	struct chi_task *on_queue =
		(struct chi_task *)((char *)place.word - (uint64_t)place.ref * 4 + chi_client_queue_offset(FAKE_LANES));

	assert_int_equal(chi_buffer_set(fixture->client, &buffer, place.word, 4, CHI_BUFFER_OUT), -EFAULT);
	assert_int_equal(chi_buffer_set(fixture->client, &buffer, place.n_sleeps, 4, CHI_BUFFER_OUT), -EFAULT);
	assert_int_equal(fixture->client->ops->submit(fixture->client, on_queue, false), -EINVAL);
}

static void a_task_that_begins_in_the_last_unit_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct chi_parking_place place = fixture->client->ops->park(fixture->client);
	char *base = (char *)place.word - (uint64_t)place.ref * sizeof(*place.word);

	/* its size is there to read, and 0 */
	assert_int_equal(
		fixture->client->ops->submit(
			fixture->client, (struct chi_task *)(void *)(base + FAKE_CLIENT_BYTES - HIPC_REF_UNIT), false),
		-EINVAL);
	assert_int_equal(hshm_load_relaxed(&fixture->fake.n_lanes_asked), 0);
}

static void parking_word_is_the_lanes_and_its_reference_names_it(void **state)
{
	struct fixture *fixture = *state;
	struct chi_parking_place place = fixture->client->ops->park(fixture->client);
	const struct hipc_mapping *theirs = &fixture->fake.segment.map;
	hshm_au32 *seen = (hshm_au32 *)((char *)theirs->base + (uint64_t)place.ref * 4);

	assert_int_equal((uint64_t)place.ref * 4, chi_client_park_offset(HSHM_THREAD_MODEL->index() % FAKE_LANES));
	hshm_store_relaxed(place.word, 41);
	assert_int_equal(hshm_load_relaxed(seen), 41);
	hshm_store_relaxed(place.n_sleeps, 42);
	assert_int_equal(hshm_load_relaxed(chi_client_sleeps_of(theirs)), 42);
}

static void full_lane_returns_eagain_and_the_task_stays_the_callers(void **state)
{
	struct fixture *fixture = *state;
	struct chi_task *task;

	for (uint32_t i = 0; i < FAKE_DEPTH; i++)
		assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
	task = new_task(fixture->client, CHI_TASK_FIRE_AND_FORGET);
	assert_int_equal(chi_submit(fixture->client, task), -EAGAIN);
	assert_int_equal(task->submitter, 0);
	assert_int_equal(chi_task_free(fixture->client, task), 0);
}

static void late_answers_are_passed_over(void **state)
{
	struct fixture *fixture = *state;

	fixture->fake.late_answer = true;
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
}

static void answer_without_a_descriptor_returns_eproto(void **state)
{
	struct fixture *fixture = *state;

	fixture->fake.lane_fds = 0;
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), -EPROTO);
}

static void armed_word_outside_the_main_segment_returns_eproto(void **state)
{
	struct fixture *fixture = *state;

	fixture->fake.armed_index = UINT32_MAX;
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), -EPROTO);
	fixture->fake.armed_index = 0;
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
}

static void silent_runtime_delays_a_lane_no_longer_than_the_timeout(void **state)
{
	struct fixture *fixture = *state;

	fixture->fake.silent = true;
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), -EAGAIN);
}

/* ---- memory ---- */

static void cap_returns_enomem_and_freed_memory_comes_back(void **state)
{
	struct fixture *fixture = *state;
	uint64_t most = FAKE_CLIENT_BYTES - chi_client_heap_offset(FAKE_LANES, FAKE_DEPTH);
	void *memory, *more;

	assert_int_equal(chi_alloc(fixture->client, FAKE_CLIENT_BYTES, &memory), -ENOMEM);
	assert_true(chi_error_text()[0]);
	assert_int_equal(chi_alloc(fixture->client, most / 4 * 3, &memory), 0);
	assert_int_equal(chi_alloc(fixture->client, most / 4 * 3, &more), -ENOMEM);
	chi_free(fixture->client, memory);
	assert_int_equal(chi_alloc(fixture->client, most / 4 * 3, &more), 0);
	chi_free(fixture->client, more);
	assert_int_equal(chi_alloc(fixture->client, 0, &memory), -EINVAL);
}

/* ---- fire and forget ---- */

static void given_tasks_are_reclaimed_by_later_submits(void **state)
{
	struct fixture *fixture = *state;
	struct hipc_mpsc_consumer consumer = { 0 };
	uint32_t lane = HSHM_THREAD_MODEL->index() % FAKE_LANES;

	/* many more than the segment holds at once */
	for (uint32_t i = 0; i < 4 * FAKE_CLIENT_BYTES / CHI_TASK_SIZE_MAX; i++) {
		struct chi_task *task;

		assert_int_equal(chi_task_alloc(fixture->client, CHI_TASK_SIZE_MAX, 9, CHI_QUERY_LOCAL_ID(0), 0, &task),
				 0);
		task->flags = CHI_TASK_FIRE_AND_FORGET;
		assert_int_equal(chi_submit(fixture->client, task), 0);
		fake_complete(&fixture->fake, fake_take(&fixture->fake, &consumer, lane, CHI_PRIO_LOW_LATENCY));
	}
}

static void given_tasks_are_reclaimed_when_memory_is_short(void **state)
{
	struct fixture *fixture = *state;
	struct hipc_mpsc_consumer consumer = { 0 };
	uint32_t lane = HSHM_THREAD_MODEL->index() % FAKE_LANES;
	uint32_t refs[FAKE_CLIENT_BYTES / CHI_TASK_SIZE_MAX], n = 0;
	struct chi_task *task;

	/* not one is done until the memory is used up */
	while (chi_task_alloc(fixture->client, CHI_TASK_SIZE_MAX, 9, CHI_QUERY_LOCAL_ID(0), 0, &task) == 0) {
		task->flags = CHI_TASK_FIRE_AND_FORGET;
		assert_int_equal(chi_submit(fixture->client, task), 0);
		refs[n++] = fake_take(&fixture->fake, &consumer, lane, CHI_PRIO_LOW_LATENCY);
	}
	assert_true(n > 10);
	/* the oldest stay, as a periodic task would: they must not hide the rest */
	for (uint32_t i = 8; i < n; i++)
		fake_complete(&fixture->fake, refs[i]);
	for (uint32_t i = 8; i < n; i++)
		assert_int_equal(chi_task_alloc(fixture->client, CHI_TASK_SIZE_MAX, 9, CHI_QUERY_LOCAL_ID(0), 0, &task),
				 0);
	assert_int_equal(chi_task_alloc(fixture->client, CHI_TASK_SIZE_MAX, 9, CHI_QUERY_LOCAL_ID(0), 0, &task),
			 -ENOMEM);
}

static void given_tasks_in_flight_are_not_reclaimed(void **state)
{
	struct fixture *fixture = *state;
	struct hipc_mpsc_consumer consumer = { 0 };
	uint32_t lane = HSHM_THREAD_MODEL->index() % FAKE_LANES;
	struct chi_task *task = new_task(fixture->client, CHI_TASK_FIRE_AND_FORGET);

	task->period_ns = 4711;
	assert_int_equal(chi_submit(fixture->client, task), 0);
	fake_take(&fixture->fake, &consumer, lane, CHI_PRIO_LOW_LATENCY);
	for (uint32_t i = 0; i < 200; i++)
		new_task(fixture->client, 0);
	assert_int_equal(task->period_ns, 4711);
}

/* ---- ends ---- */

static void hang_up_is_found_and_stays(void **state)
{
	struct fixture *fixture = *state;
	struct chi_task *task = new_task(fixture->client, 0);

	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
	assert_int_equal(chi_client_alive(fixture->client), 0);
	shutdown(fixture->fake.own_end, SHUT_RDWR);
	assert_int_equal(chi_client_alive(fixture->client), -EOWNERDEAD);
	assert_int_equal(chi_client_alive(fixture->client), -EOWNERDEAD);
	assert_int_equal(chi_submit(fixture->client, task), -EOWNERDEAD);
	assert_int_equal(task->submitter, 0);
}

/* Returns how long it took. */
static uint64_t find_the_end_by_short_waits(struct fixture *fixture)
{
	struct chi_task *task = new_task(fixture->client, 0);
	uint64_t begin_ns, found_ns;
	int rc;

	assert_int_equal(chi_submit(fixture->client, task), 0);
	assert_int_equal(chi_wait(task, 0), -ETIMEDOUT);
	shutdown(fixture->fake.own_end, SHUT_RDWR);
	begin_ns = hshm_clock_ns();
	do {
		rc = chi_wait(task, 0);
		found_ns = hshm_clock_ns() - begin_ns;
	} while (rc == -ETIMEDOUT && found_ns < NEVER_NS);
	assert_int_equal(rc, -EOWNERDEAD);
	assert_int_equal(chi_wait(task, 0), -EOWNERDEAD);
	assert_int_equal(chi_wait(task, HSHM_FOREVER), -EOWNERDEAD);
	return found_ns;
}

/* Looked at once in ATTACHMENT_LOOK_NS: not at the first of those looks, but soon. Another process may have the processor then:
 * so it is in one of a few tries. */
static void waits_for_short_times_find_the_end_without_a_system_call_each(void **state)
{
	uint64_t found_ns = find_the_end_by_short_waits(*state);

	for (uint32_t i = 1; i < SOON_TRIES && found_ns >= SOON_NS; i++) {
		teardown(state);
		setup(state);
		found_ns = find_the_end_by_short_waits(*state);
	}
	assert_true(found_ns < SOON_NS);
}

static void memory_of_a_dead_runtime_is_freed_but_not_handed_out(void **state)
{
	struct fixture *fixture = *state;
	struct chi_task *task = new_task(fixture->client, 0);
	void *memory;

	assert_int_equal(chi_submit(fixture->client, task), 0);
	assert_int_equal(chi_task_free(fixture->client, task), -EBUSY);
	fake_hang_up(&fixture->fake);
	assert_int_equal(chi_client_alive(fixture->client), -EOWNERDEAD);
	assert_int_equal(chi_submit(fixture->client, task), -EOWNERDEAD);
	assert_int_equal(chi_task_free(fixture->client, task), 0);
	assert_int_equal(chi_alloc(fixture->client, 64, &memory), -EOWNERDEAD);
}

static void a_client_of_a_given_socket_cannot_reconnect(void **state)
{
	struct fixture *fixture = *state;

	fake_hang_up(&fixture->fake);
	assert_int_equal(chi_client_reconnect(fixture->client, 0), -ENOTSUP);
}

static void make_pool(void *arg)
{
	struct chi_pool_spec spec = { .module = "any", .params = "some", .params_size = 4 };
	uint32_t pool;

	assert_int_equal(chi_pool_create(arg, &spec, &pool), -EOWNERDEAD);
}

static void list_pools(void *arg)
{
	struct chi_pool_info pools[4];

	assert_int_equal(chi_pool_list(arg, pools, 4), -EOWNERDEAD);
}

static void flush(void *arg)
{
	assert_int_equal(chi_flush(arg), -EOWNERDEAD);
}

static void stop(void *arg)
{
	assert_int_equal(chi_stop(arg), -EOWNERDEAD);
}

static uint64_t count_references(const struct fake_runtime *fake)
{
	const char *at = (const char *)fake->segment.map.base + chi_client_queue_offset(FAKE_LANES);
	struct hipc_multi_mpsc_queue queue;
	uint64_t n = 0;

	assert_int_equal(hipc_multi_mpsc_queue_attach((void *)(uintptr_t)at, FAKE_LANES, CHI_PRIOS, FAKE_DEPTH,
						      sizeof(struct chi_lane_header), &queue),
			 0);
	for (uint32_t i = 0; i < FAKE_LANES * CHI_PRIOS; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&queue, i / CHI_PRIOS, i % CHI_PRIOS);

		for (uint32_t slot = 0; slot < FAKE_DEPTH; slot++)
			n += (uint32_t)hshm_load_acquire(&ring.slots[slot]) != 0;
	}
	return n;
}

/* A block that stays would keep the whole attachment over each later reconnect. */
static void calls_in_flight_at_the_end_of_a_runtime_leave_no_memory(void **state)
{
	static void (*const calls[])(void *) = { make_pool, list_pools, flush, stop };
	struct fixture *fixture = *state;
	struct process_client *client = (struct process_client *)fixture->client;
	struct hshm_thread *threads[sizeof(calls) / sizeof(calls[0])];
	struct hshm_heap_stats stats;
	unsigned n = sizeof(calls) / sizeof(calls[0]);

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(HSHM_THREAD_MODEL->spawn("call", calls[i], fixture->client, &threads[i]), 0);
	while (count_references(&fixture->fake) < n)
		HSHM_THREAD_MODEL->yield();
	fake_hang_up(&fixture->fake);
	for (unsigned i = 0; i < n; i++)
		HSHM_THREAD_MODEL->join(threads[i]);
	hshm_heap_get_stats(process_client_now(client)->heap, &stats);
	assert_int_equal(stats.n_blocks, 0);
}

static void full_lane_of_a_dead_runtime_returns_eownerdead(void **state)
{
	struct fixture *fixture = *state;

	for (uint32_t i = 0; i < FAKE_DEPTH; i++)
		assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
	shutdown(fixture->fake.own_end, SHUT_RDWR);
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), -EOWNERDEAD);
}

static void lane_of_a_dead_runtime_returns_eownerdead(void **state)
{
	struct fixture *fixture = *state;

	shutdown(fixture->fake.own_end, SHUT_RDWR);
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), -EOWNERDEAD);
}

struct drain {
	struct fake_runtime *fake;
	uint32_t lane;
	uint32_t n_taken;
};

static void drain_slowly(void *arg)
{
	struct drain *drain = arg;
	struct hipc_mpsc_consumer consumer = { 0 };

	while (drain->n_taken < FAKE_DEPTH) {
		HSHM_THREAD_MODEL->sleep_for_us(2000);
		if (fake_take(drain->fake, &consumer, drain->lane, CHI_PRIO_LOW_LATENCY))
			drain->n_taken++;
	}
}

static void disconnect_waits_until_the_runtime_has_taken_all(void **state)
{
	struct fixture other;
	struct drain drain = { .fake = &other.fake, .lane = HSHM_THREAD_MODEL->index() % FAKE_LANES };
	struct hshm_thread *thread;
	struct hipc_multi_mpsc_queue queue;
	struct hipc_mpsc_queue ring;

	(void)state;
	fake_init(&other.fake);
	assert_int_equal(fake_connect(&other.fake, &other.client), 0);
	for (uint32_t i = 0; i < FAKE_DEPTH; i++)
		assert_int_equal(chi_submit(other.client, new_task(other.client, CHI_TASK_FIRE_AND_FORGET)), 0);
	assert_int_equal(HSHM_THREAD_MODEL->spawn("drain", drain_slowly, &drain, &thread), 0);
	chi_client_disconnect(other.client);
	/* what is left in the ring when it returns would never have been run */
	assert_int_equal(
		hipc_multi_mpsc_queue_attach((char *)other.fake.segment.map.base + chi_client_queue_offset(FAKE_LANES),
					     FAKE_LANES, CHI_PRIOS, FAKE_DEPTH, sizeof(struct chi_lane_header), &queue),
		0);
	ring = hipc_multi_mpsc_queue_lane(&queue, drain.lane, CHI_PRIO_LOW_LATENCY);
	for (uint32_t i = 0; i < FAKE_DEPTH; i++)
		assert_int_equal((uint32_t)hshm_load_relaxed(&ring.slots[i]), 0);
	HSHM_THREAD_MODEL->join(thread);
	assert_int_equal(drain.n_taken, FAKE_DEPTH);
	fake_fini(&other.fake);
}

/* In the child: the exit code is the line that failed, 0 when all holds. */
#define CHECK(condition)                                              \
	do {                                                          \
		if (!(condition))                                     \
			_exit(__LINE__ & 0x7f ? __LINE__ & 0x7f : 1); \
	} while (0)

static void check_in_child(struct fixture *fixture, const void *memory)
{
	struct chi_runtime_info info;
	struct chi_buffer buffer;
	void *block;

	CHECK(chi_client_alive(fixture->client) == -ENOTCONN);
	CHECK(chi_alloc(fixture->client, 64, &block) == -ENOTCONN);
	CHECK(chi_task_alloc(fixture->client, 128, 1, CHI_QUERY_LOCAL_ID(0), 0, &block) == -ENOTCONN);
	CHECK(chi_buffer_set(fixture->client, &buffer, &info, 1, CHI_BUFFER_IN) == -ENOTCONN);
	CHECK(chi_submit(fixture->client, (void *)(uintptr_t)memory) == -ENOTCONN);
	CHECK(chi_task_free(fixture->client, (void *)(uintptr_t)memory) == -ENOTCONN);
	CHECK(chi_client_runtime_info(fixture->client, &info) == -ENOTCONN);
	CHECK(chi_client_reconnect(fixture->client, 0) == -ENOTCONN);
	chi_free(fixture->client, (void *)(uintptr_t)memory);
	chi_client_disconnect(fixture->client);
	_exit(0);
}

static void forked_child_gets_enotconn_and_harms_nobody(void **state)
{
	struct fixture *fixture = *state;
	struct chi_task *task;
	int status;
	pid_t child;

	skip_under_qemu("takes MADV_WIPEONFORK and does nothing");
	task = new_task(fixture->client, 0);
	assert_int_equal(chi_submit(fixture->client, new_task(fixture->client, 0)), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		check_in_child(fixture, task);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* the parent's connection and memory are as before */
	assert_int_equal(chi_client_alive(fixture->client), 0);
	assert_int_equal(chi_submit(fixture->client, task), 0);
}

/* A fork in the middle of a reconnect: what is to be replaced stands in the list already, and is still in use. */
static void a_child_forked_in_the_middle_of_a_reconnect_releases_it_once(void **state)
{
	struct fixture *fixture = *state;
	struct process_client *client = (struct process_client *)fixture->client;
	int status;
	pid_t child;

	skip_under_qemu("takes MADV_WIPEONFORK and does nothing");
	client->former = process_client_now(client);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		chi_client_disconnect(fixture->client);
		_exit(0);
	}
	client->former = NULL;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void disconnect_is_seen_though_a_child_holds_the_socket(void **state)
{
	struct pollfd hang_up = { .events = POLLRDHUP };
	struct fixture other;
	int status;
	pid_t child;

	(void)state;
	fake_init(&other.fake);
	assert_int_equal(fake_connect(&other.fake, &other.client), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		pause();
		_exit(0);
	}
	chi_client_disconnect(other.client);
	hang_up.fd = other.fake.own_end;
	assert_int_equal(poll(&hang_up, 1, 5000), 1);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	fake_fini(&other.fake);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(submitted_tasks_arrive_in_order_at_their_priority),
		CASE(armed_lane_is_rung_and_a_hot_one_is_not),
		CASE(a_worker_is_being_woken_while_its_armed_lane_has_work),
		CASE(many_of_both_priorities_ring_each_armed_lane_once),
		CASE(memory_that_is_not_the_clients_is_refused),
		CASE(queue_and_parking_words_cannot_be_lent),
		CASE(a_task_that_begins_in_the_last_unit_is_refused),
		CASE(parking_word_is_the_lanes_and_its_reference_names_it),
		CASE(full_lane_returns_eagain_and_the_task_stays_the_callers),
		CASE(late_answers_are_passed_over),
		CASE(answer_without_a_descriptor_returns_eproto),
		CASE(armed_word_outside_the_main_segment_returns_eproto),
		CASE(silent_runtime_delays_a_lane_no_longer_than_the_timeout),
		CASE(cap_returns_enomem_and_freed_memory_comes_back),
		CASE(given_tasks_are_reclaimed_by_later_submits),
		CASE(given_tasks_are_reclaimed_when_memory_is_short),
		CASE(given_tasks_in_flight_are_not_reclaimed),
		CASE(hang_up_is_found_and_stays),
		CASE(waits_for_short_times_find_the_end_without_a_system_call_each),
		CASE(memory_of_a_dead_runtime_is_freed_but_not_handed_out),
		CASE(a_client_of_a_given_socket_cannot_reconnect),
		CASE(calls_in_flight_at_the_end_of_a_runtime_leave_no_memory),
		CASE(full_lane_of_a_dead_runtime_returns_eownerdead),
		CASE(lane_of_a_dead_runtime_returns_eownerdead),
		CASE(disconnect_waits_until_the_runtime_has_taken_all),
		CASE(forked_child_gets_enotconn_and_harms_nobody),
		CASE(a_child_forked_in_the_middle_of_a_reconnect_releases_it_once),
		CASE(disconnect_is_seen_though_a_child_holds_the_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
