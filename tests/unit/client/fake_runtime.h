/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_runtime.h - the other end of a client's socket, as the test wants it: honest, or wrong in one point
 */
#ifndef TESTS_FAKE_RUNTIME_H
#define TESTS_FAKE_RUNTIME_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hshm/segment.h>
#include <hshm/thread_model.h>

#include "client/client.h"
#include "task/counters_layout.h"
#include "task/handshake.h"
#include "task/segment_layout.h"

#define FAKE_LANES	  4u
#define FAKE_DEPTH	  8u
#define FAKE_CLIENT_BYTES (UINT64_C(1) << 20)
#define FAKE_GENERATION	  77u

struct fake_runtime {
	/* set before fake_start() */
	struct chi_welcome welcome;
	uint32_t welcome_bytes;
	uint32_t welcome_fds;
	uint32_t lane_fds; /* with each chi_lane_opened */
	uint32_t armed_index;
	const struct chi_refusal *refusal; /* instead of the welcome */
	bool silent;
	bool late_answer; /* before each lane's answer come those to an earlier question */
	/* for the test */
	struct hshm_segment main;
	struct hshm_segment segment;
	int counters_fd; /* all 0 */
	int eventfd;
	hshm_au32 n_lanes_asked;
	/* own */
	int client_end, own_end;
	struct hshm_thread *thread;
};

static inline void fake_init(struct fake_runtime *fake)
{
	uint64_t main_bytes = chi_main_armed_offset(16);
	struct chi_main_header *header;
	struct hipc_multi_mpsc_queue queue;
	int ends[2];

	memset(fake, 0, sizeof(*fake));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	fake->client_end = ends[0];
	fake->own_end = ends[1];
	fake->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fake->counters_fd = memfd_create("test-counters", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fake->counters_fd,
				   CHI_COUNTERS_WORKERS_OFFSET + CHI_WORKERS_MAX * sizeof(struct chi_worker_counters)),
			 0);
	assert_int_equal(hshm_segment_create("test-main", main_bytes, 1, HSHM_SEAL_WRITE, &fake->main), 0);
	assert_int_equal(hshm_segment_create("test-client", FAKE_CLIENT_BYTES, 3, HSHM_SEAL_SIZE, &fake->segment), 0);
	assert_int_equal(
		hipc_multi_mpsc_queue_init((char *)fake->segment.map.base + chi_client_queue_offset(FAKE_LANES),
					   FAKE_LANES, CHI_PRIOS, FAKE_DEPTH, sizeof(struct chi_lane_header), &queue),
		0);
	header = fake->main.map.base;
	header->magic = CHI_MAIN_MAGIC;
	header->generation = FAKE_GENERATION;
	header->started_ns = 5;
	hshm_store_release(&header->layout_version, CHI_LAYOUT_VERSION);

	fake->welcome = (struct chi_welcome){
		.type = CHI_MESSAGE_WELCOME,
		.layout_version = CHI_LAYOUT_VERSION,
		.generation = FAKE_GENERATION,
		.main_bytes = fake->main.map.size_bytes,
		.client_bytes = fake->segment.map.size_bytes,
		.main_segment_id = 1,
		.client_segment_id = 3,
		.client_id = 1,
		.runtime_pid = getpid(),
		.n_lanes = FAKE_LANES,
		.lane_depth = FAKE_DEPTH,
		.n_workers = 2,
		.abi_version = CHI_ABI_VERSION,
	};
	fake->welcome_bytes = sizeof(fake->welcome);
	fake->welcome_fds = CHI_WELCOME_FDS;
	fake->lane_fds = 1;
}

static inline void fake_answer_lane(struct fake_runtime *fake, const struct chi_lane_open *request)
{
	struct chi_lane_opened answer = {
		.type = CHI_MESSAGE_LANE_OPENED,
		.serial = request->serial,
		.armed_index = fake->armed_index,
	};

	if (fake->late_answer) {
		const struct chi_events_opened events = { CHI_MESSAGE_EVENTS_OPENED, request->serial + 1 };
		const struct chi_refusal refusal = { CHI_MESSAGE_REFUSAL, request->serial + 1, -EUSERS, "late" };

		answer.serial++;
		answer.armed_index = UINT32_MAX; /* found wrong if it is believed */
		(void)!hshm_fds_send(fake->own_end, &answer, sizeof(answer), &fake->eventfd, fake->lane_fds);
		(void)!hshm_fds_send(fake->own_end, &events, sizeof(events), &fake->eventfd, 1);
		(void)!hshm_fds_send(fake->own_end, &refusal, sizeof(refusal), NULL, 0);
		answer.serial--;
		answer.armed_index = fake->armed_index;
	}
	(void)!hshm_fds_send(fake->own_end, &answer, sizeof(answer), &fake->eventfd, fake->lane_fds);
}

/* Runs until the client, or fake_stop(), hangs up. */
static inline void fake_thread(void *arg)
{
	struct fake_runtime *fake = arg;
	const int fds[4] = { fake->main.fd, fake->segment.fd, fake->counters_fd, fake->eventfd };
	union chi_message message;

	while (hshm_fds_receive(fake->own_end, &message, sizeof(message), NULL, 0, NULL) > 0) {
		if (fake->silent)
			continue;
		if (message.type == CHI_MESSAGE_HELLO && fake->refusal)
			(void)!hshm_fds_send(fake->own_end, fake->refusal, sizeof(*fake->refusal), NULL, 0);
		else if (message.type == CHI_MESSAGE_HELLO)
			(void)!hshm_fds_send(fake->own_end, &fake->welcome, fake->welcome_bytes, fds,
					     fake->welcome_fds);
		if (message.type == CHI_MESSAGE_LANE_OPEN) {
			hshm_fetch_add_relaxed(&fake->n_lanes_asked, 1);
			fake_answer_lane(fake, &message.lane_open);
		}
	}
}

static inline int fake_connect(struct fake_runtime *fake, struct chi_client **ret_client)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.connect_timeout_ns = 200 * HSHM_NSEC_PER_MSEC);

	assert_int_equal(HSHM_THREAD_MODEL->spawn("fake", fake_thread, fake, &fake->thread), 0);
	return chi_client_open_socket(fake->client_end, &opts, ret_client);
}

/* The runtime dies: the client's socket hangs up. */
static inline void fake_hang_up(struct fake_runtime *fake)
{
	shutdown(fake->own_end, SHUT_RDWR);
	HSHM_THREAD_MODEL->join(fake->thread);
	fake->thread = NULL;
}

static inline void fake_fini(struct fake_runtime *fake)
{
	if (fake->thread)
		fake_hang_up(fake);
	close(fake->own_end);
	close(fake->eventfd);
	close(fake->counters_fd);
	hshm_segment_close(&fake->main);
	hshm_segment_close(&fake->segment);
}

/* The fake's worker: take the oldest reference of a lane; 0: empty. */
static inline uint32_t fake_take(struct fake_runtime *fake, struct hipc_mpsc_consumer *consumer, uint32_t lane,
				 uint32_t prio)
{
	struct hipc_multi_mpsc_queue queue;
	struct hipc_mpsc_queue ring;

	assert_int_equal(
		hipc_multi_mpsc_queue_attach((char *)fake->segment.map.base + chi_client_queue_offset(FAKE_LANES),
					     FAKE_LANES, CHI_PRIOS, FAKE_DEPTH, sizeof(struct chi_lane_header), &queue),
		0);
	ring = hipc_multi_mpsc_queue_lane(&queue, lane, prio);
	if (!consumer->slots)
		hipc_mpsc_consumer_init(consumer, &ring);
	return hipc_mpsc_dequeue(consumer);
}

static inline void fake_complete(struct fake_runtime *fake, uint32_t ref)
{
	struct chi_task *task = hipc_ref_translate(&fake->segment.map, ref, sizeof(*task));

	assert_non_null(task);
	hshm_store_release(&task->completion, CHI_COMPLETION_DONE);
}

#endif
