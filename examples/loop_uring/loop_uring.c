/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop_uring.c - tasks in an io_uring loop: a poll request on the client's event descriptor stands beside the program's reads
 *
 * Needs a daemon that finds the module of examples/hello. Adds the bytes of the standard input to a counter: each block that
 * io_uring has read becomes a task, and the next is read meanwhile.
 */
#include <chimaera/chimaera.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hello/counter.h"

enum { BLOCK_BYTES = 4096, ENTRIES = 8 };

enum completion { EVENTS = 1, READ };

struct program {
	struct io_uring ring;
	struct chi_client *client;
	uint32_t pool;
	int event_fd;
	char block[BLOCK_BYTES];
	uint64_t n_in_flight, total;
};

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "loop_uring: %s: %s\n", what, why);
	exit(1);
}

/* Called by chi_client_dispatch(), so in the loop's thread. */
static void added(void *memory, int result, void *arg)
{
	struct counter_add_task *task = memory;
	struct program *program = arg;

	if (result < 0)
		fail("a task", strerror(-result));
	if (task->total > program->total)
		program->total = task->total;
	program->n_in_flight--;
	chi_task_free(program->client, task);
}

static void add(struct program *program, const char *bytes, int n)
{
	struct counter_add_task *task;

	if (chi_task_alloc(program->client, sizeof(*task), program->pool, CHI_QUERY_LOCAL_ID(0), COUNTER_ADD, &task) <
	    0)
		fail("a task", chi_error_text());
	for (int i = 0; i < n; i++)
		task->amount += (unsigned char)bytes[i];
	if (chi_submit_notify(program->client, task, added, program) < 0)
		fail("submit", chi_error_text());
	program->n_in_flight++;
}

static void poll_events(struct program *program)
{
	struct io_uring_sqe *request = io_uring_get_sqe(&program->ring);

	io_uring_prep_poll_add(request, program->event_fd, POLLIN);
	io_uring_sqe_set_data64(request, EVENTS);
}

static void read_block(struct program *program)
{
	struct io_uring_sqe *request = io_uring_get_sqe(&program->ring);

	io_uring_prep_read(request, STDIN_FILENO, program->block, BLOCK_BYTES, (__u64)-1);
	io_uring_sqe_set_data64(request, READ);
}

/* Returns whether there is more to read. */
static bool handle(struct program *program, const struct io_uring_cqe *done, bool reading)
{
	if (io_uring_cqe_get_data64(done) == EVENTS) {
		if (chi_client_dispatch(program->client, 0) < 0)
			fail("dispatch", chi_error_text());
		poll_events(program);
		return reading;
	}
	if (done->res < 0)
		fail("read", strerror(-done->res));
	if (done->res == 0)
		return false;
	add(program, program->block, done->res);
	read_block(program);
	return true;
}

int main(void)
{
	struct chi_pool_spec spec = { .module = "counter", .name = "loop_uring" };
	struct program program = { .event_fd = -1 };
	bool reading = true;
	int rc;

	if (chi_client_connect(NULL, &program.client) < 0 || chi_pool_create(program.client, &spec, &program.pool) < 0)
		fail("connect", chi_error_text());
	program.event_fd = chi_client_event_fd(program.client);
	if (program.event_fd < 0)
		fail("event descriptor", chi_error_text());
	rc = io_uring_queue_init(ENTRIES, &program.ring, 0);
	if (rc < 0) {
		fprintf(stderr, "loop_uring: no io_uring here: %s\n", strerror(-rc));
		return 77;
	}

	poll_events(&program);
	read_block(&program);
	while (reading || program.n_in_flight) {
		struct io_uring_cqe *done;

		rc = io_uring_submit_and_wait(&program.ring, 1);
		if (rc < 0 && rc != -EINTR)
			fail("io_uring", strerror(-rc));
		while (io_uring_peek_cqe(&program.ring, &done) == 0) {
			reading = handle(&program, done, reading);
			io_uring_cqe_seen(&program.ring, done);
		}
	}
	printf("total %llu\n", (unsigned long long)program.total);
	io_uring_queue_exit(&program.ring);
	chi_client_disconnect(program.client);
	return 0;
}
