/* SPDX-License-Identifier: Apache-2.0
 *
 * notify.h - what the service manager is told (systemd's protocol; nothing without one).
 */
#ifndef SIDEPOND_DAEMON_NOTIFY_H
#define SIDEPOND_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* All zero is good: notify_init adds the watchdog. */
struct notify {
    uint64_t watchdog_ms; /* how often to say that we live; 0: not asked for */
    uint64_t watchdog_at_ms;
    uint64_t reloading_us; /* when the last reload began */
    unsigned due;          /* what there was no room for: bits of notify.c */
    char status[768];
};

/* None of these waits: what the service manager has no room for is told by a later call. */
void notify_init(struct notify *notify);
void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify);
void notify_stopping(struct notify *notify);
void notify_alive(struct notify *notify, uint64_t now_ms);     /* when it is time */
void notify_status(struct notify *notify, const char *status); /* when it is another one */

#endif
