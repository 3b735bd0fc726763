/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault.c - what happens at SIGSEGV and SIGBUS; and the handler that answers for thread_stack.h
 *
 * Everything below on_fault() is async-signal-safe: no locks, no allocation, no stdio; write(2) and raw system calls.
 * errno is kept.
 *
 * The table of watched sessions is read by the handler and written under a lock by others. It grows by blocks that are
 * never given back, so that the handler may walk it at any time. The handler uses a session only when the fault lies in
 * its segment: then the thread that faulted uses that segment, so it is mapped, watched and counted until the handler
 * returns.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hshm/atomic.h>

#include "runtime/fault.h"
#include "runtime/fiber.h"
#include "runtime/pool_manager.h"
#include "runtime/run_context.h"
#include "runtime/session.h"
#include "runtime/thread_stack.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* what we and a handler that we pass on to may need, on top of what the kernel stores there */
#define SIGNAL_STACK_BYTES 32768u

_Thread_local struct chi_run_context *volatile chi_fault_current;

/* ---- the table of watched sessions ---- */

#define WATCH_BLOCK 1024u

/*
 * An entry is a sequence lock: one writes under watch_lock, a handler reads without, once and never again.
 *
 *   watch_store()    sequence odd; the fields (release each); sequence even (release)
 *   watch_covers()   sequence (acquire), base, size_bytes (acquire each), sequence
 *
 * Q1  Who reads a field that is being written has, by that field's release and acquire, the odd sequence before his
 *     second look at it, or a later one: so two looks that are even and equal had base and size of one state between.
 * Q2  Who looks for the entry of his own segment does not need a second try: nobody writes that entry while a thread
 *     uses the segment (above). An entry that changes meanwhile is another's.
 * Q3  `session` is read when the entry covers the address, so by Q2 it is not being written; `hit` is set by handlers,
 *     and cleared with the entry.
 */
struct watch {
	hshm_au32 sequence;
	hshm_au32 hit;
	hshm_au64 base;
	hshm_au64 size_bytes; /* 0: free */
	hshm_aptr session;    /* NULL: memory of no client */
};

struct watch_block {
	hshm_aptr next;
	struct watch watches[WATCH_BLOCK];
};

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER; /* of those who write the table */
static struct watch_block first_block;

/* Under watch_lock. The fields are stored with release and not relaxed, so that they stay behind the odd sequence. */
static void watch_store(struct watch *watch, const void *base, uint64_t size_bytes, struct chi_session *session)
{
	uint32_t sequence = hshm_load_relaxed(&watch->sequence); /* relaxed: only written under the lock */

	/* relaxed: the releases behind it keep it in front of the fields (Q1) */
	hshm_store_relaxed(&watch->sequence, sequence + 1);
	hshm_store_release(&watch->base, (uint64_t)(uintptr_t)base);
	hshm_store_release(&watch->size_bytes, size_bytes);
	hshm_store_release(&watch->session, session);
	/* relaxed: read by who holds the lock, or by those whose fault set it */
	hshm_store_relaxed(&watch->hit, 0);
	/* release: pairs with the acquires in watch_covers() */
	hshm_store_release(&watch->sequence, sequence + 2);
}

/* Does it cover the address? In the handler: the entry may change meanwhile, but then it is not the one we look for. */
static bool watch_covers(const struct watch *watch, uint64_t address)
{
	/* acquire: pairs with the release at the end of watch_store(); the fields are not older than the sequence */
	uint32_t sequence = hshm_load_acquire(&watch->sequence);
	/* acquire: pairs with the releases in watch_store(): who sees a newer field sees the newer sequence below */
	uint64_t base = hshm_load_acquire(&watch->base);
	uint64_t size_bytes = hshm_load_acquire(&watch->size_bytes);

	/* relaxed: the acquires above keep it behind them */
	return !(sequence & 1) && hshm_load_relaxed(&watch->sequence) == sequence && address - base < size_bytes;
}

/* Calls nothing; under watch_lock, or in the handler. */
static struct watch *watch_next(struct watch *watch, struct watch_block **block)
{
	if (watch && ++watch < (*block)->watches + WATCH_BLOCK)
		return watch;
	/* acquire: pairs with the release in chi_fault_watch(); the block is zeroed */
	*block = *block ? hshm_load_acquire(&(*block)->next) : &first_block;
	return *block ? (*block)->watches : NULL;
}

/* The entry of that memory, NULL: the first free one. Under watch_lock. */
static struct watch *watch_find(const void *base)
{
	struct watch_block *block = NULL;
	struct watch *watch = watch_next(NULL, &block);

	/* relaxed: only written under the lock */
	while (watch && hshm_load_relaxed(&watch->base) != (uintptr_t)base)
		watch = watch_next(watch, &block);
	return watch;
}

static int watch_memory(const void *base, uint64_t size_bytes, struct chi_session *session)
{
	struct watch *watch;
	int rc = 0;

	pthread_mutex_lock(&watch_lock);
	watch = watch_find(NULL);
	if (!watch) {
		struct watch_block *block = calloc(1, sizeof(*block));
		struct watch_block *last = &first_block;

		while (block && hshm_load_relaxed(&last->next)) /* relaxed: only written under the lock */
			last = hshm_load_relaxed(&last->next);
		if (block) {
			/* release: pairs with the acquire in watch_next() */
			hshm_store_release(&last->next, block);
			watch = block->watches;
		}
	}
	if (watch)
		watch_store(watch, base, size_bytes, session);
	else
		rc = -ENOMEM;
	pthread_mutex_unlock(&watch_lock);
	return rc;
}

int chi_fault_watch_memory(const void *base, uint64_t size_bytes)
{
	return watch_memory(base, size_bytes, NULL);
}

void chi_fault_unwatch_memory(const void *base)
{
	struct watch *watch;

	pthread_mutex_lock(&watch_lock);
	watch = watch_find(base);
	if (watch)
		watch_store(watch, NULL, 0, NULL);
	pthread_mutex_unlock(&watch_lock);
}

int chi_fault_watch(struct chi_session *session)
{
	return watch_memory(session->segment.map.base, session->segment.map.size_bytes, session);
}

void chi_fault_unwatch(struct chi_session *session)
{
	if (session->segment.map.base)
		chi_fault_unwatch_memory(session->segment.map.base);
}

bool chi_fault_hit(const struct chi_session *session)
{
	struct watch *watch;
	bool hit;

	pthread_mutex_lock(&watch_lock);
	watch = watch_find(session->segment.map.base);
	/* acquire: pairs with the release in take_place(): who was told of the end by `ended` sees the reason */
	hit = watch && hshm_load_acquire(&watch->hit);
	pthread_mutex_unlock(&watch_lock);
	return hit;
}

/* ---- one line on stderr, from a handler ---- */

struct line {
	char text[512];
	size_t n;
};

static void line_add(struct line *line, const char *text)
{
	while (*text && line->n < sizeof(line->text) - 1)
		line->text[line->n++] = *text++;
}

static void line_add_number(struct line *line, uint64_t number, unsigned base)
{
	char digits[24];
	char *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do
		*--at = "0123456789abcdef"[number % base];
	while (number /= base);
	line_add(line, at);
}

static void line_write(struct line *line)
{
	const char *at = line->text;

	line->text[line->n++] = '\n';
	while (line->n) {
		ssize_t n = write(STDERR_FILENO, at, line->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		at += n;
		line->n -= (size_t)n;
	}
}

/* "module NAME, method NAME (task ROOT.NUMBER)"; what is not there yet is left out */
static void line_add_task(struct line *line, const struct chi_run_context *context)
{
	line_add(line, "module ");
	line_add(line, context->pool && context->pool->module ? context->pool->module->name : "?");
	line_add(line, ", method ");
	line_add(line, context->method && context->method->name ? context->method->name : "?");
	if (!context->task)
		return;
	line_add(line, " (task ");
	line_add_number(line, context->task->id.root, 10);
	line_add(line, ".");
	line_add_number(line, context->task->id.number, 10);
	line_add(line, ")");
}

static void tell_stack_overflow(const struct chi_fiber *fiber, const struct chi_run_context *context)
{
	struct line line = { .n = 0 };

	line_add(&line, "chimaera: fatal: stack overflow in ");
	if (context)
		line_add_task(&line, context);
	else
		line_add(&line, "a fiber without a task");
	line_add(&line, ": its stack has ");
	line_add_number(&line, chi_fiber_stack_bytes(fiber) / 1024, 10);
	line_add(&line, " KiB; raise fibers.stack_kib");
	line_write(&line);
}

static void tell_fault(int signal_number, const void *address, const struct chi_run_context *context)
{
	struct line line = { .n = 0 };

	line_add(&line, "chimaera: fatal: ");
	line_add(&line, signal_number == SIGSEGV ? "SIGSEGV" : "SIGBUS");
	line_add(&line, " at address 0x");
	line_add_number(&line, (uintptr_t)address, 16);
	line_add(&line, " in ");
	line_add_task(&line, context);
	line_write(&line);
}

static void tell_lost_memory(void)
{
	struct line line = { .n = 0 };

	line_add(&line,
		 "chimaera: somebody has cut the counters file, or its disk has failed: counters are kept in memory "
		 "from here on, where tools do not see them");
	line_write(&line);
}

_Noreturn void chi_fault_stack_overflow(const struct chi_fiber *fiber)
{
	tell_stack_overflow(fiber, chi_fault_current);
	abort();
}

/* ---- the handlers ---- */

static void on_fault(int signal_number, siginfo_t *info, void *ucontext);
static void on_stack_asked(int signal_number, siginfo_t *info, void *ucontext);

static struct handler {
	int signal_number;
	void (*ours)(int signal_number, siginfo_t *info, void *ucontext);
	int flags;
	bool left_behind; /* somebody had put theirs on top when we were to go */
	struct sigaction previous;
} handlers[] = {
	{ .signal_number = SIGSEGV, .ours = on_fault },
	{ .signal_number = SIGBUS, .ours = on_fault },
	{ .signal_number = CHI_STACK_SIGNAL, .ours = on_stack_asked, .flags = SA_RESTART },
};

#define N_HANDLERS (sizeof(handlers) / sizeof(handlers[0]))

/* A client has made its own memory unusable, or somebody has cut the counters file (or the machine has lost a page of
 * it): private memory takes the place of the whole, so that it costs one fault and one mapping however often that is
 * done. A client's session is over. */
static bool take_place(struct watch *watch)
{
	/* relaxed: this thread uses the segment, so the entry does not change */
	struct chi_session *session = hshm_load_relaxed(&watch->session);
	void *base = (void *)(uintptr_t)hshm_load_relaxed(&watch->base);
	size_t size_bytes = hshm_load_relaxed(&watch->size_bytes);

	/* mmap() of libc is no more than the system call */
	if (mmap(base, size_bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		 0) == MAP_FAILED)
		return false;
	/* release: pairs with the acquire in chi_fault_hit() */
	hshm_store_release(&watch->hit, 1);
	if (!session) {
		tell_lost_memory();
		return true;
	}
	/* release: as at a hang-up; and `hit` is seen before it */
	hshm_store_release(&session->ended, 1);
	shutdown(session->socket, SHUT_RDWR);
	return true;
}

static struct watch *watch_of_address(uint64_t address)
{
	struct watch_block *block = NULL;
	struct watch *watch = watch_next(NULL, &block);

	while (watch && !watch_covers(watch, address))
		watch = watch_next(watch, &block);
	return watch;
}

static const struct sigaction *previous_of(int signal_number)
{
	const struct handler *handler = handlers;

	while (handler->signal_number != signal_number)
		handler++;
	return &handler->previous;
}

/* Returns whether there was a handler before ours. */
static bool call_previous(int signal_number, siginfo_t *info, void *ucontext)
{
	const struct sigaction *previous = previous_of(signal_number);

	if (previous->sa_flags & SA_SIGINFO)
		previous->sa_sigaction(signal_number, info, ucontext);
	else if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN)
		previous->sa_handler(signal_number);
	else
		return false;
	return true;
}

/* What would have happened without us. When we return, the instruction faults again. */
static void pass_on(int signal_number, siginfo_t *info, void *ucontext)
{
	const struct sigaction *previous = previous_of(signal_number);
	struct sigaction deadly = { .sa_handler = SIG_DFL };

	if (call_previous(signal_number, info, ucontext))
		return;
	/* sent by somebody, no fault of ours, and to be ignored: the kernel would have done that */
	if (info->si_code <= 0 && previous->sa_handler == SIG_IGN)
		return;
	sigaction(signal_number, &deadly, NULL);
	/* a signal that somebody sent does not come again by itself; it waits until we return */
	if (info->si_code <= 0)
		syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), signal_number);
}

static void on_fault(int signal_number, siginfo_t *info, void *ucontext)
{
	const struct chi_run_context *context = chi_fault_current;
	int saved_errno = errno;

	if (info->si_code > 0)
		chi_stack_rescue();
	/* an address only when the kernel found the fault, not when somebody sent the signal */
	if (signal_number == SIGBUS && info->si_code > 0) {
		struct watch *watch = watch_of_address((uintptr_t)info->si_addr);

		if (watch && take_place(watch)) {
			errno = saved_errno;
			return;
		}
	}
	/* once: a handler that we pass on to may return, and the fault comes again */
	chi_fault_current = NULL;
	if (context && context->fiber && signal_number == SIGSEGV && info->si_code > 0 &&
	    chi_fiber_in_guard(context->fiber, info->si_addr))
		tell_stack_overflow(context->fiber, context);
	else if (context)
		tell_fault(signal_number, info->si_addr, context);
	errno = saved_errno;
	pass_on(signal_number, info, ucontext);
}

/* Without a handler it would have been ignored. */
static void on_stack_asked(int signal_number, siginfo_t *info, void *ucontext)
{
	if (!chi_stack_on_signal(info, ucontext))
		(void)call_previous(signal_number, info, ucontext);
}

/* ---- install ---- */

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_installed;

static bool is_ours(const struct handler *handler, const struct sigaction *action)
{
	return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handler->ours;
}

static int handler_install(struct handler *handler)
{
	struct sigaction ours = { .sa_sigaction = handler->ours, .sa_flags = SA_SIGINFO | SA_ONSTACK | handler->flags };
	struct sigaction before;

	/* Theirs passes on to ours, if it passes on at all; to go on top again would make a ring of the two. */
	if (handler->left_behind)
		return 0;
	sigemptyset(&ours.sa_mask);
	if (sigaction(handler->signal_number, NULL, &before))
		return -errno;
	/* first: a fault in another thread may come at once */
	handler->previous = before;
	return sigaction(handler->signal_number, &ours, NULL) ? -errno : 0;
}

static void handler_uninstall(struct handler *handler)
{
	struct sigaction now;

	if (sigaction(handler->signal_number, NULL, &now))
		return;
	handler->left_behind = !is_ours(handler, &now);
	if (!handler->left_behind)
		sigaction(handler->signal_number, &handler->previous, NULL);
}

int chi_fault_install(void)
{
	size_t n = 0;
	int rc = 0;

	pthread_mutex_lock(&install_lock);
	while (n_installed == 0 && n < N_HANDLERS && !rc) {
		rc = handler_install(&handlers[n]);
		n += !rc;
	}
	if (!rc)
		n_installed++;
	/* the first n alone: of another it would be thought that somebody has come on top of it */
	for (size_t i = 0; rc && i < n; i++)
		handler_uninstall(&handlers[i]);
	pthread_mutex_unlock(&install_lock);
	return rc;
}

void chi_fault_uninstall(void)
{
	pthread_mutex_lock(&install_lock);
	if (n_installed && --n_installed == 0)
		for (size_t i = 0; i < N_HANDLERS; i++)
			handler_uninstall(&handlers[i]);
	pthread_mutex_unlock(&install_lock);
}

/* ---- signal stacks ---- */

static _Thread_local struct {
	char *memory; /* a guard page, then the stack; NULL: not ours */
	size_t size_bytes;
	stack_t previous;
} signal_stack;

int chi_fault_thread_init(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size_bytes = SIGNAL_STACK_BYTES + getauxval(AT_MINSIGSTKSZ);
	stack_t ours = { 0 };

	if (signal_stack.memory)
		return 0;
	if (sigaltstack(NULL, &signal_stack.previous))
		return -errno;
	if (!(signal_stack.previous.ss_flags & SS_DISABLE) && signal_stack.previous.ss_size >= SIGNAL_STACK_BYTES)
		return 0;
	size_bytes = (size_bytes + page - 1) / page * page;
	signal_stack.size_bytes = page + size_bytes;
	signal_stack.memory = mmap(NULL, signal_stack.size_bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (signal_stack.memory == MAP_FAILED) {
		signal_stack.memory = NULL;
		return -ENOMEM;
	}
	ours.ss_sp = signal_stack.memory + page;
	ours.ss_size = size_bytes;
	if (mprotect(signal_stack.memory, page, PROT_NONE) || sigaltstack(&ours, NULL)) {
		munmap(signal_stack.memory, signal_stack.size_bytes);
		signal_stack.memory = NULL;
		return -ENOMEM;
	}
	return 0;
}

void chi_fault_thread_fini(void)
{
	if (!signal_stack.memory)
		return;
	sigaltstack(&signal_stack.previous, NULL);
	munmap(signal_stack.memory, signal_stack.size_bytes);
	signal_stack.memory = NULL;
}
