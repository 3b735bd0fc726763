/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/raw.c - a client by hand
 */
#include "hostile/raw.h"

#include <chimaera/task.h>
#include <errno.h>
#include <hshm/clock.h>
#include <hshm/segment.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile/board.h"

const struct chi_hello raw_hello = {
	.type = CHI_MESSAGE_HELLO,
	.magic = CHI_HELLO_MAGIC,
	.layout_version = CHI_LAYOUT_VERSION,
	.abi_version = CHI_ABI_VERSION,
};

int raw_dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/chimaera/" RUNTIME_NAME ".sock",
		 getenv("XDG_RUNTIME_DIR"));
	/* non-blocking: a full backlog is -EAGAIN, and the next liar's turn */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

long raw_receive(int socket, union chi_message *message, int *fds, uint32_t *ret_n_fds)
{
	struct pollfd ready = { .fd = socket, .events = POLLIN };
	int came[CHI_WELCOME_FDS];
	uint32_t n_came = 0;
	long n;

	if (poll(&ready, 1, RAW_ANSWER_MS) != 1)
		return -ETIMEDOUT;
	do
		n = hshm_fds_receive(socket, message, sizeof(*message), came, CHI_WELCOME_FDS, &n_came);
	while (n == -ECONNRESET); /* something of ours was unread when it hung up; what it had sent comes after */
	for (uint32_t i = 0; i < n_came; i++) {
		if (fds)
			fds[i] = came[i];
		else
			close(came[i]);
	}
	if (ret_n_fds)
		*ret_n_fds = n_came;
	return n;
}

long raw_send(int socket, const void *bytes, size_t n)
{
	return hshm_fds_send(socket, bytes, n, NULL, 0);
}

static int refused(long n, const union chi_message *answer)
{
	if (n < 0)
		return (int)n;
	return n == sizeof(answer->refusal) && answer->type == CHI_MESSAGE_REFUSAL ? answer->refusal.error
										   : -ECONNRESET;
}

static int map_segments(struct raw *raw)
{
	void *main_map = mmap(NULL, raw->welcome.main_bytes, PROT_READ, MAP_SHARED, raw->main_fd, 0);
	void *segment = mmap(NULL, raw->welcome.client_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, raw->segment_fd, 0);

	raw->main = main_map == MAP_FAILED ? NULL : main_map;
	raw->segment = segment == MAP_FAILED ? NULL : segment;
	raw->heap = chi_client_heap_offset(raw->welcome.n_lanes, raw->welcome.lane_depth);
	return raw->main && raw->segment ? 0 : -ENOMEM;
}

int raw_greet(struct raw *raw)
{
	union chi_message answer;
	int fds[CHI_WELCOME_FDS] = { -1, -1, -1 };
	uint32_t n_fds = 0;
	long n;
	int ret;

	*raw = (struct raw){ .socket = raw_dial(), .main_fd = -1, .segment_fd = -1, .counters_fd = -1, .bell = -1 };
	if (raw->socket < 0)
		return raw->socket;
	n = raw_send(raw->socket, &raw_hello, sizeof(raw_hello));
	n = n < 0 ? n : raw_receive(raw->socket, &answer, fds, &n_fds);
	if (n == sizeof(answer.welcome) && answer.type == CHI_MESSAGE_WELCOME && n_fds == CHI_WELCOME_FDS) {
		raw->welcome = answer.welcome;
		raw->main_fd = fds[0];
		raw->segment_fd = fds[1];
		raw->counters_fd = fds[2];
		ret = map_segments(raw);
	} else {
		ret = refused(n, &answer);
	}
	if (ret < 0)
		raw_detach(raw);
	return ret;
}

int raw_open_lane(struct raw *raw, uint32_t lane, uint32_t prio)
{
	const struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN, .serial = 7, .lane = lane, .prio = prio };
	struct hipc_multi_mpsc_queue queue;
	union chi_message answer;
	int fds[CHI_WELCOME_FDS];
	uint32_t n_fds = 0;
	long n = raw_send(raw->socket, &request, sizeof(request));

	n = n < 0 ? n : raw_receive(raw->socket, &answer, fds, &n_fds);
	if (n != sizeof(answer.lane_opened) || answer.type != CHI_MESSAGE_LANE_OPENED || n_fds != 1)
		return refused(n, &answer);
	if (raw->bell >= 0)
		close(raw->bell);
	raw->bell = fds[0];
	raw->armed = (const hshm_au32 *)(raw->main + chi_main_armed_offset(answer.lane_opened.armed_index));
	if (hipc_multi_mpsc_queue_attach(raw->segment + chi_client_queue_offset(raw->welcome.n_lanes),
					 raw->welcome.n_lanes, CHI_PRIOS, raw->welcome.lane_depth,
					 sizeof(struct chi_lane_header), &queue) < 0)
		return -EPROTO;
	raw->ring = hipc_multi_mpsc_queue_lane(&queue, lane, prio);
	return 0;
}

int raw_attach(struct raw *raw)
{
	int ret = raw_greet(raw);

	if (ret == 0)
		ret = raw_open_lane(raw, 0, CHI_PRIO_LOW_LATENCY);
	if (ret < 0)
		raw_detach(raw);
	return ret;
}

void raw_detach(struct raw *raw)
{
	const int fds[] = { raw->socket, raw->main_fd, raw->segment_fd, raw->counters_fd, raw->bell };

	if (raw->main)
		munmap(raw->main, raw->welcome.main_bytes);
	if (raw->segment)
		munmap(raw->segment, raw->welcome.client_bytes);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*raw = (struct raw){ .socket = -1, .main_fd = -1, .segment_fd = -1, .counters_fd = -1, .bell = -1 };
}

void raw_ring(const struct raw *raw)
{
	/* as in task_queue.c: the push before, the look at `armed` after */
	hshm_fence_seq_cst();
	if (hshm_load_relaxed(raw->armed))
		(void)eventfd_write(raw->bell, 1);
}

uint32_t raw_ref(const struct raw *raw, const void *task)
{
	return (uint32_t)((uint64_t)((const char *)task - raw->segment) / HIPC_REF_UNIT);
}

int raw_push(struct raw *raw, const void *task)
{
	int ret = hipc_mpsc_enqueue(&raw->ring, raw_ref(raw, task));

	raw_ring(raw);
	return ret;
}

struct probe_task *raw_task(struct raw *raw, uint32_t n, uint32_t pool, uint32_t method, uint64_t container)
{
	struct probe_task *task = (struct probe_task *)(raw->segment + raw->heap + (uint64_t)n * CHI_PAGE);

	chi_task_init(&task->task, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), method);
	return task;
}

int raw_await(const struct probe_task *task, uint32_t timeout_ms)
{
	uint64_t deadline_ns = hshm_deadline_ns(timeout_ms * HSHM_NSEC_PER_MSEC);

	while (!chi_task_done(task)) {
		if (hshm_clock_ns() > deadline_ns)
			return -ETIMEDOUT;
		usleep(20);
	}
	return task->task.result;
}
