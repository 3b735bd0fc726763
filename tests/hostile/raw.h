/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/raw.h - a client by hand: it speaks the socket and writes its segment itself
 *
 * Functions that can fail return 0, a count, or a negative errno, and leave the connection as it is.
 */
#ifndef TESTS_HOSTILE_RAW_H
#define TESTS_HOSTILE_RAW_H

#include <hshm/mpsc_queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../src/task/handshake.h"
#include "../../src/task/segment_layout.h"
#include "modules/probe.h"

#define RAW_ANSWER_MS 10000 /* nothing waits so long but for a runtime that is stuck */

struct raw {
	int socket;
	struct chi_welcome welcome;
	int main_fd, segment_fd, counters_fd, bell;
	char *main, *segment;
	uint64_t heap; /* offset */
	struct hipc_mpsc_queue ring;
	const hshm_au32 *armed;
};

extern const struct chi_hello raw_hello;

int raw_dial(void);
/* Waits for a message. Returns its size, 0: hung up, -ETIMEDOUT. Descriptors that came are closed, or given in @fds. */
long raw_receive(int socket, union chi_message *message, int *fds, uint32_t *ret_n_fds);
/* Never waits: what the runtime does not take is not sent. */
long raw_send(int socket, const void *bytes, size_t n);

/* Attached; no lane is open. */
int raw_greet(struct raw *raw);
int raw_open_lane(struct raw *raw, uint32_t lane, uint32_t prio);
/* Greet, and open lane 0. */
int raw_attach(struct raw *raw);
void raw_detach(struct raw *raw);

void raw_ring(const struct raw *raw);
int raw_push(struct raw *raw, const void *task);
uint32_t raw_ref(const struct raw *raw, const void *task);
/* A task that would be served, in the n-th page of the heap. */
struct probe_task *raw_task(struct raw *raw, uint32_t n, uint32_t pool, uint32_t method, uint64_t container);
/* Its result, -ETIMEDOUT after @timeout_ms. */
int raw_await(const struct probe_task *task, uint32_t timeout_ms);

#endif
