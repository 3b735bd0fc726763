/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork_guard.h - am I still in the process that made this, or in a child of a fork?
 *
 * The client's mappings do not exist in a child (MADV_DONTFORK), so every call must ask before it touches them. The
 * answer is a word in a page that the kernel empties in a child (MADV_WIPEONFORK): one load, true for every way to
 * fork, also for _Fork() and a bare clone(), which run no pthread_atfork() handlers; and there is no handler to take
 * back when the library is unloaded. A kernel without it: compare the pid, a system call.
 */
#ifndef CLIENT_FORK_GUARD_H
#define CLIENT_FORK_GUARD_H

#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

#include <hshm/atomic.h>

struct chi_fork_guard {
	hshm_au32 *word; /* 1 in the owner; NULL: never made */
	bool by_pid;
	pid_t owner;
};

/* Returns 0 or -ENOMEM. */
int chi_fork_guard_init(struct chi_fork_guard *guard);
/* In the owner or in a child. Accepts a zeroed guard. */
void chi_fork_guard_fini(struct chi_fork_guard *guard);

static inline bool chi_fork_guard_is_owner(const struct chi_fork_guard *guard)
{
	if (__builtin_expect(guard->by_pid, 0))
		return getpid() == guard->owner;
	/* relaxed: written once before the guard was shared; in a child it is 0 from the first instruction on */
	return hshm_load_relaxed(guard->word) == 1;
}

#endif
