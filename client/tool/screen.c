/* SPDX-License-Identifier: Apache-2.0
 *
 * screen.c - the terminal as a canvas.
 *
 * Signals are read from a descriptor beside the keys, so that nothing runs in a handler; but those
 * of a crash, whose handler restores the terminal by calls that a handler may make and then lets
 * the signal have its way. A picture goes out in one write, each line with an erase of its rest, so
 * that nothing flickers.
 */
#include "screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "alloc/clock.h"

#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[0m\033[?25h\033[?1049l"

static const int told[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static struct {
    volatile sig_atomic_t drawn; /* the terminal is ours now */
    bool keys;                   /* standard input is a terminal, with the settings `before` */
    struct termios before;
    int signals; /* descriptor */
    int ended_by;
    char typed[64]; /* read, and from typed_at on not handed out yet */
    size_t typed_at, typed_size;
} screen = {.signals = -1};

/* --- taking and giving back ------------------------------------------------------------------- */

static void write_all(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(STDOUT_FILENO, bytes, size);
        if (wrote < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (wrote > 0) {
            bytes += wrote;
            size -= (size_t)wrote;
        }
    }
}

/* Also in a handler. */
static void give_back(void)
{
    if (!screen.drawn)
        return;
    screen.drawn = 0;
    write_all(LEAVE, sizeof LEAVE - 1);
    if (screen.keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &screen.before);
}

static void take(void)
{
    if (screen.keys) {
        struct termios raw = screen.before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 0; /* with poll, reading never waits */
        raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    }
    screen.drawn = 1;
    write_all(ENTER, sizeof ENTER - 1);
}

static void crashed(int number)
{
    give_back();
    raise(number); /* the handler is gone by now: SA_RESETHAND */
}

static void catch_crashes(void)
{
    struct sigaction action = {.sa_handler = crashed, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < COUNT(crashes); i++)
        sigaction(crashes[i], &action, NULL);
}

static sigset_t told_set(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < COUNT(told); i++)
        sigaddset(&set, told[i]);
    return set;
}

bool screen_hold_signals(void)
{
    sigset_t set = told_set();
    return sigprocmask(SIG_BLOCK, &set, NULL) == 0;
}

static bool open_signals(void)
{
    sigset_t set = told_set();
    screen.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return screen.signals >= 0 && screen_hold_signals();
}

bool screen_begin(void)
{
    screen.keys = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &screen.before) == 0;
    screen.ended_by = 0;
    if (!open_signals())
        return false;
    catch_crashes();
    (void)atexit(give_back);
    take();
    return true;
}

void screen_end(void)
{
    give_back();
    if (screen.signals >= 0)
        close(screen.signals);
    screen.signals = -1;
}

void screen_end_by_signal(void)
{
    sigset_t set;
    if (screen.ended_by == 0 || screen.ended_by == SIGINT)
        return;
    sigemptyset(&set);
    sigaddset(&set, screen.ended_by);
    raise(screen.ended_by);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* Into the background, until somebody brings it back. */
static void stop(void)
{
    give_back();
    raise(SIGSTOP);
    take();
}

static bool take_signal(enum screen_event *event)
{
    struct signalfd_siginfo info;
    if (read(screen.signals, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    *event = SCREEN_REDRAW;
    if (info.ssi_signo == SIGTSTP) {
        stop();
    } else if (info.ssi_signo != SIGWINCH) {
        screen.ended_by = (int)info.ssi_signo;
        *event = SCREEN_END;
    }
    return true;
}

/* Bytes of the escape sequence that a key has sent; 0: it is a key of one byte. */
static size_t sequence_size(const char *bytes, size_t size)
{
    size_t at = 2;
    if (bytes[0] != '\033')
        return 0;
    if (size < 2 || bytes[1] != '[') { /* ESC, ESC and a letter, ESC O and a letter */
        size_t whole = size > 1 && bytes[1] == 'O' ? 3 : 2;
        return size < whole ? size : whole;
    }
    while (at < size && (bytes[at] < '@' || bytes[at] > '~'))
        at++;
    return at < size ? at + 1 : size;
}

/* The next of the keys that were read. Those that send several bytes, as arrows do, are none that
 * we know: they are skipped. */
static bool next_key(char *key)
{
    while (screen.typed_at < screen.typed_size) {
        const char *at = screen.typed + screen.typed_at;
        size_t skip = sequence_size(at, screen.typed_size - screen.typed_at);
        screen.typed_at += skip > 0 ? skip : 1;
        *key = *at;
        if (skip == 0)
            return true;
    }
    return false;
}

/* False: the terminal is gone. */
static bool read_keys(void)
{
    ssize_t got = read(STDIN_FILENO, screen.typed, sizeof screen.typed);
    screen.typed_at = 0;
    screen.typed_size = got > 0 ? (size_t)got : 0;
    return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
}

enum screen_event screen_wait(uint64_t until_us, char *key)
{
    enum screen_event event;
    for (;;) {
        if (next_key(key))
            return SCREEN_KEY;
        uint64_t now_us = clock_us();
        struct pollfd files[] = {{.fd = screen.signals, .events = POLLIN},
                                 {.fd = screen.keys ? STDIN_FILENO : -1, .events = POLLIN}};
        uint64_t left_ms = until_us > now_us ? (until_us - now_us + 999) / 1000 : 0;
        int ready = poll(files, COUNT(files), left_ms < 60000 ? (int)left_ms : 60000);
        if (ready < 0 && errno != EINTR)
            return SCREEN_END;
        if (ready > 0 && files[0].revents != 0 && take_signal(&event))
            return event;
        if (ready > 0 && files[1].revents != 0 && !read_keys())
            return SCREEN_END;
        if (screen.typed_at == screen.typed_size && clock_us() >= until_us)
            return SCREEN_TIME;
    }
}

/* --- drawing ---------------------------------------------------------------------------------- */

void screen_size(unsigned *lines, unsigned *columns)
{
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;
    *lines = known ? size.ws_row : 24;
    *columns = known ? size.ws_col : 80;
}

/* Bytes of the escape sequence at `at`; 0: there is none. */
static size_t escape_size(const char *at)
{
    if (at[0] != '\033' || at[1] != '[')
        return 0;
    size_t size = 2 + strspn(at + 2, "0123456789;?");
    return at[size] != '\0' ? size + 1 : size;
}

/* One line as far as it fits; what changes colours goes through to the end. Returns what is behind
 * the line. */
static const char *draw_line(FILE *out, const char *text, unsigned columns)
{
    unsigned column = 0;
    while (*text != '\0' && *text != '\n') {
        size_t size = escape_size(text);
        bool begins = ((unsigned char)*text & 0xc0) != 0x80;
        if (size == 0) {
            size = 1;
            column += begins;
        }
        if (size > 1 || column <= columns)
            fwrite(text, 1, size, out);
        text += size;
    }
    if (column < columns) /* in the last column it would erase that */
        fputs("\033[K", out);
    return *text == '\n' ? text + 1 : text;
}

bool screen_draw(const char *text, const char *bottom)
{
    unsigned lines, columns;
    char *picture = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&picture, &size);
    if (out == NULL)
        return false;
    screen_size(&lines, &columns);
    fputs("\033[H", out);
    for (unsigned line = 1; line < lines && *text != '\0'; line++) {
        text = draw_line(out, text, columns);
        fputc('\n', out);
    }
    fprintf(out, "\033[J\033[%u;1H", lines);
    draw_line(out, bottom, columns);
    bool drawn = fclose(out) == 0;
    if (drawn)
        write_all(picture, size);
    free(picture);
    return drawn;
}
