/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mqueue.c - two POSIX message queues
 *
 * 64 outstanding need queues of 64 messages, which fs.mqueue.msg_max (10) refuses to all but CAP_SYS_RESOURCE. With
 * two queues of ten there are twenty outstanding, which the case tells.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_MAX 10u

struct queues {
	mqd_t there, back;
};

static int open_queue(const struct peer *peer, const char *which, uint32_t n_max, mqd_t *ret_queue)
{
	int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | (peer->table->spins ? O_NONBLOCK : 0);
	struct mq_attr attr = { .mq_maxmsg = (long)n_max, .mq_msgsize = PEER_MESSAGE_BYTES };
	char name[64];

	snprintf(name, sizeof(name), "/chimaera-bench-%d-%s", (int)getpid(), which);
	*ret_queue = mq_open(name, flags, 0600, &attr);
	if (*ret_queue < 0)
		return -errno;
	/* it lives as long as somebody has it open */
	mq_unlink(name);
	return 0;
}

static int open_queues(const struct peer *peer, struct queues *queues, uint32_t n_max)
{
	int rc = open_queue(peer, "there", n_max, &queues->there);

	if (rc)
		return rc;
	rc = open_queue(peer, "back", n_max, &queues->back);
	if (rc)
		mq_close(queues->there);
	return rc;
}

static int put(mqd_t queue, const struct peer_message *message, size_t size)
{
	int rc;

	do
		rc = mq_send(queue, (const char *)message, size, 0);
	while (rc < 0 && (errno == EAGAIN || errno == EINTR));
	return rc < 0 ? -errno : 0;
}

/* Returns its size, or 0: none yet, and it does not block */
static ssize_t take(mqd_t queue, struct peer_message *message)
{
	ssize_t n = mq_receive(queue, (char *)message, sizeof(*message), NULL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n;
}

/* Returns 0, or what ends it: a short message is the end. */
static int echo(struct peer *peer)
{
	const struct queues *queues = peer->own;
	struct peer_message message;
	ssize_t n = take(queues->there, &message);

	if (n == 0)
		return 0;
	return n == sizeof(message) ? put(queues->back, &message, sizeof(message)) : -EPIPE;
}

static void serve(struct peer *peer)
{
	int rc = 0;

	if (!peer->table->spins)
		while (!rc)
			rc = echo(peer);
	while (!rc && peer_gate_wait(peer))
		while (!rc && peer_gate_is_open(peer))
			rc = echo(peer);
}

static int start(struct peer *peer)
{
	struct queues *queues = calloc(1, sizeof(*queues));
	int rc = queues ? open_queues(peer, queues, PEER_OUTSTANDING) : -ENOMEM;

	if (rc == -EINVAL) {
		peer->outstanding = 2 * DEFAULT_MAX; /* more, and both sides might wait for room */
		rc = open_queues(peer, queues, DEFAULT_MAX);
	}
	if (rc) {
		free(queues);
		return peer_tell(peer, "mq_open", rc);
	}
	peer->own = queues;
	return peer_fork(peer, serve);
}

static int send_messages(struct peer *peer, uint32_t n)
{
	const struct queues *queues = peer->own;
	struct peer_message message = { 0 };
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		peer_fill(peer, &message);
		rc = put(queues->there, &message, sizeof(message));
	}
	return rc ? peer_tell(peer, "mq_send", rc) : 0;
}

static int receive(struct peer *peer)
{
	const struct queues *queues = peer->own;
	struct peer_message message;
	ssize_t n;

	do
		n = take(queues->back, &message);
	while (!n);
	if (n < 0)
		return peer_tell(peer, "mq_receive", (int)n);
	peer_take(peer, &message);
	return 1;
}

static void stop(struct peer *peer)
{
	struct queues *queues = peer->own;
	struct peer_message message = { 0 };

	if (queues)
		put(queues->there, &message, 1);
	peer_end(peer);
	if (queues) {
		mq_close(queues->there);
		mq_close(queues->back);
	}
	free(queues);
}

#define MQUEUE(peer_name, peer_help, is_spinning)                                                 \
	{                                                                                         \
		.name = (peer_name), .help = (peer_help), .spins = (is_spinning), .start = start, \
		.send = send_messages, .receive = receive, .stop = stop                           \
	}

const struct bench_peer bench_peers_mqueue[] = {
	MQUEUE("mqueue-spin", "two POSIX message queues, both sides look without blocking", true),
	MQUEUE("mqueue", "two POSIX message queues, both sides block", false),
	{ 0 },
};
