/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite_pages.c - which tables of an SQLite file cannot have changed since they were read.
 *
 * In WAL mode each commit appends the pages that it wrote to the -wal file, one frame for each,
 * with the page's number in front. SQLite's table dbstat says which pages a table lies on. A table
 * none of whose pages has been written since is as it was: whatever changes it writes at least one
 * of the pages that it had before (the leaf a row is in or comes into, its overflow page, or the
 * page above a leaf that is split, moved or freed). Changes of columns count by schema_version.
 *
 *   begin:   note how many frames are committed; BEGIN; look through those that came after the
 *            number noted by the begin before; mark the tables that have one of their pages
 *   stream:  when all rows have been read: the table's pages, from the same snapshot; unmark it
 *
 * The number is noted before the snapshot begins, so what is committed in between is looked at
 * twice rather than never. It is that of the wal-index, which SQLite maps for us: what stands in
 * the -wal itself may have been rolled back, or not be visible yet. When the -wal is begun anew
 * (its salts are others) it is not known what the old one still got, and every table counts as
 * changed; so it does in the rollback modes, for a view, a query, a virtual table, and with a
 * condition, which may look at the clock.
 *
 * The formats: https://sqlite.org/walformat.html.
 *
 * Costs: one read of 4 bytes for each new frame, of FRAMES_MAX at most; after each reading of a
 * whole table a walk over its pages by SQLite, and one bit of memory for each page of the file.
 */
#include <endian.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "server/source/sqlite.h"

enum {
    WAL_HEADER_BYTES = 32,
    WAL_FRAME_BYTES = 24, /* before each page */
    INDEX_BYTES = 32768,  /* of the wal-index's first part */
    INDEX_TRIES = 100,
    FRAMES_MAX = 65536, /* more than these since the last time: all tables count as changed */
    BITS = 64
};

/* The head of the wal-index, which is there twice: a writer changes the second one first. */
struct index_head {
    uint32_t version, unused, change;
    uint8_t is_init, checksum_order;
    uint16_t page_bytes; /* 1: 65536 */
    uint32_t frames;     /* committed */
    uint32_t pages, frame_checksum[2];
    uint32_t salts[2]; /* others when the -wal is begun anew */
    uint32_t checksum[2];
};

/* A table that was read, and where it lay. */
struct sqlite_table_pages {
    struct sqlite_table_pages *next;
    char *relation;
    uint64_t *bits; /* one for each page of the file, the first for page 0, which there is not */
    uint32_t words;
    bool changed;
};

/* --- the write-ahead log -------------------------------------------------------------------- */

/* SQLite's own mapping of the wal-index: to open the file ourselves, and close it, would take away
 * the locks that SQLite has on it in this process. */
static const struct index_head *map_index(struct source *source)
{
    sqlite3_file *file = NULL;
    void volatile *memory = NULL;
    if (sqlite3_file_control(source->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        !file || !file->pMethods || file->pMethods->iVersion < 2 ||
        file->pMethods->xShmMap(file, 0, INDEX_BYTES, 0, &memory) != SQLITE_OK)
        return NULL;
    return (const struct index_head *)memory;
}

/* The state of the -wal now; not known where there is none. */
static struct sqlite_wal_place wal_place(struct source *source)
{
    const struct index_head *index = source->pages.wal ? map_index(source) : NULL;
    struct index_head heads[2];
    for (unsigned i = 0; index && i < INDEX_TRIES; i++) {
        memcpy(&heads[0], index, sizeof(*index));
        atomic_thread_fence(memory_order_acquire);
        memcpy(&heads[1], index + 1, sizeof(*index));
        if (memcmp(&heads[0], &heads[1], sizeof(*index)) == 0 && heads[0].is_init)
            return (struct sqlite_wal_place){
                .known = true,
                .page_bytes = heads[0].page_bytes == 1 ? 65536 : heads[0].page_bytes,
                .salts = {heads[0].salts[0], heads[0].salts[1]},
                .frames = heads[0].frames};
    }
    return (struct sqlite_wal_place){0};
}

static bool same_wal(const struct sqlite_wal_place *a, const struct sqlite_wal_place *b)
{
    return a->known && b->known && a->salts[0] == b->salts[0] && a->salts[1] == b->salts[1];
}

static int wal_open(const struct source *source)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s-wal", source->path) >= (int)sizeof(path))
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* The page in a frame, the first being 0; 0: cannot be read. */
static uint32_t wal_page(int fd, uint32_t page_bytes, uint64_t frame)
{
    const uint64_t at = WAL_HEADER_BYTES + frame * (WAL_FRAME_BYTES + (uint64_t)page_bytes);
    uint32_t page = 0;
    return pread(fd, &page, sizeof(page), (off_t)at) == sizeof(page) ? be32toh(page) : 0;
}

/* --- tables --------------------------------------------------------------------------------- */

static struct sqlite_table_pages *find_table(const struct source *source,
                                             const struct source_table *table)
{
    struct sqlite_table_pages *pages = source->pages.tables;
    while (pages && strcmp(pages->relation, table->relation) != 0)
        pages = pages->next;
    return pages;
}

static void mark_all(struct source *source)
{
    for (struct sqlite_table_pages *t = source->pages.tables; t; t = t->next)
        t->changed = true;
}

static void mark_page(struct source *source, uint32_t page)
{
    for (struct sqlite_table_pages *t = source->pages.tables; t; t = t->next)
        if (page / BITS < t->words && (t->bits[page / BITS] >> (page % BITS) & 1))
            t->changed = true;
}

/* The first integer of a statement's only row, or -1. */
static int64_t ask(struct source *source, const char *sql, const char *bound)
{
    sqlite3_stmt *stmt = NULL;
    int64_t answer = -1;
    if (sqlite3_prepare_v2(source->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return -1;
    if (bound)
        sqlite3_bind_text(stmt, 1, bound, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        answer = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return answer;
}

/* --- beginning a snapshot ------------------------------------------------------------------- */

/* A file that is in WAL mode stays so while we have it open. */
static bool in_wal_mode(struct source *source)
{
    sqlite3_stmt *stmt = NULL;
    bool wal = false;
    if (sqlite3_prepare_v2(source->db, "PRAGMA journal_mode", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        wal = strcasecmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
    sqlite3_finalize(stmt);
    return wal;
}

void sqlite_pages_before(struct source *source)
{
    struct sqlite_pages *pages = &source->pages;
    if (!pages->watching)
        return;
    pages->wal = pages->wal || in_wal_mode(source);
    pages->next = wal_place(source);
}

/* Marks the tables that have pages among the frames since the place. False: not all that was
 * written since is known. */
static bool look_through(struct source *source)
{
    const struct sqlite_wal_place *from = &source->pages.place;
    const struct sqlite_wal_place to = wal_place(source);
    if (!same_wal(from, &to) || to.frames - from->frames > FRAMES_MAX)
        return false;
    const int fd = wal_open(source);
    uint32_t page = fd >= 0;
    for (uint64_t frame = from->frames; page && frame < to.frames; frame++) {
        page = wal_page(fd, to.page_bytes, frame);
        mark_page(source, page);
    }
    if (fd >= 0)
        close(fd);
    const struct sqlite_wal_place after = wal_place(source); /* begun anew while we read? */
    return page && same_wal(from, &after);
}

void sqlite_pages_begin(struct source *source)
{
    struct sqlite_pages *pages = &source->pages;
    if (!pages->watching)
        return;
    const int64_t schema = ask(source, "PRAGMA schema_version", NULL);
    if (!look_through(source) || schema < 0 || schema != pages->schema_version)
        mark_all(source);
    pages->schema_version = schema;
    pages->place = pages->next;
}

/* --- after reading a table ------------------------------------------------------------------ */

static bool add_page(struct sqlite_table_pages *t, int64_t page)
{
    if (page < 0 || page > UINT32_MAX)
        return false;
    const uint32_t word = (uint32_t)(page / BITS);
    if (word >= t->words) {
        const uint32_t words = word + word / 4 + 1;
        uint64_t *bits = realloc(t->bits, words * sizeof(*bits));
        if (!bits)
            return false;
        memset(bits + t->words, 0, (words - t->words) * sizeof(*bits));
        t->bits = bits;
        t->words = words;
    }
    t->bits[word] |= UINT64_C(1) << (page % BITS);
    return true;
}

/* False where dbstat is not to be had, or anything else fails. */
static bool read_pages(struct source *source, struct sqlite_table_pages *t)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(source->db, "SELECT pageno FROM dbstat WHERE name = ?1", -1, &stmt,
                                NULL);
    if (rc != SQLITE_OK)
        return false;
    sqlite3_bind_text(stmt, 1, t->relation, -1, SQLITE_STATIC);
    if (t->bits)
        memset(t->bits, 0, t->words * sizeof(*t->bits));
    uint64_t count = 0;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && add_page(t, sqlite3_column_int64(stmt, 0)))
        count++;
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE && count > 0;
}

static struct sqlite_table_pages *new_table(struct source *source, const struct source_table *table)
{
    struct sqlite_table_pages *t = calloc(1, sizeof(*t));
    if (!t || !(t->relation = strdup(table->relation))) {
        free(t);
        return NULL;
    }
    t->next = source->pages.tables;
    source->pages.tables = t;
    return t;
}

void sqlite_pages_read(struct source *source, const struct source_table *table)
{
    const char *is_table = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?1";
    if (!source->pages.watching || !source->pages.place.known || table->query || table->where)
        return;
    struct sqlite_table_pages *t = find_table(source, table);
    if (!t && ask(source, is_table, table->relation) > 0)
        t = new_table(source, table);
    if (t)
        t->changed = !read_pages(source, t);
}

bool sqlite_unchanged(struct source *source, const struct source_table *table)
{
    if (!source->pages.watching || table->query || table->where)
        return false;
    const struct sqlite_table_pages *t = find_table(source, table);
    return t && !t->changed;
}

void sqlite_pages_forget(struct source *source)
{
    struct sqlite_pages *pages = &source->pages;
    while (pages->tables) {
        struct sqlite_table_pages *t = pages->tables;
        pages->tables = t->next;
        free(t->relation);
        free(t->bits);
        free(t);
    }
    *pages = (struct sqlite_pages){.watching = pages->watching, .schema_version = -1};
}
