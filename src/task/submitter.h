/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * submitter.h - what every struct chi_client starts with, be it a process's or the runtime's own
 *
 * The calls of chimaera/task.h go through this table, so that a typed helper written once works in a client and in a
 * method. A process client is made by src/client/, the runtime's inner one by src/runtime/submit.c.
 */
#ifndef TASK_SUBMITTER_H
#define TASK_SUBMITTER_H

#include <chimaera/task.h>
#include <hshm/atomic.h>

#define CHI_CLIENT_MAGIC UINT32_C(0x43484943)

/* What the submitting thread does next, as far as it is known. */
enum chi_submit_next {
	CHI_NEXT_ANY = 0,
	CHI_NEXT_SUBMIT, /* others follow at once, and ring() after them */
	CHI_NEXT_WAIT,	 /* for this task, for ever */
};

struct chi_parking_place {
	hshm_au32 *word;     /* raised by the runtime when it wakes who sleeps there */
	uint32_t ref;	     /* of it: offset / 4 in the segment */
	hshm_au32 *n_sleeps; /* all threads of the client count there before they sleep */
};

struct chi_client_ops {
	int (*alloc)(struct chi_client *client, uint64_t size_bytes, void **ret_memory);
	void (*free)(struct chi_client *client, void *memory);
	/* the portable pointer to memory that may be lent; -EFAULT when it may not */
	int (*locate)(struct chi_client *client, const void *memory, uint64_t size_bytes, struct hipc_ptr *ret_ptr);
	/* 0, or -ENOTCONN in a forked child, where tasks are not mapped: asked before one is touched. NULL: always
	 * usable */
	int (*usable)(const struct chi_client *client);
	/* task->submitter and completion are set already; put back to unsubmitted by the caller on error. */
	int (*submit)(struct chi_client *client, struct chi_task *task, enum chi_submit_next next);
	/* tell the workers of what this thread submitted with CHI_NEXT_SUBMIT; NULL: nobody has to be told */
	void (*ring)(struct chi_client *client);
	/* 0, -EOWNERDEAD, -ENOTCONN; one system call */
	int (*alive)(struct chi_client *client);
	/* Will those of the tasks that are not done ever be? As alive(), but cheaper when it is asked again and again.
	 * NULL: yes. */
	int (*serves)(struct chi_client *client, void *const *tasks, uint32_t n_tasks, uint64_t now_ns);
	/* a task that was submitted through it has been cancelled: its word is set. NULL: nobody needs to know */
	void (*cancelled)(struct chi_client *client);
	/* where the calling thread sleeps; NULL for the inner client */
	struct chi_parking_place (*park)(struct chi_client *client);
	/* Is a worker that slept being woken for what the calling thread submitted? NULL: not known */
	bool (*is_waking)(struct chi_client *client);
};

struct chi_client {
	uint32_t magic;
	uint32_t wait_policy; /* enum chi_wait_policy */
	uint64_t spin_ns;     /* CHI_WAIT_HYBRID */
	const struct chi_client_ops *ops;
};

static inline uint64_t chi_completion_listed(uint32_t before_ref)
{
	return (uint64_t)before_ref << 32 | CHI_COMPLETION_LISTED;
}

static inline bool chi_completion_is_listed(uint64_t word)
{
	return (uint32_t)word == CHI_COMPLETION_LISTED;
}

/* Is its end for chi_client_dispatch() to tell? */
static inline bool chi_task_is_dispatched(const struct chi_task *task)
{
	/* relaxed: set by our own submit; whether it is done is looked at elsewhere */
	uint64_t word = hshm_load_relaxed(&task->completion);

	return word == CHI_COMPLETION_NOTIFY || chi_completion_is_listed(word);
}

/* chi_submit() with the completion word to begin with, CHI_COMPLETION_PENDING or _NOTIFY. */
int chi_task_submit_as(struct chi_client *client, struct chi_task *task, uint64_t completion,
		       enum chi_submit_next next);
/* May it be submitted? Not in flight, that is. Returns 0, -EBUSY, -EINVAL (through another client), -EOWNERDEAD. */
int chi_task_check_idle(struct chi_client *client, const struct chi_task *task);

/* task->submitter: 0 = not submitted; else the address of the struct chi_client it was submitted through */
static inline struct chi_client *chi_task_submitter(const struct chi_task *task)
{
	return (struct chi_client *)(uintptr_t)task->submitter;
}

#endif
