/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session_test.c - references that a client sends, and who may unmap its memory
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hshm/thread_model.h>

#include "runtime/ipc_internal.h"
#include "runtime/ipc_manager.h"
#include "runtime/runtime.h"
#include "runtime/session.h"

#define LANES 3u
#define DEPTH 16u
#define BYTES (UINT64_C(1) << 20)
#define UNITS ((uint32_t)(BYTES / HIPC_REF_UNIT))

struct fixture {
	struct chi_runtime runtime;
	struct chi_ipc_manager ipc;
	struct chi_session session;
	uint32_t first_ref; /* of the heap's part */
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->runtime.generation = 99;
	fixture->runtime.config.client_bytes = BYTES;
	fixture->runtime.config.client_lanes = LANES;
	fixture->runtime.config.client_lane_depth = DEPTH;
	fixture->runtime.config.client_contexts_max = 7;
	fixture->ipc.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(chi_session_init(&fixture->session, &fixture->runtime, 5), 0);
	fixture->session.ipc = &fixture->ipc;
	fixture->first_ref = (uint32_t)(chi_client_heap_offset(LANES, DEPTH) / HIPC_REF_UNIT);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	chi_session_fini(&fixture->session);
	close(fixture->ipc.wake_fd);
	free(fixture);
	return 0;
}

static void new_session_has_a_written_header_and_empty_lanes(void **state)
{
	struct fixture *fixture = *state;
	const struct chi_client_header *header = fixture->session.segment.map.base;

	assert_int_equal(header->magic, CHI_CLIENT_MAGIC_SEGMENT);
	assert_int_equal(header->client_id, 5);
	assert_int_equal(header->generation, 99);
	assert_int_equal(header->n_lanes, LANES);
	assert_int_equal(fixture->session.contexts_max, 7);
	assert_int_equal(fixture->session.segment.map.segment_id, CHI_SEGMENT_CLIENTS + 4);
	for (uint32_t i = 0; i < LANES * CHI_PRIOS; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&fixture->session.queue.queue, i / CHI_PRIOS,
									 i % CHI_PRIOS);
		const struct chi_lane_header *lane = ring.header;
		struct hipc_mpsc_consumer consumer;

		hipc_mpsc_consumer_init(&consumer, &ring);
		assert_int_equal(hipc_mpsc_peek(&consumer), 0);
		assert_int_equal(lane->lane_id, i / CHI_PRIOS);
		assert_int_equal(lane->priority, i % CHI_PRIOS);
		assert_null(fixture->session.queue.lanes[i]);
	}
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
	struct fixture *fixture = *state;
	struct chi_session session = { 0 };

	fixture->runtime.config.client_bytes = CHI_PAGE;
	assert_int_equal(chi_session_init(&session, &fixture->runtime, 1), -EINVAL);
	fixture->runtime.config.client_bytes = BYTES;
	fixture->runtime.config.client_lane_depth = 7;
	assert_int_equal(chi_session_init(&session, &fixture->runtime, 1), -EINVAL);
	assert_null(session.segment.map.base);
	chi_session_fini(&session);
}

static void references_outside_return_efault(void **state)
{
	struct fixture *fixture = *state;
	struct chi_task *task;
	const uint32_t refs[] = { 0, UNITS, UNITS + 1, UINT32_MAX, UNITS - 1 /* half of its header is outside */ };

	for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++)
		assert_int_equal(chi_session_claim(&fixture->session, refs[i], &task), -EFAULT);
	/* the last that fits */
	assert_int_equal(chi_session_claim(&fixture->session, UNITS - 2, &task), 0);
	assert_ptr_equal(task, (char *)fixture->session.segment.map.base + BYTES - sizeof(struct chi_task));
}

static void references_into_the_queue_return_efault(void **state)
{
	struct fixture *fixture = *state;
	struct chi_task *task;

	for (uint32_t ref = 1; ref < fixture->first_ref; ref++)
		assert_int_equal(chi_session_claim(&fixture->session, ref, &task), -EFAULT);
	assert_int_equal(chi_session_claim(&fixture->session, fixture->first_ref, &task), 0);
}

static void task_in_flight_returns_ebusy_until_released(void **state)
{
	struct fixture *fixture = *state;
	uint32_t ref = fixture->first_ref + 100;
	struct chi_task *task;

	assert_int_equal(chi_session_claim(&fixture->session, ref, &task), 0);
	assert_ptr_equal(task, (char *)fixture->session.segment.map.base + (uint64_t)ref * HIPC_REF_UNIT);
	assert_int_equal(chi_session_claim(&fixture->session, ref, &task), -EBUSY);
	/* its neighbours in the same word are not touched */
	assert_int_equal(chi_session_claim(&fixture->session, ref - 1, &task), 0);
	assert_int_equal(chi_session_claim(&fixture->session, ref + 1, &task), 0);
	chi_session_release(&fixture->session, ref);
	assert_int_equal(chi_session_claim(&fixture->session, ref - 1, &task), -EBUSY);
	assert_int_equal(chi_session_claim(&fixture->session, ref + 1, &task), -EBUSY);
	assert_int_equal(chi_session_claim(&fixture->session, ref, &task), 0);
}

static void claims_that_are_shared_are_the_same(void **state)
{
	struct fixture *fixture = *state;
	struct chi_task *task;

	assert_int_equal(chi_session_claim(&fixture->session, fixture->first_ref, &task), 0);
	chi_session_share_claims(&fixture->session);
	assert_int_equal(chi_session_claim(&fixture->session, fixture->first_ref, &task), -EBUSY);
	chi_session_release(&fixture->session, fixture->first_ref);
	task_in_flight_returns_ebusy_until_released(state);
}

#define RUNS_EACH 1000000u

struct racer {
	struct fixture *fixture;
	uint64_t *n_runs; /* plain memory that the claim protects */
	uint64_t n_mine;
	hshm_au32 *n_begun;
};

static void claim_often(void *arg)
{
	struct racer *racer = arg;
	struct chi_session *session = &racer->fixture->session;
	struct chi_task *task;

	hshm_fetch_add_relaxed(racer->n_begun, 1); /* relaxed: a flag without data */
	while (hshm_load_relaxed(racer->n_begun) < 2)
		HSHM_THREAD_MODEL->yield();
	while (racer->n_mine < RUNS_EACH) {
		if (chi_session_claim(session, racer->fixture->first_ref, &task) < 0) {
			hshm_cpu_relax();
			continue;
		}
		(*racer->n_runs)++;
		racer->n_mine++;
		chi_session_release(session, racer->fixture->first_ref);
	}
}

static void two_workers_never_have_the_same_task(void **state)
{
	uint64_t n_runs = 0;
	hshm_au32 n_begun = { 0 };
	struct racer racers[2] = { { *state, &n_runs, 0, &n_begun }, { *state, &n_runs, 0, &n_begun } };
	struct hshm_thread *threads[2];

	chi_session_share_claims(&racers[0].fixture->session);
	for (int i = 0; i < 2; i++)
		assert_int_equal(HSHM_THREAD_MODEL->spawn("claim", claim_often, &racers[i], &threads[i]), 0);
	for (int i = 0; i < 2; i++)
		HSHM_THREAD_MODEL->join(threads[i]);
	assert_int_equal(n_runs, racers[0].n_mine + racers[1].n_mine);
}

static void last_put_hands_the_session_to_the_ipc_thread(void **state)
{
	struct fixture *fixture = *state;
	eventfd_t rings;

	chi_session_get(&fixture->session);
	chi_session_put(&fixture->session);
	assert_null(hshm_load_relaxed(&fixture->ipc.reclaimed));
	chi_session_put(&fixture->session);
	assert_ptr_equal(hshm_load_relaxed(&fixture->ipc.reclaimed), &fixture->session);
	assert_int_equal(eventfd_read(fixture->ipc.wake_fd, &rings), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(new_session_has_a_written_header_and_empty_lanes),
		CASE(numbers_that_do_not_fit_are_refused),
		CASE(references_outside_return_efault),
		CASE(references_into_the_queue_return_efault),
		CASE(task_in_flight_returns_ebusy_until_released),
		CASE(claims_that_are_shared_are_the_same),
		CASE(two_workers_never_have_the_same_task),
		CASE(last_put_hands_the_session_to_the_ipc_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
