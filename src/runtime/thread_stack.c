/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread_stack.c - the stack of another thread of this process, at any moment
 *
 *            ask                handler               handler             take
 *   FREE ----------> thread id ----------> UNWINDING ----------> ANSWERED ------> FREE
 *     ^                  |
 *     '------------------' withdraw
 *
 * One state word and one place for the answer in the process, so that the handler needs nothing that the signal brings, and one
 * that comes late, or is sent by somebody else, finds that it is not asked for. A thread that gets stuck while it unwinds keeps
 * the place for ever: no more stacks, and no harm.
 *
 * backtrace() goes by unwind tables: modules are built without frame pointers, and a fiber's first frame says that it is the last
 * (fiber.c). It loads libgcc at its first call, so chi_stack_thread_init() makes one.
 */
#include "runtime/thread_stack.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <hshm/atomic.h>

#define FREE	     0u
#define UNWINDING    UINT32_MAX
#define ANSWERED     (UINT32_MAX - 1)
#define FRAMES_OF_US 8 /* the handler's, and the signal's own */

static hshm_au32 state; /* one of these, or the thread that is asked */
static struct chi_stack answer;

void chi_stack_thread_init(void)
{
	sigset_t ours;
	void *frame;

	(void)backtrace(&frame, 1);
	sigemptyset(&ours);
	sigaddset(&ours, CHI_STACK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &ours, NULL); /* our threads are made with all signals blocked */
}

int chi_stack_ask(pid_t tid)
{
	siginfo_t info = { .si_code = SI_QUEUE };
	uint32_t seen = FREE;

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = &state;
	/* acquire: pairs with the release in chi_stack_take(): the place is free */
	if (!hshm_cas_acquire(&state, &seen, (uint32_t)tid))
		return -EBUSY;
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, CHI_STACK_SIGNAL, &info) == 0)
		return 0;
	hshm_store_relaxed(&state, FREE); /* relaxed: nobody has written the place */
	return -errno;
}

bool chi_stack_take(struct chi_stack *ret_stack)
{
	/* acquire: pairs with the release in unwind() */
	if (hshm_load_acquire(&state) != ANSWERED)
		return false;
	*ret_stack = answer;
	/* release: pairs with the acquire in chi_stack_ask() */
	hshm_store_release(&state, FREE);
	return true;
}

void chi_stack_withdraw(void)
{
	uint32_t seen = hshm_load_relaxed(&state); /* relaxed: the CAS decides */

	if (seen != UNWINDING)
		(void)hshm_cas_relaxed(&state, &seen, FREE);
}

/* ---- the handler ---- */

static const void *interrupted_at(const void *ucontext)
{
	const ucontext_t *context = ucontext;

#if defined(__x86_64__)
	return (const void *)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (const void *)context->uc_mcontext.pc;
#else
#error "interrupted_at() is not written for this machine"
#endif
}

static void unwind(const void *ucontext)
{
	const void *pc = interrupted_at(ucontext);
	void *frames[FRAMES_OF_US + CHI_STACK_DEPTH_MAX];
	int n = backtrace(frames, FRAMES_OF_US + CHI_STACK_DEPTH_MAX), first = 0;

	while (first < n && frames[first] != pc)
		first++;
	answer.n = 0;
	if (first == n) { /* it could not be unwound past the signal */
		first = 0;
		n = 1;
		frames[0] = (void *)(uintptr_t)pc;
	}
	while (first < n && answer.n < CHI_STACK_DEPTH_MAX)
		answer.pcs[answer.n++] = frames[first++];
	/* release: pairs with the acquire in chi_stack_take() */
	hshm_store_release(&state, ANSWERED);
}

bool chi_stack_on_signal(const siginfo_t *info, const void *ucontext)
{
	uint32_t me = (uint32_t)syscall(SYS_gettid);
	int saved_errno = errno;

	if (info->si_code != SI_QUEUE || info->si_value.sival_ptr != &state)
		return false;
	/* acquire: the place is free, as who asks has seen; false: withdrawn meanwhile */
	if (hshm_cas_acquire(&state, &me, UNWINDING))
		unwind(ucontext);
	errno = saved_errno;
	return true;
}
