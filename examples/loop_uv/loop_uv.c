/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop_uv.c - tasks in a libuv loop: the loop polls the client's event descriptor, callbacks run in the loop's thread
 *
 * Needs a daemon that finds the module of examples/hello. Adds 1, 2, ... 100 to a counter, a few at a time, while a timer
 * of the same loop goes on ticking.
 */
#include <chimaera/chimaera.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "hello/counter.h"

enum { N_ADDS = 100, AT_ONCE = 4, TICK_MS = 1 };

struct program {
	uv_loop_t loop;
	uv_poll_t events;
	uv_timer_t timer;
	struct chi_client *client;
	uint64_t next, n_done, n_ticks, total;
};

static void fail(const char *what)
{
	fprintf(stderr, "loop_uv: %s: %s\n", what, chi_error_text());
	exit(1);
}

/* Called by chi_client_dispatch(), so in the loop's thread. The task is ours again: hand it in with the next number. */
static void added(void *memory, int result, void *arg)
{
	struct counter_add_task *task = memory;
	struct program *program = arg;

	if (result < 0)
		fail("a task failed");
	if (task->total > program->total)
		program->total = task->total;
	program->n_done++;
	if (program->next <= N_ADDS) {
		task->amount = program->next++;
		if (chi_submit_notify(program->client, task, added, program) < 0)
			fail("submit");
		return;
	}
	chi_task_free(program->client, task);
	if (program->n_done == N_ADDS) {
		uv_poll_stop(&program->events);
		uv_timer_stop(&program->timer);
	}
}

static void readable(uv_poll_t *poll, int status, int events)
{
	struct program *program = poll->data;

	(void)status, (void)events;
	if (chi_client_dispatch(program->client, 0) < 0)
		fail("dispatch"); /* the runtime is gone: a longer-lived program would call chi_client_reconnect() */
}

static void tick(uv_timer_t *timer)
{
	struct program *program = timer->data;

	program->n_ticks++;
}

int main(void)
{
	struct chi_pool_spec spec = { .module = "counter", .name = "loop_uv" };
	struct program program = { .next = 1 };
	uint32_t pool;
	int fd;

	if (chi_client_connect(NULL, &program.client) < 0 || chi_pool_create(program.client, &spec, &pool) < 0)
		fail("connect");
	fd = chi_client_event_fd(program.client);
	if (fd < 0)
		fail("event descriptor");

	uv_loop_init(&program.loop);
	uv_poll_init(&program.loop, &program.events, fd);
	program.events.data = &program;
	uv_poll_start(&program.events, UV_READABLE, readable);
	uv_timer_init(&program.loop, &program.timer);
	program.timer.data = &program;
	uv_timer_start(&program.timer, tick, TICK_MS, TICK_MS);

	for (int i = 0; i < AT_ONCE; i++) {
		struct counter_add_task *task;

		if (chi_task_alloc(program.client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), COUNTER_ADD, &task) < 0)
			fail("a task");
		task->amount = program.next++;
		if (chi_submit_notify(program.client, task, added, &program) < 0)
			fail("submit");
	}
	uv_run(&program.loop, UV_RUN_DEFAULT);

	printf("total %llu\n", (unsigned long long)program.total);
	fprintf(stderr, "%llu ticks meanwhile\n", (unsigned long long)program.n_ticks);
	uv_close((uv_handle_t *)&program.events, NULL);
	uv_close((uv_handle_t *)&program.timer, NULL);
	uv_run(&program.loop, UV_RUN_DEFAULT);
	uv_loop_close(&program.loop);
	chi_client_disconnect(program.client);
	return 0;
}
