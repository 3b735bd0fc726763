/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/lies_rights.c - what a client may not, and what it may do with what it was given
 */
#include <chimaera/task.h>
#include <errno.h>
#include <fcntl.h>
#include <hshm/clock.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/lies.h"

#define N_TASKS 32u

/* What has to fail: @ret is -1. Its errno is the answer. */
static void must_fail(struct liar *liar, long ret, const char *what)
{
	int error = errno;

	lie_sent(liar);
	if (ret != -1)
		lie_violation(liar, "%s: the kernel lets it", what);
	else
		lie_answered(liar, -error);
}

#define MUST_FAIL(liar, call) must_fail(liar, (long)(call), #call)

static void must_not_map(struct liar *liar, int fd, size_t n_bytes)
{
	void *map = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must_fail(liar, map == MAP_FAILED ? -1 : 0, "mmap() to write");
	if (map != MAP_FAILED)
		munmap(map, n_bytes);
}

static int open_anew(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* ---- seals ---- */

void lie_main_segment(struct liar *liar)
{
	struct raw raw;

	if (raw_greet(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		int fd = open_anew(raw.main_fd); /* as who has the memfd's rights may: the seals belong to the file */

		MUST_FAIL(liar, mprotect(raw.main, CHI_PAGE, PROT_READ | PROT_WRITE));
		must_not_map(liar, raw.main_fd, CHI_PAGE);
		MUST_FAIL(liar, pwrite(raw.main_fd, "x", 1, (off_t)lie_pick(liar, raw.welcome.main_bytes)));
		MUST_FAIL(liar, ftruncate(raw.main_fd, 0));
		MUST_FAIL(liar, ftruncate(raw.main_fd, (off_t)raw.welcome.main_bytes + CHI_PAGE));
		MUST_FAIL(liar, fallocate(raw.main_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, CHI_PAGE));
		MUST_FAIL(liar, fcntl(raw.main_fd, F_ADD_SEALS, F_SEAL_WRITE));
		if (fd >= 0) {
			must_not_map(liar, fd, CHI_PAGE);
			MUST_FAIL(liar, pwrite(fd, "x", 1, 0));
			close(fd);
		}
		/* the counters' descriptor is to read only */
		must_not_map(liar, raw.counters_fd, CHI_PAGE);
		MUST_FAIL(liar, pwrite(raw.counters_fd, "x", 1, 0));
		MUST_FAIL(liar, ftruncate(raw.counters_fd, 0));
		usleep(500);
	}
	raw_detach(&raw);
}

void lie_size_of_its_own(struct liar *liar)
{
	struct raw raw;

	if (raw_greet(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		MUST_FAIL(liar, ftruncate(raw.segment_fd, (off_t)lie_pick(liar, raw.welcome.client_bytes)));
		MUST_FAIL(liar, ftruncate(raw.segment_fd, (off_t)raw.welcome.client_bytes + CHI_PAGE));
		MUST_FAIL(liar, fallocate(raw.segment_fd, 0, (off_t)raw.welcome.client_bytes, CHI_PAGE));
		MUST_FAIL(liar, fallocate(raw.segment_fd, FALLOC_FL_COLLAPSE_RANGE, 0, CHI_PAGE));
		MUST_FAIL(liar, fcntl(raw.segment_fd, F_ADD_SEALS, F_SEAL_WRITE));
		usleep(500);
	}
	raw_detach(&raw);
}

/* ---- holes in its own segment, under tasks in flight: what was there reads as zero ---- */

void lie_holes(struct liar *liar)
{
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		struct probe_task *task = NULL;

		for (uint32_t i = 0; i < 8; i++) {
			task = lie_task(liar, &raw, i, PROBE_ADD);
			(void)raw_push(&raw, task);
		}
		if (fallocate(
			    raw.segment_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    (off_t)(lie_pick(liar, raw.welcome.client_bytes / CHI_PAGE) * CHI_PAGE * lie_pick(liar, 2)),
			    (off_t)((1 + lie_pick(liar, 64)) * CHI_PAGE)) == 0)
			lie_sent(liar);
		usleep(100);
		lie_answered(liar, chi_task_done(task) ? task->task.result : -ENODATA);
		if (lie_pick(liar, 4) == 0) {
			/* the lane is another one now: its slots are zero, and the consumer's lap is not */
			raw_detach(&raw);
			if (raw_attach(&raw) < 0)
				return;
		}
	}
	raw_detach(&raw);
}

/* ---- another's segment ---- */

static ino_t inode_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

/* It got its own segment and no other: the descriptors it has are three, of three files, and none is a neighbour's. What it
 * cannot map, the runtime does not copy for it. */
void lie_others_segments(struct liar *liar)
{
	struct raw raw, other;

	if (raw_attach(&raw) < 0)
		return;
	if (raw_greet(&other) < 0) {
		raw_detach(&raw);
		return;
	}
	if (inode_of(raw.segment_fd) == inode_of(other.segment_fd) ||
	    inode_of(raw.main_fd) != inode_of(other.main_fd) || inode_of(raw.segment_fd) == inode_of(raw.main_fd))
		lie_violation(liar, "it was given the segment of another client");
	while (lie_goes_on(liar)) {
		struct probe_task *task = lie_task(liar, &raw, 0, PROBE_COPY);
		const struct chi_buffer own = { hipc_ptr_make(raw.welcome.client_segment_id, raw.heap + 2 * CHI_PAGE),
						64, CHI_BUFFER_OUT, 0 };
		/* a neighbour it knows, any that there may be, the main segment, the runtime's private one */
		const uint32_t ids[] = { other.welcome.client_segment_id, 3 + (uint32_t)lie_pick(liar, 64),
					 raw.welcome.main_segment_id, 2 };
		struct chi_buffer its = own;
		int ret;

		its.ptr = hipc_ptr_make(ids[lie_pick(liar, 4)],
					lie_pick(liar, 2) ? other.heap : lie_pick(liar, 1u << 20));
		if (hipc_ptr_segment(its.ptr) == raw.welcome.client_segment_id)
			continue;
		task->buffers[lie_pick(liar, 2)] = its;
		task->buffers[task->buffers[0].size_bytes ? 1 : 0] = own;
		if (raw_push(&raw, task) < 0)
			continue;
		lie_sent(liar);
		ret = raw_await(task, RAW_ANSWER_MS);
		lie_answered(liar, ret);
		if (ret != -EFAULT)
			lie_violation(liar, "a buffer in segment %u: %d", hipc_ptr_segment(its.ptr), ret);
	}
	raw_detach(&other);
	raw_detach(&raw);
}

/* ---- two processes with one segment ---- */

static void push_for_a_while(struct liar *liar, struct raw *raw, uint32_t first)
{
	for (uint64_t n = 0; lie_goes_on(liar); n++) {
		struct probe_task *task = lie_task(liar, raw, first + (uint32_t)(n % (N_TASKS / 2)), PROBE_ADD);

		/* too often the same: it is in flight still, and refused */
		if (raw_push(raw, task) == 0)
			lie_sent(liar);
		if (n % 16 == 15)
			usleep(100);
	}
}

void lie_child_goes_on(struct liar *liar)
{
	struct raw raw;
	pid_t child;

	if (raw_attach(&raw) < 0)
		return;
	child = fork();
	if (child == 0) {
		liar->random ^= UINT64_C(0x5555555555555555);
		push_for_a_while(liar, &raw, 0);
		_exit(0);
	}
	/* the parent goes first, or not at all: the child has its memory, bells and socket */
	if (lie_pick(liar, 2))
		push_for_a_while(liar, &raw, lie_pick(liar, 2) ? 0 : N_TASKS / 2);
	raw_detach(&raw);
	if (child > 0)
		waitpid(child, NULL, 0);
}

/* ---- its lane's bell, rung by somebody else, also when the lane is gone ---- */

void lie_bells_passed_on(struct liar *liar)
{
	struct raw raw;
	pid_t child;

	if (raw_attach(&raw) < 0)
		return;
	child = fork();
	if (child == 0) {
		eventfd_t value;

		while (lie_goes_on(liar)) {
			if (eventfd_write(raw.bell, 1 + lie_pick(liar, UINT32_MAX)) == 0)
				lie_sent(liar);
			else if (errno == EAGAIN)
				(void)eventfd_read(raw.bell, &value);
		}
		_exit(0);
	}
	for (int i = 0; i < 20 && lie_goes_on(liar); i++) {
		(void)raw_push(&raw, lie_task(liar, &raw, (uint32_t)i, PROBE_ADD));
		usleep(500);
	}
	raw_detach(&raw);
	if (child > 0)
		waitpid(child, NULL, 0);
}

/* ---- the socket is closed, the memory is not ---- */

void lie_goes_on_after_the_end(struct liar *liar)
{
	struct raw raw;

	while (lie_goes_on(liar)) {
		uint64_t end = 20 + lie_pick(liar, 200);

		if (raw_attach(&raw) < 0)
			return;
		close(raw.socket);
		raw.socket = -1;
		for (uint64_t n = 0; n < end && lie_goes_on(liar); n++) {
			(void)raw_push(&raw, lie_task(liar, &raw, (uint32_t)(n % N_TASKS), PROBE_ADD));
			(void)eventfd_write(raw.bell, 1);
			memset(raw.segment + lie_pick(liar, raw.heap / 2), (int)lie_pick(liar, 256), 64);
			lie_sent(liar);
			usleep((useconds_t)lie_pick(liar, 20));
		}
		lie_unanswered(liar);
		raw_detach(&raw);
	}
}

/* ---- what never ends, by itself ---- */

static void submit_period(struct liar *liar, struct raw *raw, uint32_t place)
{
	static const uint64_t periods[] = { 0, 1, 1000, 1000000, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX };
	struct probe_task *task = lie_task(liar, raw, place, PROBE_ADD);

	task->task.flags = CHI_TASK_PERIODIC;
	task->task.period_ns = periods[lie_pick(liar, sizeof(periods) / sizeof(periods[0]))];
	task->task.deadline_us = lie_pick(liar, 2) ? (uint32_t)lie_word(liar) : 0;
	if (raw_push(raw, task) == 0)
		lie_sent(liar);
	usleep(300);
	/* no period at all is no period, and told at once */
	if (task->task.period_ns == 0 && raw_await(task, RAW_ANSWER_MS) != -EINVAL)
		lie_violation(liar, "a period of 0 was taken");
	if (chi_task_done(task))
		lie_answered(liar, task->task.result);
	else
		lie_unanswered(liar);
}

void lie_periods(struct liar *liar)
{
	while (lie_goes_on(liar)) {
		struct raw raw;

		if (raw_attach(&raw) < 0)
			return;
		/* fewer than it may have in flight, or its lane would rightly rest */
		for (uint32_t i = 0; i < 40 && lie_goes_on(liar); i++)
			submit_period(liar, &raw, i);
		raw_detach(&raw); /* they end with it */
	}
}

void lie_cancels(struct liar *liar)
{
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		struct probe_task *tasks[N_TASKS];

		for (uint32_t i = 0; i < N_TASKS; i++) {
			tasks[i] = lie_task(liar, &raw, i, i % 4 ? PROBE_ADD : PROBE_SUM);
			if (i % 4 == 0)
				tasks[i]->task.query = CHI_QUERY_GLOBAL_BCAST();
			(void)raw_push(&raw, tasks[i]);
		}
		/* taken back, and asked for again, many times while they run */
		for (uint32_t n = 0; n < 20000; n++)
			hshm_store_relaxed(&tasks[n % N_TASKS]->task.cancel, (uint32_t)next_random(&liar->random));
		hshm_count_add(&liar->row->n_sent, 20000);
		for (uint32_t i = 0; i < N_TASKS; i++)
			lie_answered(liar, raw_await(tasks[i], RAW_ANSWER_MS));
	}
	raw_detach(&raw);
}

/* ---- one lane, or all, full of good tasks, all the time ---- */

#define LANES_MAX 64u

struct open_lane {
	struct hipc_mpsc_queue ring;
	int bell;
};

static uint32_t open_lanes(struct raw *raw, struct open_lane *lanes, uint32_t n_lanes)
{
	uint32_t n = 0;

	for (; n < n_lanes && n < LANES_MAX; n++) {
		if (raw_open_lane(raw, n / CHI_PRIOS, n % CHI_PRIOS) < 0)
			break;
		lanes[n] = (struct open_lane){ raw->ring, raw->bell };
		raw->bell = -1;
	}
	return n;
}

void lie_greed(struct liar *liar)
{
	/* of one container: when that is its lane's worker's own, they run in place, and it has no contexts to run out of */
	uint64_t container = lie_pick(liar, 4);
	struct open_lane lanes[LANES_MAX];
	uint32_t n_lanes;
	struct raw raw;

	if (raw_greet(&raw) < 0)
		return;
	n_lanes = open_lanes(&raw, lanes, lie_pick(liar, 2) ? 1 : raw.welcome.n_lanes * CHI_PRIOS);
	for (uint32_t n = 0; n_lanes > 0 && lie_goes_on(liar); n++) {
		struct probe_task *task = lie_task(liar, &raw, n % 512, PROBE_ADD);
		const struct open_lane *lane = &lanes[n % n_lanes];

		task->task.query = CHI_QUERY_LOCAL_ID(container);
		if (hipc_mpsc_enqueue(&lane->ring, raw_ref(&raw, task)) == 0)
			lie_sent(liar);
		else
			lie_answered(liar, -EAGAIN);
		if (n % 16 < n_lanes)
			(void)eventfd_write(lane->bell, 1);
	}
	for (uint32_t i = 0; i < n_lanes; i++)
		close(lanes[i].bell);
	raw_detach(&raw);
}
