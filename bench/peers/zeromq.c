/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zeromq.c - ZeroMQ over ipc: a pair of sockets
 *
 * A thread of the library's moves the bytes, on the CPU of its side; it writes what is queued as one.
 */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <zmq.h>

struct side {
	void *context, *socket;
};

static void side_stop(struct side *side)
{
	if (side->socket)
		zmq_close(side->socket);
	if (side->context)
		zmq_ctx_term(side->context);
}

static int side_start(const struct peer *peer, struct side *side, bool is_server)
{
	int nothing = 0;
	char name[64];

	/* abstract: no file is left */
	snprintf(name, sizeof(name), "ipc://@chimaera-bench-%d", is_server ? (int)getppid() : (int)getpid());
	side->context = zmq_ctx_new();
	side->socket = side->context ? zmq_socket(side->context, ZMQ_PAIR) : NULL;
	if (!side->socket)
		return peer_tell(peer, "zmq_socket", -errno);
	zmq_setsockopt(side->socket, ZMQ_LINGER, &nothing, sizeof(nothing));
	if (is_server ? zmq_bind(side->socket, name) : zmq_connect(side->socket, name))
		return peer_tell(peer, is_server ? "zmq_bind" : "zmq_connect", -errno);
	return 0;
}

/* ---- the other side ---- */

static int echo(struct side *side)
{
	struct peer_message message;
	int n = zmq_recv(side->socket, &message, sizeof(message), 0);

	/* a short one is the end */
	if (n != sizeof(message))
		return n < 0 && errno == EINTR ? 0 : -EPIPE;
	return zmq_send(side->socket, &message, sizeof(message), 0) < 0 ? -errno : 0;
}

static void serve(struct peer *peer)
{
	struct side side = { 0 };
	char ready = 0;
	int rc = side_start(peer, &side, true);

	if (!rc)
		rc = peer_exchange(peer, &ready, &ready, sizeof(ready));
	while (!rc)
		rc = echo(&side);
	side_stop(&side);
}

/* ---- this side ---- */

static int start(struct peer *peer)
{
	struct side *side = peer->own = calloc(1, sizeof(*side));
	char ready = 0;
	int rc = side ? peer_fork(peer, serve) : -ENOMEM;

	if (!rc)
		rc = peer_exchange(peer, &ready, &ready, sizeof(ready));
	return rc ? rc : side_start(peer, side, false);
}

static int send_messages(struct peer *peer, uint32_t n)
{
	const struct side *side = peer->own;
	struct peer_message message = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		peer_fill(peer, &message);
		while (zmq_send(side->socket, &message, sizeof(message), 0) < 0)
			if (errno != EINTR)
				return peer_tell(peer, "zmq_send", -errno);
	}
	return 0;
}

static int receive(struct peer *peer)
{
	const struct side *side = peer->own;
	struct peer_message message;
	int n;

	do
		n = zmq_recv(side->socket, &message, sizeof(message), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(message))
		return peer_tell(peer, "zmq_recv", n < 0 ? -errno : -EBADMSG);
	peer_take(peer, &message);
	return 1;
}

static void stop(struct peer *peer)
{
	struct side *side = peer->own;

	if (side && side->socket)
		zmq_send(side->socket, "", 1, ZMQ_DONTWAIT);
	peer_end(peer);
	if (side)
		side_stop(side);
	free(side);
}

const struct bench_peer bench_peers_zeromq[] = {
	{
		.name = "zeromq",
		.help = "ZeroMQ over ipc: a pair of sockets",
		.start = start,
		.send = send_messages,
		.receive = receive,
		.stop = stop,
	},
	{ 0 },
};
