/* SPDX-License-Identifier: Apache-2.0
 *
 * notify.h - what the service manager is told (systemd's protocol; nothing without one).
 */
#ifndef SIDEPOND_DAEMON_NOTIFY_H
#define SIDEPOND_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify {
    uint64_t watchdog_ms; /* how often to say that we live; 0: not asked for */
    uint64_t watchdog_at_ms;
    char status[768];
};

void notify_init(struct notify *notify);
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
void notify_alive(struct notify *notify, uint64_t now_ms);     /* when it is time */
void notify_status(struct notify *notify, const char *status); /* when it is another one */

#endif
