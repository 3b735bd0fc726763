/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/cdefs.h - what every header of the shared-memory floor needs from the compiler
 */
#ifndef HSHM_CDEFS_H
#define HSHM_CDEFS_H

#ifdef __cplusplus
#define HSHM_BEGIN_DECLS	       extern "C" {
#define HSHM_END_DECLS		       }
#define HSHM_STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define HSHM_BEGIN_DECLS
#define HSHM_END_DECLS
#define HSHM_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif

/* exported from the shared libraries; everything else is hidden */
#define HSHM_API	__attribute__((visibility("default")))
#define HSHM_NODISCARD	__attribute__((warn_unused_result))
#define HSHM_ALIGNED(n) __attribute__((aligned(n)))

/* Fields that different sides write sit this far apart: two lines, for the adjacent-line prefetcher. */
#define HSHM_FALSE_SHARING 128

#endif
