/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * seqpacket.c - a pair of Unix sockets that keep messages apart
 *
 * A message is a call; "batched" makes one call, sendmmsg() or recvmmsg(), of all that are ready.
 */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct packets {
	int ours, theirs;
	struct peer_message messages[PEER_OUTSTANDING];
	struct iovec vectors[PEER_OUTSTANDING];
	struct mmsghdr headers[PEER_OUTSTANDING];
};

static bool would_block(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static int send_one_by_one(const struct packets *packets, int fd, uint32_t n)
{
	for (uint32_t i = 0; i < n;) {
		ssize_t size = send(fd, &packets->messages[i], sizeof(packets->messages[i]), MSG_NOSIGNAL);

		if (size < 0 && !would_block(size))
			return -errno;
		i += size > 0;
	}
	return 0;
}

static int send_together(struct packets *packets, int fd, uint32_t n)
{
	for (uint32_t i = 0; i < n;) {
		int n_sent = sendmmsg(fd, &packets->headers[i], n - i, MSG_NOSIGNAL);

		if (n_sent < 0 && !would_block(n_sent))
			return -errno;
		i += n_sent > 0 ? (uint32_t)n_sent : 0;
	}
	return 0;
}

static int send_packets(const struct peer *peer, int fd, uint32_t n)
{
	return peer->table->is_batched ? send_together(peer->own, fd, n) : send_one_by_one(peer->own, fd, n);
}

/* Returns how many, 0: none yet, and it does not block */
static int receive_packets(const struct peer *peer, int fd)
{
	struct packets *packets = peer->own;
	ssize_t n = peer->table->is_batched ? recvmmsg(fd, packets->headers, PEER_OUTSTANDING, MSG_WAITFORONE, NULL)
					    : recv(fd, packets->messages, sizeof(packets->messages[0]), 0);

	if (n < 0)
		return would_block(n) ? 0 : -errno;
	/* the end of the other side is a message of nothing */
	if (n == 0 || (peer->table->is_batched && !packets->headers[0].msg_len))
		return -EPIPE;
	return peer->table->is_batched ? (int)n : 1;
}

static int echo(struct peer *peer)
{
	struct packets *packets = peer->own;
	int n = receive_packets(peer, packets->theirs);

	return n <= 0 ? n : send_packets(peer, packets->theirs, (uint32_t)n);
}

static void serve(struct peer *peer)
{
	struct packets *packets = peer->own;
	int rc = 0;

	close(packets->ours);
	if (!peer->table->spins)
		while (!rc)
			rc = echo(peer);
	while (!rc && peer_gate_wait(peer))
		while (!rc && peer_gate_is_open(peer))
			rc = echo(peer);
}

static int start(struct peer *peer)
{
	struct packets *packets = peer->own = calloc(1, sizeof(*packets));
	int type = SOCK_SEQPACKET | SOCK_CLOEXEC | (peer->table->spins ? SOCK_NONBLOCK : 0);
	int ends[2], rc;

	if (!packets || socketpair(AF_UNIX, type, 0, ends))
		return peer_tell(peer, "opening", -errno);
	packets->ours = ends[0];
	packets->theirs = ends[1];
	for (uint32_t i = 0; i < PEER_OUTSTANDING; i++) {
		packets->vectors[i] = (struct iovec){ &packets->messages[i], sizeof(packets->messages[i]) };
		packets->headers[i].msg_hdr = (struct msghdr){ .msg_iov = &packets->vectors[i], .msg_iovlen = 1 };
	}
	rc = peer_fork(peer, serve);
	close(packets->theirs);
	return rc;
}

static int send_messages(struct peer *peer, uint32_t n)
{
	struct packets *packets = peer->own;
	int rc;

	for (uint32_t i = 0; i < n; i++)
		peer_fill(peer, &packets->messages[i]);
	rc = send_packets(peer, packets->ours, n);
	return rc ? peer_tell(peer, "send", rc) : 0;
}

static int receive(struct peer *peer)
{
	struct packets *packets = peer->own;
	int n;

	do
		n = receive_packets(peer, packets->ours);
	while (!n);
	if (n < 0)
		return peer_tell(peer, "receive", n);
	for (int i = 0; i < n; i++)
		peer_take(peer, &packets->messages[i]);
	return n;
}

static void stop(struct peer *peer)
{
	struct packets *packets = peer->own;

	if (packets)
		close(packets->ours);
	peer_end(peer);
	free(packets);
}

#define PACKETS(peer_name, peer_help, is_spinning, batched)                                                \
	{                                                                                                  \
		.name = (peer_name), .help = (peer_help), .spins = (is_spinning), .is_batched = (batched), \
		.start = start, .send = send_messages, .receive = receive, .stop = stop                    \
	}

const struct bench_peer bench_peers_seqpacket[] = {
	PACKETS("seqpacket-spin", "a pair of Unix seqpacket sockets, both sides look without blocking", true, false),
	PACKETS("seqpacket-spin-batched", "sendmmsg() and recvmmsg()", true, true),
	PACKETS("seqpacket", "a pair of Unix seqpacket sockets, both sides block", false, false),
	PACKETS("seqpacket-batched", "sendmmsg() and recvmmsg()", false, true),
	{ 0 },
};
