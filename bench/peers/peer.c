/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.c - the other side: a process, a gate, a socket
 */
#include "peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hshm/atomic.h>

#include "bench.h"
#include "other.h"

#define SETTLE_MS_MAX 200

struct peer_gate {
	hshm_au32 open; /* 0: the other side, if it spins, sleeps on it */
	hshm_au32 end;
};

int peer_tell(const struct peer *peer, const char *what, int rc)
{
	fprintf(stderr, "chimaera-bench-peers: %s: %s: %s\n", peer->table->name, what, strerror(-rc));
	return rc;
}

/* ---- the gate ---- */

bool peer_gate_wait(struct peer *peer)
{
	bench_gate_wait(&peer->gate->open);
	return !hshm_load_relaxed(&peer->gate->end); /* relaxed: ordered by the gate */
}

bool peer_gate_is_open(struct peer *peer)
{
	/* relaxed: looked at again and again */
	return hshm_load_relaxed(&peer->gate->open) && !hshm_load_relaxed(&peer->gate->end);
}

void peer_gate_set(struct peer *peer, bool open)
{
	if (peer->gate)
		bench_gate_set(&peer->gate->open, open);
}

/* Whoever waits at the gate, or comes there, learns that it is the end. */
static void gate_end(struct peer *peer)
{
	if (!peer->gate)
		return;
	hshm_store_relaxed(&peer->gate->end, 1); /* relaxed: ordered by the gate */
	bench_gate_set(&peer->gate->open, 1);
}

/* ---- quiet ---- */

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec used = { 0 };

	clock_gettime(clock, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* CPU time of this process's other threads, and of the other side */
static uint64_t others_cpu_ns(pid_t pid)
{
	uint64_t used_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns(CLOCK_THREAD_CPUTIME_ID);
	clockid_t clock;

	return pid > 0 && !clock_getcpuclockid(pid, &clock) ? used_ns + cpu_ns(clock) : used_ns;
}

void peer_settle(pid_t pid)
{
	uint64_t before_ns = others_cpu_ns(pid), now_ns;

	for (int i = 0; i < SETTLE_MS_MAX; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		now_ns = others_cpu_ns(pid);
		if (now_ns - before_ns < 50000)
			return;
		before_ns = now_ns;
	}
}

/* ---- the process ---- */

int peer_fork(struct peer *peer, void (*serve)(struct peer *peer))
{
	int ends[2];

	peer->gate = bench_shared_map(sizeof(*peer->gate));
	if (!peer->gate)
		return peer_tell(peer, "memory", -ENOMEM);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return peer_tell(peer, "socketpair", -errno);
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		peer->control = ends[1];
		if (!bench_pin(peer->cpus[1]))
			serve(peer);
		fflush(NULL);
		_exit(0);
	}
	close(ends[1]);
	peer->control = ends[0];
	return peer->pid < 0 ? peer_tell(peer, "fork", -errno) : 0;
}

static int move_all(struct peer *peer, bool is_write, void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		char *at = (char *)bytes + done;
		ssize_t n = is_write ? write(peer->control, at, size - done) : read(peer->control, at, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return peer_tell(peer, "the other side", n < 0 ? -errno : -EPIPE);
		done += (size_t)n;
	}
	return 0;
}

int peer_exchange(struct peer *peer, const void *mine, void *ret_theirs, size_t size)
{
	int rc = move_all(peer, true, (void *)(uintptr_t)mine, size);

	return rc ? rc : move_all(peer, false, ret_theirs, size);
}

static bool ends_within_a_second(pid_t pid)
{
	for (int i = 0; i < 1000; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return false;
}

void peer_end(struct peer *peer)
{
	gate_end(peer);
	if (peer->control >= 0)
		close(peer->control);
	peer->control = -1;
	if (peer->pid > 0 && !ends_within_a_second(peer->pid)) {
		peer_tell(peer, "does not end", -ETIMEDOUT);
		kill(peer->pid, SIGKILL);
		waitpid(peer->pid, NULL, 0);
	}
	peer->pid = -1;
	bench_shared_unmap(peer->gate, sizeof(*peer->gate));
	peer->gate = NULL;
}
