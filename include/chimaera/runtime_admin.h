/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/runtime_admin.h - what the module `admin` asks of the runtime it runs in (libchimaera-runtime only)
 *
 * For a module that governs pools. All calls are made in one of its methods, with that method's context;
 * chi_error_text() says more on failure. Everyone else uses chimaera/admin.h.
 */
#ifndef CHIMAERA_RUNTIME_ADMIN_H
#define CHIMAERA_RUNTIME_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/admin.h>
#include <chimaera/cdefs.h>
#include <chimaera/module.h>

CHI_BEGIN_DECLS

/**
 * chi_runtime_pool_make - make a pool, or open the one of that name
 * @context:       borrowed; of the calling method
 * @spec:          borrowed; params must be memory that no client can write
 * @open_existing: get-or-create; else -EEXIST when the name is taken
 * @ret_pool_id:   out
 * @ret_created:   out; false: opened
 *
 * Runs the module's create() on the caller's stack. May switch the fiber: yes.
 * Returns: 0, or as chi_pool_create().
 */
CHI_API CHI_NODISCARD int chi_runtime_pool_make(struct chi_run_context *context, const struct chi_pool_spec *spec,
						bool open_existing, uint32_t *ret_pool_id, bool *ret_created);

/** chi_runtime_pool_end - as chi_pool_destroy(). May switch the fiber: yes. */
CHI_API CHI_NODISCARD int chi_runtime_pool_end(struct chi_run_context *context, uint32_t pool_id);

/** chi_runtime_pool_list - the pools there are: as many as fit are written; returns how many there are. May switch the
 * fiber: no. */
CHI_API uint32_t chi_runtime_pool_list(struct chi_run_context *context, struct chi_pool_info *ret_pools,
				       uint32_t n_max);

/** chi_runtime_flush - as chi_flush(). May switch the fiber: yes. */
CHI_API CHI_NODISCARD int chi_runtime_flush(struct chi_run_context *context);

/** chi_runtime_ask_stop - wake chi_runtime_wait_stop(). May switch the fiber: no. */
CHI_API void chi_runtime_ask_stop(struct chi_run_context *context);

CHI_END_DECLS
#endif
