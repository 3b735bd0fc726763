/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/clock.h - one clock for the whole system: CLOCK_MONOTONIC, the same in every process
 */
#ifndef HSHM_CLOCK_H
#define HSHM_CLOCK_H

#include <stdint.h>

#include <hshm/cdefs.h>

HSHM_BEGIN_DECLS

#define HSHM_NSEC_PER_USEC UINT64_C(1000)
#define HSHM_NSEC_PER_MSEC UINT64_C(1000000)
#define HSHM_NSEC_PER_SEC  UINT64_C(1000000000)
#define HSHM_FOREVER	   UINT64_MAX

/** hshm_clock_ns - nanoseconds on CLOCK_MONOTONIC. Threads: any. Async-signal: yes. */
HSHM_API uint64_t hshm_clock_ns(void);

/** hshm_deadline_ns - now + @timeout_ns, HSHM_FOREVER when that is @timeout_ns or the sum would overflow. */
HSHM_API uint64_t hshm_deadline_ns(uint64_t timeout_ns);

HSHM_END_DECLS
#endif
