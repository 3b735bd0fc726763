/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork_guard.c - a page that a forked child finds empty
 */
#include <errno.h>
#include <sys/mman.h>

#include "client/fork_guard.h"

static size_t guard_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int chi_fork_guard_init(struct chi_fork_guard *guard)
{
	void *page = mmap(NULL, guard_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -ENOMEM;
	guard->word = page;
	guard->owner = getpid();
	guard->by_pid = madvise(page, guard_bytes(), MADV_WIPEONFORK) < 0;
	/* relaxed: nobody else has the guard yet */
	hshm_store_relaxed(guard->word, 1);
	return 0;
}

void chi_fork_guard_fini(struct chi_fork_guard *guard)
{
	if (guard->word)
		munmap(guard->word, guard_bytes());
	guard->word = NULL;
}
