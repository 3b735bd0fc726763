/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * redis.c - Redis over a Unix socket, by hiredis: PING with a message, pipelined
 *
 * The server is ours: in a folder of its own, on its CPU, with nothing saved. Commands are formatted once and gathered by
 * hiredis, which writes them together when the first answer is asked for.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#define START_MS_MAX 5000
#define HEAD	     "*2\r\n$4\r\nPING\r\n$64\r\n"

struct redis {
	char folder[64];
	char socket[96];
	redisContext *context;
	struct {
		char head[sizeof(HEAD) - 1];
		struct peer_message message;
		char tail[2];
	} __attribute__((packed)) command;
};

/* The other side becomes the server. redis-tools has its program under another name, and looks at what it is called. */
static void serve(struct peer *peer)
{
	static const char *const programs[] = { "redis-server", "redis-check-rdb" };
	const struct redis *redis = peer->own;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(null, STDOUT_FILENO);
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		execlp(programs[i], "redis-server", "--port", "0", "--unixsocket", redis->socket, "--save", "",
		       "--appendonly", "no", "--dir", redis->folder, NULL);
	peer_tell(peer, "redis-server", -errno);
}

static int connect_server(struct peer *peer, struct redis *redis)
{
	for (int i = 0; i < START_MS_MAX; i++) {
		redis->context = redisConnectUnix(redis->socket);
		if (redis->context && !redis->context->err)
			return 0;
		redisFree(redis->context);
		redis->context = NULL;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return peer_tell(peer, "the server", -ETIMEDOUT);
}

static int start(struct peer *peer)
{
	struct redis *redis = peer->own = calloc(1, sizeof(*redis));
	int rc;

	if (!redis)
		return -ENOMEM;
	strcpy(redis->folder, "/tmp/chimaera-bench-XXXXXX");
	if (!mkdtemp(redis->folder)) {
		rc = -errno;
		redis->folder[0] = '\0';
		return peer_tell(peer, "mkdtemp", rc);
	}
	snprintf(redis->socket, sizeof(redis->socket), "%s/socket", redis->folder);
	memcpy(redis->command.head, HEAD, sizeof(redis->command.head));
	memcpy(redis->command.tail, "\r\n", 2);
	rc = peer_fork(peer, serve);
	return rc ? rc : connect_server(peer, redis);
}

static int send_messages(struct peer *peer, uint32_t n)
{
	struct redis *redis = peer->own;
	struct peer_message message = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		peer_fill(peer, &message);
		memcpy(&redis->command.message, &message, sizeof(message));
		if (redisAppendFormattedCommand(redis->context, (const char *)&redis->command, sizeof(redis->command)))
			return peer_tell(peer, redis->context->errstr, -EIO);
	}
	return 0;
}

static int take(struct peer *peer, redisReply *reply)
{
	struct peer_message message;

	if (reply->type != REDIS_REPLY_STRING || (size_t)reply->len != sizeof(message)) {
		freeReplyObject(reply);
		return peer_tell(peer, "an answer", -EBADMSG);
	}
	memcpy(&message, reply->str, sizeof(message));
	freeReplyObject(reply);
	peer_take(peer, &message);
	return 0;
}

/* The first is waited for; what came with it is taken, too. */
static int receive(struct peer *peer)
{
	struct redis *redis = peer->own;
	void *reply;
	int n = 0, rc = redisGetReply(redis->context, &reply);

	while (!rc && reply) {
		rc = take(peer, reply);
		n++;
		if (!rc)
			rc = redisGetReplyFromReader(redis->context, &reply);
	}
	if (rc == REDIS_ERR)
		return peer_tell(peer, redis->context->errstr, -EIO);
	return rc ? rc : n;
}

static void stop(struct peer *peer)
{
	struct redis *redis = peer->own;

	if (redis && redis->context) {
		/* it closes the connection instead of an answer */
		freeReplyObject(redisCommand(redis->context, "SHUTDOWN NOSAVE"));
		redisFree(redis->context);
	}
	peer_end(peer);
	if (redis && redis->folder[0]) {
		unlink(redis->socket);
		rmdir(redis->folder);
	}
	free(redis);
}

const struct bench_peer bench_peers_redis[] = {
	{
		.name = "redis",
		.help = "Redis over a Unix socket: PING, pipelined",
		.start = start,
		.send = send_messages,
		.receive = receive,
		.stop = stop,
	},
	{ 0 },
};
