/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * streams.c - streams of bytes: two pipes, or a pair of Unix stream sockets
 *
 * Whoever reads takes all that is there, as any reader of a stream does. Whoever writes writes each message by itself;
 * "batched" writes what is ready as one.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (PEER_OUTSTANDING * PEER_MESSAGE_BYTES)

enum {
	SOCKETS = 1,
	BATCHED = 2,
};

struct stream {
	int in, out;		 /* ours */
	int their_in, their_out; /* with sockets the same, as ours are */
	size_t n_bytes;		 /* read, the end of them half a message */
	struct peer_message messages[PEER_OUTSTANDING];
};

static bool would_block(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* All of them: a stream may take less. */
static int write_all(int fd, const void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = write(fd, (const char *)bytes + done, size - done);

		if (n < 0 && !would_block(n))
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int write_messages(const struct peer *peer, int fd, const struct peer_message *messages, uint32_t n)
{
	uint32_t at_once = peer->table->how & BATCHED ? n : 1;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i += at_once)
		rc = write_all(fd, &messages[i], at_once * sizeof(*messages));
	return rc;
}

/* Returns how many whole messages there are, or a negative errno; 0: none yet, and it does not block */
static int read_messages(struct stream *stream, int fd)
{
	ssize_t n = read(fd, (char *)stream->messages + stream->n_bytes, BUFFER_BYTES - stream->n_bytes);

	if (n < 0)
		return would_block(n) ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	stream->n_bytes += (size_t)n;
	return (int)(stream->n_bytes / sizeof(struct peer_message));
}

/* The first @n have been dealt with. Half a message is rare: writes of less than a page are not torn. */
static void drop_messages(struct stream *stream, int n)
{
	size_t n_left = stream->n_bytes - (size_t)n * sizeof(struct peer_message);

	for (size_t i = 0; i < n_left; i++)
		((char *)stream->messages)[i] = ((char *)&stream->messages[n])[i];
	stream->n_bytes = n_left;
}

/* ---- the other side ---- */

static int echo(struct peer *peer)
{
	struct stream *stream = peer->own;
	int n = read_messages(stream, stream->their_in), rc;

	if (n <= 0)
		return n;
	rc = write_messages(peer, stream->their_out, stream->messages, (uint32_t)n);
	drop_messages(stream, n);
	return rc;
}

static void serve(struct peer *peer)
{
	struct stream *stream = peer->own;
	int rc = 0;

	/* ours: so that their end is seen */
	close(stream->in);
	if (stream->out != stream->in)
		close(stream->out);
	if (!peer->table->spins)
		while (!rc)
			rc = echo(peer);
	while (!rc && peer_gate_wait(peer))
		while (!rc && peer_gate_is_open(peer))
			rc = echo(peer);
}

/* ---- this side ---- */

static int open_stream(struct peer *peer, struct stream *stream)
{
	int flags = SOCK_CLOEXEC | (peer->table->spins ? SOCK_NONBLOCK : 0);
	int pipe_flags = O_CLOEXEC | (peer->table->spins ? O_NONBLOCK : 0);
	int there[2], back[2];

	if (peer->table->how & SOCKETS) {
		if (socketpair(AF_UNIX, SOCK_STREAM | flags, 0, there))
			return -errno;
		stream->in = stream->out = there[0];
		stream->their_in = stream->their_out = there[1];
		return 0;
	}
	if (pipe2(there, pipe_flags) || pipe2(back, pipe_flags))
		return -errno;
	stream->out = there[1];
	stream->their_in = there[0];
	stream->in = back[0];
	stream->their_out = back[1];
	return 0;
}

static int start(struct peer *peer)
{
	struct stream *stream = peer->own = calloc(1, sizeof(*stream));
	int rc = stream ? open_stream(peer, stream) : -ENOMEM;

	if (rc)
		return peer_tell(peer, "opening", rc);
	rc = peer_fork(peer, serve);
	close(stream->their_in);
	if (stream->their_out != stream->their_in)
		close(stream->their_out);
	return rc;
}

static int send_messages(struct peer *peer, uint32_t n)
{
	struct stream *stream = peer->own;
	struct peer_message messages[PEER_OUTSTANDING] = { 0 };
	int rc;

	for (uint32_t i = 0; i < n; i++)
		peer_fill(peer, &messages[i]);
	rc = write_messages(peer, stream->out, messages, n);
	return rc ? peer_tell(peer, "write", rc) : 0;
}

static int receive(struct peer *peer)
{
	struct stream *stream = peer->own;
	int n;

	do
		n = read_messages(stream, stream->in);
	while (!n);
	if (n < 0)
		return peer_tell(peer, "read", n);
	for (int i = 0; i < n; i++)
		peer_take(peer, &stream->messages[i]);
	drop_messages(stream, n);
	return n;
}

static void stop(struct peer *peer)
{
	struct stream *stream = peer->own;

	if (stream) {
		close(stream->in);
		if (stream->out != stream->in)
			close(stream->out);
	}
	peer_end(peer);
	free(stream);
}

#define STREAM(peer_name, peer_help, is_spinning, flags)                                                         \
	{                                                                                                        \
		.name = (peer_name), .help = (peer_help), .spins = (is_spinning), .how = (flags),                \
		.is_batched = ((flags)&BATCHED) != 0, .start = start, .send = send_messages, .receive = receive, \
		.stop = stop                                                                                     \
	}

const struct bench_peer bench_peers_streams[] = {
	STREAM("pipe-spin", "two pipes, both sides look without blocking", true, 0),
	STREAM("pipe-spin-batched", "what is ready is written as one", true, BATCHED),
	STREAM("pipe", "two pipes, both sides block", false, 0),
	STREAM("pipe-batched", "what is ready is written as one", false, BATCHED),
	STREAM("unix-stream-spin", "a pair of Unix stream sockets, both sides look without blocking", true, SOCKETS),
	STREAM("unix-stream-spin-batched", "what is ready is written as one", true, SOCKETS | BATCHED),
	STREAM("unix-stream", "a pair of Unix stream sockets, both sides block", false, SOCKETS),
	STREAM("unix-stream-batched", "what is ready is written as one", false, SOCKETS | BATCHED),
	{ 0 },
};
