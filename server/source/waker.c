/* SPDX-License-Identifier: Apache-2.0
 *
 * waker.c - ends a wait or a running call from another thread.
 *
 * A flag says that somebody asked; an eventfd makes every poll end at once. The flag is set before
 * the eventfd is written, and the one who takes the request back drains the eventfd before it
 * clears the flag: whoever asks in between leaves the flag set or the eventfd readable, and a
 * readable eventfd without a flag costs one more turn of a loop, nothing else.
 *
 * Costs: a relaxed load where a loop looks at the flag; two system calls to ask.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "server/source/source_internal.h"

int waker_open(struct waker *waker)
{
    atomic_init(&waker->asked, false);
    waker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return waker->event_fd >= 0 ? SP_OK : SP_ESYS;
}

void waker_close(struct waker *waker)
{
    if (waker->event_fd >= 0)
        close(waker->event_fd);
    waker->event_fd = -1;
}

void waker_ask(struct waker *waker)
{
    const uint64_t one = 1;
    atomic_store_explicit(&waker->asked, true, memory_order_release);
    /* Fails only where the counter is full, and then it is readable anyway. */
    ssize_t written = write(waker->event_fd, &one, sizeof(one));
    (void)written;
}

static void waker_drain(struct waker *waker)
{
    uint64_t count;
    ssize_t got = read(waker->event_fd, &count, sizeof(count));
    (void)got;
}

bool waker_take(struct waker *waker)
{
    if (!waker_asked(waker))
        return false;
    waker_drain(waker);
    return atomic_exchange_explicit(&waker->asked, false, memory_order_acquire);
}

bool waker_poll(struct waker *waker, int fd, short events, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = waker->event_fd, .events = POLLIN},
                            {.fd = fd, .events = events}};
    if (waker_asked(waker))
        return false;
    if (poll(fds, 2, timeout_ms) <= 0)
        return false;
    if (fds[0].revents && !waker_asked(waker))
        waker_drain(waker);
    return fds[1].revents != 0;
}

int waker_left_ms(uint64_t deadline_ms)
{
    if (deadline_ms == 0)
        return -1;
    const uint64_t now = clock_ms();
    if (now >= deadline_ms)
        return 0;
    return deadline_ms - now > INT32_MAX ? INT32_MAX : (int)(deadline_ms - now);
}
