/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * balancer.h - moves lanes from busy workers to others, now and then
 */
#ifndef RUNTIME_BALANCER_H
#define RUNTIME_BALANCER_H

#include <stdint.h>

struct chi_balancer;
struct chi_work_orch;

/* A thread that looks each @period_ns; 0: none, who made it calls chi_balancer_look(). Returns 0, -ENOMEM, -EAGAIN. */
int chi_balancer_start(struct chi_work_orch *orch, uint64_t period_ns, struct chi_balancer **ret_balancer);
/* What happened since the last look, @period_ns ago; and moves that follow from it. Threads: one. */
void chi_balancer_look(struct chi_balancer *balancer, uint64_t period_ns);
/* Accepts NULL. While the workers run, or after. */
void chi_balancer_stop(struct chi_balancer *balancer);

#endif
