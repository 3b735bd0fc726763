/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/method.h - the task of a method and the functions that call it, from one description
 *
 * A method is described by the list of its fields:
 *
 *	#define COUNTER_ADD_FIELDS(IN, BUFFER, OUT) \
 *		IN(uint64_t, amount)                \
 *		OUT(uint64_t, total)
 *	CHI_METHOD_DEFINE(counter_add, COUNTER_ADD, COUNTER_ADD_FIELDS)
 *
 *	IN(type, name)       the caller gives it: a parameter `type name`
 *	BUFFER(name, flags)  memory that the caller lends (CHI_BUFFER_IN, CHI_BUFFER_OUT or both):
 *	                     `void *name, uint64_t name_bytes`; NULL with 0 is no buffer
 *	OUT(type, name)      the method answers it: a parameter `type *ret_name`, may be NULL
 *
 * and gets, parameters in the order of the description, the OUT ones last:
 *
 *	struct counter_add_task                                          { task, buffers, ins, outs }
 *	int counter_add_init(client, task, pool_id, query, amount)       fill a task: for subtasks, on the stack
 *	int counter_add_alloc(client, pool_id, query, amount, ret_task)  allocate and fill one, to be submitted
 *	int counter_add_call(client, pool_id, query, amount, ret_total)  allocate, submit, wait, fetch the answer, free
 *
 * They work in a client and in a method, in C and in C++. No field may be called client, task, pool_id, query or rc.
 * The module's table takes the method with CHI_METHOD_ENTRY() of chimaera/module.h.
 */
#ifndef CHIMAERA_METHOD_H
#define CHIMAERA_METHOD_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include <chimaera/cdefs.h>
#include <chimaera/task.h>

/* What is made of one field; each is handed to a description in the place of IN, BUFFER or OUT. */
/* NOLINTBEGIN(bugprone-macro-parentheses): these are declarations and lists, no expressions */
#define CHI_FIELD_SKIP(...)
#define CHI_FIELD_ONE(...)		    +1
#define CHI_FIELD_MEMBER(type, name)	    type name;
#define CHI_FIELD_PARAM(type, name)	    , type name
#define CHI_FIELD_ARG(type, name)	    , name
#define CHI_FIELD_SET(type, name)	    task->name = name;
#define CHI_FIELD_BUFFER_MEMBER(name, flag) struct chi_buffer name;
#define CHI_FIELD_BUFFER_PARAM(name, flag)  , void *name, uint64_t name##_bytes
#define CHI_FIELD_BUFFER_ARG(name, flag)    , name, name##_bytes
#define CHI_FIELD_BUFFER_SET(name, flag)   \
	if (!rc && (name || name##_bytes)) \
		rc = chi_buffer_set(client, &task->name, name, name##_bytes, flag);
#define CHI_FIELD_OUT_MEMBER(type, name) type name HSHM_ALIGNED(8);
#define CHI_FIELD_OUT_PARAM(type, name)	 , type *ret_##name
#define CHI_FIELD_FETCH(type, name) \
	if (ret_##name)             \
		*ret_##name = task->name;

/* NOLINTEND(bugprone-macro-parentheses) */

/* @rc: of the call. In flight still, a task is the runtime's, unless that is gone; the error's text stays that of the
 * cause. */
static inline void chi_method_free(struct chi_client *client, struct chi_task *task, int rc)
{
	if (rc == -EOWNERDEAD || !task->submitter || chi_task_done(task))
		chi_task_free(client, task);
}

/**
 * CHI_TASK_DEFINE - struct TYPE_task, and what the module's table says of it
 *
 * The answer begins where struct TYPE_request ends: each OUT stands on 8 bytes.
 */
#define CHI_TASK_DEFINE(type, FIELDS)                                                         \
	struct type##_request {                                                               \
		struct chi_task task;                                                         \
		FIELDS(CHI_FIELD_SKIP, CHI_FIELD_BUFFER_MEMBER, CHI_FIELD_SKIP)               \
		FIELDS(CHI_FIELD_MEMBER, CHI_FIELD_SKIP, CHI_FIELD_SKIP)                      \
	};                                                                                    \
	struct type##_task {                                                                  \
		struct chi_task task;                                                         \
		FIELDS(CHI_FIELD_SKIP, CHI_FIELD_BUFFER_MEMBER, CHI_FIELD_SKIP)               \
		FIELDS(CHI_FIELD_MEMBER, CHI_FIELD_SKIP, CHI_FIELD_SKIP)                      \
		FIELDS(CHI_FIELD_SKIP, CHI_FIELD_SKIP, CHI_FIELD_OUT_MEMBER)                  \
	};                                                                                    \
	CHI_STATIC_ASSERT(__alignof__(struct type##_task) == 8,                               \
			  "a field of " #type " wants more than 8 bytes' alignment");         \
	enum {                                                                                \
		type##_n_buffers = 0 FIELDS(CHI_FIELD_SKIP, CHI_FIELD_ONE, CHI_FIELD_SKIP),   \
		type##_out_size = sizeof(struct type##_task) - sizeof(struct type##_request), \
	};

/**
 * CHI_CALL_DEFINE - NAME_init(), NAME_alloc() and NAME_call(), which send struct TYPE_task to the method ID
 *
 * FIELDS may be fewer than the task has: the others stay zero. So methods can share a task.
 *
 * NAME_init():  @task: borrowed; in a client from chi_task_alloc(), in a method any memory. May switch the fiber: no.
 *               Returns: 0, or as chi_buffer_set().
 * NAME_alloc(): @ret_task: out; release with chi_task_free(). May switch the fiber: no.
 *               Returns: 0, or as chi_task_alloc() and chi_buffer_set().
 * NAME_call():  outs are written when the task has completed, even with an error. May switch the fiber: yes.
 *               Returns: the method's result, or as NAME_alloc() and chi_call().
 * Threads: any.
 */
#define CHI_CALL_DEFINE(name, type, id, FIELDS)                                                                  \
	CHI_NODISCARD static inline int name##_init(                                                             \
		struct chi_client *client, struct type##_task *task, uint32_t pool_id,                           \
		struct chi_domain_query query FIELDS(CHI_FIELD_PARAM, CHI_FIELD_BUFFER_PARAM, CHI_FIELD_SKIP))   \
	{                                                                                                        \
		int rc = 0;                                                                                      \
                                                                                                                 \
		(void)client;                                                                                    \
		chi_task_init(&task->task, (uint32_t)sizeof(*task), pool_id, query, id);                         \
		FIELDS(CHI_FIELD_SET, CHI_FIELD_BUFFER_SET, CHI_FIELD_SKIP)                                      \
		return rc;                                                                                       \
	}                                                                                                        \
	CHI_NODISCARD static inline int name##_alloc(                                                            \
		struct chi_client *client, uint32_t pool_id,                                                     \
		struct chi_domain_query query FIELDS(CHI_FIELD_PARAM, CHI_FIELD_BUFFER_PARAM, CHI_FIELD_SKIP),   \
		struct type##_task **ret_task)                                                                   \
	{                                                                                                        \
		struct type##_task *task = NULL;                                                                 \
		int rc = chi_task_alloc(client, (uint32_t)sizeof(*task), pool_id, query, id, &task);             \
                                                                                                                 \
		if (rc)                                                                                          \
			return rc;                                                                               \
		rc = name##_init(client, task, pool_id,                                                          \
				 query FIELDS(CHI_FIELD_ARG, CHI_FIELD_BUFFER_ARG, CHI_FIELD_SKIP));             \
		if (rc)                                                                                          \
			chi_task_free(client, task);                                                             \
		else                                                                                             \
			*ret_task = task;                                                                        \
		return rc;                                                                                       \
	}                                                                                                        \
	CHI_NODISCARD static inline int name##_call(                                                             \
		struct chi_client *client, uint32_t pool_id,                                                     \
		struct chi_domain_query query FIELDS(CHI_FIELD_PARAM, CHI_FIELD_BUFFER_PARAM, CHI_FIELD_SKIP)    \
			FIELDS(CHI_FIELD_SKIP, CHI_FIELD_SKIP, CHI_FIELD_OUT_PARAM))                             \
	{                                                                                                        \
		struct type##_task *task = NULL;                                                                 \
		int rc = name##_alloc(client, pool_id,                                                           \
				      query FIELDS(CHI_FIELD_ARG, CHI_FIELD_BUFFER_ARG, CHI_FIELD_SKIP), &task); \
                                                                                                                 \
		if (rc)                                                                                          \
			return rc;                                                                               \
		rc = chi_call(client, task);                                                                     \
		if (chi_task_done(task)) {                                                                       \
			FIELDS(CHI_FIELD_SKIP, CHI_FIELD_SKIP, CHI_FIELD_FETCH)                                  \
		}                                                                                                \
		chi_method_free(client, &task->task, rc);                                                        \
		return rc;                                                                                       \
	}

/**
 * CHI_METHOD_DEFINE - both, for a method with a task of its own
 */
#define CHI_METHOD_DEFINE(name, id, FIELDS) CHI_TASK_DEFINE(name, FIELDS) CHI_CALL_DEFINE(name, name, id, FIELDS)

#endif
