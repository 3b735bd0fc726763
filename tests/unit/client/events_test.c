/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * events_test.c - the list of tasks that ended, with the worker played step by step
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/events.h"
#include "task/segment_layout.h"
#include "task/submitter.h"

#define SEGMENT_BYTES 65536u
#define FIRST_REF     (32768u / HIPC_REF_UNIT)
#define N_TASKS	      100u

struct fixture {
	struct hipc_mapping segment;
	struct chi_events events;
	int runtime_end;
	int called[N_TASKS];
};

static void note(void *task, int result, void *arg)
{
	(void)task, (void)result, (void)arg;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int ends[2];

	f->segment = (struct hipc_mapping){ aligned_alloc(4096, SEGMENT_BYTES), SEGMENT_BYTES, 3 };
	memset(f->segment.base, 0, SEGMENT_BYTES);
	chi_events_init(&f->events, &f->segment);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	f->events.socket = ends[0];
	f->runtime_end = ends[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->events.socket);
	close(f->runtime_end);
	chi_events_fini(&f->events);
	free(f->segment.base);
	free(f);
	return 0;
}

static uint32_t ref_of(uint32_t i)
{
	return FIRST_REF + i * (sizeof(struct chi_task) / HIPC_REF_UNIT);
}

static struct chi_task *task_of(struct fixture *f, uint32_t i)
{
	return (struct chi_task *)((char *)f->segment.base + (uint64_t)ref_of(i) * HIPC_REF_UNIT);
}

static uint64_t begin_submit(struct fixture *f, uint32_t i)
{
	uint64_t notice = 0;

	assert_int_equal(chi_events_add(&f->events, task_of(f, i), note, &f->called[i], &notice), 0);
	hshm_store_relaxed(&task_of(f, i)->completion, CHI_COMPLETION_NOTIFY);
	return notice;
}

static void submit(struct fixture *f, uint32_t i)
{
	chi_events_submitted(&f->events, begin_submit(f, i));
}

/* The worker's two steps. */
static uint32_t join(struct fixture *f, uint32_t i)
{
	return hshm_exchange_acq_rel(&chi_client_events_of(&f->segment)->ended, ref_of(i));
}

static void link_to(struct fixture *f, uint32_t i, uint32_t before)
{
	task_of(f, i)->result = (int)i;
	hshm_store_release(&task_of(f, i)->completion, chi_completion_listed(before));
}

static void take(struct fixture *f, uint32_t i)
{
	struct chi_event event;

	assert_true(chi_events_take(&f->events, &event));
	assert_ptr_equal(event.task, task_of(f, i));
	assert_ptr_equal(event.arg, &f->called[i]);
	assert_int_equal(event.result, i);
	assert_true(chi_task_done(event.task));
	assert_int_equal(event.task->flags & CHI_TASK_NOTIFY, 0);
}

static void take_none(struct fixture *f)
{
	struct chi_event event;

	assert_false(chi_events_take(&f->events, &event));
}

static void ends_are_taken_oldest_first(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < N_TASKS; i++)
		submit(f, i);
	assert_int_equal(chi_events_count(&f->events), N_TASKS);
	take_none(f);
	for (uint32_t i = 0; i < N_TASKS; i++)
		link_to(f, i, join(f, i));
	for (uint32_t i = 0; i < N_TASKS; i++)
		take(f, i);
	take_none(f);
	assert_int_equal(chi_events_count(&f->events), 0);
	/* their notices are free again */
	assert_int_equal(f->events.n_notices, 128);
	for (uint32_t i = 0; i < N_TASKS; i++)
		submit(f, i);
	assert_int_equal(f->events.n_notices, 128);
}

static void an_unlinked_task_is_awaited_and_nothing_behind_it_lost(void **state)
{
	struct fixture *f = *state;
	uint32_t before;

	for (uint32_t i = 0; i < 4; i++)
		submit(f, i);
	link_to(f, 0, join(f, 0));
	before = join(f, 1); /* and its worker is held up here */
	link_to(f, 2, join(f, 2));
	/* newer than the gap: seen; the gap and what is behind it: not yet */
	take(f, 2);
	take_none(f);
	link_to(f, 3, join(f, 3));
	take_none(f);
	link_to(f, 1, before);
	take(f, 0);
	take(f, 1);
	take(f, 3);
	take_none(f);
}

static void arming_sees_what_ended_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct chi_client_events *shared = chi_client_events_of(&f->segment);
	uint32_t before;

	submit(f, 0);
	submit(f, 1);
	assert_true(chi_events_arm(&f->events));
	assert_int_equal(hshm_load_relaxed(&shared->armed), 1);
	link_to(f, 0, join(f, 0));
	assert_false(chi_events_arm(&f->events));
	take(f, 0);
	assert_true(chi_events_arm(&f->events));
	before = join(f, 1);
	take_none(f); /* it is the rest now: not to be had yet, so no reason to stay awake */
	assert_true(chi_events_arm(&f->events));
	link_to(f, 1, before);
	assert_false(chi_events_arm(&f->events));
	take(f, 1);
}

static void draining_takes_out_what_was_sent_and_never_waits(void **state)
{
	struct fixture *f = *state;
	char byte;

	assert_int_equal(send(f->runtime_end, "xx", 2, 0), 2);
	chi_events_drain(&f->events);
	assert_int_equal(recv(f->events.socket, &byte, 1, MSG_DONTWAIT), -1);
	chi_events_drain(&f->events);
}

static void lost_tasks_are_told_once(void **state)
{
	struct fixture *f = *state;
	struct chi_event event;

	submit(f, 0);
	submit(f, 1);
	link_to(f, 0, join(f, 0));
	take(f, 0);
	assert_true(chi_events_take_lost(&f->events, &event));
	assert_ptr_equal(event.task, task_of(f, 1));
	assert_int_equal(event.result, -EOWNERDEAD);
	assert_false(chi_task_is_dispatched(event.task));
	assert_false(chi_events_take_lost(&f->events, &event));
}

/* E4 */
static void a_task_that_is_not_handed_in_yet_is_not_lost(void **state)
{
	struct fixture *f = *state;
	uint64_t first = begin_submit(f, 0), again, second = begin_submit(f, 1);
	struct chi_event event;

	/* neither is in; one of them never gets in, and is handed in anew */
	assert_false(chi_events_take_lost(&f->events, &event));
	chi_events_remove(&f->events, task_of(f, 0));
	assert_int_equal(chi_events_count(&f->events), 1);
	again = begin_submit(f, 0);
	assert_int_equal((uint32_t)again, (uint32_t)first); /* the same place */
	chi_events_submitted(&f->events, first);
	assert_false(chi_events_take_lost(&f->events, &event));
	/* in: also those that were passed over before */
	chi_events_submitted(&f->events, second);
	assert_true(chi_events_take_lost(&f->events, &event));
	assert_ptr_equal(event.task, task_of(f, 1));
	chi_events_submitted(&f->events, again);
	assert_true(chi_events_take_lost(&f->events, &event));
	assert_ptr_equal(event.task, task_of(f, 0));
	assert_false(chi_events_take_lost(&f->events, &event));
	/* ended and told before its submitter came to mark it */
	first = begin_submit(f, 0);
	link_to(f, 0, join(f, 0));
	take(f, 0);
	chi_events_submitted(&f->events, first);
	assert_false(chi_events_take_lost(&f->events, &event));
}

/* E3: whatever stands there, nothing is called that was not set, and no call goes on for ever. */
static void a_list_full_of_rubbish_calls_nobody(void **state)
{
	struct fixture *f = *state;
	struct chi_client_events *shared = chi_client_events_of(&f->segment);

	submit(f, 0);
	submit(f, 1);
	/* outside */
	hshm_store_relaxed(&shared->ended, UINT32_MAX);
	take_none(f);
	/* a ring: both are told, once */
	link_to(f, 0, ref_of(1));
	link_to(f, 1, ref_of(0));
	hshm_store_relaxed(&shared->ended, ref_of(1));
	for (int n = 0; n < 2; n++) {
		struct chi_event event;

		assert_true(chi_events_take(&f->events, &event));
		assert_ptr_equal(event.fn, note);
	}
	take_none(f);
	/* a task that nobody handed in, and one that names another's notice */
	submit(f, 2);
	task_of(f, 3)->notice = task_of(f, 2)->notice;
	link_to(f, 3, 0);
	hshm_store_relaxed(&shared->ended, ref_of(3));
	take_none(f);
	task_of(f, 3)->notice = UINT32_MAX;
	link_to(f, 3, 0);
	hshm_store_relaxed(&shared->ended, ref_of(3));
	take_none(f);
	link_to(f, 2, 0);
	hshm_store_relaxed(&shared->ended, ref_of(2));
	take(f, 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(ends_are_taken_oldest_first),
		CASE(an_unlinked_task_is_awaited_and_nothing_behind_it_lost),
		CASE(arming_sees_what_ended_meanwhile),
		CASE(draining_takes_out_what_was_sent_and_never_waits),
		CASE(lost_tasks_are_told_once),
		CASE(a_task_that_is_not_handed_in_yet_is_not_lost),
		CASE(a_list_full_of_rubbish_calls_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
