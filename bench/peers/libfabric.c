/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libfabric.c - libfabric's provider shm
 *
 * An endpoint of kind RDM with one queue of completions, polled without a pause; progress is manual there. A message goes by
 * fi_inject(), which copies it and has no completion; as many receives as may be outstanding are posted, and posted again.
 */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#define ADDRESS_MAX 256u

struct address {
	uint64_t n_bytes;
	unsigned char bytes[ADDRESS_MAX];
};

struct side {
	struct peer *peer;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *addresses;
	struct fid_cq *completions;
	struct fid_ep *endpoint;
	fi_addr_t other;
	/* each with a receive posted, whose context it is */
	struct {
		struct fi_context context;
		struct peer_message message;
	} slots[PEER_OUTSTANDING];
};

static int tell(const struct side *side, const char *what, ssize_t rc)
{
	return rc < 0 ? peer_tell(side->peer, what, peer_tell(side->peer, fi_strerror((int)-rc), -EIO)) : 0;
}

/* ---- messages ---- */

static int inject(struct side *side, const struct peer_message *message)
{
	ssize_t rc;

	/* full: what makes room is progress */
	while ((rc = fi_inject(side->endpoint, message, sizeof(*message), side->other)) == -FI_EAGAIN)
		fi_cq_read(side->completions, NULL, 0);
	return tell(side, "fi_inject", rc);
}

static int post(struct side *side, uint32_t slot)
{
	return tell(side, "fi_recv",
		    fi_recv(side->endpoint, &side->slots[slot].message, sizeof(struct peer_message), NULL,
			    FI_ADDR_UNSPEC, &side->slots[slot]));
}

/* What has come, each handed to @fn and its slot posted again. Returns how many */
static int poll_messages(struct side *side, int (*fn)(struct side *side, const struct peer_message *message))
{
	struct fi_cq_entry entries[16];
	ssize_t n = fi_cq_read(side->completions, entries, 16);
	int rc = 0;

	if (n == -FI_EAGAIN)
		return 0;
	for (ssize_t i = 0; i < n && !rc; i++) {
		uint32_t slot =
			(uint32_t)(((char *)entries[i].op_context - (char *)side->slots) / sizeof(side->slots[0]));

		rc = fn(side, &side->slots[slot].message);
		if (!rc)
			rc = post(side, slot);
	}
	return n < 0 ? tell(side, "fi_cq_read", n) : rc ? rc : (int)n;
}

static int take_message(struct side *side, const struct peer_message *message)
{
	peer_take(side->peer, message);
	return 0;
}

/* ---- both sides ---- */

static int open_fabric(struct side *side)
{
	struct fi_info *hints = fi_allocinfo();
	int rc;

	if (!hints)
		return -ENOMEM;
	hints->ep_attr->type = FI_EP_RDM;
	hints->caps = FI_MSG;
	hints->mode = FI_CONTEXT;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->domain_attr->mr_mode = 0;
	hints->fabric_attr->prov_name = strdup("shm");
	rc = fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, hints, &side->info);
	fi_freeinfo(hints);
	if (!rc)
		rc = fi_fabric(side->info->fabric_attr, &side->fabric, NULL);
	if (!rc)
		rc = fi_domain(side->fabric, side->info, &side->domain, NULL);
	return tell(side, "the provider shm", rc);
}

static int open_endpoint(struct side *side)
{
	struct fi_cq_attr cq_attr = { .format = FI_CQ_FORMAT_CONTEXT, .size = 4 * PEER_OUTSTANDING };
	struct fi_av_attr av_attr = { .type = FI_AV_TABLE };
	int rc = fi_cq_open(side->domain, &cq_attr, &side->completions, NULL);

	if (!rc)
		rc = fi_av_open(side->domain, &av_attr, &side->addresses, NULL);
	if (!rc)
		rc = fi_endpoint(side->domain, side->info, &side->endpoint, NULL);
	if (!rc)
		rc = fi_ep_bind(side->endpoint, &side->addresses->fid, 0);
	/* nothing is told of a send that went well; of all that is received */
	if (!rc)
		rc = fi_ep_bind(side->endpoint, &side->completions->fid, FI_TRANSMIT | FI_SELECTIVE_COMPLETION);
	if (!rc)
		rc = fi_ep_bind(side->endpoint, &side->completions->fid, FI_RECV);
	if (!rc)
		rc = fi_enable(side->endpoint);
	return tell(side, "an endpoint", rc);
}

static int connect_sides(struct side *side)
{
	struct address ours = { 0 }, theirs;
	size_t n_bytes = ADDRESS_MAX;
	int rc = tell(side, "fi_getname", fi_getname(&side->endpoint->fid, ours.bytes, &n_bytes));

	ours.n_bytes = n_bytes;
	if (!rc)
		rc = peer_exchange(side->peer, &ours, &theirs, sizeof(ours));
	if (!rc && fi_av_insert(side->addresses, theirs.bytes, 1, &side->other, 0, NULL) != 1)
		rc = peer_tell(side->peer, "fi_av_insert", -EIO);
	return rc;
}

static int side_start(struct side *side)
{
	char ready = 0;
	int rc = open_fabric(side);

	if (!rc)
		rc = open_endpoint(side);
	for (uint32_t i = 0; i < PEER_OUTSTANDING && !rc; i++)
		rc = post(side, i);
	if (!rc)
		rc = connect_sides(side);
	if (!rc)
		rc = peer_exchange(side->peer, &ready, &ready, sizeof(ready));
	return rc;
}

static void side_stop(struct side *side)
{
	if (side->endpoint)
		fi_close(&side->endpoint->fid);
	if (side->addresses)
		fi_close(&side->addresses->fid);
	if (side->completions)
		fi_close(&side->completions->fid);
	if (side->domain)
		fi_close(&side->domain->fid);
	if (side->fabric)
		fi_close(&side->fabric->fid);
	if (side->info)
		fi_freeinfo(side->info);
}

/* ---- the other side ---- */

static void serve(struct peer *peer)
{
	static struct side side;
	int rc;

	side.peer = peer;
	rc = side_start(&side);
	while (rc >= 0 && peer_gate_wait(peer))
		while (rc >= 0 && peer_gate_is_open(peer))
			rc = poll_messages(&side, inject);
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
	return rc ? rc : side_start(side);
}

static int send_messages(struct peer *peer, uint32_t n)
{
	struct peer_message message = { 0 };
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		peer_fill(peer, &message);
		rc = inject(peer->own, &message);
	}
	return rc;
}

static int receive(struct peer *peer)
{
	int n;

	do
		n = poll_messages(peer->own, take_message);
	while (!n);
	return n;
}

static void stop(struct peer *peer)
{
	if (peer->own)
		side_stop(peer->own);
	peer_end(peer);
	free(peer->own);
}

const struct bench_peer bench_peers_libfabric[] = {
	{
		.name = "libfabric",
		.help = "libfabric's provider shm",
		.spins = true,
		.start = start,
		.send = send_messages,
		.receive = receive,
		.stop = stop,
	},
	{ 0 },
};
