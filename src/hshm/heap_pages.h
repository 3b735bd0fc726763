/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heap_pages.h - runs of pages for the heap; nothing here locks, the heap does
 */
#ifndef HSHM_HEAP_PAGES_H
#define HSHM_HEAP_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include <hshm/segment.h>

/* The heap's own page, whatever the machine's is. */
#define HEAP_PAGE_SHIFT 12u
#define HEAP_PAGE_BYTES (UINT64_C(1) << HEAP_PAGE_SHIFT)

enum heap_run_kind {
	HEAP_RUN_FREE,
	HEAP_RUN_SPAN,	/* cut into blocks of one class */
	HEAP_RUN_LARGE, /* one block */
};

struct heap_run {
	uint64_t first_page;
	uint64_t n_pages;
	enum heap_run_kind kind;

	/* FREE: place in the tree of free runs */
	struct heap_run *left, *right;
	uint64_t rank;

	/* SPAN: heap.c's */
	struct heap_run *next, *prev; /* among those of its class with blocks to give */
	uint32_t class;
	uint32_t n_blocks;
	uint32_t n_fresh;   /* blocks from here on were never handed out */
	uint32_t n_stacked; /* blocks that came back, their numbers in the stack */
	uint16_t *stack;
};

struct heap_pages {
	struct hshm_segment *segment;
	uint64_t offset;     /* of page 0 in the segment */
	uint64_t n_pages;    /* cap */
	uint64_t n_reserved; /* pages [0, n_reserved) exist; runs tile them without a gap */
	uint64_t n_ahead;    /* pages to reserve next time, at least */
	bool is_huge;	     /* from some page on: asked for */
	struct heap_run **map;
	struct heap_run *free_root;
};

/* Returns 0, -ENOMEM. */
int heap_pages_init(struct heap_pages *pages, struct hshm_segment *segment, uint64_t offset, uint64_t size_bytes);

/* Frees all runs, and the stacks of spans. */
void heap_pages_fini(struct heap_pages *pages);

/* The smallest free run that fits, the lowest among equals, cut to n pages; its pages are reserved.
 * A SPAN is entered for all its pages. Returns 0, -ENOMEM. */
int heap_pages_alloc(struct heap_pages *pages, uint64_t n_pages, enum heap_run_kind kind, struct heap_run **ret_run);

/* Cannot fail: joins free neighbours; the run is gone. Its stack must be too. */
void heap_pages_free(struct heap_pages *pages, struct heap_run *run);

/* The run that begins or ends at a page, or any page of a SPAN. */
static inline struct heap_run *heap_pages_run_at(const struct heap_pages *pages, uint64_t page)
{
	return pages->map[page];
}

/* Do runs tile what is reserved, is each free run in the tree, in order, and none beside another? For tests. */
bool heap_pages_check(const struct heap_pages *pages);

#endif
