/* SPDX-License-Identifier: Apache-2.0
 *
 * notify.c - tells the service manager; see sd_notify(3).
 */
#include "server/daemon/notify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "alloc/clock.h"

void notify_init(struct notify *notify)
{
    uint64_t watchdog_us = 0;
    *notify = (struct notify){0};
    if (sd_watchdog_enabled(0, &watchdog_us) > 0)
        notify->watchdog_ms = watchdog_us / 2000;
}

void notify_ready(void)
{
    sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

void notify_alive(struct notify *notify, uint64_t now_ms)
{
    if (!notify->watchdog_ms || now_ms < notify->watchdog_at_ms)
        return;
    notify->watchdog_at_ms = now_ms + notify->watchdog_ms;
    sd_notify(0, "WATCHDOG=1");
}

void notify_status(struct notify *notify, const char *status)
{
    char line[sizeof(notify->status)];
    snprintf(line, sizeof(line), "%s", status);
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) /* a new line would be another message */
            *at = ' ';
    if (strcmp(line, notify->status) == 0)
        return;
    memcpy(notify->status, line, sizeof(line));
    sd_notifyf(0, "STATUS=%s", notify->status);
}
