/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handshake.h - the messages on the runtime's socket (SOCK_SEQPACKET: a message arrives whole or not at all)
 *
 *   client                      runtime
 *   chi_hello            --->
 *                        <---   chi_welcome + fds {main segment, client segment, counters}     or chi_refusal
 *   chi_lane_open        --->                                    (a thread's first submit at a priority)
 *                        <---   chi_lane_opened + fd {the lane's eventfd}             or chi_refusal
 *   chi_events_open      --->                                    (chi_client_event_fd())
 *                        <---   chi_events_opened + fd {a socket to read}             or chi_refusal
 *
 * A request has a serial, which its answer repeats. A client that did not wait for an answer drops it when it comes
 * late, and may ask again: a lane or an event channel that is there already is sent once more. A refusal with the
 * serial 0 is the answer to a hello, or concerns the connection.
 *
 * Hang-up ends the session. Anything unexpected is answered with chi_refusal (-EPROTO) and a hang-up.
 */
#ifndef TASK_HANDSHAKE_H
#define TASK_HANDSHAKE_H

#include <stdint.h>

#include <chimaera/cdefs.h>

#define CHI_HELLO_MAGIC UINT32_C(0x4f494843)

enum chi_message_type {
	CHI_MESSAGE_HELLO = 1,
	CHI_MESSAGE_WELCOME,
	CHI_MESSAGE_LANE_OPEN,
	CHI_MESSAGE_LANE_OPENED,
	CHI_MESSAGE_REFUSAL,
	CHI_MESSAGE_EVENTS_OPEN,
	CHI_MESSAGE_EVENTS_OPENED,
};

struct chi_hello {
	uint32_t type;
	uint32_t magic;
	uint32_t layout_version;
	uint32_t abi_version; /* CHI_ABI_VERSION: what tasks and their fields mean */
};

struct chi_welcome {
	uint32_t type;
	uint32_t layout_version;
	uint64_t generation;
	uint64_t main_bytes;
	uint64_t client_bytes;
	uint32_t main_segment_id;
	uint32_t client_segment_id;
	uint32_t client_id;
	int32_t runtime_pid;
	uint32_t n_lanes;
	uint32_t lane_depth;
	uint32_t n_workers;
	uint32_t spin_us; /* a hint for CHI_WAIT_HYBRID */
	uint32_t abi_version;
	uint32_t reserved;
};

#define CHI_WELCOME_FDS 3 /* that come with it: main segment, client segment, counters (to read only) */

struct chi_lane_open {
	uint32_t type;
	uint32_t serial;
	uint32_t lane;
	uint32_t prio;
};

struct chi_lane_opened {
	uint32_t type;
	uint32_t serial;
	uint32_t armed_index; /* of the lane's armed word in the main segment */
	uint32_t reserved;
};

struct chi_events_open {
	uint32_t type;
	uint32_t serial;
};

struct chi_events_opened {
	uint32_t type;
	uint32_t serial;
};

struct chi_refusal {
	uint32_t type;
	uint32_t serial;
	int32_t error; /* negative errno */
	char text[244];
};

/* the largest of them: a receive buffer of this size never truncates an honest message */
union chi_message {
	uint32_t type;
	struct chi_hello hello;
	struct chi_welcome welcome;
	struct chi_lane_open lane_open;
	struct chi_lane_opened lane_opened;
	struct chi_refusal refusal;
	struct chi_events_open events_open;
	struct chi_events_opened events_opened;
};

CHI_STATIC_ASSERT(sizeof(struct chi_hello) == 16 && sizeof(struct chi_welcome) == 72, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_lane_open) == 16 && sizeof(struct chi_lane_opened) == 16, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_refusal) == 256, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_events_open) == 8 && sizeof(struct chi_events_opened) == 8, "fixed layout");

#endif
