/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread_stack.h - the stack of another thread of this process, at any moment
 *
 * By a signal (SIGURG, which is ignored where nobody handles it): its handler unwinds the thread into a place of ours,
 * and does nothing else. The handler is installed by chi_fault_install(), with the others. A system call that the
 * thread sleeps in may end with EINTR.
 */
#ifndef RUNTIME_THREAD_STACK_H
#define RUNTIME_THREAD_STACK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHI_STACK_SIGNAL    SIGURG
#define CHI_STACK_DEPTH_MAX 48u

struct chi_stack {
	uint32_t n;
	void *pcs[CHI_STACK_DEPTH_MAX]; /* innermost first */
};

/* The calling thread may be asked from here on. */
void chi_stack_thread_init(void);

/* Ask. One at a time in a process: chi_stack_take() or chi_stack_withdraw() follow. Returns 0, -EBUSY (another was
 * asked),
 * -ESRCH. Threads: any. */
int chi_stack_ask(pid_t tid);
/* Has it answered? Then the next may ask. Who asked. */
bool chi_stack_take(struct chi_stack *ret_stack);
/* Wait no longer. Who asked, and has not taken. */
void chi_stack_withdraw(void);

/* The handler's part. False: the signal is not ours, or not for certain. Async-signal: yes. */
bool chi_stack_on_signal(const siginfo_t *info, const void *ucontext);
/* At a fault: does not return if it came of our reading the thread's stack. Async-signal: yes. */
void chi_stack_rescue(void);

#endif
