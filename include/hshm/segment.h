/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/segment.h - segments of shared memory: sealed memfds that travel over a Unix socket
 *
 * A segment has no name in any file system: when its last mapping and descriptor are gone, so is it.
 * It is sparse: its size is a cap, pages come when hshm_segment_reserve() asks for them.
 */
#ifndef HSHM_SEGMENT_H
#define HSHM_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#include <hshm/cdefs.h>
#include <hshm/ptr.h>

HSHM_BEGIN_DECLS

struct hshm_segment {
	struct hipc_mapping map;
	int fd; /* -1: anonymous, private to this process */
};

enum hshm_segment_access {
	HSHM_SEGMENT_READ_WRITE,
	HSHM_SEGMENT_READ_ONLY,
};

/* What others may do with the segment once it is made. */
enum hshm_segment_seal {
	HSHM_SEAL_SIZE,	 /* SHRINK|GROW|SEAL: a peer may write, never resize */
	HSHM_SEAL_WRITE, /* and FUTURE_WRITE: only the mapping made here may write */
};

/**
 * hshm_segment_create - a new memfd segment, mapped for reading and writing, then sealed
 * @name:        borrowed; shown in /proc/PID/maps
 * @size_bytes:  rounded up to whole pages
 * @segment_id:  1..HIPC_SEGMENT_MAX
 * @seal:        what others may do
 * @ret_segment: out; release with hshm_segment_close()
 *
 * The mapping is excluded from core dumps' children: MADV_DONTFORK. No page is reserved yet.
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -EINVAL (size 0 or too large, bad id), -EMFILE, -ENFILE, -ENOMEM.
 */
HSHM_API HSHM_NODISCARD int hshm_segment_create(const char *name, uint64_t size_bytes, uint32_t segment_id,
						enum hshm_segment_seal seal, struct hshm_segment *ret_segment);

/**
 * hshm_segment_create_private - a segment of anonymous memory that only this process sees
 *
 * Sparse like the others (MAP_NORESERVE), so that references into it are offsets too.
 * Threads: any. May switch the fiber: no.
 * Returns: as hshm_segment_create().
 */
HSHM_API HSHM_NODISCARD int hshm_segment_create_private(uint64_t size_bytes, uint32_t segment_id,
							struct hshm_segment *ret_segment);

/**
 * hshm_segment_open - map a segment received from its maker
 * @fd:          given on success (closed by hshm_segment_close()); still the caller's on error
 * @size_bytes:  what the maker said; must be the file's size
 * @segment_id:  what the maker said
 * @access:      mapping rights
 * @ret_segment: out; release with hshm_segment_close()
 *
 * Checks that @fd is a memfd of that size which is sealed against SHRINK and GROW: nobody can make an
 * access fault later by cutting it. The mapping is MADV_DONTFORK.
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -EPROTO (not such a segment), -EACCES, -ENOMEM.
 */
HSHM_API HSHM_NODISCARD int hshm_segment_open(int fd, uint64_t size_bytes, uint32_t segment_id,
					      enum hshm_segment_access access, struct hshm_segment *ret_segment);

/**
 * hshm_segment_close - unmap and close; accepts a zeroed or closed segment
 *
 * Threads: one at a time; nobody may use the mapping any more. May switch the fiber: no.
 */
HSHM_API void hshm_segment_close(struct hshm_segment *segment);

/**
 * hshm_segment_reserve - make sure that pages exist, so that touching them cannot fault
 * @offset, @size_bytes: the range; widened to whole pages
 *
 * Threads: any. May block in the kernel. May switch the fiber: no.
 * Returns: 0, -ENOMEM (memory, cgroup or tmpfs limit), -EINVAL (outside).
 */
HSHM_API HSHM_NODISCARD int hshm_segment_reserve(struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes);

#define HSHM_FDS_MAX 16

/**
 * hshm_fds_send - one message with file descriptors over a SOCK_SEQPACKET socket
 * @socket: borrowed
 * @bytes:  borrowed; the message
 * @fds:    borrowed
 * @n_fds:  at most HSHM_FDS_MAX
 *
 * Never raises SIGPIPE. Retries on EINTR. Threads: one sender at a time.
 * Returns: bytes sent, -EAGAIN (non-blocking socket), -ETOOMANYREFS (too many descriptors of this user are on their
 *          way, on whatever sockets; without descriptors it can be sent), -EPIPE, -ECONNRESET, -EMSGSIZE, -EINVAL.
 */
HSHM_API HSHM_NODISCARD long hshm_fds_send(int socket, const void *bytes, size_t size_bytes, const int *fds,
					   uint32_t n_fds);

/**
 * hshm_fds_receive - the next message that hshm_fds_send() sent
 * @bytes:     out
 * @fds:       out; to be closed by the caller (they are CLOEXEC)
 * @ret_n_fds: out; how many came. A message with more than @fds_max has all closed and is -EPROTO.
 *
 * Retries on EINTR. Threads: one receiver at a time.
 * Returns: bytes received, 0 (the peer hung up), -EAGAIN (non-blocking socket), -ECONNRESET, -EPROTO (truncated),
 *          -EMFILE (this process has no descriptors left for those that came; the message is lost).
 */
HSHM_API HSHM_NODISCARD long hshm_fds_receive(int socket, void *bytes, size_t size_max, int *fds, uint32_t fds_max,
					      uint32_t *ret_n_fds);

HSHM_END_DECLS
#endif
