/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/counters.h - the counters of a worker, made from counters.def
 */
#ifndef CHIMAERA_COUNTERS_H
#define CHIMAERA_COUNTERS_H

#include <hshm/atomic.h>

#define CHI_WORKERS_MAX 64u

struct chi_worker_counters {
#define CHI_COUNTER(name, unit, text) hshm_au64 name;
#include <chimaera/counters.def>
#undef CHI_COUNTER
} HSHM_ALIGNED(128);

#endif
