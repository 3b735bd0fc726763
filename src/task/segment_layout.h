/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_layout.h - the bytes of the main segment and of a client's segment (drawn in docs/shm-layout.md)
 *
 * main segment, written by the runtime only, read-only for clients:
 *      0   struct chi_main_header
 *   4096   armed words of client lanes, 128 bytes apart: chi_main_armed_offset(i)
 *
 * client segment:
 *      0   struct chi_client_header                  written by the runtime, for information
 *   1024   struct chi_client_events                  for chi_client_dispatch(): see verify/client_events.pml
 *   2048   chi_client_sleeps_of()                    for chi_wait(): see verify/client_wake.pml
 *   4096   parking words, 128 bytes apart, one for each lane: written by the client's threads and, when it wakes one,
 *          by the runtime
 *   ...    the process queue: n_lanes x CHI_PRIOS mpsc queues of lane_depth slots, header struct chi_lane_header
 *   ...    the client's heap, to the end
 *
 * Both sides compute offsets from the numbers of the handshake (struct chi_welcome), never from these bytes.
 */
#ifndef TASK_SEGMENT_LAYOUT_H
#define TASK_SEGMENT_LAYOUT_H

#include <chimaera/cdefs.h>
#include <chimaera/task.h>
#include <hshm/atomic.h>
#include <hshm/multi_mpsc_queue.h>
#include <hshm/ptr.h>

#define CHI_MAIN_MAGIC		 UINT64_C(0x4e49414d4d494843) /* "CHIMMAIN" */
#define CHI_CLIENT_MAGIC_SEGMENT UINT64_C(0x544e4c434d494843) /* "CHIMCLNT" */
#define CHI_PAGE		 4096u

enum chi_prio { CHI_PRIO_LOW_LATENCY = 0, CHI_PRIO_HIGH_LATENCY = 1, CHI_PRIOS = 2 };

struct chi_main_header {
	uint64_t magic;
	hshm_au32 layout_version; /* stored last, with release */
	uint32_t n_workers;
	uint64_t generation; /* differs for each runtime ever started */
	int32_t pid;
	uint32_t n_armed;
	uint64_t started_ns;
	uint64_t size_bytes;
	/* stored at the end of a stop; CHI_NOT_ENDED before: who finds that in a dead runtime's knows it died */
	hshm_au64 n_given_up;
};
#define CHI_NOT_ENDED UINT64_MAX

struct chi_client_header {
	uint64_t magic;
	uint32_t layout_version;
	uint32_t client_id;
	uint64_t generation;
	uint64_t size_bytes;
	uint32_t n_lanes;
	uint32_t lane_depth;
};

/* Tasks whose end is announced. Both words are the client's to break: the runtime exchanges each once, loops on
 * neither, and stores what it found in `ended` only where it came from. */
struct chi_client_events {
	/* reference of the one that ended last, 0: none; its completion word leads to the one before */
	hshm_au32 ended;
	uint8_t padding[HSHM_FALSE_SHARING - sizeof(hshm_au32)];
	hshm_au32 armed; /* the client is about to sleep on its event descriptor; who takes it away sends a byte */
	uint8_t padding2[HSHM_FALSE_SHARING - sizeof(hshm_au32)];
};

/* The custom header of each lane of a task queue. In a client's segment it is information; what the runtime goes by is
 * its own copy (struct chi_lane). Activation: see task_queue.c. */
struct chi_lane_header {
	hshm_au64 activation; /* generation:47 | queued:1 | worker:16 */
	uint32_t pool_id;     /* 0: a process queue */
	uint32_t container_id;
	uint16_t queue_id;
	uint16_t priority; /* enum chi_prio */
	uint32_t lane_id;
	hshm_au64 n_taken; /* by its worker */
};

CHI_STATIC_ASSERT(sizeof(struct chi_main_header) == 56, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_client_header) == 40, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_client_events) == 256, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_lane_header) == 32, "fixed layout");

static inline uint64_t chi_main_armed_offset(uint32_t index)
{
	return CHI_PAGE + (uint64_t)index * HSHM_FALSE_SHARING;
}

#define CHI_CLIENT_EVENTS_OFFSET 1024u

static inline struct chi_client_events *chi_client_events_of(const struct hipc_mapping *segment)
{
	return (struct chi_client_events *)((char *)segment->base + CHI_CLIENT_EVENTS_OFFSET);
}

#define CHI_CLIENT_SLEEPS_OFFSET 2048u
CHI_STATIC_ASSERT(CHI_CLIENT_EVENTS_OFFSET + sizeof(struct chi_client_events) <= CHI_CLIENT_SLEEPS_OFFSET &&
			  CHI_CLIENT_SLEEPS_OFFSET + HSHM_FALSE_SHARING <= CHI_PAGE,
		  "apart");

/* Counts the client's threads that are about to sleep for a task (wait.c). */
static inline hshm_au32 *chi_client_sleeps_of(const struct hipc_mapping *segment)
{
	return (hshm_au32 *)((char *)segment->base + CHI_CLIENT_SLEEPS_OFFSET);
}

static inline uint64_t chi_client_park_offset(uint32_t lane)
{
	return CHI_PAGE + (uint64_t)lane * HSHM_FALSE_SHARING;
}

static inline uint64_t chi_client_queue_offset(uint32_t n_lanes)
{
	return chi_client_park_offset(n_lanes);
}

/* first byte of the heap: the next page after the queue; 0 when the numbers are not allowed */
static inline uint64_t chi_client_heap_offset(uint32_t n_lanes, uint32_t lane_depth)
{
	uint64_t queue = hipc_multi_mpsc_queue_bytes(n_lanes, CHI_PRIOS, lane_depth, sizeof(struct chi_lane_header));
	uint64_t end = chi_client_queue_offset(n_lanes) + queue;

	return queue ? (end + CHI_PAGE - 1) / CHI_PAGE * CHI_PAGE : 0;
}

#endif
