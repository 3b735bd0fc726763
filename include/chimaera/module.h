/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/module.h - for authors of modules
 *
 * A module is one shared object, chimaera_NAME.so, with one table: CHI_MODULE(table). Its methods run in fibers on the
 * runtime's workers: they may call chi_submit(), chi_wait() and chi_yield() of chimaera/task.h, and take a chi_mutex
 * and the like; they must not block the thread.
 */
#ifndef CHIMAERA_MODULE_H
#define CHIMAERA_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <chimaera/cdefs.h>
#include <chimaera/method.h>
#include <chimaera/task.h>

CHI_BEGIN_DECLS

struct chi_container;	/* opaque: one share of a pool's state */
struct chi_run_context; /* opaque: one running task */

enum chi_monitor_mode {
	CHI_MONITOR_LOCAL_SCHEDULE = 1, /* which lane of this container takes the task? */
	CHI_MONITOR_GLOBAL_SCHEDULE,	/* which container takes a CHI_DOMAIN_DYNAMIC task? */
	CHI_MONITOR_EST_LOAD,		/* how long will the task take? */
};

/* Question and answer of monitor(); filled with the default answer before the module is asked. */
struct chi_monitor {
	const struct chi_task *task;   /* borrowed; the runtime's checked copy */
	uint32_t queue_id;	       /* LOCAL_SCHEDULE: answer */
	uint32_t lane_id;	       /* LOCAL_SCHEDULE: answer */
	struct chi_domain_query query; /* GLOBAL_SCHEDULE: answer; any kind but DYNAMIC and GLOBAL_BCAST */
	uint64_t estimate_ns;	       /* EST_LOAD: answer */
};

typedef int (*chi_method_fn)(struct chi_container *container, struct chi_task *task, struct chi_run_context *context);

struct chi_method {
	const char *name;
	uint32_t id;		 /* below CHI_METHODS_MAX */
	uint32_t task_size;	 /* bytes, exactly what task->size_bytes must say; at most CHI_TASK_SIZE_MAX */
	chi_method_fn run;	 /* a fiber; returns the task's result. NULL when the module has a run() of its own. */
	uint64_t estimate_ns;	 /* for CHI_MONITOR_EST_LOAD; 0 = learned from past runs */
	uint32_t buffers_offset; /* of an array of struct chi_buffer in the task */
	uint32_t n_buffers;
	uint32_t out_offset; /* bytes of the task written back to the submitter when done (header apart) */
	uint32_t out_size;
	/* Broadcast: fold one container's finished task into the answer. NULL: the first negative result wins. */
	void (*fold)(struct chi_task *into, const struct chi_task *from);
};
#define CHI_METHODS_MAX 256u

/**
 * CHI_METHOD_ENTRY - the table's entry of a method whose task comes from CHI_TASK_DEFINE() (chimaera/method.h)
 *
 * The other fields follow by name: CHI_METHOD_ENTRY(counter_add, "add", COUNTER_ADD, .run = add, .estimate_ns = 1000)
 */
#define CHI_METHOD_ENTRY(type, method_name, method_id, ...)                                           \
	{                                                                                             \
		.name = (method_name), .id = (method_id), .task_size = sizeof(struct type##_task),    \
		.buffers_offset = sizeof(struct chi_task), .n_buffers = type##_n_buffers,             \
		.out_offset = sizeof(struct type##_request), .out_size = type##_out_size, __VA_ARGS__ \
	}

struct chi_module {
	uint32_t size;		/* sizeof(struct chi_module) at the module's compile time */
	uint32_t method_stride; /* sizeof(struct chi_method), likewise */
	const char *name;
	uint32_t version;
	uint32_t n_methods;
	/* of the methods' tasks; checked when somebody opens a pool with one of their own; 0 = none */
	uint64_t interface_hash;
	const struct chi_method *methods;

	/* A container comes into being. In a fiber, once for each container, one after the other.
	 * @params: borrowed; the bytes given to chi_pool_create(). Returns 0 or a negative errno: then the pool is not
	 * made, and destroy() is called for the containers before this one. May be NULL. */
	int (*create)(struct chi_container *container, const void *params, uint64_t params_size);

	/* It goes; no task of its is running. In a fiber. May be NULL. */
	void (*destroy)(struct chi_container *container);

	/* Answer a question about a task; @monitor holds the default. Called by workers between tasks, on a
	 * task's stack or their own: must be quick, must not wait, and needs no more than a few KiB. Returns 0,
	 * or a negative errno that becomes the task's result. NULL, or -ENOTSUP for a mode: default. */
	int (*monitor)(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor);

	/* Run a method; NULL: by the method array. */
	int (*run)(struct chi_container *container, struct chi_task *task, struct chi_run_context *context);
};

/* The module's one symbol, and a note that the runtime reads before it loads anything. */
#define CHI_MODULE_SYMBOL "chi_module_table"
#define CHI_NOTE_NAME	  "Chimaera"
#define CHI_NOTE_TYPE	  1u
#define CHI_MODULE(table)                                                                  \
	CHI_API extern const struct chi_module *const chi_module_table;                    \
	const struct chi_module *const chi_module_table = &(table);                        \
	__attribute__((used, section(".note.chimaera"), aligned(4))) static const struct { \
		uint32_t name_size, desc_size, type;                                       \
		char name[12];                                                             \
		uint32_t abi_version;                                                      \
	} chi_module_note = { sizeof(CHI_NOTE_NAME), 4, CHI_NOTE_TYPE, CHI_NOTE_NAME, CHI_ABI_VERSION }

/* ---- containers ---- */

enum chi_queue_flag {
	CHI_QUEUE_HIGH_LATENCY = 1u << 0, /* its lanes go to the high-latency workers */
};

#define CHI_QUEUES_MAX 8u

/**
 * chi_container_create_local_queue - give a container lanes of its own
 * @queue_id: below CHI_QUEUES_MAX; each once
 * @n_lanes:  1..4096; each is scheduled onto a worker on its own
 * @flags:    enum chi_queue_flag
 *
 * From create() only. A container that makes none gets queue 0 (low latency) and 1 (high latency), one lane each.
 * Returns: 0, -EEXIST, -EINVAL, -ENOMEM.
 */
CHI_API CHI_NODISCARD int chi_container_create_local_queue(struct chi_container *container, uint32_t queue_id,
							   uint32_t n_lanes, uint32_t flags);

/** chi_container_lane_by_hash - the lane of a queue that a hash falls on; 0 when the queue does not exist. */
CHI_API uint32_t chi_container_lane_by_hash(const struct chi_container *container, uint32_t queue_id, uint64_t hash);

/** chi_container_set_state - keep the module's own state of a container; the module frees it in destroy(). Threads:
 * any. */
CHI_API void chi_container_set_state(struct chi_container *container, void *state);

/** chi_container_state - what was set; NULL at first. Threads: any. */
CHI_API void *chi_container_state(const struct chi_container *container);

/** chi_container_id - its number in the pool, from 0: what CHI_DOMAIN_GLOBAL_ID names. Threads: any. */
CHI_API uint32_t chi_container_id(const struct chi_container *container);

/** chi_container_pool_id - the id of its pool. Threads: any. */
CHI_API uint32_t chi_container_pool_id(const struct chi_container *container);

/** chi_container_count - how many containers its pool has. Threads: any. */
CHI_API uint32_t chi_container_count(const struct chi_container *container);

/**
 * chi_container_client - what create() and destroy() pass to chi_submit() and chi_alloc()
 *
 * What they submit belongs to the pool, not to the client that had it made or destroyed: it goes on when that is gone,
 * and neither cancel nor deadline of the task which makes or destroys the pool reaches it. So a fire-and-forget task
 * from create(), periodic or a loop, serves as long as the pool: a loop has to end when destroy() tells it to, and when
 * chi_cancelled() says that the runtime stops, as a stop waits for it before it ends the pools.
 */
CHI_API struct chi_client *chi_container_client(const struct chi_container *container);

/* ---- the running task ---- */

/** chi_context_client - what a method passes to chi_submit(), chi_alloc() and the like. Borrowed until it returns. */
CHI_API struct chi_client *chi_context_client(struct chi_run_context *context);

/** chi_context_buffer - the address of a declared buffer of this task (checked when the task came in); NULL if null. */
CHI_API void *chi_context_buffer(struct chi_run_context *context, const struct chi_buffer *buffer);

/**
 * chi_task_arena_alloc - memory that lives as long as the task: nobody frees it
 * @context:    borrowed; the running task's, or NULL for it: in create() and destroy() that is the task which makes or
 *              destroys the pool
 * @ret_memory: out, aligned to 16 bytes, not zeroed; the task's until it ends, after its subtasks. So subtasks, their
 *              buffers and their tasks may lie there. Of a periodic task until the end of this run.
 *
 * A few instructions, mostly. All together at most memory.task_arena_kib (1 MiB) a task, out of memory.private_mib.
 * Threads: the task's own. May switch the fiber: no.
 * Returns: 0, -ENOMEM (a cap is reached), -EINVAL (size 0), -EPERM (no task runs here).
 */
CHI_API CHI_NODISCARD int chi_task_arena_alloc(struct chi_run_context *context, uint64_t size_bytes, void *ret_memory);

/**
 * chi_cancelled - shall this task end early?
 *
 * Its submitter asked for it, or that of a task which waits for it; or its deadline has passed; or its client, or that
 * of a task which waits for it, has gone, and it was not given away (fire-and-forget); or it was, by a module's
 * create(), and the runtime stops. What to do about it is the
 * method's: usually stop and return -ECANCELED. One that waits or works on for long without asking keeps a dead
 * client's memory. Costs a look at each task up to the root, and with a deadline the clock.
 * Threads: the task's own. May switch the fiber: no.
 */
CHI_API bool chi_cancelled(const struct chi_run_context *context);

/**
 * chi_context_deadline_ns - until when this task shall have ended: its own deadline or that of a task which waits for
 * it
 *
 * On the clock of hshm_clock_ns(); HSHM_FOREVER = no deadline. A wait ends there if asked to: CHI_UNTIL_DEADLINE.
 * Threads: the task's own. May switch the fiber: no.
 */
CHI_API uint64_t chi_context_deadline_ns(const struct chi_run_context *context);

/**
 * chi_context_due_ns - when this run of a periodic task was due, on the clock of hshm_clock_ns(); 0 = the first, or not
 * periodic
 *
 * Runs are due at the first start + k * period. Those whose time had passed when the run before ended are left out, not
 * made up for, and counted in periodic_missed.
 * Threads: the task's own. May switch the fiber: no.
 */
CHI_API uint64_t chi_context_due_ns(const struct chi_run_context *context);

/** chi_context_worker - the number of the worker this runs on, from 0. */
CHI_API uint32_t chi_context_worker(const struct chi_run_context *context);

/* ---- locks ---- */

/*
 * They block the task, not the worker, and may be used between tasks of all workers; in a method, create() or destroy()
 * only. Zeroed is unlocked, and a condition nobody waits for; none needs to be destroyed. Who asks for a lock gets it
 * in the order of asking, readers and writers alike, so nobody is starved; consecutive readers hold it together.
 * Neither a cancel nor a deadline ends the wait for a lock. To unlock what nobody holds, or to signal while nobody
 * holds the mutex, ends the process by abort().
 */
struct chi_rwlock {
	hshm_au64 word;
	void *fifo;
};

struct chi_mutex {
	struct chi_rwlock lock; /* one that only writers ask for */
};

struct chi_cond {
	void *first, *last; /* guarded by the mutex */
};

/**
 * chi_rwlock_read_lock - hold it together with other readers
 *
 * Not recursive: a second one would wait behind a writer that waits for the first. May switch the fiber: yes.
 */
CHI_API void chi_rwlock_read_lock(struct chi_rwlock *lock);
/** chi_rwlock_write_lock - hold it alone. Not recursive. May switch the fiber: yes. */
CHI_API void chi_rwlock_write_lock(struct chi_rwlock *lock);
/**
 * chi_rwlock_try_read_lock - hold it together with other readers, if it can be had at once
 *
 * Returns: true when it is ours; false also while somebody waits for it. May switch the fiber: no.
 */
CHI_API CHI_NODISCARD bool chi_rwlock_try_read_lock(struct chi_rwlock *lock);
/** chi_rwlock_try_write_lock - hold it alone, if it is free. Returns true when it is ours. May switch the fiber: no. */
CHI_API CHI_NODISCARD bool chi_rwlock_try_write_lock(struct chi_rwlock *lock);
/** chi_rwlock_unlock - leave it, in whichever way it was locked; by the task that did. May switch the fiber: no. */
CHI_API void chi_rwlock_unlock(struct chi_rwlock *lock);

/** chi_mutex_lock - take it, when it is free. May switch the fiber: yes. In a method (or create/destroy) only. Not
 * recursive. */
CHI_API void chi_mutex_lock(struct chi_mutex *mutex);
/** chi_mutex_trylock - take it if it is free. Returns true when it is ours. May switch the fiber: no. */
CHI_API CHI_NODISCARD bool chi_mutex_trylock(struct chi_mutex *mutex);
/** chi_mutex_unlock - hand it over, or free it; by the task that locked it. May switch the fiber: no. */
CHI_API void chi_mutex_unlock(struct chi_mutex *mutex);

/**
 * chi_cond_wait - give the mutex up, wait for a signal, have the mutex again
 * @cond:       borrowed; always with the same mutex while anybody waits for it
 * @mutex:      borrowed; held by this task, now and when the call returns, whatever it returns
 * @timeout_ns: as chi_wait()'s: HSHM_FOREVER, or it ends at the task's deadline, too (CHI_UNTIL_DEADLINE: there alone)
 *
 * There are no wake-ups without a signal, but others may have had the mutex between the signal and the return: look at
 * the condition again. May switch the fiber: yes.
 * Returns: 0 (signalled), -ETIMEDOUT, -ENOMEM (only with a timeout; nothing was waited for).
 */
CHI_API CHI_NODISCARD int chi_cond_wait(struct chi_cond *cond, struct chi_mutex *mutex, uint64_t timeout_ns);
/** chi_cond_signal - end the wait of who waits longest. The caller holds the mutex. May switch the fiber: no. */
CHI_API void chi_cond_signal(struct chi_cond *cond);
/** chi_cond_broadcast - end the waits of all. The caller holds the mutex. May switch the fiber: no. */
CHI_API void chi_cond_broadcast(struct chi_cond *cond);

/* ---- logs ---- */

enum chi_log_level { CHI_LOG_ERROR = 1, CHI_LOG_WARN, CHI_LOG_INFO, CHI_LOG_DEBUG };

/** chi_module_log - one line in the runtime's log, with the pool's name in front. Threads: any. */
CHI_API void chi_module_log(const struct chi_container *container, enum chi_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

CHI_END_DECLS
#endif
