/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/cdefs.h - what every header of the runtime needs from the compiler, and the versions
 */
#ifndef CHIMAERA_CDEFS_H
#define CHIMAERA_CDEFS_H

#include <hshm/cdefs.h>

#define CHI_API		  HSHM_API
#define CHI_NODISCARD	  HSHM_NODISCARD
#define CHI_BEGIN_DECLS	  HSHM_BEGIN_DECLS
#define CHI_END_DECLS	  HSHM_END_DECLS
#define CHI_STATIC_ASSERT HSHM_STATIC_ASSERT

#define CHI_VERSION_MAJOR 0
#define CHI_VERSION_MINOR 1
#define CHI_VERSION_PATCH 0
#define CHI_VERSION_TEXT  "0.1.0"

/* The binary contract between the runtime and a module; a module built against another is refused. */
#define CHI_ABI_VERSION 1u

/* The bytes in shared memory and on the socket (docs/shm-layout.md); a client of another is refused. */
#define CHI_LAYOUT_VERSION 1u

#endif
