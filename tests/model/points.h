/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * points.h - included by force before each source of the code under test: a scheduling point before each atomic operation
 *
 * The operations themselves stay as they are. Between two points an actor runs alone, so the simulator sees every order of the
 * atomic operations that a sequentially consistent machine has; what store buffers add is the matter of verify/.
 */
#ifndef TESTS_MODEL_POINTS_H
#define TESTS_MODEL_POINTS_H

#include <hshm/atomic.h>

/* Points until the running actor is preempted; when nothing is simulated it never gets there. */
extern int64_t sim_points_left;
void sim_preempt(void);

static inline void sim_point(void)
{
	if (__builtin_expect(--sim_points_left <= 0, 0))
		sim_preempt();
}

#define SIM_LOAD(word, order)		 (sim_point(), __atomic_load_n(&(word)->v, order))
#define SIM_STORE(word, value, order)	 (sim_point(), __atomic_store_n(&(word)->v, (value), order))
#define SIM_EXCHANGE(word, value, order) (sim_point(), __atomic_exchange_n(&(word)->v, (value), order))
#define SIM_ADD(word, n, order)		 (sim_point(), __atomic_fetch_add(&(word)->v, (n), order))
#define SIM_SUB(word, n, order)		 (sim_point(), __atomic_fetch_sub(&(word)->v, (n), order))
#define SIM_CAS(word, expected, desired, order) \
	(sim_point(), __atomic_compare_exchange_n(&(word)->v, (expected), (desired), false, order, __ATOMIC_RELAXED))

#undef hshm_load_relaxed
#undef hshm_load_acquire
#undef hshm_load_seq_cst
#define hshm_load_relaxed(word) SIM_LOAD(word, __ATOMIC_RELAXED)
#define hshm_load_acquire(word) SIM_LOAD(word, __ATOMIC_ACQUIRE)
#define hshm_load_seq_cst(word) SIM_LOAD(word, __ATOMIC_SEQ_CST)

#undef hshm_store_relaxed
#undef hshm_store_release
#define hshm_store_relaxed(word, value) SIM_STORE(word, value, __ATOMIC_RELAXED)
#define hshm_store_release(word, value) SIM_STORE(word, value, __ATOMIC_RELEASE)

#undef hshm_exchange_relaxed
#undef hshm_exchange_acquire
#undef hshm_exchange_release
#undef hshm_exchange_acq_rel
#define hshm_exchange_relaxed(word, value) SIM_EXCHANGE(word, value, __ATOMIC_RELAXED)
#define hshm_exchange_acquire(word, value) SIM_EXCHANGE(word, value, __ATOMIC_ACQUIRE)
#define hshm_exchange_release(word, value) SIM_EXCHANGE(word, value, __ATOMIC_RELEASE)
#define hshm_exchange_acq_rel(word, value) SIM_EXCHANGE(word, value, __ATOMIC_ACQ_REL)

#undef hshm_cas_relaxed
#undef hshm_cas_acquire
#undef hshm_cas_release
#undef hshm_cas_acq_rel
#define hshm_cas_relaxed(word, expected, desired) SIM_CAS(word, expected, desired, __ATOMIC_RELAXED)
#define hshm_cas_acquire(word, expected, desired) SIM_CAS(word, expected, desired, __ATOMIC_ACQUIRE)
#define hshm_cas_release(word, expected, desired) SIM_CAS(word, expected, desired, __ATOMIC_RELEASE)
#define hshm_cas_acq_rel(word, expected, desired) SIM_CAS(word, expected, desired, __ATOMIC_ACQ_REL)

#undef hshm_fetch_add_relaxed
#undef hshm_fetch_add_release
#undef hshm_fetch_add_acq_rel
#undef hshm_fetch_add_seq_cst
#undef hshm_fetch_sub_relaxed
#undef hshm_fetch_sub_release
#undef hshm_fetch_sub_acq_rel
#undef hshm_fetch_sub_seq_cst
#undef hshm_fetch_or_acq_rel
#define hshm_fetch_add_relaxed(word, n)	  SIM_ADD(word, n, __ATOMIC_RELAXED)
#define hshm_fetch_add_release(word, n)	  SIM_ADD(word, n, __ATOMIC_RELEASE)
#define hshm_fetch_add_acq_rel(word, n)	  SIM_ADD(word, n, __ATOMIC_ACQ_REL)
#define hshm_fetch_add_seq_cst(word, n)	  SIM_ADD(word, n, __ATOMIC_SEQ_CST)
#define hshm_fetch_sub_relaxed(word, n)	  SIM_SUB(word, n, __ATOMIC_RELAXED)
#define hshm_fetch_sub_release(word, n)	  SIM_SUB(word, n, __ATOMIC_RELEASE)
#define hshm_fetch_sub_acq_rel(word, n)	  SIM_SUB(word, n, __ATOMIC_ACQ_REL)
#define hshm_fetch_sub_seq_cst(word, n)	  SIM_SUB(word, n, __ATOMIC_SEQ_CST)
#define hshm_fetch_or_acq_rel(word, bits) (sim_point(), __atomic_fetch_or(&(word)->v, (bits), __ATOMIC_ACQ_REL))

#endif
