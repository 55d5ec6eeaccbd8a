/* SPDX-License-Identifier: Apache-2.0
 *
 * screen.h - the whole terminal for a picture that is drawn again and again: the other screen of
 * the terminal without a cursor, keys as they are pressed, and everything as it was at the end,
 * however the process ends (but for SIGKILL, which nobody sees).
 *
 * One screen at a time, of one thread. Escape sequences of ECMA-48 and xterm, which all terminals
 * in use know.
 */
#ifndef SIDEPOND_TOOL_SCREEN_H
#define SIDEPOND_TOOL_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

enum screen_event {
    SCREEN_TIME,   /* the time has come */
    SCREEN_KEY,    /* a key was pressed */
    SCREEN_REDRAW, /* another size, or back from the background */
    SCREEN_END     /* asked to end: interrupted, hung up, the terminal is gone */
};

/* To be called before the first thread is made, where there will be some: a signal that came to one
 * of them would end the process as it stands. screen_begin reads what has come until then. */
bool screen_hold_signals(void);
/* False, with errno, if the terminal cannot be had. */
bool screen_begin(void);
void screen_end(void);
/* Ends the process by the signal that asked for it, if that was another one than an interrupt. */
void screen_end_by_signal(void);

/* Lines and columns as they are now. */
void screen_size(unsigned *lines, unsigned *columns);
/* Waits until a time by the monotonic clock; *key is set for SCREEN_KEY. */
enum screen_event screen_wait(uint64_t until_us, char *key);

/* Draws a text: its lines from the top, cut where the screen ends; `bottom` in the last line. False
 * if the terminal does not take it. */
bool screen_draw(const char *text, const char *bottom);

#endif
