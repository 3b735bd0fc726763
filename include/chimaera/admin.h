/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/admin.h - pools: create, open, list, destroy; flush and stop. The module `admin`, pool 1, is always there.
 *
 * Each call is a task to that pool, and works in a client and in a method alike. May switch the fiber: yes.
 * On failure chi_error_text() tells more.
 */
#ifndef CHIMAERA_ADMIN_H
#define CHIMAERA_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/cdefs.h>
#include <chimaera/method.h>
#include <chimaera/task.h>

CHI_BEGIN_DECLS

#define CHI_ADMIN_POOL_ID	1u
#define CHI_NAME_MAX		64u /* of pools and modules, with the NUL */
#define CHI_ADMIN_TEXT_MAX	256u
#define CHI_POOL_CONTAINERS_MAX 1024u

enum chi_admin_method {
	CHI_ADMIN_CREATE_POOL = 0,
	CHI_ADMIN_DESTROY_POOL,
	CHI_ADMIN_LIST_POOLS,
	CHI_ADMIN_FLUSH,
	CHI_ADMIN_STOP,
};

struct chi_name {
	char text[CHI_NAME_MAX];
};

struct chi_admin_text {
	char text[CHI_ADMIN_TEXT_MAX];
};

/* create_pool: get-or-create with open_existing. An interface hash of 0 is not compared. `text` says why not. */
#define CHI_ADMIN_CREATE_POOL_FIELDS(IN, BUFFER, OUT) \
	BUFFER(params, CHI_BUFFER_IN)                 \
	IN(struct chi_name, module)                   \
	IN(struct chi_name, name)                     \
	IN(uint32_t, n_containers)                    \
	IN(uint32_t, open_existing)                   \
	IN(uint64_t, interface_hash)                  \
	OUT(uint32_t, id)                             \
	OUT(uint32_t, created)                        \
	OUT(struct chi_admin_text, text)
CHI_METHOD_DEFINE(chi_admin_create_pool, CHI_ADMIN_CREATE_POOL, CHI_ADMIN_CREATE_POOL_FIELDS)

#define CHI_ADMIN_DESTROY_POOL_FIELDS(IN, BUFFER, OUT) IN(uint32_t, id)
CHI_METHOD_DEFINE(chi_admin_destroy_pool, CHI_ADMIN_DESTROY_POOL, CHI_ADMIN_DESTROY_POOL_FIELDS)

struct chi_pool_info {
	uint32_t pool_id;
	uint32_t n_containers;
	uint64_t n_tasks; /* started over its life; of a turn that is under way perhaps only the first */
	uint64_t n_in_flight;
	char name[CHI_NAME_MAX];
	char module[CHI_NAME_MAX];
};

/* list_pools: n_pools is how many there are; as many as fit were written. */
#define CHI_ADMIN_LIST_POOLS_FIELDS(IN, BUFFER, OUT)                      \
	BUFFER(pools, CHI_BUFFER_OUT) /* array of struct chi_pool_info */ \
	OUT(uint32_t, n_pools)
CHI_METHOD_DEFINE(chi_admin_list_pools, CHI_ADMIN_LIST_POOLS, CHI_ADMIN_LIST_POOLS_FIELDS)

#define CHI_ADMIN_SIMPLE_FIELDS(IN, BUFFER, OUT) /* none */
CHI_TASK_DEFINE(chi_admin_simple, CHI_ADMIN_SIMPLE_FIELDS)
CHI_CALL_DEFINE(chi_admin_flush, chi_admin_simple, CHI_ADMIN_FLUSH, CHI_ADMIN_SIMPLE_FIELDS)
CHI_CALL_DEFINE(chi_admin_stop, chi_admin_simple, CHI_ADMIN_STOP, CHI_ADMIN_SIMPLE_FIELDS)

struct chi_pool_spec {
	const char *module;
	const char *name;      /* NULL = the module's name */
	uint32_t n_containers; /* 0 = 1 */
	bool exclusive;	       /* -EEXIST when a pool of that name is there already */
	uint64_t interface_hash;
	const void *params; /* for the module's create() */
	uint64_t params_size;
};

/**
 * chi_pool_create - make a pool, or open the one of that name
 * @spec:        borrowed
 * @ret_pool_id: out
 *
 * Returns: 1 made, 0 opened, -EEXIST (exclusive, or the name is taken by another module), -ENOENT (no such module),
 *          -ELIBBAD (module refused: ABI version, or not loadable), -EPROTO (interface hash), -EINVAL, -ENOMEM, what
 *          the module's create() returned, -ENOSPC (4094 pools), -E2BIG (more than 1 MiB of parameters), -EBUSY (a
 *          create() that asks for its own pool), or as chi_call().
 */
CHI_API CHI_NODISCARD int chi_pool_create(struct chi_client *client, const struct chi_pool_spec *spec,
					  uint32_t *ret_pool_id);

/**
 * chi_pool_destroy - take a pool away: tasks in flight end first; later ones get -ENOENT, and the name is free at once
 *
 * Returns: 0, -ENOENT, -EPERM (admin), -EBUSY (asked by a task of that pool, or one that such a task waits for), or as
 *          chi_call().
 */
CHI_API CHI_NODISCARD int chi_pool_destroy(struct chi_client *client, uint32_t pool_id);

/**
 * chi_pool_list - the pools there are
 * @ret_pools: out; room for @n_max
 *
 * Returns: how many there are (when more than @n_max, so many were written), or a negative errno.
 */
CHI_API CHI_NODISCARD int chi_pool_list(struct chi_client *client, struct chi_pool_info *ret_pools, uint32_t n_max);

/**
 * chi_flush - wait until what is under way has ended
 *
 * That is: every task that the runtime had taken from a lane when the flush began, and all that the calling thread
 * submitted before. Not waited for: admin's own tasks, and tasks that wait for a flush themselves (in a method: the
 * caller and those who wait for it). Of a periodic task the run that is under way is waited for, not those to come.
 * Returns: 0, -EBUSY (called inside a broadcast), -ENOMEM, or as chi_call().
 */
CHI_API CHI_NODISCARD int chi_flush(struct chi_client *client);

/** chi_stop - ask the runtime to drain and end. Returns 0 when it has begun. */
CHI_API CHI_NODISCARD int chi_stop(struct chi_client *client);

CHI_END_DECLS
#endif
