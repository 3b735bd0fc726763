/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TOOLS_NOTIFY_H
#define TOOLS_NOTIFY_H

/* Tell a supervisor of systemd's kind (NOTIFY_SOCKET): "READY=1", "STOPPING=1". Without one nothing happens. */
void notify_supervisor(const char *state);

/* "RELOADING=1", which wants the time. */
void notify_reloading(void);

#endif
