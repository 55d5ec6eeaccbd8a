/* SPDX-License-Identifier: Apache-2.0
 *
 * test_store_space.c - snapshots and what they hold, leases, memory, snapshot files.
 *
 * Goal: a snapshot keeps its version whatever is committed; what it holds is bounded and given
 * back; a reader that died or takes too long delays nobody; memory goes back to the system; a
 * damaged snapshot file is refused.
 * Method: as in test_store.c. Readers that die are child processes, ended by their pid.
 */
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/store_fixture.h"

static struct sp_snapshot *begin_snapshot(struct fixture *f)
{
    struct sp_snapshot *snapshot;
    fixture_table(f, "t");
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    return snapshot;
}

/* --- what snapshots hold -------------------------------------------------------------------- */

static void snapshots_keep_their_versions(void **state)
{
    struct fixture *f = *state;
    struct sp_snapshot *snapshots[6];
    uint64_t seen;
    for (unsigned s = 0; s < 6; s++) {
        fixture_fill(f, 0, 200, s);
        if (s == 3) {
            fixture_begin(f);
            for (int64_t id = 0; id < 100; id++)
                assert_ok(kit_delete(f->table, id));
            fixture_commit(f);
        }
        snapshots[s] = begin_snapshot(f);
        store_tick(f->store);
    }
    for (unsigned order = 0; order < 6; order++) {
        for (unsigned s = order; s < 6; s++) {
            for (int64_t id = 0; id < 200; id++) {
                bool deleted = s == 3 && id < 100;
                assert_status(fixture_view(f, snapshots[s], id, &seen),
                              deleted ? SP_ENOTFOUND : SP_OK);
                if (!deleted)
                    assert_int_equal(seen, s);
            }
            assert_ok(sp_snapshot_check(snapshots[s]));
        }
        sp_snapshot_end(snapshots[order]);
        store_tick(f->store);
    }
    store_tick(f->store);
    assert_int_equal(fixture_info(f).versions_held, 0);
}

/* The story: what a commit held for a snapshot that ended before the next look at the leases was
 * not looked at again until another snapshot was seen. */
static void what_was_held_between_two_ticks_goes(void **state)
{
    struct fixture *f = *state;
    fixture_fill(f, 0, 100, 1);
    uint64_t used = fixture_settle(f);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    fixture_begin(f);
    for (int64_t id = 0; id < 100; id++)
        assert_ok(kit_delete(f->table, id));
    fixture_commit(f);
    assert_true(fixture_info(f).versions_held > 0);
    sp_snapshot_end(snapshot);
    assert_true(fixture_settle(f) < used);
    assert_int_equal(fixture_info(f).versions_held, 0);
}

/* The story: a tombstone that a transaction's own version stood before when the leases were looked
 * at was not looked at again after that transaction was aborted. */
static void tombstones_behind_an_aborted_version_go(void **state)
{
    struct fixture *f = *state;
    fixture_fill(f, 0, 10, 1);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    fixture_begin(f);
    assert_ok(kit_delete(f->table, 5));
    fixture_commit(f);
    store_tick(f->store);
    fixture_begin(f);
    fixture_put(f, 5, 5, 2);
    sp_snapshot_end(snapshot);
    store_tick(f->store);
    fixture_abort(f);
    store_tick(f->store);
    assert_int_equal(fixture_info(f).versions_held, 0);
}

static void one_old_snapshot_holds_one_version_of_each_row(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;
    fixture_fill(f, 0, 1000, 1);
    uint64_t used = fixture_settle(f);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    for (unsigned s = 2; s < 60; s++) {
        fixture_fill(f, 0, 1000, s);
        store_tick(f->store);
    }
    assert_true(fixture_info(f).used_bytes < 2 * used + used / 4);
    assert_int_equal(fixture_info(f).versions_held, 1000);
    for (int64_t id = 0; id < 1000; id++) {
        assert_ok(fixture_view(f, snapshot, id, &seen));
        assert_int_equal(seen, 1);
    }
    sp_snapshot_end(snapshot);
    assert_true(fixture_settle(f) < used + used / 4);
}

static void lease_over_its_limit_is_taken_back(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;
    fixture_close(f);
    f->options.lease_limit_ms = 50;
    fixture_open(f);
    fixture_fill(f, 0, 100, 1);
    struct sp_snapshot *old = begin_snapshot(f), *idle;
    fixture_fill(f, 0, 100, 2);
    idle = begin_snapshot(f); /* of the newest version: holds nothing, may stay */
    uint64_t end = kit_now_ms() + 5000;
    while (sp_snapshot_check(old) == SP_OK && kit_now_ms() < end)
        store_tick(f->store);
    assert_status(sp_snapshot_check(old), SP_ESTALE);
    assert_status(fixture_view(f, old, 5, &seen), SP_ESTALE);
    assert_ok(sp_snapshot_check(idle));
    store_tick(f->store);
    assert_int_equal(fixture_info(f).versions_held, 0);
    assert_int_equal(fixture_info(f).leases_revoked, 1);
    sp_snapshot_end(old);
    sp_snapshot_end(idle);
    struct sp_snapshot *again = begin_snapshot(f);
    assert_ok(fixture_view(f, again, 5, &seen));
    assert_int_equal(seen, 2);
    sp_snapshot_end(again);
}

/* A child that holds a snapshot and waits to be killed. */
static pid_t hold_snapshot(struct fixture *f)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct sp_pond *pond;
        struct sp_snapshot *snapshot;
        bool good = sp_open(f->directory, NULL, &pond) == SP_OK &&
                    sp_snapshot_begin(pond, &snapshot) == SP_OK;
        if (good && write(ready[1], &byte, 1) == 1)
            pause();
        _exit(1);
    }
    assert_true(child > 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void leases_of_the_dead_end(void **state)
{
    struct fixture *f = *state;
    int how;
    fixture_fill(f, 0, 100, 1);
    pid_t child = hold_snapshot(f);
    fixture_fill(f, 0, 100, 2);
    store_tick(f->store);
    assert_int_equal(fixture_info(f).leases, 1);
    assert_int_equal(fixture_info(f).versions_held, 100);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    store_tick(f->store);
    assert_int_equal(fixture_info(f).leases, 0);
    assert_int_equal(fixture_info(f).versions_held, 0);
    assert_int_equal(fixture_info(f).leases_revoked, 0);
}

static void held_versions_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;
    fixture_fill(f, 0, 300, 1);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    fixture_fill(f, 0, 200, 2);
    fixture_begin(f);
    for (int64_t id = 200; id < 300; id++)
        assert_ok(kit_delete(f->table, id));
    fixture_commit(f);
    fixture_close(f);
    fixture_open(f);
    for (unsigned i = 0; i < 5; i++)
        store_tick(f->store);
    fixture_fill(f, 0, 100, 3);
    for (int64_t id = 0; id < 300; id++) {
        assert_ok(fixture_view(f, snapshot, id, &seen));
        assert_int_equal(seen, 1);
    }
    assert_ok(sp_snapshot_check(snapshot));
    sp_snapshot_end(snapshot);
    fixture_settle(f);
    assert_int_equal(fixture_info(f).versions_held, 0);
    assert_int_equal(kit_check(f->directory, false, NULL), 0);
}

/* --- compaction and memory ------------------------------------------------------------------ */

/* Leaves 1 row of 20, spread over all of the pond. */
static void thin_out(struct fixture *f, int64_t count)
{
    fixture_begin(f);
    for (int64_t id = 0; id < count; id++)
        if (id % 20)
            assert_ok(kit_delete(f->table, id));
    fixture_commit(f);
}

/* Bytes of this process's mappings of the pond that lie in huge pages. */
static uint64_t huge_bytes(const struct fixture *f)
{
    char line[512];
    uint64_t sum = 0, kib;
    bool ours = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        if (strchr(line, '/'))
            ours = strstr(line, f->directory) != NULL;
        else if (ours && sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1)
            sum += kib << 10;
    }
    fclose(maps);
    return sum;
}

/* Not every system gives them; then the pond must do without. */
static void await_huge_pages(struct fixture *f)
{
    uint64_t end = kit_now_ms() + 2500;
    while (huge_bytes(f) == 0 && kit_now_ms() < end)
        store_tick(f->store);
    print_message("%" PRIu64 " KiB in huge pages\n", huge_bytes(f) >> 10);
}

static void give_memory_back(struct fixture *f)
{
    const int64_t count = kit_slow() ? 60000 : 100000;
    uint64_t seen;
    fixture_close(f);
    f->options.cooling_ms = 200;
    fixture_open(f);
    fixture_fill(f, 0, count, 1);
    if (f->options.huge_pages)
        await_huge_pages(f);
    uint64_t before = fixture_info(f).committed_bytes, used;
    thin_out(f, count);
    used = fixture_settle(f);
    uint64_t end = kit_now_ms() + 20000;
    const uint64_t goal = used * 3 / 2 + (UINT64_C(4) << 20);
    while (fixture_info(f).committed_bytes > goal && kit_now_ms() < end)
        store_tick(f->store);
    assert_true(before > 2 * goal);
    assert_true(fixture_info(f).committed_bytes <= goal);
    assert_true(fixture_info(f).entries_moved > 0);
    for (int64_t id = 0; id < count; id++)
        assert_status(fixture_get(f, id, &seen), id % 20 ? SP_ENOTFOUND : SP_OK);
    fixture_close(f); /* the holes are found again */
    fixture_open(f);
    if (f->options.huge_pages) /* and stay holes when these are asked for again */
        await_huge_pages(f);
    assert_true(fixture_info(f).committed_bytes <= goal);
    fixture_fill(f, 0, count, 2);
    assert_ok(fixture_get(f, count - 1, &seen));
}

static void memory_goes_back_to_the_system(void **state)
{
    give_memory_back(*state);
}

static void memory_goes_back_from_huge_pages(void **state)
{
    struct fixture *f = *state;
    f->options.huge_pages = true;
    give_memory_back(f);
}

static void compaction_spares_snapshots(void **state)
{
    struct fixture *f = *state;
    const int64_t count = kit_slow() ? 10000 : 60000;
    fixture_fill(f, 0, count, 1);
    thin_out(f, count);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    struct sp_view view;
    struct kit_row row;
    const int64_t last = count - 20;
    uint64_t seen;
    assert_ok(sp_view(snapshot, fixture_table(f, "t"), &last, 8, &view));
    uint64_t moved = fixture_info(f).entries_moved;
    for (unsigned i = 0; i < 500; i++)
        store_tick(f->store);
    assert_true(fixture_info(f).entries_moved > moved);
    fixture_fill(f, count, count * 2, 1); /* takes all memory that is free */
    assert_true(kit_decode(f->schema, view.value, view.value_bytes, &row));
    assert_true(kit_body_state(row.body, row.body_bytes, 0, last, &seen));
    assert_ok(sp_snapshot_check(snapshot));
    sp_snapshot_end(snapshot);
}

/* The story: originals of moved entries that waited for a lease were freed with the count of a
 * table's shape that had been dropped and freed meanwhile. */
static void compaction_before_a_drop(void **state)
{
    struct fixture *f = *state;
    const int64_t count = 30000;
    fixture_fill(f, 0, count, 1);
    thin_out(f, count);
    fixture_begin(f); /* held by nobody: the table itself is not moved while it is in use */
    fixture_abort(f);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    for (unsigned i = 0; i < 20 && fixture_info(f).entries_moved == 0; i++)
        store_tick(f->store);
    assert_true(fixture_info(f).entries_moved > 0);
    struct sp_snapshot *second = begin_snapshot(f);
    assert_ok(store_begin(f->store, &f->txn));
    assert_ok(store_drop(f->txn, "t"));
    fixture_commit(f);
    sp_snapshot_end(second);
    for (unsigned i = 0; i < 20; i++)
        store_tick(f->store);
    sp_snapshot_end(snapshot);
    fixture_settle(f);
    assert_int_equal(kit_check(f->directory, false, NULL), 0);
}

/* The story: nothing leads to the original of a moved entry, so recovery took it for free while a
 * snapshot from before could still read it in place. */
static void restart_after_compaction_is_told_to_snapshots(void **state)
{
    struct fixture *f = *state;
    fixture_fill(f, 0, 30000, 1);
    thin_out(f, 30000);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    for (unsigned i = 0; i < 20 && fixture_info(f).entries_moved == 0; i++)
        store_tick(f->store);
    assert_true(fixture_info(f).entries_moved > 0);
    assert_ok(sp_snapshot_check(snapshot));
    fixture_close(f);
    fixture_open(f);
    assert_status(sp_snapshot_check(snapshot), SP_ESTALE);
    sp_snapshot_end(snapshot);
    snapshot = begin_snapshot(f);
    fixture_close(f);
    fixture_open(f);
    assert_ok(sp_snapshot_check(snapshot)); /* nothing was moved under this one */
    sp_snapshot_end(snapshot);
}

/* A writer of its own process, which adds one commit and is killed. */
static void write_and_die(struct fixture *f)
{
    int how;
    pid_t child = fork();
    if (child == 0) {
        fixture_open(f);
        fixture_fill(f, 0, 100, 2);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
}

static void snapshot_outlives_a_killed_writer(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;
    fixture_fill(f, 0, 100, 1);
    struct sp_snapshot *snapshot = begin_snapshot(f);
    fixture_close(f);
    write_and_die(f);
    assert_ok(fixture_view(f, snapshot, 5, &seen));
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_RECOVERED);
    assert_int_equal(fixture_info(f).leases_revoked, 0);
    for (int64_t id = 0; id < 100; id++) {
        assert_ok(fixture_view(f, snapshot, id, &seen));
        assert_int_equal(seen, 1);
        assert_ok(fixture_get(f, id, &seen));
        assert_int_equal(seen, 2);
    }
    sp_snapshot_end(snapshot);
}

/* Anybody in the pond's group may cut the leases file off. */
static void leases_file_is_mended(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct stat about;
    uint64_t seen;
    snprintf(path, sizeof(path), "%s/leases", f->directory);
    for (unsigned round = 0; round < 4; round++) {
        fixture_fill(f, 0, 100, round);
        struct sp_snapshot *snapshot = begin_snapshot(f);
        assert_int_equal(truncate(path, round % 2 ? 4096 : 0), 0);
        if (round < 2)
            fixture_close(f);
        if (round < 2)
            fixture_open(f);
        fixture_fill(f, 0, 100, round + 1);
        store_tick(f->store);
        assert_int_equal(stat(path, &about), 0);
        assert_int_equal(about.st_size, LEASES_FILE_BYTES);
        if (sp_snapshot_check(snapshot) == SP_OK) { /* its lease was in what was left */
            assert_ok(fixture_view(f, snapshot, 5, &seen));
            assert_int_equal(seen, round);
        } else {
            assert_true(fixture_info(f).versions_held == 0);
        }
        sp_snapshot_end(snapshot);
        snapshot = begin_snapshot(f);
        assert_ok(fixture_view(f, snapshot, 5, &seen));
        assert_int_equal(seen, round + 1);
        sp_snapshot_end(snapshot);
    }
}

/* --- snapshot files ------------------------------------------------------------------------- */

static void save_path(struct fixture *f, char *out, size_t cap)
{
    snprintf(out, cap, "%s/saved.snap", f->directory);
}

/* A new, empty pond in the place of the fixture's. */
static void start_empty(struct fixture *f)
{
    char path[300];
    fixture_close(f);
    sp_close(f->pond);
    f->pond = NULL;
    snprintf(path, sizeof(path), "%s/" FORMAT_POND_FILE, f->directory);
    unlink(path);
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_CREATED);
}

static void pond_is_saved_and_loaded(void **state)
{
    struct fixture *f = *state;
    char path[300];
    int64_t saved_ms = 0;
    uint64_t seen;
    save_path(f, path, sizeof(path));
    fixture_use_schema(f, KIT_INDEX_GROUP | KIT_INDEX_CODE);
    fixture_fill(f, 0, 5000, 1);
    assert_ok(store_begin(f->store, &f->txn)); /* an empty table is kept too */
    struct store_table *table;
    assert_ok(store_table(f->txn, "empty", f->schema, 0, &table, NULL));
    fixture_commit(f);
    assert_ok(store_save(f->store, path, f->why));
    start_empty(f);
    assert_status(store_load(f->store, "/nonexistent/file", NULL, f->why), SP_ENOPOND);
    assert_ok(store_load(f->store, path, &saved_ms, f->why));
    assert_true(saved_ms > 0);
    assert_int_equal(fixture_info(f).version, 3); /* after the two that were saved */
    for (int64_t id = 0; id < 5000; id++)
        assert_ok(fixture_get(f, id, &seen));
    assert_int_equal(fixture_find(f, 0, 3), 500);
    assert_int_equal(fixture_find(f, 1, 4999), 1);
    fixture_table(f, "empty");
}

/* Rows that were loaded are as old as they were when they were saved. */
static void age_goes_with_the_rows(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct sp_table_info saved = SP_TABLE_INFO_INIT, loaded = SP_TABLE_INFO_INIT;
    const struct store_status fresh = {.state = SP_TABLE_FRESH,
                                       .refreshed = true,
                                       .max_stale_ms = 600000,
                                       .fail_when_stale = true};
    uint64_t seen;
    save_path(f, path, sizeof(path));
    fixture_fill(f, 0, 100, 1);
    store_table_status(f->store, "t", &fresh);
    assert_ok(sp_table_info(fixture_table(f, "t"), &saved));
    assert_ok(store_save(f->store, path, f->why));
    start_empty(f);
    assert_ok(store_load(f->store, path, NULL, f->why));
    assert_ok(fixture_get(f, 5, &seen));
    assert_ok(sp_table_info(fixture_table(f, "t"), &loaded));
    assert_int_equal(loaded.loaded_at_ms, saved.loaded_at_ms);
    assert_int_equal(loaded.max_stale_ms, 600000);
    assert_true(loaded.fails_when_stale);
    assert_true(loaded.age_ms < 600000);
}

/* Overwrites, cuts off or appends to the saved file, then tries to load it. */
static void damage(struct fixture *f, const char *path, off_t at, off_t cut_to, int expected)
{
    FILE *file = fopen(path, "r+be");
    struct stat about;
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &about), 0);
    int old = 0;
    if (cut_to >= 0) {
        assert_int_equal(ftruncate(fileno(file), cut_to), 0);
    } else {
        fseeko(file, at, SEEK_SET);
        old = fgetc(file);
        fseeko(file, at, SEEK_SET);
        fputc(old ^ 0x41, file);
    }
    fclose(file);
    assert_status(store_load(f->store, path, NULL, f->why), expected);
    assert_int_equal(fixture_info(f).version, 0);
    if (cut_to < 0) {
        file = fopen(path, "r+be");
        fseeko(file, at, SEEK_SET);
        fputc(old, file);
        fclose(file);
    }
}

static void damaged_files_are_refused(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct stat about;
    uint64_t seen;
    save_path(f, path, sizeof(path));
    fixture_fill(f, 0, 500, 1);
    assert_ok(store_save(f->store, path, f->why));
    assert_int_equal(stat(path, &about), 0);
    start_empty(f);
    damage(f, path, 0, -1, SP_EFORMAT);
    damage(f, path, 8, -1, SP_EFORMAT);
    for (off_t at = 12; at < about.st_size; at += about.st_size / 20)
        damage(f, path, at, -1, SP_ECORRUPT);
    assert_ok(store_load(f->store, path, NULL, f->why));
    assert_ok(fixture_get(f, 499, &seen));
    start_empty(f);
    damage(f, path, 0, about.st_size - 1, SP_ECORRUPT);
    damage(f, path, 0, 100, SP_ECORRUPT);
    damage(f, path, 0, 10, SP_EFORMAT);
    damage(f, path, 0, 0, SP_EFORMAT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(snapshots_keep_their_versions),
        TEST(what_was_held_between_two_ticks_goes),
        TEST(tombstones_behind_an_aborted_version_go),
        TEST(one_old_snapshot_holds_one_version_of_each_row),
        TEST(lease_over_its_limit_is_taken_back),
        TEST(leases_of_the_dead_end),
        TEST(held_versions_survive_a_restart),
        TEST(memory_goes_back_to_the_system),
        TEST(memory_goes_back_from_huge_pages),
        TEST(compaction_spares_snapshots),
        TEST(compaction_before_a_drop),
        TEST(restart_after_compaction_is_told_to_snapshots),
        TEST(snapshot_outlives_a_killed_writer),
        TEST(leases_file_is_mended),
        TEST(pond_is_saved_and_loaded),
        TEST(age_goes_with_the_rows),
        TEST(damaged_files_are_refused),
    };
    return cmocka_run_group_tests_name("store_space", tests, NULL, NULL);
}
