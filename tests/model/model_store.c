/* SPDX-License-Identifier: Apache-2.0
 *
 * model_store.c - the store against a naive reference, with crashes.
 *
 * Goal: whatever sequence of transactions, aborts, passes, reshapings, drops, snapshots, ticks,
 * restarts and crashes a pond has been through, every read gives what a plain array says, at every
 * version that somebody still sees, and no unit of memory is lost.
 *
 * Method: the reference is an array of rows for each table, in memory that survives the writer: two
 * copies, the committed one and the one that the open transaction makes. A child process does the
 * writing; it ends cleanly, or is killed at a random moment or at a failpoint. The parent then
 * opens the pond: its version tells which of the two copies must be in it, and all of that is read
 * back: by key, by scan, by secondary keys. Snapshots keep a copy of their own.
 *
 *   model_store [--seed N] [--steps TRANSACTIONS]
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/mp/pond_kit.h"

#define TABLES         4u
#define ROWS           3800u /* of all tables */
#define GROUPS         12u
#define SNAPSHOTS      4u
#define BODY_MAX       20000u
#define STEPS_PER_LIFE 60u
#define LIMIT_BYTES    (UINT64_C(48) << 20)

static const struct {
    const char *name;
    unsigned first, count, body_max;
} tables[TABLES] = {{"few", 0, 50, 400},
                    {"some", 50, 550, 200},
                    {"many", 600, 3000, 80},
                    {"large", 3600, 200, BODY_MAX}};

struct row_model {
    uint64_t state; /* 0: no such row */
    int64_t grp, code;
    uint32_t bytes;
};

struct model {
    unsigned shape[TABLES]; /* what of kit_schema; + 1, and 0: no such table */
    struct row_model rows[ROWS];
};

/* Survives the child. */
struct shared {
    _Atomic uint64_t head; /* version << 1 | which of the models is committed */
    _Atomic uint64_t steps_done;
    _Atomic uint64_t serial; /* of states: never the same twice */
    _Atomic uint32_t failed;
    struct model models[2];
};

struct seen {
    struct sp_snapshot *snapshot;
    struct model *model;
};

struct life {
    struct kit_random random;
    const char *directory;
    struct shared *shared;
    struct store *store;
    struct sp_pond *pond;
    struct store_txn *txn;
    struct seen seen[SNAPSHOTS];
    struct schema *schemas[8];
};

#define NEED(condition, ...)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s: ", __FILE__, __LINE__, #condition);                                 \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
            fflush(stdout);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)
#define NEED_OK(status)                                                                            \
    do {                                                                                           \
        int need_status = (status);                                                                \
        NEED(need_status == SP_OK, "%s", sp_status_name(need_status));                             \
    } while (0)

static struct model *committed(struct shared *shared)
{
    return &shared->models[atomic_load(&shared->head) & 1];
}

static struct model *pending(struct shared *shared)
{
    return &shared->models[(atomic_load(&shared->head) & 1) ^ 1];
}

static const struct schema *schema_of(struct life *life, unsigned shape)
{
    if (!life->schemas[shape])
        life->schemas[shape] = kit_schema(shape);
    return life->schemas[shape];
}

/* --- reading back --------------------------------------------------------------------------- */

static void compare_row(struct life *life, const struct model *model, unsigned t, unsigned row,
                        const void *value, size_t bytes)
{
    const struct row_model *want = &model->rows[tables[t].first + row];
    struct kit_row got;
    uint64_t state;
    NEED(want->state != 0, "table %s row %u should not be there", tables[t].name, row);
    NEED(kit_decode(schema_of(life, model->shape[t] - 1), value, bytes, &got), "table %s row %u",
         tables[t].name, row);
    NEED(kit_body_state(got.body, got.body_bytes, t, row, &state), "table %s row %u: broken body",
         tables[t].name, row);
    NEED(state == want->state, "table %s row %u: state %llu, not %llu", tables[t].name, row,
         (unsigned long long)state, (unsigned long long)want->state);
    NEED(got.grp == want->grp && got.code == want->code && got.body_bytes == want->bytes,
         "table %s row %u", tables[t].name, row);
}

static unsigned rows_of(const struct model *model, unsigned t)
{
    unsigned count = 0;
    for (unsigned i = 0; i < tables[t].count; i++)
        count += model->rows[tables[t].first + i].state != 0;
    return count;
}

static void compare_gets(struct life *life, const struct model *model, unsigned t,
                         struct sp_table *table)
{
    static uint8_t out[16][BODY_MAX + 200];
    struct sp_get gets[16];
    int64_t ids[16];
    for (unsigned first = 0; first < tables[t].count; first += 16) {
        unsigned count = tables[t].count - first < 16 ? tables[t].count - first : 16;
        for (unsigned i = 0; i < count; i++) {
            ids[i] = first + i;
            gets[i] = (struct sp_get){&ids[i], 8, out[i], sizeof(out[i]), 0, 0};
        }
        NEED_OK(sp_mget(table, gets, count));
        for (unsigned i = 0; i < count; i++) {
            bool there = model->rows[tables[t].first + first + i].state != 0;
            NEED(gets[i].status == (there ? SP_OK : SP_ENOTFOUND), "table %s row %u: %s",
                 tables[t].name, first + i, sp_status_name(gets[i].status));
            if (there)
                compare_row(life, model, t, first + i, gets[i].out, gets[i].size);
        }
    }
}

/* All that a scan gives: each row once, and how many. */
static unsigned compare_scan(struct life *life, const struct model *model, unsigned t,
                             struct sp_scan *scan, const int64_t *grp)
{
    static uint8_t met[ROWS];
    struct sp_view view;
    unsigned count = 0;
    int status;
    memset(met, 0, sizeof(met));
    while ((status = sp_scan_next(scan, &view)) == SP_OK) {
        int64_t id;
        memcpy(&id, view.key, sizeof(id));
        NEED(view.key_bytes == 8 && id >= 0 && id < tables[t].count, "table %s", tables[t].name);
        NEED(!met[id]++, "table %s row %d comes twice", tables[t].name, (int)id);
        compare_row(life, model, t, (unsigned)id, view.value, view.value_bytes);
        NEED(!grp || *grp == model->rows[tables[t].first + id].grp, "table %s row %d",
             tables[t].name, (int)id);
        count++;
    }
    NEED(status == SP_ENOTFOUND, "%s", sp_status_name(status));
    sp_scan_end(scan);
    return count;
}

static void compare_groups(struct life *life, const struct model *model, unsigned t,
                           struct sp_table *table, struct sp_snapshot *snapshot)
{
    unsigned found = 0, grouped = 0;
    for (int64_t grp = 0; grp < GROUPS; grp++) {
        struct sp_scan *scan;
        NEED_OK(sp_find_begin(snapshot, table, 0, &grp, sizeof(grp), &scan));
        found += compare_scan(life, model, t, scan, &grp);
    }
    for (unsigned i = 0; i < tables[t].count; i++) {
        const struct row_model *row = &model->rows[tables[t].first + i];
        grouped += row->state != 0 && row->grp != KIT_NO_GROUP;
    }
    NEED(found == grouped, "table %s: %u rows by group, not %u", tables[t].name, found, grouped);
}

static void compare_codes(struct life *life, const struct model *model, unsigned t,
                          struct sp_table *table, struct sp_snapshot *snapshot)
{
    size_t index = (model->shape[t] - 1) & KIT_INDEX_GROUP ? 1 : 0;
    for (unsigned i = (unsigned)kit_below(&life->random, 7); i < tables[t].count; i += 7) {
        const struct row_model *row = &model->rows[tables[t].first + i];
        struct sp_scan *scan;
        struct sp_view view;
        bool found = false;
        if (!row->state)
            continue;
        NEED_OK(sp_find_begin(snapshot, table, index, &row->code, 8, &scan));
        while (sp_scan_next(scan, &view) == SP_OK)
            found |= memcmp(view.key, &(int64_t){i}, 8) == 0;
        sp_scan_end(scan);
        NEED(found, "table %s row %u is not found by its code", tables[t].name, i);
    }
}

/* Everything, as a snapshot sees it; NULL: as of now. */
static void compare_all(struct life *life, const struct model *model, struct sp_snapshot *given)
{
    struct sp_snapshot *snapshot = given;
    if (!given)
        NEED_OK(sp_snapshot_begin(life->pond, &snapshot));
    for (unsigned t = 0; t < TABLES; t++) {
        struct sp_table *table;
        struct sp_scan *scan;
        int status = sp_table_open(life->pond, tables[t].name, &table);
        if (given && status != SP_OK)
            continue; /* its name is gone, so there is no way to ask */
        if (status == SP_OK)
            status = sp_scan_begin(snapshot, table, &scan);
        NEED((status == SP_OK) == (model->shape[t] != 0), "table %s: %s", tables[t].name,
             sp_status_name(status));
        if (status != SP_OK)
            continue;
        unsigned count = compare_scan(life, model, t, scan, NULL), want = rows_of(model, t);
        NEED(count == want, "table %s: %u rows, not %u", tables[t].name, count, want);
        if (!given)
            compare_gets(life, model, t, table);
        if ((model->shape[t] - 1) & KIT_INDEX_GROUP)
            compare_groups(life, model, t, table, snapshot);
        if ((model->shape[t] - 1) & KIT_INDEX_CODE)
            compare_codes(life, model, t, table, snapshot);
    }
    if (!given)
        sp_snapshot_end(snapshot);
}

/* --- transactions --------------------------------------------------------------------------- */

static void put_random(struct life *life, unsigned t, struct store_table *table, unsigned row)
{
    static uint8_t body[BODY_MAX];
    struct row_model *to = &pending(life->shared)->rows[tables[t].first + row], new = *to;
    unsigned shape = pending(life->shared)->shape[t] - 1;
    if (!to->state || kit_below(&life->random, 5)) {
        new.state = atomic_fetch_add(&life->shared->serial, 1) + 1;
        new.bytes =
            KIT_BODY_MIN + (uint32_t)kit_below(&life->random, tables[t].body_max - KIT_BODY_MIN);
        new.code = kit_below(&life->random, 20) ? row : kit_below(&life->random, 5);
        new.grp =
            kit_below(&life->random, 8) ? (int64_t)kit_below(&life->random, GROUPS) : KIT_NO_GROUP;
        if (t == 2 && kit_below(&life->random, 3)) /* one key with very many rows */
            new.grp = 1;
    }
    kit_body(body, new.bytes, t, row, new.state);
    const struct kit_row put = {row, new.grp, new.code, body, new.bytes};
    enum store_change change;
    NEED_OK(kit_put(table, schema_of(life, shape), &put, &change));
    if (change == STORE_DUPLICATE)
        return;
    NEED(change == (!to->state               ? STORE_INSERTED
                    : to->state == new.state ? STORE_UNCHANGED
                                             : STORE_UPDATED),
         "change %d", change);
    *to = new;
}

static void change_some(struct life *life, unsigned t, struct store_table *table)
{
    unsigned ops = 1 + (unsigned)kit_below(&life->random, kit_below(&life->random, 4) ? 20 : 300);
    unsigned span = kit_below(&life->random, 3) ? tables[t].count : 10;
    bool removing = kit_below(&life->random, 5) == 0;
    for (unsigned i = 0; i < ops; i++) {
        unsigned row = (unsigned)kit_below(&life->random, span);
        struct row_model *model = &pending(life->shared)->rows[tables[t].first + row];
        if (kit_below(&life->random, 10) >= (removing ? 2 : 7)) {
            int status = kit_delete(table, row);
            NEED(status == (model->state ? SP_OK : SP_ENOTFOUND), "%s", sp_status_name(status));
            model->state = 0;
        } else {
            put_random(life, t, table, row);
        }
        if (kit_below(&life->random, 60) == 0)
            store_tick(life->store);
    }
}

static void full_pass(struct life *life, unsigned t, struct store_table *table)
{
    struct model *model = pending(life->shared);
    uint64_t deleted, gone = 0;
    unsigned percent = (unsigned)kit_below(&life->random, 101);
    NEED_OK(store_pass_begin(table));
    static uint8_t met[ROWS];
    memset(met, 0, sizeof(met));
    for (unsigned i = 0; i < tables[t].count; i++) {
        if (kit_below(&life->random, 100) >= percent)
            continue;
        put_random(life, t, table, i);
        met[i] = 1;
        if (kit_below(&life->random, 50) == 0)
            put_random(life, t, table, i); /* a duplicate */
        if (kit_below(&life->random, 500) == 0)
            store_tick(life->store);
    }
    for (unsigned i = 0; i < tables[t].count; i++) {
        struct row_model *row = &model->rows[tables[t].first + i];
        gone += !met[i] && row->state;
        if (!met[i])
            row->state = 0;
    }
    NEED_OK(store_pass_sweep(table, &deleted));
    NEED(deleted == gone, "%llu deleted, not %llu", (unsigned long long)deleted,
         (unsigned long long)gone);
}

static void clear_table(struct model *model, unsigned t)
{
    for (unsigned i = 0; i < tables[t].count; i++)
        model->rows[tables[t].first + i].state = 0;
}

/* What one table goes through in a transaction. */
static void use_table(struct life *life, unsigned t)
{
    struct model *model = pending(life->shared);
    struct store_table *table;
    bool reshaped;
    if (model->shape[t] && kit_below(&life->random, 30) == 0) {
        NEED_OK(store_drop(life->txn, tables[t].name));
        model->shape[t] = 0;
        clear_table(model, t);
        return;
    }
    unsigned shape = model->shape[t] - 1;
    if (!model->shape[t] || kit_below(&life->random, 15) == 0)
        shape = (unsigned)kit_below(&life->random, 8);
    uint64_t hint = kit_below(&life->random, 2) * kit_below(&life->random, 4000);
    NEED_OK(
        store_table(life->txn, tables[t].name, schema_of(life, shape), hint, &table, &reshaped));
    if (shape + 1 != model->shape[t])
        clear_table(model, t);
    model->shape[t] = shape + 1;
    if (kit_below(&life->random, 4) == 0)
        full_pass(life, t, table);
    else
        change_some(life, t, table);
}

static void transaction(struct life *life)
{
    struct shared *shared = life->shared;
    uint64_t version, head = atomic_load(&shared->head);
    *pending(shared) = *committed(shared);
    NEED_OK(store_begin(life->store, &life->txn));
    unsigned first = (unsigned)kit_below(&life->random, TABLES);
    unsigned count = 1 + (unsigned)kit_below(&life->random, kit_below(&life->random, 2) ? 1 : 3);
    for (unsigned i = 0; i < count; i++)
        use_table(life, (first + i) % TABLES);
    if (kit_below(&life->random, 4) == 0) {
        store_abort(life->txn);
    } else {
        NEED_OK(store_commit(life->txn, &version));
        NEED(version == head >> 1 || version == (head >> 1) + 1, "version %llu after %llu",
             (unsigned long long)version, (unsigned long long)(head >> 1));
        atomic_store(&shared->head, version << 1 | ((head & 1) ^ 1));
    }
    atomic_fetch_add(&shared->steps_done, 1);
}

/* --- a life of the writer ------------------------------------------------------------------- */

static void end_snapshot(struct life *life, struct seen *seen)
{
    compare_all(life, seen->model, seen->snapshot);
    sp_snapshot_end(seen->snapshot);
    free(seen->model);
    *seen = (struct seen){0};
}

static void change_snapshots(struct life *life)
{
    struct seen *seen = &life->seen[kit_below(&life->random, SNAPSHOTS)];
    if (seen->snapshot) {
        end_snapshot(life, seen);
    } else if (atomic_load(&life->shared->head) >> 1) {
        NEED_OK(sp_snapshot_begin(life->pond, &seen->snapshot));
        seen->model = malloc(sizeof(*seen->model));
        *seen->model = *committed(life->shared);
    }
}

static void open_all(struct life *life, struct store_opened *opened)
{
    char why[STORE_WHY_BYTES] = "";
    const struct store_options options = {.directory = life->directory,
                                          .name = "model",
                                          .limit_bytes = LIMIT_BYTES,
                                          .lease_limit_ms = 3600000,
                                          .cooling_ms = 1,
                                          .gid = -1};
    int status = store_open(&options, &life->store, opened, why);
    NEED(status == SP_OK, "%s: %s", sp_status_name(status), why);
    if (opened->version)
        NEED_OK(sp_open(life->directory, NULL, &life->pond));
}

static void close_all(struct life *life)
{
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        if (life->seen[i].snapshot)
            end_snapshot(life, &life->seen[i]);
    sp_close(life->pond);
    life->pond = NULL;
    store_close(life->store);
    for (unsigned i = 0; i < 8; i++)
        schema_free(life->schemas[i]);
    memset(life->schemas, 0, sizeof(life->schemas));
}

/* Everything that can be freed is; then nothing may be lost. */
static void settle_and_check(struct life *life)
{
    struct store_info info, before;
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        if (life->seen[i].snapshot)
            end_snapshot(life, &life->seen[i]);
    store_info(life->store, &info);
    unsigned same = 0;
    for (unsigned i = 0; i < 3000 && same < 10; i++) {
        before = info;
        store_tick(life->store);
        store_info(life->store, &info);
        same = before.used_bytes == info.used_bytes ? same + 1 : 0;
    }
    NEED(info.versions_held == 0, "%llu versions held", (unsigned long long)info.versions_held);
    NEED(kit_check(life->directory, false, NULL) == 0, "the checker complains");
}

static void live(struct life *life, unsigned steps)
{
    struct store_opened opened;
    open_all(life, &opened);
    for (unsigned i = 0; i < steps; i++) {
        transaction(life);
        if (!life->pond && atomic_load(&life->shared->head) >> 1)
            NEED_OK(sp_open(life->directory, NULL, &life->pond));
        if (kit_below(&life->random, 3) == 0)
            change_snapshots(life);
        for (uint64_t n = kit_below(&life->random, 6); n > 1; n--)
            store_tick(life->store);
        if (life->pond && kit_below(&life->random, 20) == 0)
            compare_all(life, committed(life->shared), NULL);
        if (kit_below(&life->random, 25) == 0)
            settle_and_check(life);
        if (kit_below(&life->random, 25) == 0)
            NEED(kit_check(life->directory, true, NULL) == 0, "the checker complains");
    }
    settle_and_check(life);
    close_all(life);
}

static const char *const failpoints[] = {"publish",       "published",     "replaced",
                                         "index_replace", "index_remove",  "dir_point",
                                         "dir_double",    "segment_split", "segment_rebuild",
                                         "undo",          "stamped",       "publish_root",
                                         "commit",        "committed",     "reclaim_seq",
                                         "unlinked",      "freed",         "root_unlinked",
                                         "move",          "moved",         "recover_slot"};

/* How the child is to end: by itself, at a failpoint, or by its parent. */
static void choose_death(struct kit_random *random)
{
    char text[64];
    unsigned count = sizeof(failpoints) / sizeof(failpoints[0]);
    unsetenv("SIDEPOND_FAILPOINT");
    if (kit_below(random, 2))
        return;
    uint64_t nth = 1 + kit_below(random, kit_below(random, 2) ? 10 : 2000);
    snprintf(text, sizeof(text), "%s:%u", failpoints[kit_below(random, count)], (unsigned)nth);
    setenv("SIDEPOND_FAILPOINT", text, 1);
}

static bool child_lives(struct life *life, unsigned steps, bool kill_it)
{
    int how;
    pid_t child = fork();
    NEED(child >= 0, "fork");
    if (child == 0) {
        live(life, steps);
        _exit(0);
    }
    if (kill_it) {
        usleep((useconds_t)kit_below(&life->random, 60000));
        kill(child, SIGKILL);
    }
    NEED(waitpid(child, &how, 0) == child, "waitpid");
    NEED(WIFSIGNALED(how) ? WTERMSIG(how) == SIGKILL : WEXITSTATUS(how) == 0,
         "the writer ended with %x (failpoint %s)", how, getenv("SIDEPOND_FAILPOINT"));
    return WIFSIGNALED(how);
}

/* The pond after a life: which copy is in it, and all of it. */
static void examine(struct life *life)
{
    struct store_opened opened;
    uint64_t head = atomic_load(&life->shared->head);
    open_all(life, &opened);
    NEED(opened.version == head >> 1 || opened.version == (head >> 1) + 1,
         "version %llu after %llu", (unsigned long long)opened.version,
         (unsigned long long)(head >> 1));
    if (opened.version != head >> 1) /* the crash came between the commit and our note of it */
        atomic_store(&life->shared->head, opened.version << 1 | ((head & 1) ^ 1));
    NEED(opened.dropped_corrupt == 0, "%llu dropped as corrupt",
         (unsigned long long)opened.dropped_corrupt);
    if (life->pond)
        compare_all(life, committed(life->shared), NULL);
    settle_and_check(life);
    close_all(life);
}

static void run(struct life *life, uint64_t steps)
{
    unsigned lives = 0, deaths = 0;
    while (atomic_load(&life->shared->steps_done) < steps) {
        struct kit_random child = {kit_random(&life->random)};
        bool kill_it = kit_below(&life->random, 3) == 0;
        choose_death(&life->random);
        struct kit_random own = life->random;
        life->random = child;
        deaths += child_lives(life, 1 + (unsigned)kit_below(&own, STEPS_PER_LIFE), kill_it);
        life->random = own;
        unsetenv("SIDEPOND_FAILPOINT");
        examine(life);
        lives++;
    }
    printf("model_store: %llu transactions, version %llu, %u lives of the writer, %u ended by "
           "SIGKILL\n",
           (unsigned long long)atomic_load(&life->shared->steps_done),
           (unsigned long long)(atomic_load(&life->shared->head) >> 1), lives, deaths);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"steps", required_argument, NULL, 'n'}, {0}};
    uint64_t steps = kit_long() ? 60000 : kit_slow() ? 600 : 3000;
    char directory[256];
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's')
            setenv("SIDEPOND_SEED", optarg, 1);
        else if (option == 'n')
            steps = strtoull(optarg, NULL, 0);
        else
            return 2;
    }
    kit_directory_make(directory, sizeof(directory));
    struct life life = {.random = {kit_seed("model_store")}, .directory = directory};
    life.shared =
        mmap(NULL, sizeof(*life.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(life.shared != MAP_FAILED, "mmap");
    run(&life, steps);
    kit_directory_remove(directory);
    return 0;
}
