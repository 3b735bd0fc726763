/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread_stack.c - the stack of another thread of this process, at any moment
 *
 *            ask                handler               handler             take
 *   FREE ----------> thread id ----------> UNWINDING ----------> ANSWERED ------> FREE
 *     ^                  |                   |    withdraw            |
 *     |<-----------------'                   '----------> DROPPED     |
 *     |<-------------------------------------------------- handler    |
 *     '---------------------------------------------------- withdraw -'
 *
 * One state word and one place for the answer in the process, so that the handler needs nothing that the signal brings,
 * and one that comes late finds that it is not asked for. A thread that never comes out of unwinding keeps the place:
 * no more stacks.
 *
 * S1  Who moved the word from FREE to a thread's id has the question; he ends it once, by taking or withdrawing.
 * S2  The place is written by the handler that moved the word to UNWINDING, until it moves it on, and read by who asked
 *     while it is ANSWERED. Nobody else can move it meanwhile but from UNWINDING to DROPPED, which gives nothing away.
 * S3  Every change but the two stores of FREE (release, by who has the place) is a read-modify-write: so who acquires
 *     the word has all before it that was done with the place.
 *
 * backtrace() goes by unwind tables: modules are built without frame pointers, and a fiber's first frame says that it
 * is the last (fiber.c). It loads libgcc at its first call, so chi_stack_thread_init() makes one. Where a stack is
 * broken it may read what is not there: that fault is ours, not the method's (chi_stack_rescue()).
 */
#include "runtime/thread_stack.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <hshm/atomic.h>

#define FREE	     0u
#define UNWINDING    UINT32_MAX
#define ANSWERED     (UINT32_MAX - 1)
#define DROPPED	     (UINT32_MAX - 2) /* nobody waits for what is being unwound */
#define FRAMES_OF_US 8		      /* the handler's, and the signal's own */

static hshm_au32 state; /* one of these, or the thread that is asked */
static struct chi_stack answer;
static _Thread_local sigjmp_buf *volatile rescue; /* not NULL: in backtrace() */

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
	int error;

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = &state;
	/* acquire: pairs with the release in chi_stack_take(): the place is free */
	if (!hshm_cas_acquire(&state, &seen, (uint32_t)tid))
		return -EBUSY;
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, CHI_STACK_SIGNAL, &info) == 0)
		return 0;
	error = -errno;
	chi_stack_withdraw(); /* no store of FREE: that would not carry on what was released before (S3) */
	return error;
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

	/* relaxed: nothing is read; who asks next acquires from the handler, if that wrote the place */
	while (!hshm_cas_relaxed(&state, &seen, seen == UNWINDING ? DROPPED : FREE))
		continue;
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

void chi_stack_rescue(void)
{
	if (rescue)
		siglongjmp(*rescue, 1);
}

/* Returns how many frames, 0 where the stack is broken. */
static int backtrace_or_none(void **frames, int n_max)
{
	volatile int n = 0;
	sigjmp_buf back;

	if (sigsetjmp(back, 1) == 0) {
		rescue = &back;
		n = backtrace(frames, n_max);
	}
	rescue = NULL;
	return n;
}

static void unwind(const void *ucontext)
{
	const void *pc = interrupted_at(ucontext);
	void *frames[FRAMES_OF_US + CHI_STACK_DEPTH_MAX];
	int n = backtrace_or_none(frames, FRAMES_OF_US + CHI_STACK_DEPTH_MAX), first = 0;
	uint32_t seen = UNWINDING;

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
	/* release, both: the place; pairs with the acquire in chi_stack_take(), or that of the next who asks */
	if (!hshm_cas_release(&state, &seen, ANSWERED))
		hshm_store_release(&state, FREE);
}

bool chi_stack_on_signal(const siginfo_t *info, const void *ucontext)
{
	uint32_t me = (uint32_t)syscall(SYS_gettid);
	int saved_errno = errno;

	/* acquire: the place is free, as who asks has seen; false: withdrawn meanwhile, or somebody else's signal. The
	 * kernel may have left out what it brings (RLIMIT_SIGPENDING): so we are asked, whoever's it is. */
	if (hshm_cas_acquire(&state, &me, UNWINDING))
		unwind(ucontext);
	errno = saved_errno;
	return info->si_code == SI_QUEUE && info->si_value.sival_ptr == &state;
}
