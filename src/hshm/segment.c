/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment.c - sealed memfds, mapped, and their pages reserved ahead of use
 *
 * Seals are set after our own mapping exists: F_SEAL_FUTURE_WRITE leaves that one writable and refuses all later ones.
 * All mappings are MADV_DONTFORK: a forked child must not play a second owner of the same segment.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hshm/segment.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3; the C library's headers may be older */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* A signal interrupts a reservation and undoes it: pieces this small get done between two ticks of a profiler. */
#define RESERVE_STEP_BYTES (UINT64_C(4) << 20)

static uint64_t page_bytes(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int memfd_errno(int error)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EINVAL:
		return -error;
	case EFBIG:
		return -EINVAL;
	default:
		return -ENOMEM;
	}
}

/* Checks the numbers of a segment to be made, and rounds its size. */
static int check_numbers(uint64_t *size_bytes, uint32_t segment_id)
{
	uint64_t page = page_bytes();

	if (*size_bytes == 0 || *size_bytes > HIPC_OFFSET_MAX + 1)
		return -EINVAL;
	if (segment_id == HIPC_SEGMENT_NONE || segment_id > HIPC_SEGMENT_MAX)
		return -EINVAL;
	*size_bytes = (*size_bytes + page - 1) & ~(page - 1);
	return 0;
}

static int map_file(int fd, uint64_t size_bytes, int protection, void **ret_base)
{
	void *base = mmap(NULL, size_bytes, protection, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return errno == EPERM || errno == EACCES ? -EACCES : -ENOMEM;
	if (madvise(base, size_bytes, MADV_DONTFORK) < 0) {
		munmap(base, size_bytes);
		return -ENOMEM;
	}
	*ret_base = base;
	return 0;
}

static int make_memfd(const char *name, uint64_t size_bytes, int *ret_fd)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* a kernel before 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return memfd_errno(errno);
	if (ftruncate(fd, (off_t)size_bytes) < 0) {
		int rc = memfd_errno(errno);

		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int hshm_segment_create(const char *name, uint64_t size_bytes, uint32_t segment_id, enum hshm_segment_seal seal,
			struct hshm_segment *ret_segment)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (seal == HSHM_SEAL_WRITE ? F_SEAL_FUTURE_WRITE : 0);
	void *base;
	int fd = -1, rc;

	rc = check_numbers(&size_bytes, segment_id);
	if (rc < 0)
		return rc;
	rc = make_memfd(name, size_bytes, &fd);
	if (rc < 0)
		return rc;
	rc = map_file(fd, size_bytes, PROT_READ | PROT_WRITE, &base);
	if (rc < 0)
		goto close_fd;
	if (fcntl(fd, F_ADD_SEALS, seals) < 0) {
		rc = memfd_errno(errno);
		goto unmap;
	}
	*ret_segment = (struct hshm_segment){ .map = { base, size_bytes, segment_id }, .fd = fd };
	return 0;

unmap:
	munmap(base, size_bytes);
close_fd:
	close(fd);
	return rc;
}

int hshm_segment_create_private(uint64_t size_bytes, uint32_t segment_id, struct hshm_segment *ret_segment)
{
	void *base;
	int rc;

	rc = check_numbers(&size_bytes, segment_id);
	if (rc < 0)
		return rc;
	base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	if (madvise(base, size_bytes, MADV_DONTFORK) < 0) {
		munmap(base, size_bytes);
		return -ENOMEM;
	}
	*ret_segment = (struct hshm_segment){ .map = { base, size_bytes, segment_id }, .fd = -1 };
	return 0;
}

/* Is it a memfd of that size, and can nobody change the size any more? */
static bool is_sealed_memfd(int fd, uint64_t size_bytes)
{
	const int needed = F_SEAL_SHRINK | F_SEAL_GROW;
	int seals = fcntl(fd,
			  F_GET_SEALS); /* fails on all that is no memfd; a plain file on tmpfs has F_SEAL_SEAL only */
	struct stat status;

	/* seals first: after them the size stands still */
	if (seals < 0 || (seals & needed) != needed || fstat(fd, &status) < 0)
		return false;
	return S_ISREG(status.st_mode) && status.st_size >= 0 && (uint64_t)status.st_size == size_bytes;
}

int hshm_segment_open(int fd, uint64_t size_bytes, uint32_t segment_id, enum hshm_segment_access access,
		      struct hshm_segment *ret_segment)
{
	uint64_t rounded_bytes = size_bytes;
	void *base;
	int rc;

	if (check_numbers(&rounded_bytes, segment_id) < 0 || rounded_bytes != size_bytes ||
	    !is_sealed_memfd(fd, size_bytes))
		return -EPROTO;
	rc = map_file(fd, size_bytes, access == HSHM_SEGMENT_READ_WRITE ? PROT_READ | PROT_WRITE : PROT_READ, &base);
	if (rc < 0)
		return rc;
	*ret_segment = (struct hshm_segment){ .map = { base, size_bytes, segment_id }, .fd = fd };
	return 0;
}

void hshm_segment_close(struct hshm_segment *segment)
{
	/* a zeroed segment has fd 0 but no mapping */
	if (!segment->map.base)
		return;
	munmap(segment->map.base, segment->map.size_bytes);
	if (segment->fd >= 0)
		close(segment->fd);
	*segment = (struct hshm_segment){ .fd = -1 };
}

/*
 * In a memfd, fallocate() gives the pages or says ENOSPC; without it the first touch would be SIGBUS. Then they are
 * entered in our page table, to spare the faults one by one; should that fail, they are taken at the touch.
 */
static int reserve_in_file(const struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes)
{
	while (fallocate(segment->fd, 0, (off_t)offset, (off_t)size_bytes) < 0)
		if (errno != EINTR)
			return -ENOMEM;
	/* a read-only mapping refuses, and has no use for it */
	madvise((char *)segment->map.base + offset, size_bytes, MADV_POPULATE_WRITE);
	return 0;
}

/*
 * Anonymous memory never raises SIGBUS for want of pages, it meets the OOM killer. Populating says -ENOMEM where
 * the kernel can tell, and takes the faults at once. A kernel too old for it leaves them to the first touch.
 */
static int reserve_anonymous(const struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes)
{
	while (madvise((char *)segment->map.base + offset, size_bytes, MADV_POPULATE_WRITE) < 0) {
		if (errno == EINVAL)
			return 0;
		if (errno != EINTR && errno != EAGAIN)
			return -ENOMEM;
	}
	return 0;
}

int hshm_segment_reserve(struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes)
{
	uint64_t page = page_bytes();
	uint64_t end;

	if (!segment->map.base || offset > segment->map.size_bytes || size_bytes > segment->map.size_bytes - offset)
		return -EINVAL;
	/* the mapping ends on a page, so rounding up stays inside */
	end = (offset + size_bytes + page - 1) & ~(page - 1);
	offset &= ~(page - 1);
	while (size_bytes > 0 && offset < end) {
		uint64_t step = end - offset < RESERVE_STEP_BYTES ? end - offset : RESERVE_STEP_BYTES;
		int rc = segment->fd >= 0 ? reserve_in_file(segment, offset, step)
					  : reserve_anonymous(segment, offset, step);

		if (rc < 0)
			return rc;
		offset += step;
	}
	return 0;
}
