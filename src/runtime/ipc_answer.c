/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_answer.c - what a peer is told: refusals with their reason, and answers with a descriptor
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/ipc_internal.h"
#include "runtime/runtime.h"

#define ANSWERS_AGAIN 16u /* to who asks for what is open */

void chi_ipc_send_refusal(int socket, uint32_t serial, int error, const char *text)
{
	struct chi_refusal refusal = { .type = CHI_MESSAGE_REFUSAL, .serial = serial, .error = error };

	snprintf(refusal.text, sizeof(refusal.text), "%s", text);
	if (hshm_fds_send(socket, &refusal, sizeof(refusal), NULL, 0) < 0)
		chi_log_debug("a peer left before it was told: %s", text);
}

void chi_ipc_refuse(struct chi_ipc_manager *ipc, struct ipc_peer *peer, int error, const char *format, ...)
{
	char text[sizeof(((struct chi_refusal *)0)->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (chi_log_allowed(&ipc->refusal_limit, CHI_IPC_REFUSALS_LOGGED))
		chi_log_warn("pid %d (uid %u) refused: %s", (int)peer->who.pid, (unsigned int)peer->who.uid, text);
	chi_ipc_send_refusal(peer->socket, peer->serial, error, text);
}

bool chi_ipc_may_ask(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	if (peer->session->n_answers <= ipc->runtime->config.client_lanes * CHI_PRIOS + ANSWERS_AGAIN)
		return true;
	chi_ipc_refuse(ipc, peer, -EPROTO, "a request for what is open, again and again");
	chi_ipc_peer_end(ipc, peer, "it asked again and again");
	return false;
}

void chi_ipc_refuse_descriptor(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	chi_ipc_refuse(ipc, peer, -ETOOMANYREFS, "too many descriptors of user %u are on their way",
		       (unsigned int)geteuid());
}

void chi_ipc_answer(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const void *answer, size_t size, int fd)
{
	long n = hshm_fds_send(peer->socket, answer, size, &fd, 1);

	if (n >= 0)
		peer->session->n_answers++;
	else if (n == -ETOOMANYREFS)
		chi_ipc_refuse_descriptor(ipc, peer);
	else
		chi_ipc_peer_end(ipc, peer, "it does not read our answers");
}
