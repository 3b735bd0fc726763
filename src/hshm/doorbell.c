/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * doorbell.c - wake one sleeping thread through an eventfd, only when it sleeps
 *
 * sleeping   written by the sleeper alone
 * n_rings    counted by posters, each before its write to the eventfd
 * n_drained  the sleeper's: rings it has read out of the eventfd
 *
 * I1  the poster publishes, fences, reads sleeping; the sleeper writes sleeping, fences, looks: one of the two sees the
 *     other, so no ring is missed.
 * I2  n_rings - n_drained is not less than what lies in the eventfd: equal means that there is nothing to read, and
 *     a sleep that found work at its second look costs no system call. A ring still on its way stays
 *     counted, so it is read at the next end of sleep and cannot leave the eventfd readable for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hshm/doorbell.h>

int hshm_doorbell_init(struct hshm_doorbell *bell)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return errno == ENODEV ? -ENOMEM : -errno;
	if (fd == 0) {
		/* the process runs without stdin; 0 is our mark for a bell never made */
		int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		int error = errno;

		close(fd);
		if (moved < 0)
			return -error;
		fd = moved;
	}
	*bell = (struct hshm_doorbell){ .fd = fd };
	return 0;
}

void hshm_doorbell_fini(struct hshm_doorbell *bell)
{
	if (bell->fd > 0)
		close(bell->fd);
	*bell = (struct hshm_doorbell){ .fd = -1 };
}

void hshm_doorbell_prepare_sleep(struct hshm_doorbell *bell)
{
	/* relaxed: the fence below orders it; only the sleeper writes the word */
	hshm_store_relaxed(&bell->sleeping, 1);
	/* seq_cst: pairs with the fences in hshm_doorbell_ring() and _ring_after_rmw() (I1); "I sleep" before "I look
	 * once more" */
	hshm_fence_seq_cst();
}

void hshm_doorbell_end_sleep(struct hshm_doorbell *bell)
{
	uint64_t n;

	/* release: what its owner has noted of its waking, for who finds it awake (chi_worker_busy_ns()). Whoever rings
	 * and still reads 1 makes one needless system call. */
	hshm_store_release(&bell->sleeping, 0);
	/* relaxed: a ring that this does not show yet is read next time (I2) */
	if (hshm_load_relaxed(&bell->n_rings) != bell->n_drained && read(bell->fd, &n, sizeof(n)) == sizeof(n))
		bell->n_drained += n;
}

bool hshm_doorbell_ring(struct hshm_doorbell *bell)
{
	const uint64_t one = 1;
	int saved_errno;

	/* seq_cst: pairs with the fence in hshm_doorbell_prepare_sleep() (I1); "I published" before "do you sleep?" */
	hshm_fence_seq_cst();
	/* relaxed: the fence orders it, and nothing is read through it */
	if (!hshm_load_relaxed(&bell->sleeping))
		return false;
	/* relaxed: a count; the eventfd orders itself */
	hshm_fetch_add_relaxed(&bell->n_rings, 1);
	saved_errno = errno;
	/* fails only with the counter at its 2^64 limit, and then the fd is readable anyway */
	if (write(bell->fd, &one, sizeof(one)) < 0)
		errno = saved_errno;
	return true;
}
