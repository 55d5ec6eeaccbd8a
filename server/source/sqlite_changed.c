/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite_changed.c - which tables of an SQLite file have changed since they were read.
 *
 * A writer in WAL mode appends each page that it changes to the -wal file. So when a table is read,
 * the numbers of its pages are noted (by dbstat, in the same snapshot), and at the next begin those
 * of the frames that were appended meanwhile. Any change of a table's rows touches one of its
 * pages that were there before: a new page hangs on an old one. If none of them is among the
 * frames, the table is what it was.
 *
 *   before BEGIN   the wal-index says how many frames are committed: `from`. The snapshot has those
 *   after BEGIN    the same again: `to`. The snapshot has none beyond
 *   frames         of (from of the begin before, to]: a superset of what changed in between
 *
 * The salts of the log change when it begins anew. Where they differ, before or after the frames
 * were read, or the schema's version does, everything counts as changed; so it does in the rollback
 * modes, for views, queries and conditions, which may look at the clock, and where SQLite lacks
 * dbstat. Log and wal-index are read through SQLite's own file handles: to close another one would
 * give up its locks.
 *
 * Costs: a read of 24 bytes for each frame; a walk over a table's pages after it was read, which is
 * left out for most readings of a table that changed each time so far; a bit for each page.
 * Limits: FRAMES_MAX frames between two reads; more count as a change of everything.
 */
#include <stdlib.h>
#include <string.h>

#include "server/source/sqlite.h"

enum {
    FRAMES_MAX = 65536,
    FRAME_HEAD_BYTES = 24,
    LOG_HEAD_BYTES = 32,
    SHM_REGION_BYTES = 32768,
    VAIN_MAX = 4,   /* maps in a row that were of no use */
    VAIN_EVERY = 8, /* after them, the readings of which one makes a map */
};

/* The head of the wal-index, of which there are two copies (https://sqlite.org/walformat.html). */
struct index_head {
    uint32_t version, unused, change;
    uint8_t is_init, big_endian;
    uint16_t page_bytes; /* 1: 65,536 */
    uint32_t frames;     /* committed */
    uint32_t pages;
    uint32_t frame_checksum[2];
    uint8_t salts[8];
    uint32_t checksum[2];
};
_Static_assert(sizeof(struct index_head) == 48, "format of SQLite");

struct sqlite_map {
    struct sqlite_map *next;
    char *relation;
    uint64_t *bits; /* by page number; NULL: not made */
    size_t words;
    uint64_t at; /* the begin in which it was made, or the table found unchanged */
    unsigned vain, readings;
};

/* --- the log ---------------------------------------------------------------------------------- */

static bool read_copies(const uint32_t *region, struct index_head *out)
{
    enum { WORDS = sizeof(struct index_head) / 4 };
    uint32_t first[WORDS], second[WORDS];
    for (unsigned i = 0; i < WORDS; i++)
        first[i] = __atomic_load_n(&region[i], __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < WORDS; i++)
        second[i] = __atomic_load_n(&region[WORDS + i], __ATOMIC_RELAXED);
    memcpy(out, first, sizeof(*out));
    return memcmp(first, second, sizeof(first)) == 0 && out->is_init;
}

/* What the wal-index says; false: there is none, or a writer is just changing it. */
static bool read_index(struct source *source, struct index_head *out)
{
    sqlite3_file *file = NULL;
    void volatile *region = NULL; /* as SQLite's interface has it */
    if (sqlite3_file_control(source->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        !file || !file->pMethods || file->pMethods->iVersion < 2)
        return false;
    if (file->pMethods->xShmMap(file, 0, SHM_REGION_BYTES, 0, &region) != SQLITE_OK || !region)
        return false;
    return read_copies((const uint32_t *)(uintptr_t)region, out);
}

/* A connection in WAL mode keeps the file in it. In another mode the wal-index must not even be
 * asked for: it would be made. */
void sqlite_changes_open(struct source *source)
{
    sqlite3_stmt *stmt = NULL;
    source->changes.wal =
        sqlite3_prepare_v2(source->db, "PRAGMA journal_mode", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW &&
        sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
    sqlite3_finalize(stmt);
}

static bool same_log(const struct index_head *a, const struct index_head *b)
{
    return memcmp(a->salts, b->salts, sizeof(a->salts)) == 0 && a->page_bytes == b->page_bytes;
}

/* The numbers of the pages in frames (from, to]. */
static bool read_frames(struct source *source, const struct index_head *from,
                        const struct index_head *to)
{
    struct sqlite_changes *changes = &source->changes;
    sqlite3_file *log = NULL;
    unsigned char head[FRAME_HEAD_BYTES];
    const sqlite3_int64 page_bytes = to->page_bytes == 1 ? 65536 : to->page_bytes;
    if (to->frames < from->frames || to->frames - from->frames > FRAMES_MAX)
        return false;
    if (sqlite3_file_control(source->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK ||
        !log || !log->pMethods)
        return to->frames == from->frames;
    free(changes->pages);
    changes->pages = malloc((to->frames - from->frames + 1) * sizeof(*changes->pages));
    if (!changes->pages)
        return false;
    for (uint32_t i = from->frames; i < to->frames; i++) {
        const sqlite3_int64 at =
            LOG_HEAD_BYTES + (sqlite3_int64)i * (FRAME_HEAD_BYTES + page_bytes);
        if (log->pMethods->xRead(log, head, sizeof(head), at) != SQLITE_OK ||
            memcmp(head + 8, to->salts, sizeof(to->salts)) != 0)
            return false;
        changes->pages[changes->count++] =
            (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    }
    return true;
}

/* --- a transaction begins --------------------------------------------------------------------- */

static int64_t schema_version(struct source *source)
{
    sqlite3_stmt *stmt = NULL;
    int64_t version = -1;
    if (sqlite3_prepare_v2(source->db, "PRAGMA schema_version", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        version = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return version;
}

void sqlite_changes_before(struct source *source)
{
    struct sqlite_changes *changes = &source->changes;
    struct index_head head;
    changes->next_known = changes->wal && read_index(source, &head);
    if (changes->next_known)
        memcpy(changes->next_from, &head, sizeof(head));
}

void sqlite_changes_after(struct source *source)
{
    struct sqlite_changes *changes = &source->changes;
    struct index_head from, to, now;
    const int64_t schema = schema_version(source);
    memcpy(&from, changes->from, sizeof(from));
    changes->count = 0;
    changes->begins++;
    changes->told = changes->maps && changes->known && changes->schema == schema &&
                    read_index(source, &to) && same_log(&from, &to) &&
                    read_frames(source, &from, &to) && read_index(source, &now) &&
                    same_log(&to, &now);
    memcpy(changes->from, changes->next_from, sizeof(changes->from));
    changes->known = changes->next_known && schema >= 0;
    changes->schema = schema;
}

/* --- maps ------------------------------------------------------------------------------------- */

static struct sqlite_map *find_map(struct source *source, const char *relation)
{
    for (struct sqlite_map *map = source->changes.maps; map; map = map->next)
        if (strcmp(map->relation, relation) == 0)
            return map;
    return NULL;
}

static struct sqlite_map *make_map(struct source *source, const char *relation)
{
    struct sqlite_map *map = calloc(1, sizeof(*map));
    if (map)
        map->relation = strdup(relation);
    if (!map || !map->relation) {
        free(map);
        return NULL;
    }
    map->next = source->changes.maps;
    source->changes.maps = map;
    return map;
}

static void forget_map(struct sqlite_map *map)
{
    free(map->bits);
    map->bits = NULL;
    map->words = 0;
}

static bool note_page(struct sqlite_map *map, int64_t page)
{
    if (page <= 0 || page > UINT32_MAX)
        return false;
    const size_t word = (size_t)page / 64;
    if (word >= map->words) {
        const size_t words = word + word / 2 + 64;
        uint64_t *bits = realloc(map->bits, words * sizeof(*bits));
        if (!bits)
            return false;
        memset(bits + map->words, 0, (words - map->words) * sizeof(*bits));
        map->bits = bits;
        map->words = words;
    }
    map->bits[word] |= UINT64_C(1) << (page % 64);
    return true;
}

/* Whether it is a table, and nothing that is made of others: a view, a virtual table. */
static bool is_table(struct source *source, const char *relation)
{
    sqlite3_stmt *stmt = NULL;
    bool table = false;
    if (sqlite3_prepare_v2(source->db,
                           "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1 AND "
                           "rootpage > 0",
                           -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_bind_text(stmt, 1, relation, -1, SQLITE_TRANSIENT) == SQLITE_OK)
        table = sqlite3_step(stmt) == SQLITE_ROW;
    sqlite3_finalize(stmt);
    return table;
}

static bool walk_pages(struct source *source, struct sqlite_map *map)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(source->db, "SELECT pageno FROM dbstat WHERE name = ?1", -1, &stmt,
                                NULL);
    bool good = rc == SQLITE_OK;
    if (good)
        rc = sqlite3_bind_text(stmt, 1, map->relation, -1, SQLITE_TRANSIENT);
    while (good && rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        good = note_page(map, sqlite3_column_int64(stmt, 0));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    return good && rc == SQLITE_DONE && map->bits;
}

void sqlite_changes_note(struct source *source, const struct source_table *table)
{
    struct sqlite_map *map = table->relation ? find_map(source, table->relation) : NULL;
    if (!table->relation || table->where || !source->changes.known)
        return;
    if (!map)
        map = make_map(source, table->relation);
    if (!map)
        return;
    forget_map(map);
    if (map->vain >= VAIN_MAX && ++map->readings % VAIN_EVERY != 0)
        return;
    map->at = source->changes.begins;
    if (!is_table(source, table->relation) || !walk_pages(source, map))
        forget_map(map);
}

int sqlite_changed(struct source *source, const struct source_table *table, bool *changed,
                   struct source_error *error)
{
    const struct sqlite_changes *changes = &source->changes;
    struct sqlite_map *map = table->relation ? find_map(source, table->relation) : NULL;
    (void)error;
    *changed = true;
    if (table->where || !map || !map->bits)
        return SP_OK;
    bool touched = !changes->told || map->at + 1 != changes->begins;
    for (size_t i = 0; i < changes->count && !touched; i++) {
        const uint32_t page = changes->pages[i];
        touched = page / 64 < map->words && map->bits[page / 64] >> (page % 64) & 1;
    }
    map->vain = touched ? map->vain + 1 : 0;
    if (touched)
        forget_map(map); /* until it is read again */
    map->at = changes->begins;
    *changed = touched;
    return SP_OK;
}

void sqlite_changes_forget(struct source *source)
{
    struct sqlite_changes *changes = &source->changes;
    for (struct sqlite_map *map = changes->maps, *next; map; map = next) {
        next = map->next;
        free(map->bits);
        free(map->relation);
        free(map);
    }
    free(changes->pages);
    *changes = (struct sqlite_changes){0};
}
