/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heap_pages.c - runs of pages: best fit, joined when freed, reserved as the heap grows
 *
 * Free runs are in a treap (a search tree by size, then place; a heap by a hash of the place, which keeps it flat).
 * What was never used lies beyond n_reserved and comes in steps that double from 256 KiB to 2 MiB: few system calls
 * for a busy heap, few pages for an idle one. Private memory past the first 4 MiB is asked for in huge pages: what is
 * that large is looked at here and there (100,000 lanes, as many run contexts), and each look would miss the TLB, too.
 *
 * I1  runs tile pages [0, n_reserved); map[] is right at the first and last page of each, and at every page of a SPAN.
 *     Inside other runs it is stale.
 * I2  no two FREE runs touch
 * I3  FREE runs and only they are in the tree
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "heap_pages.h"
#include "hshm_internal.h"

#define AHEAD_FIRST ((UINT64_C(256) << 10) >> HEAP_PAGE_SHIFT)
#define AHEAD_MAX   ((UINT64_C(2) << 20) >> HEAP_PAGE_SHIFT)
#define HUGE_FROM   ((UINT64_C(4) << 20) >> HEAP_PAGE_SHIFT)

/* --- the tree of free runs --- */

static bool is_before(const struct heap_run *a, const struct heap_run *b)
{
	return a->n_pages != b->n_pages ? a->n_pages < b->n_pages : a->first_page < b->first_page;
}

/* A hash that spreads neighbours (the finaliser of splitmix64): the same sequence of calls gives the same tree. */
static uint64_t rank_of(uint64_t page)
{
	page = (page + 1) * UINT64_C(0x9e3779b97f4a7c15);
	page = (page ^ (page >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	page = (page ^ (page >> 27)) * UINT64_C(0x94d049bb133111eb);
	return page ^ (page >> 31);
}

static void tree_insert(struct heap_run **link, struct heap_run *run)
{
	struct heap_run *rest, **low = &run->left, **high = &run->right;

	run->rank = rank_of(run->first_page);
	while (*link && (*link)->rank >= run->rank)
		link = is_before(run, *link) ? &(*link)->left : &(*link)->right;
	rest = *link;
	*link = run;
	/* what stood there is split into what comes before and what comes after the new one */
	while (rest) {
		if (is_before(rest, run)) {
			*low = rest;
			low = &rest->right;
			rest = rest->right;
		} else {
			*high = rest;
			high = &rest->left;
			rest = rest->left;
		}
	}
	*low = NULL;
	*high = NULL;
}

static void tree_remove(struct heap_run **link, struct heap_run *run)
{
	struct heap_run *low = run->left, *high = run->right;

	while (*link != run) {
		hshm_assert(*link);
		link = is_before(run, *link) ? &(*link)->left : &(*link)->right;
	}
	while (low && high) {
		if (low->rank > high->rank) {
			*link = low;
			link = &low->right;
			low = low->right;
		} else {
			*link = high;
			link = &high->left;
			high = high->left;
		}
	}
	*link = low ? low : high;
}

static struct heap_run *tree_best_fit(struct heap_run *at, uint64_t n_pages)
{
	struct heap_run *best = NULL;

	while (at) {
		if (at->n_pages >= n_pages) {
			best = at;
			at = at->left;
		} else {
			at = at->right;
		}
	}
	return best;
}

/* --- runs --- */

static void enter(struct heap_pages *pages, struct heap_run *run)
{
	if (run->kind == HEAP_RUN_SPAN) {
		for (uint64_t i = 0; i < run->n_pages; i++)
			pages->map[run->first_page + i] = run;
	} else {
		pages->map[run->first_page] = run;
		pages->map[run->first_page + run->n_pages - 1] = run;
	}
}

static void enter_free(struct heap_pages *pages, struct heap_run *run)
{
	run->kind = HEAP_RUN_FREE;
	enter(pages, run);
	tree_insert(&pages->free_root, run);
}

int heap_pages_init(struct heap_pages *pages, struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes)
{
	uint64_t n_pages = size_bytes >> HEAP_PAGE_SHIFT;
	/* sparse: eight bytes for each page that is ever used */
	void *map = mmap(NULL, n_pages * sizeof(struct heap_run *), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	*pages = (struct heap_pages){
		.segment = segment,
		.offset = offset,
		.n_pages = n_pages,
		.n_ahead = AHEAD_FIRST,
		.map = map,
	};
	return 0;
}

void heap_pages_fini(struct heap_pages *pages)
{
	uint64_t page = 0;

	while (page < pages->n_reserved) {
		struct heap_run *run = pages->map[page];

		page += run->n_pages;
		free(run->stack);
		free(run);
	}
	munmap(pages->map, pages->n_pages * sizeof(struct heap_run *));
	*pages = (struct heap_pages){ 0 };
}

/* Once, when it gets so large; from there to its end. */
static void ask_for_huge_pages(struct heap_pages *pages)
{
	char *base = pages->segment->map.base;

	if (pages->is_huge || pages->n_reserved < HUGE_FROM || pages->segment->fd >= 0)
		return;
	/* EINVAL: a kernel without them */
	(void)madvise(base + pages->offset + (pages->n_reserved << HEAP_PAGE_SHIFT),
		      (pages->n_pages - pages->n_reserved) << HEAP_PAGE_SHIFT, MADV_HUGEPAGE);
	pages->is_huge = true;
}

/* Make a free run of n pages at the end of what is reserved, or say -ENOMEM and change nothing. */
static int grow(struct heap_pages *pages, uint64_t n_pages)
{
	struct heap_run *last = pages->n_reserved ? pages->map[pages->n_reserved - 1] : NULL;
	struct heap_run *run = last && last->kind == HEAP_RUN_FREE ? last : NULL;
	uint64_t n_left = pages->n_pages - pages->n_reserved;
	uint64_t n_needed = n_pages - (run ? run->n_pages : 0);
	uint64_t n = n_needed > pages->n_ahead ? n_needed : pages->n_ahead;
	uint64_t at = pages->offset + (pages->n_reserved << HEAP_PAGE_SHIFT);
	struct heap_run *fresh = NULL;

	if (n_needed > n_left)
		return -ENOMEM;
	if (n > n_left)
		n = n_left;
	if (!run) {
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
	}
	ask_for_huge_pages(pages);
	if (hshm_segment_reserve(pages->segment, at, n << HEAP_PAGE_SHIFT) < 0) {
		/* memory is short: then only what is asked for */
		n = n_needed;
		if (hshm_segment_reserve(pages->segment, at, n << HEAP_PAGE_SHIFT) < 0) {
			free(fresh);
			return -ENOMEM;
		}
	} else if (pages->n_ahead < AHEAD_MAX) {
		pages->n_ahead *= 2;
	}

	if (run) {
		tree_remove(&pages->free_root, run);
	} else {
		run = fresh;
		run->first_page = pages->n_reserved;
	}
	run->n_pages += n;
	pages->n_reserved += n;
	enter_free(pages, run);
	return 0;
}

int heap_pages_alloc(struct heap_pages *pages, uint64_t n_pages, enum heap_run_kind kind, struct heap_run **ret_run)
{
	struct heap_run *run = tree_best_fit(pages->free_root, n_pages);

	if (!run) {
		int rc = grow(pages, n_pages);

		if (rc < 0)
			return rc;
		run = tree_best_fit(pages->free_root, n_pages);
	}
	if (run->n_pages > n_pages) {
		struct heap_run *rest = calloc(1, sizeof(*rest));

		if (!rest)
			return -ENOMEM;
		tree_remove(&pages->free_root, run);
		rest->first_page = run->first_page + n_pages;
		rest->n_pages = run->n_pages - n_pages;
		run->n_pages = n_pages;
		enter_free(pages, rest);
	} else {
		tree_remove(&pages->free_root, run);
	}
	run->kind = kind;
	enter(pages, run);
	*ret_run = run;
	return 0;
}

void heap_pages_free(struct heap_pages *pages, struct heap_run *run)
{
	uint64_t end = run->first_page + run->n_pages;
	struct heap_run *before = run->first_page > 0 ? pages->map[run->first_page - 1] : NULL;
	struct heap_run *after = end < pages->n_reserved ? pages->map[end] : NULL;

	run->stack = NULL;
	if (before && before->kind == HEAP_RUN_FREE) {
		tree_remove(&pages->free_root, before);
		run->first_page = before->first_page;
		run->n_pages += before->n_pages;
		free(before);
	}
	if (after && after->kind == HEAP_RUN_FREE) {
		tree_remove(&pages->free_root, after);
		run->n_pages += after->n_pages;
		free(after);
	}
	enter_free(pages, run);
}

/* --- check --- */

/* Counts the nodes below; false when two are out of order. */
static bool check_tree(const struct heap_run *at, const struct heap_run **last, uint64_t *n_runs)
{
	if (!at)
		return true;
	if (!check_tree(at->left, last, n_runs))
		return false;
	if (at->kind != HEAP_RUN_FREE || (*last && !is_before(*last, at)))
		return false;
	*last = at;
	++*n_runs;
	return check_tree(at->right, last, n_runs);
}

bool heap_pages_check(const struct heap_pages *pages)
{
	const struct heap_run *last = NULL, *before = NULL;
	uint64_t n_free = 0, n_in_tree = 0, page = 0;

	while (page < pages->n_reserved) {
		const struct heap_run *run = pages->map[page];

		if (!run || run->first_page != page || run->n_pages == 0 || run->n_pages > pages->n_reserved - page ||
		    pages->map[page + run->n_pages - 1] != run)
			return false;
		if (run->kind == HEAP_RUN_FREE) {
			if (before && before->kind == HEAP_RUN_FREE)
				return false;
			n_free++;
		}
		before = run;
		page += run->n_pages;
	}
	return check_tree(pages->free_root, &last, &n_in_tree) && n_in_tree == n_free;
}
