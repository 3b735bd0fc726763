/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ucx.c - UCX active messages over shared memory
 *
 * A worker of one thread on each side, progressed without a pause. A message is 64 bytes of data, which UCX copies at once
 * into a slot of the receiver's FIFO (am_short). Of what "sm" stands for posix alone: each open transport is looked at in
 * turn. Longer FIFOs make no difference. A round trip takes what two of ucx_perftest's one-way ucp_am_lat take.
 */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ucp/api/ucp.h>

#define ADDRESS_MAX 1024u

enum { MESSAGE_ID = 1 };

struct address {
	uint64_t n_bytes;
	unsigned char bytes[ADDRESS_MAX];
};

struct side {
	struct peer *peer;
	ucp_context_h context;
	ucp_worker_h worker;
	ucp_ep_h endpoint;
	uint64_t n_told; /* received, and told by receive() */
	/* a ring, on the other side alone: what came and is not sent back yet */
	uint32_t n_came, n_sent_back;
	struct peer_message messages[PEER_OUTSTANDING];
};

static int tell(const struct peer *peer, const char *what, ucs_status_t status)
{
	return peer_tell(peer, what, peer_tell(peer, ucs_status_string(status), -EIO));
}

/* ---- messages ---- */

/* UCX has more to do with it than to copy it: the FIFO is full. */
static int finish(struct side *side, ucs_status_ptr_t request)
{
	ucs_status_t status;

	if (!UCS_PTR_IS_PTR(request))
		return tell(side->peer, "ucp_am_send_nbx", UCS_PTR_STATUS(request));
	do
		ucp_worker_progress(side->worker);
	while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS);
	ucp_request_free(request);
	return status == UCS_OK ? 0 : tell(side->peer, "ucp_am_send_nbx", status);
}

static int send_one(struct side *side, const struct peer_message *message)
{
	static const ucp_request_param_t param;
	ucs_status_ptr_t request = ucp_am_send_nbx(side->endpoint, MESSAGE_ID, NULL, 0, message, sizeof(*message),
						   &param);

	return request ? finish(side, request) : 0;
}

static ucs_status_t keep_message(void *arg, const void *header, size_t header_length, void *data, size_t length,
				 const ucp_am_recv_param_t *param)
{
	struct side *side = arg;

	(void)header;
	(void)header_length;
	(void)length;
	(void)param;
	memcpy(&side->messages[side->n_came++ % PEER_OUTSTANDING], data, sizeof(struct peer_message));
	return UCS_OK;
}

static ucs_status_t take_message(void *arg, const void *header, size_t header_length, void *data, size_t length,
				 const ucp_am_recv_param_t *param)
{
	struct side *side = arg;

	(void)header;
	(void)header_length;
	(void)length;
	(void)param;
	peer_take(side->peer, data);
	return UCS_OK;
}

/* ---- both sides ---- */

static int set_handler(struct side *side, ucp_am_recv_callback_t handler)
{
	ucp_am_handler_param_t param = {
		.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
			      UCP_AM_HANDLER_PARAM_FIELD_ARG,
		.id = MESSAGE_ID,
		.cb = handler,
		.arg = side,
	};
	ucs_status_t status = ucp_worker_set_am_recv_handler(side->worker, &param);

	return status == UCS_OK ? 0 : tell(side->peer, "ucp_worker_set_am_recv_handler", status);
}

static int open_worker(struct side *side)
{
	ucp_params_t params = { .field_mask = UCP_PARAM_FIELD_FEATURES, .features = UCP_FEATURE_AM };
	ucp_worker_params_t worker_params = {
		.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
		.thread_mode = UCS_THREAD_MODE_SINGLE,
	};
	ucp_config_t *config;
	ucs_status_t status = ucp_config_read(NULL, NULL, &config);

	if (status != UCS_OK)
		return tell(side->peer, "ucp_config_read", status);
	ucp_config_modify(config, "TLS", "posix,self");
	status = ucp_init(&params, config, &side->context);
	ucp_config_release(config);
	if (status != UCS_OK)
		return tell(side->peer, "ucp_init", status);
	status = ucp_worker_create(side->context, &worker_params, &side->worker);
	return status == UCS_OK ? 0 : tell(side->peer, "ucp_worker_create", status);
}

static int copy_address(struct side *side, struct address *ret_address)
{
	ucp_address_t *bytes;
	size_t n_bytes;
	ucs_status_t status = ucp_worker_get_address(side->worker, &bytes, &n_bytes);

	if (status != UCS_OK)
		return tell(side->peer, "ucp_worker_get_address", status);
	if (n_bytes <= ADDRESS_MAX)
		memcpy(ret_address->bytes, bytes, n_bytes);
	ret_address->n_bytes = n_bytes;
	ucp_worker_release_address(side->worker, bytes);
	return n_bytes <= ADDRESS_MAX ? 0 : peer_tell(side->peer, "its address", -EMSGSIZE);
}

static int connect_sides(struct side *side)
{
	struct address ours = { 0 }, theirs;
	ucp_ep_params_t params = { .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS };
	ucs_status_t status;
	int rc = copy_address(side, &ours);

	if (!rc)
		rc = peer_exchange(side->peer, &ours, &theirs, sizeof(ours));
	if (rc)
		return rc;
	params.address = (const ucp_address_t *)theirs.bytes;
	status = ucp_ep_create(side->worker, &params, &side->endpoint);
	return status == UCS_OK ? 0 : tell(side->peer, "ucp_ep_create", status);
}

static int side_start(struct side *side, ucp_am_recv_callback_t handler)
{
	int rc = open_worker(side);

	if (!rc)
		rc = set_handler(side, handler);
	if (!rc)
		rc = connect_sides(side);
	return rc;
}

static void close_endpoint(struct side *side)
{
	static const ucp_request_param_t param = { .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
						   .flags = UCP_EP_CLOSE_FLAG_FORCE };
	ucs_status_ptr_t request = ucp_ep_close_nbx(side->endpoint, &param);

	if (!UCS_PTR_IS_PTR(request))
		return;
	while (ucp_request_check_status(request) == UCS_INPROGRESS)
		ucp_worker_progress(side->worker);
	ucp_request_free(request);
}

static void side_stop(struct side *side)
{
	if (side->endpoint)
		close_endpoint(side);
	if (side->worker)
		ucp_worker_destroy(side->worker);
	if (side->context)
		ucp_cleanup(side->context);
}

/* ---- the other side ---- */

static int send_back(struct side *side)
{
	int rc = 0;

	while (!rc && side->n_sent_back != side->n_came)
		rc = send_one(side, &side->messages[side->n_sent_back++ % PEER_OUTSTANDING]);
	return rc;
}

static void serve(struct peer *peer)
{
	struct side side = { .peer = peer };
	int rc = side_start(&side, keep_message);

	while (!rc && peer_gate_wait(peer)) {
		while (!rc && peer_gate_is_open(peer)) {
			ucp_worker_progress(side.worker);
			rc = send_back(&side);
		}
	}
	side_stop(&side);
}

/* ---- this side ---- */

static int start(struct peer *peer)
{
	struct side *side = peer->own = calloc(1, sizeof(*side));
	int rc;

	if (!side)
		return -ENOMEM;
	side->peer = peer;
	rc = peer_fork(peer, serve);
	return rc ? rc : side_start(side, take_message);
}

static int send_messages(struct peer *peer, uint32_t n)
{
	struct peer_message message = { 0 };
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		peer_fill(peer, &message);
		rc = send_one(peer->own, &message);
	}
	return rc;
}

static int receive(struct peer *peer)
{
	struct side *side = peer->own;
	uint64_t n_told = side->n_told;

	/* some may have come already, while a send waited for room */
	while (peer->tally.n_received == n_told)
		ucp_worker_progress(side->worker);
	side->n_told = peer->tally.n_received;
	return (int)(side->n_told - n_told);
}

static void stop(struct peer *peer)
{
	if (peer->own)
		side_stop(peer->own);
	peer_end(peer);
	free(peer->own);
}

const struct bench_peer bench_peers_ucx[] = {
	{
		.name = "ucx",
		.help = "UCX active messages over shared memory",
		.spins = true,
		.start = start,
		.send = send_messages,
		.receive = receive,
		.stop = stop,
	},
	{ 0 },
};
