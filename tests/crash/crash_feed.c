/* SPDX-License-Identifier: Apache-2.0
 *
 * crash_feed.c - a daemon that follows its database dies, again and again.
 *
 * Goal: at every moment, in a life and after any death, the pond holds a state that the database
 * had, whole transactions only, and the position that belongs to it; and no life goes back.
 * Method: a database that is a list of random changes (tests/unit/feed_script.c) over two tables of
 * a group. A child process follows it and is killed, at a failpoint of the store or at a random
 * moment; the parent reads tables and position in one snapshot all the time, and compares them with
 * the list. Some lives have lost their position, compare, or have snapshots that are not exact.
 * The last one lives until it has caught up.
 *
 *   crash_feed [--expect-failure]
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "feed_script.h"
#include "server/refresh/refresh.h"
#include "server/store/store.h"
#include "tests/mp/pond_kit.h"

enum { TABLES = 2, IDS = 120, LAST_MS = 20000 };

struct shared {
    _Atomic unsigned end; /* of the database */
    _Atomic bool stop;
};

struct crash {
    char directory[256];
    struct kit_random random;
    struct shared *shared;
    struct script_state state; /* of the database, while the script is written */
    struct sp_pond *pond;
    unsigned position; /* the last seen */
    unsigned lives, deaths, looks;
    bool failed;
};

/* --- the database ----------------------------------------------------------------------------- */

/* An id of which there is a row, or none; 0: not found soon. */
static int64_t find_id(struct crash *crash, unsigned table, bool there)
{
    for (unsigned i = 0; i < 8; i++) {
        int64_t id = 1 + (int64_t)kit_below(&crash->random, IDS);
        if (crash->state.rows[table][id].there == there)
            return id;
    }
    return 0;
}

/* What a database would do: it moves and touches only what is there. */
static void write_change(struct crash *crash, int64_t stamp)
{
    unsigned table = (unsigned)kit_below(&crash->random, TABLES);
    int64_t id = 1 + (int64_t)kit_below(&crash->random, IDS);
    int64_t name = (int64_t)kit_below(&crash->random, 100000);
    int64_t there = find_id(crash, table, true), free = find_id(crash, table, false);
    unsigned what = (unsigned)kit_below(&crash->random, 1000);
    if (what < 150)
        script_remove(table, id);
    else if (what < 200)
        script_add(SCRIPT_BAD, table, id);
    else if (what < 203)
        script_truncate(table);
    else if (what < 350 && there && free)
        script_move(table, there, free, name, stamp);
    else if (what < 500 && there)
        script_touch(table, there, stamp);
    else
        script_put(table, id, name, stamp);
    script_replay(&script.changes[script.count - 1], &crash->state);
}

static void write_script(struct crash *crash)
{
    for (int64_t t = 0; script.count < SCRIPT_CHANGES - 20; t++) {
        for (unsigned i = 1 + (unsigned)kit_below(&crash->random, 9); i > 0; i--)
            write_change(crash, t);
        script_write_commit();
    }
}

/* Some transactions more. */
static void advance(struct crash *crash)
{
    unsigned end = atomic_load(&crash->shared->end);
    for (unsigned i = (unsigned)kit_below(&crash->random, 4); i > 0 && end < script.count; i--)
        while (script.changes[end++].kind != SCRIPT_COMMIT)
            ;
    atomic_store(&crash->shared->end, end);
}

/* --- a life ----------------------------------------------------------------------------------- */

static struct config *load_config(const struct crash *crash)
{
    char text[1024];
    struct config *config = NULL;
    int size = snprintf(text, sizeof(text),
                        "directory: %s\nmemory: 8MiB\nlog: {level: error}\n"
                        "sources: [{name: db, type: sqlite, path: /nowhere}]\ntables:\n"
                        "  - {name: users, source: db, key: [id], group: g, max_drop: 100%%, "
                        "refresh: {mode: feed}}\n"
                        "  - {name: orders, source: db, key: [id], group: g, max_drop: 100%%, "
                        "refresh: {mode: feed}}\n",
                        crash->directory);
    if (config_load_buffer("crash.yaml", text, (size_t)size, stderr, &config) != SP_OK)
        _exit(3);
    return config;
}

static void live(struct crash *crash)
{
    char why[STORE_WHY_BYTES];
    struct store_opened opened;
    struct store *store;
    struct refresh *refresh;
    const struct store_options options = {.directory = crash->directory,
                                          .name = "main",
                                          .limit_bytes = 8 << 20,
                                          .lease_limit_ms = 60000,
                                          .gid = -1};
    if (store_open(&options, &store, &opened, why) != SP_OK) {
        fprintf(stderr, "crash_feed: %s\n", why);
        _exit(4);
    }
    const struct refresh_options follow = {
        .store = store, .directory = crash->directory, .find_source = script_find};
    if (refresh_new(&follow, &refresh) != SP_OK ||
        refresh_apply(refresh, load_config(crash)) != SP_OK)
        _exit(5);
    for (unsigned turn = 0; !atomic_load(&crash->shared->stop); turn++) {
        refresh_tick(refresh);
        store_tick(store);
        advance(crash);
        if (turn % 50 == 49)
            refresh_now(refresh, "users", NULL);
        usleep(1000);
    }
    _exit(0);
}

static pid_t start(struct crash *crash, const char *failpoint)
{
    struct kit_random random = {kit_random(&crash->random)};
    pid_t parent = getpid();
    script.burst = (unsigned)kit_below(&random, 12);
    script.inexact = kit_below(&random, 3) == 0;
    script.floor = kit_below(&random, 6) == 0 ? atomic_load(&crash->shared->end) : 0;
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(3);
    freopen("/dev/null", "w", stderr);
    crash->random = random;
    if (failpoint)
        setenv("SIDEPOND_FAILPOINT", failpoint, 1);
    live(crash);
    return 0;
}

/* --- looking ---------------------------------------------------------------------------------- */

static void look(struct crash *crash)
{
    char why[256] = "";
    unsigned position = 0;
    if (!crash->pond && sp_open(crash->directory, NULL, &crash->pond) != SP_OK)
        crash->pond = NULL;
    if (!crash->pond)
        return;
    int status = script_check(crash->pond, TABLES, &position, why, sizeof(why));
    crash->looks += status == SP_OK;
    if (status == SP_EDATA) {
        printf("crash_feed: FAULT: %s\n", why);
        crash->failed = true;
    } else if (status == SP_OK && position < crash->position) {
        printf("crash_feed: FAULT: at %u after %u\n", position, crash->position);
        crash->failed = true;
    }
    if (status == SP_OK)
        crash->position = position;
}

/* Looks until the child has died, or its time is over. */
static void watch(struct crash *crash, pid_t child, uint64_t life_ms)
{
    uint64_t end = kit_now_ms() + life_ms;
    int how = 0;
    pid_t got;
    while ((got = waitpid(child, &how, WNOHANG)) == 0 && kit_now_ms() < end && !crash->failed)
        look(crash);
    if (got == 0) {
        kill(child, SIGKILL);
        waitpid(child, &how, 0);
    }
    crash->deaths += got == child;
    if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL) {
        printf("crash_feed: FAULT: a life ended with %x\n", (unsigned)how);
        crash->failed = true;
    }
    look(crash);
    crash->lives++;
}

static void die_everywhere(struct crash *crash)
{
    static const char *const places[] = {"publish", "published", "replaced",    "stamped",
                                         "commit",  "committed", "publish_root"};
    unsigned turns = kit_long() ? 40 : 3;
    char failpoint[64];
    for (unsigned turn = 0; turn < turns && !crash->failed; turn++) {
        for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]) && !crash->failed; i++) {
            snprintf(failpoint, sizeof(failpoint), "%s:%u", places[i],
                     1 + (unsigned)kit_below(&crash->random, i < 4 ? 400 : 60));
            watch(crash, start(crash, failpoint), 400);
            if (!crash->failed)
                watch(crash, start(crash, NULL), 5 + kit_below(&crash->random, 60));
        }
    }
}

/* The last life catches up with the database. */
static void catch_up(struct crash *crash)
{
    uint64_t deadline = kit_now_ms() + LAST_MS;
    pid_t child = start(crash, NULL);
    int how = 0;
    for (unsigned end = 1; crash->position != end && !crash->failed;) {
        look(crash);
        end = atomic_load(&crash->shared->end);
        if (kit_now_ms() > deadline) {
            printf("crash_feed: FAULT: at %u, the database at %u\n", crash->position, end);
            crash->failed = true;
        }
    }
    atomic_store(&crash->shared->stop, true);
    if (waitpid(child, &how, 0) != child || how != 0)
        crash->failed = true;
}

int main(int argc, char **argv)
{
    static struct crash crash;
    bool expected = argc > 1 && strcmp(argv[1], "--expect-failure") == 0;
    kit_directory_make(crash.directory, sizeof(crash.directory));
    crash.random.state = kit_seed("crash_feed");
    crash.shared = mmap(NULL, sizeof(*crash.shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (crash.shared == MAP_FAILED)
        return 1;
    script_reset();
    script.end = &crash.shared->end;
    write_script(&crash);
    die_everywhere(&crash);
    if (!crash.failed)
        catch_up(&crash);
    printf("crash_feed: %u lives, %u deaths at failpoints, %u looks, at %u of %u changes: %s\n",
           crash.lives, crash.deaths, crash.looks, crash.position, script.count,
           crash.failed ? "a fault" : "no fault");
    sp_close(crash.pond);
    kit_directory_remove(crash.directory);
    return crash.failed == expected ? 0 : 1;
}
