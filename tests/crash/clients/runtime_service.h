/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime_service.h - the campaign's daemon, and the lives of processes at it (processes.c)
 */
#ifndef CRASH_CLIENTS_RUNTIME_SERVICE_H
#define CRASH_CLIENTS_RUNTIME_SERVICE_H

#include "crash.h"

#define RUNTIME_NAME "crash"

int runtime_steady(struct stage *stage, uint32_t index);
int runtime_victim(struct stage *stage, struct victim_slot *slot);
int runtime_settle(void);
pid_t runtime_service_pid(void);

#endif
