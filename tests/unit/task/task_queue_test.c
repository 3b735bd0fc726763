/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_queue_test.c - one struct for process queues and container queues: order, limits, headers, who is woken
 */
#include "stage.h"

#include <sys/eventfd.h>
#include <unistd.h>

/* ---- a process queue, as its producer has it ---- */

#define PROCESS_LANES 3u
#define N_BELLS	      (PROCESS_LANES * CHI_PRIOS)

struct process {
	struct chi_task_queue queue;
	struct chi_lane_bell bells[N_BELLS];
	hshm_au32 armed[N_BELLS];
	struct hipc_mpsc_consumer consumers[N_BELLS];
	void *memory;
};

static int process_set_up(void **state)
{
	struct process *process = calloc(1, sizeof(*process));
	size_t bytes = hipc_multi_mpsc_queue_bytes(PROCESS_LANES, CHI_PRIOS, LANE_DEPTH,
						   sizeof(struct chi_lane_header));

	assert_non_null(process);
	process->memory = aligned_alloc(HSHM_FALSE_SHARING, bytes);
	assert_non_null(process->memory);
	assert_int_equal(hipc_multi_mpsc_queue_init(process->memory, PROCESS_LANES, CHI_PRIOS, LANE_DEPTH,
						    sizeof(struct chi_lane_header), &process->queue.queue),
			 0);
	process->queue.bells = process->bells;
	for (uint32_t i = 0; i < N_BELLS; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&process->queue.queue, i / CHI_PRIOS,
									 i % CHI_PRIOS);

		hipc_mpsc_consumer_init(&process->consumers[i], &ring);
		process->bells[i].ring = ring;
		process->bells[i].armed = &process->armed[i];
		process->bells[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_true(process->bells[i].fd >= 0);
	}
	*state = process;
	return 0;
}

static int process_tear_down(void **state)
{
	struct process *process = *state;

	for (uint32_t i = 0; i < N_BELLS; i++)
		close(process->bells[i].fd);
	free(process->memory);
	free(process);
	return 0;
}

static uint64_t rings_of(const struct process *process, uint32_t bell)
{
	eventfd_t n = 0;

	return eventfd_read(process->bells[bell].fd, &n) == 0 ? n : 0;
}

static void a_reference_arrives_in_its_lane_and_priority_alone(void **state)
{
	struct process *process = *state;

	for (uint32_t i = 0; i < N_BELLS; i++)
		assert_int_equal(chi_task_queue_enqueue(&process->queue, i / CHI_PRIOS, i % CHI_PRIOS, 100 + i), 0);
	for (uint32_t i = 0; i < N_BELLS; i++) {
		assert_int_equal(hipc_mpsc_dequeue(&process->consumers[i]), 100 + i);
		assert_int_equal(hipc_mpsc_dequeue(&process->consumers[i]), 0);
	}
}

static void a_lane_that_is_not_armed_costs_no_system_call(void **state)
{
	struct process *process = *state;

	for (uint32_t i = 0; i < N_BELLS; i++)
		assert_int_equal(chi_task_queue_enqueue(&process->queue, i / CHI_PRIOS, i % CHI_PRIOS, 1), 0);
	for (uint32_t i = 0; i < N_BELLS; i++)
		assert_int_equal(rings_of(process, i), 0);
}

static void an_armed_lane_rings_its_own_eventfd(void **state)
{
	struct process *process = *state;

	for (uint32_t armed = 0; armed < N_BELLS; armed++) {
		hshm_store_relaxed(&process->armed[armed], 1);
		for (uint32_t i = 0; i < N_BELLS; i++)
			assert_int_equal(chi_task_queue_enqueue(&process->queue, i / CHI_PRIOS, i % CHI_PRIOS, 1), 0);
		for (uint32_t i = 0; i < N_BELLS; i++) {
			assert_int_equal(rings_of(process, i), i == armed);
			assert_int_equal(hipc_mpsc_dequeue(&process->consumers[i]), 1);
		}
		hshm_store_relaxed(&process->armed[armed], 0);
	}
}

static void a_full_process_lane_returns_eagain_and_rings_nobody(void **state)
{
	struct process *process = *state;

	for (uint32_t ref = 1; ref <= LANE_DEPTH; ref++)
		assert_int_equal(chi_task_queue_enqueue(&process->queue, 0, 0, ref), 0);
	hshm_store_relaxed(&process->armed[0], 1);
	assert_int_equal(chi_task_queue_enqueue(&process->queue, 0, 0, 99), -EAGAIN);
	assert_int_equal(rings_of(process, 0), 0);
	for (uint32_t ref = 1; ref <= LANE_DEPTH; ref++)
		assert_int_equal(hipc_mpsc_dequeue(&process->consumers[0]), ref);
	assert_int_equal(hipc_mpsc_dequeue(&process->consumers[0]), 0);
	assert_int_equal(chi_task_queue_enqueue(&process->queue, 0, 0, 99), 0);
	assert_int_equal(rings_of(process, 0), 1);
}

/* ---- a container queue ---- */

#if CHIMAERA_RUNTIME

static void references_leave_in_the_order_they_came(void **state)
{
	struct stage *stage = *state;

	for (uint32_t round = 0; round < 3 * LANE_DEPTH; round++) {
		for (uint32_t ref = 1; ref <= 5; ref++)
			assert_int_equal(stage_enqueue(stage, 1, 10 * round + ref), 0);
		for (uint32_t ref = 1; ref <= 5; ref++)
			assert_int_equal(stage_dequeue(stage, 1), 10 * round + ref);
		assert_int_equal(stage_dequeue(stage, 1), 0);
	}
}

static void the_header_counts_what_was_taken(void **state)
{
	struct stage *stage = *state;

	for (uint32_t ref = 1; ref <= 4; ref++)
		assert_int_equal(stage_enqueue(stage, 2, ref), 0);
	assert_int_equal(hshm_load_relaxed(&stage->lanes[2]->header->n_taken), 0);
	for (uint32_t n = 1; n <= 4; n++) {
		assert_int_equal(stage_dequeue(stage, 2), n);
		assert_int_equal(hshm_load_relaxed(&stage->lanes[2]->header->n_taken), n);
	}
	assert_int_equal(stage_dequeue(stage, 2), 0);
	assert_int_equal(hshm_load_relaxed(&stage->lanes[2]->header->n_taken), 4);
	assert_int_equal(hshm_load_relaxed(&stage->lanes[1]->header->n_taken), 0);
}

static void slots_go_back_when_a_line_of_them_was_taken_and_at_the_end_of_the_turn(void **state)
{
	struct stage *stage = *state;
	struct hipc_mpsc_consumer *consumer = &stage->lanes[1]->consumer;

	for (uint32_t ref = 1; ref <= LANE_DEPTH; ref++)
		assert_int_equal(stage_enqueue(stage, 1, ref), 0);
	for (uint32_t ref = 1; ref <= LANE_DEPTH; ref++) {
		assert_int_equal(chi_task_queue_dequeue(stage->lanes[1]), ref);
		assert_int_equal(hipc_mpsc_n_unreleased(consumer), ref);
	}
	assert_int_equal(stage_enqueue(stage, 1, 9), -EAGAIN);
	assert_int_equal(chi_task_queue_dequeue(stage->lanes[1]), 0);
	assert_int_equal(hipc_mpsc_n_unreleased(consumer), 0);
	assert_int_equal(stage_enqueue(stage, 1, 9), 0);
	assert_int_equal(chi_task_queue_dequeue(stage->lanes[1]), 9);
	chi_task_queue_release(stage->lanes[1]);
	assert_int_equal(hipc_mpsc_n_unreleased(consumer), 0);
}

#define DEEP 32u

/* A lane of its own, which is deeper than a line of slots. */
static void make_deep_lane(struct chi_lane *lane, void *memory)
{
	memset(lane, 0, sizeof(*lane));
	assert_int_equal(hipc_mpsc_queue_init(memory, DEEP, 0, &lane->ring), 0);
	lane->header = &lane->own;
	hipc_mpsc_consumer_init(&lane->consumer, &lane->ring);
}

static void those_that_were_seen_ahead_are_counted_and_go_back_by_lines(void **state)
{
	static char memory[1024] HSHM_ALIGNED(HSHM_FALSE_SHARING);
	struct chi_lane lane;
	uint32_t taken = 0;

	(void)state;
	assert_true(hipc_mpsc_queue_bytes(DEEP, 0) <= sizeof(memory));
	make_deep_lane(&lane, memory);
	for (uint32_t ref = 1; ref <= DEEP; ref++)
		assert_int_equal(hipc_mpsc_enqueue(&lane.ring, ref), 0);
	while (hipc_mpsc_look_ahead(&lane.consumer, &lane.ahead, 12) > 0)
		for (; hipc_mpsc_n_ahead(&lane.consumer, &lane.ahead) > 0; taken++) {
			assert_int_equal(chi_task_queue_dequeue_ahead(&lane), taken + 1);
			assert_int_equal(hshm_load_relaxed(&lane.own.n_taken), taken + 1);
			assert_int_equal(hipc_mpsc_n_unreleased(&lane.consumer), taken % 8 + 1);
		}
	assert_int_equal(taken, DEEP);
	assert_int_equal(hipc_mpsc_enqueue(&lane.ring, 99), 0);
}

static void each_lane_has_a_header_of_its_own(void **state)
{
	struct stage *stage = *state;

	for (uint32_t i = 0; i < N_LANES; i++) {
		stage->lanes[i]->header->pool_id = 1000 + i;
		stage->lanes[i]->header->container_id = 2000 + i;
		stage->lanes[i]->header->queue_id = (uint16_t)(3000 + i);
	}
	/* traffic leaves them alone */
	for (uint32_t i = 0; i < N_LANES * LANE_DEPTH; i++)
		assert_int_equal(stage_enqueue(stage, i % N_LANES, UINT32_MAX - i), 0);
	for (uint32_t i = 0; i < N_LANES; i++) {
		assert_int_equal(stage->lanes[i]->header->pool_id, 1000 + i);
		assert_int_equal(stage->lanes[i]->header->container_id, 2000 + i);
		assert_int_equal(stage->lanes[i]->header->queue_id, 3000 + i);
		assert_int_equal(stage->lanes[i]->header->lane_id, i);
	}
}

static void enqueue_on_a_full_lane_returns_eagain_and_lists_nothing(void **state)
{
	struct stage *stage = *state;
	struct chi_active_queue *active = active_of(stage, 0, CHI_PRIO_LOW_LATENCY);

	for (uint32_t ref = 1; ref <= LANE_DEPTH; ref++)
		assert_int_equal(stage_enqueue(stage, 3, ref), 0);
	assert_ptr_equal(chi_active_queue_pop(active), stage->lanes[3]);
	/* as if it had gone idle with a full ring: the push that fails must not list it */
	assert_true(chi_lane_deactivate(stage->lanes[3]));
	hshm_doorbell_prepare_sleep(&stage->bells[0]);
	assert_int_equal(stage_enqueue(stage, 3, 99), -EAGAIN);
	assert_null(chi_active_queue_pop(active));
	assert_false(is_queued(stage->lanes[3]));
	assert_false(is_readable(stage->bells[0].fd));
	for (uint32_t ref = 1; ref <= LANE_DEPTH; ref++)
		assert_int_equal(stage_dequeue(stage, 3), ref);
	assert_int_equal(stage_dequeue(stage, 3), 0);
}

#endif

int main(void)
{
#define PROCESS_CASE(name)   cmocka_unit_test_setup_teardown(name, process_set_up, process_tear_down)
#define CONTAINER_CASE(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
	const struct CMUnitTest tests[] = {
		PROCESS_CASE(a_reference_arrives_in_its_lane_and_priority_alone),
		PROCESS_CASE(a_lane_that_is_not_armed_costs_no_system_call),
		PROCESS_CASE(an_armed_lane_rings_its_own_eventfd),
		PROCESS_CASE(a_full_process_lane_returns_eagain_and_rings_nobody),
#if CHIMAERA_RUNTIME
		CONTAINER_CASE(references_leave_in_the_order_they_came),
		CONTAINER_CASE(the_header_counts_what_was_taken),
		CONTAINER_CASE(slots_go_back_when_a_line_of_them_was_taken_and_at_the_end_of_the_turn),
		CONTAINER_CASE(those_that_were_seen_ahead_are_counted_and_go_back_by_lines),
		CONTAINER_CASE(each_lane_has_a_header_of_its_own),
		CONTAINER_CASE(enqueue_on_a_full_lane_returns_eagain_and_lists_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
