/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nng.c - nng over ipc: a pair of sockets
 *
 * Messages are sent as they came, without a copy of ours; queues of 64 on both sides, so that threads of the library do
 * not wait for ours.
 */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

struct side {
	nng_socket socket;
};

static int tell(const struct peer *peer, const char *what, int error)
{
	return error ? peer_tell(peer, what, peer_tell(peer, nng_strerror(error), -EIO)) : 0;
}

static int side_start(const struct peer *peer, struct side *side, bool is_server)
{
	char name[64];
	int rc = nng_pair0_open(&side->socket);

	/* abstract: no file is left */
	snprintf(name, sizeof(name), "abstract://chimaera-bench-%d", is_server ? (int)getppid() : (int)getpid());
	if (!rc)
		rc = nng_socket_set_int(side->socket, NNG_OPT_SENDBUF, PEER_OUTSTANDING);
	if (!rc)
		rc = nng_socket_set_int(side->socket, NNG_OPT_RECVBUF, PEER_OUTSTANDING);
	if (!rc)
		rc = is_server ? nng_listen(side->socket, name, NULL, 0) : nng_dial(side->socket, name, NULL, 0);
	return tell(peer, is_server ? "nng_listen" : "nng_dial", rc);
}

/* ---- the other side ---- */

static int echo(struct side *side)
{
	nng_msg *message;
	int rc = nng_recvmsg(side->socket, &message, 0);

	if (rc)
		return -EPIPE;
	/* a short one is the end */
	if (nng_msg_len(message) == sizeof(struct peer_message) && !nng_sendmsg(side->socket, message, 0))
		return 0;
	nng_msg_free(message);
	return -EPIPE;
}

static void serve(struct peer *peer)
{
	struct side side;
	char ready = 0;
	int rc = side_start(peer, &side, true);

	if (!rc)
		rc = peer_exchange(peer, &ready, &ready, sizeof(ready));
	while (!rc)
		rc = echo(&side);
	nng_close(side.socket);
}

/* ---- this side ---- */

static int start(struct peer *peer)
{
	struct side *side = calloc(1, sizeof(*side));
	char ready = 0;
	int rc = side ? peer_fork(peer, serve) : -ENOMEM;

	if (!rc)
		rc = peer_exchange(peer, &ready, &ready, sizeof(ready));
	if (!rc)
		rc = side_start(peer, side, false);
	if (rc)
		free(side);
	else
		peer->own = side;
	return rc;
}

static int send_bytes(const struct side *side, const void *bytes, size_t size)
{
	nng_msg *message;
	int rc = nng_msg_alloc(&message, size);

	if (rc)
		return rc;
	memcpy(nng_msg_body(message), bytes, size);
	rc = nng_sendmsg(side->socket, message, 0);
	if (rc)
		nng_msg_free(message);
	return rc;
}

static int send_messages(struct peer *peer, uint32_t n)
{
	struct peer_message message = { 0 };
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		peer_fill(peer, &message);
		rc = send_bytes(peer->own, &message, sizeof(message));
	}
	return tell(peer, "nng_sendmsg", rc);
}

static int receive(struct peer *peer)
{
	const struct side *side = peer->own;
	nng_msg *message;
	int rc = nng_recvmsg(side->socket, &message, 0);

	if (rc)
		return tell(peer, "nng_recvmsg", rc);
	if (nng_msg_len(message) == sizeof(struct peer_message))
		peer_take(peer, nng_msg_body(message));
	nng_msg_free(message);
	return 1;
}

static void stop(struct peer *peer)
{
	struct side *side = peer->own;

	if (side)
		send_bytes(side, "", 1);
	peer_end(peer);
	if (side)
		nng_close(side->socket);
	free(side);
}

const struct bench_peer bench_peers_nng[] = {
	{
		.name = "nng",
		.help = "nng over ipc: a pair of sockets",
		.start = start,
		.send = send_messages,
		.receive = receive,
		.stop = stop,
	},
	{ 0 },
};
