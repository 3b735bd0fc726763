/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.h - other ways to have something done by another process, or another thread, each used as well as we know
 *
 * A peer is one file: a table of functions, and how its library wants to be used. What is measured is the same for all:
 * a message of 64 bytes goes to a process on the other CPU, which sends it back; one at a time, or 64 on their way. Each
 * message carries a number; what came back is compared with what went out when the clock has stopped.
 *
 * Every case runs in a process of its own (main.c), so that a library may start threads and keep them, and one that hangs
 * is ended with all that it started.
 */
#ifndef BENCH_PEERS_PEER_H
#define BENCH_PEERS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PEER_MESSAGE_BYTES 64u
#define PEER_OUTSTANDING   64u

struct peer_message {
	uint64_t number;
	uint64_t rest[PEER_MESSAGE_BYTES / sizeof(uint64_t) - 1];
};

/* What went out and what came back, in whatever order. */
struct peer_tally {
	uint64_t n_sent, n_received;
	uint64_t sum_sent, sum_received;
};

/* In memory that both processes map: whether the other side, if it spins, shall spin. */
struct peer_gate;

struct peer {
	const struct bench_peer *table;
	unsigned cpus[2];     /* ours, and the other side's */
	uint32_t outstanding; /* PEER_OUTSTANDING; start() may lower it */
	struct peer_tally tally;
	struct peer_gate *gate;
	pid_t pid;   /* the other side */
	int control; /* a socket to it; closed there when it ends */
	void *own;   /* the peer's; the other side has a copy of what there was at peer_fork() */
};

/* All functions return 0 (receive: how many) or a negative errno, after telling on stderr why (peer_tell()). */
struct bench_peer {
	const char *name;
	const char *help;
	bool spins;	 /* both sides do; beside our `busy`. Else both sleep: beside our `hybrid` */
	bool is_batched; /* makes one call of many messages: no round trip is measured, the rate is beside our bursts */
	int how;	 /* for a file with several peers */
	/* Both sides are ready for messages. */
	int (*start)(struct peer *peer);
	/* Hands in @n messages; at most peer->outstanding are on their way. May leave them in a buffer until receive(). */
	int (*send)(struct peer *peer, uint32_t n);
	/* Waits until one answer is there; takes what came with it. */
	int (*receive)(struct peer *peer);
	/* Accepts one that did not start. */
	void (*stop)(struct peer *peer);
};

/* Schedulers in this process, two threads: ours is the first. */
struct bench_scheduler {
	const char *name;
	const char *help;
	bool roams; /* its threads are not pinned, this one neither */
	/* @cpus: which the threads may use. May return what the others get as @own. */
	int (*start)(const unsigned cpus[2], void **ret_own);
	/* Starts @n tasks that do no more than be counted, and waits for all. Returns 0, or -EBADMSG: some did not run. */
	int (*spawn)(void *own, uint32_t n);
	/* @n times, in a task where the scheduler lets a task wait: start one task and wait for it. */
	int (*nested)(void *own, uint32_t n);
	void (*stop)(void *own);
};

/* ---- peer.c ---- */

/* Says on stderr "NAME: WHAT: ERROR", returns @rc. */
int peer_tell(const struct peer *peer, const char *what, int rc);

/*
 * The other side, in a process of its own on its CPU: @serve runs there, then that process ends. Call it before the
 * library has made anything that does not outlive a fork. peer->control is a socket to the other side, in both.
 */
int peer_fork(struct peer *peer, void (*serve)(struct peer *peer));
/* Hands @size bytes to the other side and gets as many from it. */
int peer_exchange(struct peer *peer, const void *mine, void *ret_theirs, size_t size);
/* Ends the other side: it is asked first, and has a second. Accepts one that was not started. */
void peer_end(struct peer *peer);

/* For a side that spins: sleep while nobody measures. False: the end. */
bool peer_gate_wait(struct peer *peer);
bool peer_gate_is_open(struct peer *peer);
void peer_gate_set(struct peer *peer, bool open);

/* After a slice: sleeps until this process's other threads sleep, too, and so does @pid (0: none). Some spin a while. */
void peer_settle(pid_t pid);

static inline void peer_fill(struct peer *peer, struct peer_message *message)
{
	message->number = ++peer->tally.n_sent;
	peer->tally.sum_sent += message->number;
}

static inline void peer_take(struct peer *peer, const struct peer_message *message)
{
	peer->tally.n_received++;
	peer->tally.sum_received += message->number;
}

#ifdef __cplusplus
}
#endif

#endif
