/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fiber.c - stackful fibers of one worker
 *
 * States of a fiber; who moves it:
 *
 *        get            start              fn leaves
 *   pool -----> IDLE ----------> RUNNING ------------> LEFT
 *    ^                            |    ^----------------'
 *    |  put                       | fn returns   resume
 *    '--------------- ENDED <-----'
 *
 * A fiber whose fn returned stays inside fiber_main(), ready for the next fn: a recycled one costs a switch and no
 * set-up.
 *
 * struct chi_fiber stands apart from its stack, with the others of its slab: an overflow cannot reach it, so the fault
 * handler and the check at each switch, or between two tasks, read something sound; an idle or fresh stack is not
 * touched to look at it; and the structs of many fibers do not all fall into the same sets of the cache, as the tops of
 * page-aligned stacks would.
 *
 * What a switch keeps: the callee-saved registers, and with them the floating-point control words (MXCSR and x87 CW, or
 * on aarch64 d8-d15; there FPCR belongs to the thread): boost.context's functions do that. errno, which is the
 * thread's, is kept by chi_fiber_leave(). The signal mask is the thread's and is not touched: that would be a system
 * call.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <hshm/atomic.h>

#include "runtime/fault.h"
#include "runtime/fiber.h"
#include "runtime/sanitizer.h"
#include "runtime/stack_slab.h"

#define SLAB_STACKS	 32u
#define PREFETCHED_BYTES 1024 /* of a stack: the frames of a method that waits, and of what it waits in */

/* boost.context's C ABI. A context is the stack pointer of who is not running. */
typedef void *fcontext_t;
typedef struct {
	fcontext_t from; /* who jumped here */
	void *data;
} transfer_t;
extern transfer_t jump_fcontext(fcontext_t to, void *data);
extern fcontext_t make_fcontext(void *stack_top, size_t size, void (*fn)(transfer_t));

enum fiber_state { FIBER_IDLE, FIBER_RUNNING, FIBER_LEFT, FIBER_ENDED };

struct chi_fiber {
	fcontext_t context; /* where it goes on; while it runs: stale */
	chi_fiber_fn fn;
	void *arg;
	char *low;
	struct chi_fiber_pool *pool;
	struct chi_fiber *next_idle;
	enum fiber_state state;
	struct chi_sanitizer_stack sanitizer;
} __attribute__((aligned(64)));

struct slab {
	struct slab *next;
	void *base;
	uint32_t n_fibers;
	struct chi_fiber fibers[];
};

struct chi_fiber_pool {
	fcontext_t main; /* the thread's own context, while a fiber runs */
	struct chi_fiber *running;
	struct chi_fiber *idle; /* last in, first out: its stack may still be in the cache */
	uint32_t n_made;
	uint32_t n_idle;
	uint32_t fibers_max;
	uint64_t free_bytes; /* what each piece of work has */
	struct chi_stack_layout layout;
	struct chi_sanitizer_stack sanitizer;
	struct slab *slabs;
};

/* ---- the two sides of a switch ---- */

/*
 * The lowest bytes of a fresh stack are zero, and no fiber in good order gets there: the canary is that they still are.
 * Zero, because then nothing must be written, and a stack's last page stays untouched: reading it maps the shared zero
 * page. The guard stops who walks down the stack; this and the stack pointer find who jumped over it.
 */
static void check_stack(const struct chi_fiber *fiber, const void *stack_pointer)
{
	const uint64_t *canary = (const uint64_t *)fiber->low;
	uint64_t used_to = (uint64_t)((const char *)stack_pointer - fiber->low);

	if (__builtin_expect(canary[0] | canary[1] || used_to >= fiber->pool->layout.stack_bytes, 0))
		chi_fault_stack_overflow(fiber);
}

/*
 * The processor keeps its own stack of where calls return to, and boost.context's functions jump: after a switch there
 * and back two returns too many are on it, and each return from here up to the worker's loop, or the method's, would be
 * foretold by the one two frames down. Two returns to the next instruction take them off. What that is worth: "Calls in
 * place" in docs/PERFORMANCE.md. Who unwinds the stack inside these instructions goes astray: the stack pointer is not
 * where the tables say.
 */
static inline void forget_two_returns(void)
{
#if defined(__x86_64__)
	__asm__ volatile("	subq $128, %%rsp\n" /* the red zone */
			 "	leaq 1f(%%rip), %%rcx\n"
			 "	pushq %%rcx\n"
			 "	ret\n"
			 "1:	leaq 2f(%%rip), %%rcx\n"
			 "	pushq %%rcx\n"
			 "	ret\n"
			 "2:	addq $128, %%rsp"
			 :
			 :
			 : "rcx", "memory", "cc");
#endif
}

/* On the main stack. */
static void switch_in(struct chi_fiber *fiber)
{
	struct chi_fiber_pool *pool = fiber->pool;
	transfer_t back;

	assert(!pool->running);
	pool->running = fiber;
	fiber->state = FIBER_RUNNING;
	chi_sanitizer_leave(&pool->sanitizer, &fiber->sanitizer);
	back = jump_fcontext(fiber->context, fiber);
	forget_two_returns();
	chi_sanitizer_arrive(&pool->sanitizer, NULL);
	fiber->context = back.from;
	pool->running = NULL;
	check_stack(fiber, fiber->context);
}

/* On the fiber's stack. */
static void switch_out(struct chi_fiber *fiber, enum fiber_state state)
{
	struct chi_fiber_pool *pool = fiber->pool;
	transfer_t back;

	fiber->state = state;
	chi_sanitizer_leave(&fiber->sanitizer, &pool->sanitizer);
	back = jump_fcontext(pool->main, NULL);
	chi_sanitizer_arrive(&fiber->sanitizer, &pool->sanitizer);
	pool->main = back.from;
}

/* All that ever runs on a fiber's stack. Not static: fiber_entry() calls it by name. */
_Noreturn void chi_fiber_main(transfer_t first) __attribute__((visibility("hidden")));

_Noreturn void chi_fiber_main(transfer_t first)
{
	struct chi_fiber *fiber = first.data;

	chi_sanitizer_arrive(&fiber->sanitizer, &fiber->pool->sanitizer);
	fiber->pool->main = first.from;
	for (;;) {
		fiber->fn(fiber->arg);
		switch_out(fiber, FIBER_ENDED);
	}
}

/*
 * The first frame of each fiber. A debugger, perf or a sanitizer that walks the stack ends here: no return address by
 * the unwind table, none by the chain of frame pointers (which boost.context leaves as it was). The argument passes
 * through.
 */
void fiber_entry(transfer_t first) __attribute__((visibility("hidden")));
#if defined(__x86_64__)
__asm__(".text\n"
	".p2align 4\n"
	".hidden fiber_entry\n"
	".globl fiber_entry\n"
	".type fiber_entry, @function\n"
	"fiber_entry:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined rip\n"
	"	xorl %ebp, %ebp\n"
	"	pushq %rbp\n" /* entered like a called function, so this aligns the stack for the call */
	"	call chi_fiber_main\n"
	"	ud2\n"
	"	.cfi_endproc\n"
	".size fiber_entry, . - fiber_entry\n");
#elif defined(__aarch64__)
__asm__(".text\n"
	".p2align 4\n"
	".hidden fiber_entry\n"
	".globl fiber_entry\n"
	".type fiber_entry, %function\n"
	"fiber_entry:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined x30\n"
	"	mov x29, xzr\n"
	"	mov x30, xzr\n"
	"	bl chi_fiber_main\n"
	"	brk #0\n"
	"	.cfi_endproc\n"
	".size fiber_entry, . - fiber_entry\n");
#else
#error "fiber_entry() is not written for this machine"
#endif

void chi_fiber_start(struct chi_fiber *fiber, chi_fiber_fn fn, void *arg)
{
	assert(fiber->state == FIBER_IDLE || fiber->state == FIBER_ENDED);
	fiber->fn = fn;
	fiber->arg = arg;
	switch_in(fiber);
}

void chi_fiber_resume(struct chi_fiber *fiber)
{
	assert(fiber->state == FIBER_LEFT);
	switch_in(fiber);
}

void chi_fiber_leave(struct chi_fiber *fiber)
{
	int saved_errno = errno;

	assert(fiber->pool->running == fiber);
	switch_out(fiber, FIBER_LEFT);
	errno = saved_errno;
}

/* The canary, too: the look at it is at the end of a switch. */
static void prefetch_stack(const struct chi_fiber *fiber, const char *from)
{
	__builtin_prefetch(fiber->low);
	for (const char *line = from; line < from + PREFETCHED_BYTES; line += 64)
		hshm_prefetch_write(line);
}

void chi_fiber_prefetch(const struct chi_fiber *fiber)
{
	prefetch_stack(fiber, fiber->context);
}

void chi_fiber_pool_prefetch(const struct chi_fiber_pool *pool)
{
	const struct chi_fiber *first = pool->idle, *second = first ? first->next_idle : NULL;

	if (!second)
		return;
	__builtin_prefetch(second->next_idle);
	if (second->context)
		prefetch_stack(second, (char *)second->context - PREFETCHED_BYTES + 64);
}

void chi_fiber_set_arg(struct chi_fiber *fiber, void *arg)
{
	fiber->arg = arg;
}

void *chi_fiber_arg(const struct chi_fiber *fiber)
{
	return fiber->arg;
}

bool chi_fiber_has_room(const struct chi_fiber *fiber)
{
	uint64_t left = (uint64_t)((const char *)__builtin_frame_address(0) - fiber->low);

	return left >= fiber->pool->free_bytes;
}

void chi_fiber_check(const struct chi_fiber *fiber)
{
	check_stack(fiber, __builtin_frame_address(0));
}

bool chi_fiber_ended(const struct chi_fiber *fiber)
{
	return fiber->state == FIBER_ENDED;
}

/* ---- the pool ---- */

int chi_fiber_pool_create(const struct chi_fiber_opts *opts, struct chi_fiber_pool **ret_pool)
{
	struct chi_fiber_pool *pool = calloc(1, sizeof(*pool));
	int rc;

	if (!pool)
		return -ENOMEM;
	rc = chi_stack_layout_init(opts->stack_bytes + opts->more_bytes, opts->guard, &pool->layout);
	if (rc) {
		free(pool);
		return rc;
	}
	pool->fibers_max = opts->fibers_max;
	pool->free_bytes = opts->stack_bytes;
	chi_sanitizer_init_thread(&pool->sanitizer);
	*ret_pool = pool;
	return 0;
}

void chi_fiber_pool_destroy(struct chi_fiber_pool *pool)
{
	struct slab *slab, *next;

	if (!pool)
		return;
	assert(!pool->running);
	for (slab = pool->slabs; slab; slab = next) {
		next = slab->next;
		for (uint32_t i = 0; i < slab->n_fibers; i++)
			chi_sanitizer_fini_fiber(&slab->fibers[i].sanitizer);
		chi_stack_slab_unmap(&pool->layout, slab->n_fibers, slab->base);
		free(slab);
	}
	free(pool);
}

static void push_idle(struct chi_fiber_pool *pool, struct chi_fiber *fiber)
{
	fiber->next_idle = pool->idle;
	pool->idle = fiber;
	pool->n_idle++;
}

static int add_slab(struct chi_fiber_pool *pool)
{
	uint32_t room = pool->fibers_max - pool->n_made;
	uint32_t n = room < SLAB_STACKS ? room : SLAB_STACKS;
	struct slab *slab;
	int rc;

	if (!n)
		return -EAGAIN;
	slab = aligned_alloc(_Alignof(struct slab), sizeof(*slab) + n * sizeof(slab->fibers[0]));
	if (!slab)
		return -ENOMEM;
	rc = chi_stack_slab_map(&pool->layout, n, &slab->base);
	if (rc) {
		free(slab);
		return rc;
	}
	slab->n_fibers = n;
	slab->next = pool->slabs;
	pool->slabs = slab;
	pool->n_made += n;
	/* from the last, so that they are taken in the order of their addresses */
	for (uint32_t i = n; i-- > 0;) {
		struct chi_fiber *fiber = &slab->fibers[i];

		*fiber = (struct chi_fiber){ .low = chi_stack_slab_low(&pool->layout, slab->base, i), .pool = pool };
		chi_sanitizer_init_fiber(&fiber->sanitizer, fiber->low, pool->layout.stack_bytes);
		push_idle(pool, fiber);
	}
	return 0;
}

int chi_fiber_get(struct chi_fiber_pool *pool, struct chi_fiber **ret_fiber)
{
	uint64_t stack_bytes = pool->layout.stack_bytes;
	struct chi_fiber *fiber;

	if (!pool->idle) {
		int rc = add_slab(pool);

		if (rc)
			return rc;
	}
	fiber = pool->idle;
	pool->idle = fiber->next_idle;
	pool->n_idle--;
	fiber->state = FIBER_IDLE;
	/* here and not for the whole slab: it touches the stack's top */
	if (!fiber->context)
		fiber->context = make_fcontext(fiber->low + stack_bytes, stack_bytes, fiber_entry);
	*ret_fiber = fiber;
	return 0;
}

void chi_fiber_put(struct chi_fiber_pool *pool, struct chi_fiber *fiber)
{
	assert(fiber->pool == pool);
	assert(fiber->state == FIBER_IDLE || fiber->state == FIBER_ENDED);
	fiber->state = FIBER_IDLE;
	push_idle(pool, fiber);
}

void chi_fiber_stack(const struct chi_fiber *fiber, const void **ret_low, const void **ret_high)
{
	*ret_low = fiber->low;
	*ret_high = fiber->low + fiber->pool->layout.stack_bytes;
}

uint64_t chi_fiber_stack_bytes(const struct chi_fiber *fiber)
{
	return fiber->pool->free_bytes;
}

bool chi_fiber_in_guard(const struct chi_fiber *fiber, const void *address)
{
	return (uintptr_t)fiber->low - (uintptr_t)address - 1 < fiber->pool->layout.guard_bytes;
}

void chi_fiber_pool_each_begun(const struct chi_fiber_pool *pool, void (*look)(void *fiber_arg, void *arg), void *arg)
{
	for (const struct slab *slab = pool->slabs; slab; slab = slab->next) {
		for (uint32_t i = 0; i < slab->n_fibers; i++) {
			if (slab->fibers[i].state == FIBER_LEFT)
				look(slab->fibers[i].arg, arg);
		}
	}
}

void chi_fiber_pool_get_stats(const struct chi_fiber_pool *pool, struct chi_fiber_stats *ret_stats)
{
	*ret_stats = (struct chi_fiber_stats){
		.n_made = pool->n_made,
		.n_idle = pool->n_idle,
		.guard = pool->layout.guard,
	};
}
