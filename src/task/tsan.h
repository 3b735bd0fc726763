/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tsan.h - what TSan cannot see of a task's way; empty without it
 */
#ifndef CHI_TASK_TSAN_H
#define CHI_TASK_TSAN_H

#include <chimaera/task.h>
#include <hshm/atomic.h>

#if defined(HSHM_UNDER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

/*
 * The thread that submits has done with the task. Whoever sees it ended may write to it, ordered by the enqueue, the
 * worker and the completion; but a runtime in this process goes by a mapping of its own, and TSan knows memory by its
 * address.
 */
static inline void chi_tsan_submitted(struct chi_task *task)
{
#if defined(HSHM_UNDER_TSAN)
	__tsan_release(&task->completion); /* the acquire is that of the completion */
#endif
	(void)task;
}

#endif
