/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stack_slab.c - memory for fiber stacks
 *
 *   base -> | guard 0 | stack 0 | guard 1 | stack 1 | ...
 *
 * Pages come when a stack is used. MADV_GUARD_INSTALL marks page table entries, so a whole slab is one mapping and, its
 * neighbours being alike, all slabs together may be one; mprotect() cuts it into two mappings for each stack.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hshm/atomic.h>

#include "runtime/log.h"
#include "runtime/stack_slab.h"

#ifndef MADV_GUARD_INSTALL /* Linux 6.13 */
#define MADV_GUARD_INSTALL 102
#endif

/* More than a page: a function with a large frame may step over a small guard without touching it. Costs address space
 * only, with either kind. */
#define GUARD_BYTES	16384u
#define STACK_BYTES_MAX (UINT64_C(1) << 30)

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

static bool madvise_guard_works(uint64_t page)
{
	void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool works;

	if (memory == MAP_FAILED)
		return false;
	/* EINVAL: an older kernel, or all our memory is locked (mlockall) */
	works = madvise(memory, page, MADV_GUARD_INSTALL) == 0;
	munmap(memory, page);
	return works;
}

int chi_stack_layout_init(uint64_t stack_bytes, enum chi_fiber_guard guard, struct chi_stack_layout *ret_layout)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!stack_bytes || stack_bytes > STACK_BYTES_MAX)
		return -EINVAL;
	if (guard != CHI_FIBER_GUARD_MPROTECT) {
		bool works = madvise_guard_works(page);

		if (!works && guard == CHI_FIBER_GUARD_MADVISE)
			return -ENOTSUP;
		guard = works ? CHI_FIBER_GUARD_MADVISE : CHI_FIBER_GUARD_MPROTECT;
	}
	*ret_layout = (struct chi_stack_layout){
		.stack_bytes = round_up(stack_bytes, page),
		.guard_bytes = round_up(GUARD_BYTES, page),
		.guard = guard,
	};
	return 0;
}

static uint64_t slab_bytes(const struct chi_stack_layout *layout, uint32_t n_stacks)
{
	return n_stacks * (layout->guard_bytes + layout->stack_bytes);
}

static int guard_stack(const struct chi_stack_layout *layout, char *low)
{
	char *guard = low - layout->guard_bytes;
	int rc;

	if (layout->guard == CHI_FIBER_GUARD_MADVISE)
		rc = madvise(guard, layout->guard_bytes, MADV_GUARD_INSTALL);
	else
		rc = mprotect(guard, layout->guard_bytes, PROT_NONE);
	return rc ? -errno : 0;
}

static long mappings_max(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	long n;

	if (!file)
		return 0;
	if (fscanf(file, "%ld", &n) != 1)
		n = 0;
	fclose(file);
	return n;
}

/* mprotect guards: whatever the kernel's reason for ENOMEM, more mappings are what it would not give. */
static void log_refusal(void)
{
	static hshm_au32 logged;
	long n_max;

	/* relaxed: nothing but the flag itself hangs on it */
	if (hshm_exchange_relaxed(&logged, 1))
		return;
	n_max = mappings_max();
	chi_log_error(
		"no memory mapping left for another fiber stack: with mprotect guards each takes two, and "
		"vm.max_map_count is %ld; set it higher (sysctl vm.max_map_count=%ld), set fibers.max lower, or use "
		"Linux 6.13 or later, whose guards need none",
		n_max, n_max * 4);
}

int chi_stack_slab_map(const struct chi_stack_layout *layout, uint32_t n_stacks, void **ret_base)
{
	uint64_t bytes = slab_bytes(layout, n_stacks);
	void *base;
	int rc = 0;

	/* NORESERVE: most of it is never touched */
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1,
		    0);
	if (base == MAP_FAILED)
		goto refused;
	/* a huge page would be touched whole, for stacks that need two small ones; EINVAL: a kernel without them */
	(void)madvise(base, bytes, MADV_NOHUGEPAGE);
	for (uint32_t i = 0; i < n_stacks && !rc; i++)
		rc = guard_stack(layout, chi_stack_slab_low(layout, base, i));
	if (!rc) {
		*ret_base = base;
		return 0;
	}
	/* the whole slab, not the rest of it alone: the process needs some mappings for other things */
	munmap(base, bytes);

refused:
	if (layout->guard != CHI_FIBER_GUARD_MPROTECT)
		return -ENOMEM;
	log_refusal();
	return -EAGAIN;
}

void chi_stack_slab_unmap(const struct chi_stack_layout *layout, uint32_t n_stacks, void *base)
{
	munmap(base, slab_bytes(layout, n_stacks));
}
