/* SPDX-License-Identifier: Apache-2.0
 *
 * snapfile.c - snapshot files, and filling a new pond from the one it replaces.
 *
 * Both read a pond as any reader does, under a snapshot of one version, without the store's lock.
 *
 * A snapshot file: a head, then for each table its name, its schema block and its rows, then the
 * checksum of all that. It is read twice: first the checksum, then the rows, in one transaction; so
 * a damaged file changes nothing. docs/FORMAT.md has the bytes.
 */
#include "client/local/any_age.h"
#include "server/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SNAPSHOT_MAGIC   UINT64_C(0x31706e7364707301) /* "\x01spdsnp1" */
#define SNAPSHOT_VERSION 2u
#define ROWS_END         UINT32_MAX
#define BATCH_ROWS       256u
#define BATCH_BYTES      ((size_t)1 << 20)

struct snapshot_head {
    uint64_t magic;
    uint32_t version;
    uint32_t table_count;
    uint64_t pond_version;
    int64_t saved_ms;
};

/* --- schemas through the public interface --------------------------------------------------- */

static int copy_index(const struct sp_schema *schema, size_t i, struct row_index *out)
{
    struct sp_index_info info;
    int status = sp_schema_index(schema, i, &info);
    if (status != SP_OK)
        return status;
    *out = (struct row_index){
        .name = info.name, .unique = info.unique, .column_count = (unsigned)info.column_count};
    for (size_t c = 0; c < info.column_count; c++) {
        size_t column;
        status = sp_schema_index_column(schema, (int)i, c, &column);
        if (status != SP_OK)
            return status;
        out->columns[c] = (uint16_t)column;
    }
    return SP_OK;
}

static int copy_age(struct sp_table *table, struct table_age *out)
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    int status = sp_table_info(table, &info);
    *out = (struct table_age){info.loaded_at_ms, info.max_stale_ms, info.fails_when_stale};
    return status;
}

static int copy_schema(const struct sp_schema *schema, struct schema **out)
{
    struct row_index indexes[ROW_INDEXES_MAX];
    size_t columns = sp_schema_column_count(schema), count = sp_schema_index_count(schema);
    struct row_column *list = calloc(columns, sizeof(*list));
    int status = list && count <= ROW_INDEXES_MAX ? SP_OK : SP_ENOMEM;
    for (size_t i = 0; i < columns && status == SP_OK; i++) {
        struct sp_column_info info;
        status = sp_schema_column(schema, i, &info);
        list[i] = (struct row_column){.name = info.name,
                                      .type = info.type,
                                      .nullable = info.nullable,
                                      .key_position = info.key_position};
    }
    for (size_t i = 0; i < count && status == SP_OK; i++)
        status = copy_index(schema, i, &indexes[i]);
    if (status == SP_OK)
        status = schema_build(list, (unsigned)columns, indexes, (unsigned)count, out, NULL, 0);
    free(list);
    return status;
}

/* --- batches into a table ------------------------------------------------------------------- */

struct batch {
    struct store_table *table;
    struct store_row rows[BATCH_ROWS];
    size_t count;
};

static int batch_flush(struct batch *batch)
{
    size_t done, count = batch->count;
    batch->count = 0;
    return count ? store_put(batch->table, batch->rows, count, &done) : SP_OK;
}

static int batch_add(struct batch *batch, const void *key, size_t key_bytes, const void *value,
                     size_t value_bytes)
{
    batch->rows[batch->count++] = (struct store_row){key, key_bytes, value, value_bytes, 0};
    return batch->count == BATCH_ROWS ? batch_flush(batch) : SP_OK;
}

/* --- filling a pond from another one -------------------------------------------------------- */

static int copy_rows(struct sp_snapshot *snapshot, struct sp_table *from, struct store_table *to)
{
    struct sp_scan *scan;
    struct sp_view view;
    struct batch batch = {.table = to};
    int status = scan_begin_any_age(snapshot, from, &scan);
    if (status != SP_OK)
        return status;
    while (status == SP_OK && (status = sp_scan_next(scan, &view)) == SP_OK)
        status = batch_add(&batch, view.key, view.key_bytes, view.value, view.value_bytes);
    if (status == SP_ENOTFOUND)
        status = batch_flush(&batch);
    sp_scan_end(scan);
    return status;
}

struct copy {
    struct store *store;
    struct sp_pond *pond;
    struct sp_snapshot *snapshot;
    struct store_opened *opened;
};

/* Whether a status says that a table has no rows to copy: dropped, or never loaded. */
static bool is_no_data(int status)
{
    return status == SP_ENOTABLE || status == SP_ENOTREADY;
}

/* Whether a status is no fault of the table at hand, so that the next try may do better. */
static bool is_fatal(int status)
{
    return status == SP_ENOSPC || status == SP_ENOSHM || status == SP_ENOMEM || status == SP_ESYS ||
           status == SP_ESTALE;
}

static void note_lost(struct store_opened *opened, const char *name, int status)
{
    size_t used = strlen(opened->note);
    opened->lost_tables++;
    snprintf(opened->note + used, sizeof(opened->note) - used, "%stable %s: %s", used ? "; " : "",
             name, sp_status_text(status));
}

/* In a transaction of its own: the new pond is not in its place yet, so nobody sees it half full.
 */
static int copy_shape(const struct copy *copy, struct sp_table *from, const char *name,
                      const struct schema *schema)
{
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    struct table_age age;
    struct store_table *to;
    struct store_txn *txn;
    int status = sp_table_info(from, &info);
    if (status == SP_OK)
        status = copy_age(from, &age);
    if (status == SP_OK)
        status = store_begin(copy->store, &txn);
    if (status != SP_OK)
        return status;
    status = store_table(txn, name, schema, info.rows, &to, NULL);
    if (status == SP_OK)
        status = copy_rows(copy->snapshot, from, to);
    if (status != SP_OK) {
        store_abort(txn);
        return status;
    }
    status = store_commit(txn, NULL);
    if (status == SP_OK)
        store_table_age(copy->store, name, &age);
    return status;
}

static int copy_table(const struct copy *copy, const char *name)
{
    const struct sp_schema *from_schema;
    struct schema *schema;
    struct sp_table *from;
    int status = sp_table_open(copy->pond, name, &from);
    if (status == SP_OK)
        status = sp_table_schema(from, &from_schema);
    if (is_no_data(status))
        return SP_OK;
    if (status == SP_OK)
        status = copy_schema(from_schema, &schema);
    if (status == SP_OK) {
        status = copy_shape(copy, from, name, schema);
        schema_free(schema);
    }
    if (status == SP_OK || is_fatal(status))
        return status;
    note_lost(copy->opened, name, status);
    return SP_OK;
}

static int copy_pond(struct store *store, struct sp_pond *pond, struct store_opened *opened)
{
    const char *names[FORMAT_TABLES_MAX];
    struct copy copy = {store, pond, NULL, opened};
    int status = sp_snapshot_begin(pond, &copy.snapshot);
    if (status != SP_OK)
        return status;
    store->version_floor = sp_snapshot_version(copy.snapshot);
    size_t count = sp_table_names(pond, names, FORMAT_TABLES_MAX);
    for (size_t i = 0; status == SP_OK && i < count && i < FORMAT_TABLES_MAX; i++)
        status = copy_table(&copy, names[i]);
    sp_snapshot_end(copy.snapshot);
    return status;
}

int migrate(struct store *store, struct store_opened *opened, char *why)
{
    struct sp_pond *pond;
    int status = sp_open(store->directory, NULL, &pond);
    if (status == SP_ENOTREADY) /* nothing was ever committed to it */
        return SP_OK;
    if (status == SP_OK) {
        status = copy_pond(store, pond, opened);
        sp_close(pond);
    }
    if (status == SP_ENOSPC || status == SP_ENOSHM)
        snprintf(why, STORE_WHY_BYTES,
                 "%s: the data of the pond there does not fit into %llu bytes; raise memory: or "
                 "remove the directory to start empty",
                 store->directory, (unsigned long long)store->options.limit_bytes);
    else if (status != SP_OK)
        snprintf(why, STORE_WHY_BYTES,
                 "%s: the data of the pond there cannot be copied into the new one: %s",
                 store->directory, sp_status_text(status));
    return status;
}

/* --- writing a file ------------------------------------------------------------------------- */

struct writer {
    FILE *file;
    XXH3_state_t hash;
    bool failed;
};

static void write_bytes(struct writer *w, const void *data, size_t bytes)
{
    if (bytes == 0)
        return;
    XXH3_64bits_update(&w->hash, data, bytes);
    w->failed |= fwrite(data, 1, bytes, w->file) != bytes;
}

static void write_u32(struct writer *w, uint32_t value)
{
    write_bytes(w, &value, sizeof(value));
}

static int write_rows(struct writer *w, struct sp_snapshot *snapshot, struct sp_table *table)
{
    struct sp_scan *scan;
    struct sp_view view;
    int status = scan_begin_any_age(snapshot, table, &scan);
    if (status != SP_OK)
        return status;
    while ((status = sp_scan_next(scan, &view)) == SP_OK && !w->failed) {
        write_u32(w, (uint32_t)view.key_bytes);
        write_u32(w, (uint32_t)view.value_bytes);
        write_bytes(w, view.key, view.key_bytes);
        write_bytes(w, view.value, view.value_bytes);
    }
    sp_scan_end(scan);
    write_u32(w, ROWS_END);
    return status == SP_ENOTFOUND ? sp_snapshot_check(snapshot) : status;
}

static int write_table(struct writer *w, struct sp_snapshot *snapshot, struct sp_pond *pond,
                       const char *name)
{
    const struct sp_schema *public_schema;
    struct schema *schema;
    struct table_age age;
    struct sp_table *table;
    int status = sp_table_open(pond, name, &table);
    if (status == SP_OK)
        status = copy_age(table, &age);
    if (status == SP_OK)
        status = sp_table_schema(table, &public_schema);
    if (status == SP_OK)
        status = copy_schema(public_schema, &schema);
    if (status != SP_OK)
        return status;
    size_t bytes = schema_encoded_bytes(schema);
    void *block = malloc(bytes);
    if (block) {
        schema_encode(schema, block);
        write_u32(w, (uint32_t)strlen(name));
        write_bytes(w, name, strlen(name));
        write_bytes(w, &age, sizeof(age));
        write_u32(w, (uint32_t)bytes);
        write_bytes(w, block, bytes);
        status = write_rows(w, snapshot, table);
    }
    free(block);
    schema_free(schema);
    return block ? status : SP_ENOMEM;
}

/* Tables that have been loaded and not dropped. */
static size_t loaded_tables(struct sp_pond *pond, const char **names)
{
    const char *all[FORMAT_TABLES_MAX];
    size_t count = sp_table_names(pond, all, FORMAT_TABLES_MAX), loaded = 0;
    for (size_t i = 0; i < count && i < FORMAT_TABLES_MAX; i++) {
        struct sp_table *table;
        const struct sp_schema *schema;
        if (sp_table_open(pond, all[i], &table) == SP_OK &&
            sp_table_schema(table, &schema) == SP_OK)
            names[loaded++] = all[i];
    }
    return loaded;
}

static int write_pond(struct writer *w, struct sp_pond *pond)
{
    const char *names[FORMAT_TABLES_MAX];
    struct sp_snapshot *snapshot;
    int status = sp_snapshot_begin(pond, &snapshot);
    if (status != SP_OK)
        return status;
    size_t count = loaded_tables(pond, names);
    struct snapshot_head head = {SNAPSHOT_MAGIC, SNAPSHOT_VERSION, (uint32_t)count,
                                 sp_snapshot_version(snapshot), clock_wall_ms()};
    write_bytes(w, &head, sizeof(head));
    for (size_t i = 0; i < count && status == SP_OK; i++)
        status = write_table(w, snapshot, pond, names[i]);
    sp_snapshot_end(snapshot);
    return status;
}

static int write_file(struct store *store, FILE *file)
{
    struct writer w = {.file = file};
    struct sp_pond *pond;
    int status = sp_open(store->directory, NULL, &pond);
    if (status != SP_OK)
        return status;
    XXH3_64bits_reset(&w.hash);
    status = write_pond(&w, pond);
    sp_close(pond);
    uint64_t checksum = XXH3_64bits_digest(&w.hash);
    write_bytes(&w, &checksum, sizeof(checksum));
    if (status == SP_OK && (w.failed || fflush(file) != 0 || fsync(fileno(file)) != 0))
        status = SP_ESYS;
    return status;
}

int store_save(struct store *store, const char *path, char *why)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
        return SP_EINVAL;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!file) {
        snprintf(why, STORE_WHY_BYTES, "snapshot file %.400s: %s", temporary, strerror(errno));
        if (fd >= 0)
            close(fd);
        return SP_ESYS;
    }
    int status = write_file(store, file);
    if (fclose(file) != 0 && status == SP_OK)
        status = SP_ESYS;
    if (status == SP_OK && rename(temporary, path) != 0)
        status = SP_ESYS;
    if (status != SP_OK) {
        snprintf(why, STORE_WHY_BYTES, "snapshot file %.400s: %s", path,
                 status == SP_ESYS ? strerror(errno) : sp_status_text(status));
        unlink(temporary);
    }
    return status;
}

/* --- reading a file ------------------------------------------------------------------------- */

struct reader {
    FILE *file;
    uint64_t left;   /* bytes before the checksum */
    uint8_t *buffer; /* of a batch's keys and values */
    size_t used, cap;
};

static int read_bytes(struct reader *r, void *out, size_t bytes)
{
    if (bytes > r->left || fread(out, 1, bytes, r->file) != bytes)
        return SP_ECORRUPT;
    r->left -= bytes;
    return SP_OK;
}

static int check_file(FILE *file, uint64_t *bytes)
{
    static const size_t block = 1 << 16;
    struct stat st;
    struct snapshot_head head;
    uint64_t stored;
    if (fstat(fileno(file), &st) != 0 || (size_t)st.st_size < sizeof(head) + sizeof(stored) ||
        fread(&head, sizeof(head), 1, file) != 1 || head.magic != SNAPSHOT_MAGIC ||
        head.version != SNAPSHOT_VERSION)
        return SP_EFORMAT;
    *bytes = (uint64_t)st.st_size - sizeof(stored);
    uint8_t *buffer = malloc(block);
    XXH3_state_t *hash = XXH3_createState();
    int status = buffer && hash ? SP_OK : SP_ENOMEM;
    rewind(file);
    if (status == SP_OK)
        XXH3_64bits_reset(hash);
    for (uint64_t left = *bytes; left > 0 && status == SP_OK;) {
        size_t step = left < block ? (size_t)left : block;
        if (fread(buffer, 1, step, file) != step)
            status = SP_ECORRUPT;
        else
            XXH3_64bits_update(hash, buffer, step);
        left -= step;
    }
    if (status == SP_OK &&
        (fread(&stored, sizeof(stored), 1, file) != 1 || stored != XXH3_64bits_digest(hash)))
        status = SP_ECORRUPT;
    XXH3_freeState(hash);
    free(buffer);
    rewind(file);
    return status;
}

static int read_row(struct reader *r, struct batch *batch, uint32_t key_bytes)
{
    uint32_t value_bytes;
    int status = read_bytes(r, &value_bytes, sizeof(value_bytes));
    if (status != SP_OK || key_bytes > ENTRY_KEY_MAX || value_bytes > ENTRY_VALUE_MAX)
        return SP_ECORRUPT;
    size_t bytes = (size_t)key_bytes + value_bytes;
    if (r->used + bytes > r->cap || batch->count == BATCH_ROWS - 1) {
        status = batch_flush(batch);
        r->used = 0;
    }
    if (status == SP_OK && bytes > r->cap) {
        uint8_t *buffer = realloc(r->buffer, bytes);
        if (!buffer)
            return SP_ENOMEM;
        r->buffer = buffer;
        r->cap = bytes;
    }
    if (status == SP_OK)
        status = read_bytes(r, r->buffer + r->used, bytes);
    if (status != SP_OK)
        return status;
    const uint8_t *key = r->buffer + r->used;
    r->used += bytes;
    return batch_add(batch, key, key_bytes, key + key_bytes, value_bytes);
}

static int read_rows(struct reader *r, struct store_table *table)
{
    struct batch batch = {.table = table};
    r->used = 0;
    for (;;) {
        uint32_t key_bytes;
        int status = read_bytes(r, &key_bytes, sizeof(key_bytes));
        if (status == SP_OK && key_bytes == ROWS_END)
            return batch_flush(&batch);
        if (status == SP_OK)
            status = read_row(r, &batch, key_bytes);
        if (status != SP_OK)
            return status;
    }
}

static int read_table(struct reader *r, struct store *store, struct store_txn *txn)
{
    char name[FORMAT_NAME_BYTES] = "";
    uint32_t name_bytes, schema_bytes;
    struct schema *schema = NULL;
    struct table_age age;
    struct store_table *table;
    int status = read_bytes(r, &name_bytes, sizeof(name_bytes));
    if (status != SP_OK || name_bytes >= sizeof(name))
        return SP_ECORRUPT;
    status = read_bytes(r, name, name_bytes);
    if (status == SP_OK)
        status = read_bytes(r, &age, sizeof(age));
    if (status == SP_OK)
        status = read_bytes(r, &schema_bytes, sizeof(schema_bytes));
    if (status != SP_OK || schema_bytes > r->left)
        return SP_ECORRUPT;
    void *block = malloc(schema_bytes + 1);
    status = block ? read_bytes(r, block, schema_bytes) : SP_ENOMEM;
    if (status == SP_OK)
        status = schema_parse(block, schema_bytes, &schema);
    free(block);
    if (status == SP_OK)
        status = store_table(txn, name, schema, 0, &table, NULL);
    if (status == SP_OK)
        status = read_rows(r, table);
    if (status == SP_OK)
        store_table_age(store, name, &age);
    schema_free(schema);
    return status;
}

static int read_pond(struct store *store, FILE *file, uint64_t bytes, int64_t *saved_ms)
{
    struct reader r = {.file = file, .left = bytes, .cap = BATCH_BYTES};
    struct snapshot_head head;
    struct store_txn *txn;
    int status = read_bytes(&r, &head, sizeof(head));
    r.buffer = malloc(r.cap);
    if (status != SP_OK || !r.buffer) {
        free(r.buffer);
        return status != SP_OK ? status : SP_ENOMEM;
    }
    if (head.pond_version < VERSION_UNCOMMITTED / 2) /* a forged one must not use them up */
        store->version_floor = head.pond_version;
    status = store_begin(store, &txn);
    if (status == SP_OK) {
        for (uint32_t i = 0; i < head.table_count && status == SP_OK; i++)
            status = read_table(&r, store, txn);
        if (status == SP_OK)
            status = store_commit(txn, NULL);
        else
            store_abort(txn);
    }
    if (saved_ms)
        *saved_ms = head.saved_ms;
    free(r.buffer);
    return status;
}

int store_load(struct store *store, const char *path, int64_t *saved_ms, char *why)
{
    uint64_t bytes;
    FILE *file = fopen(path, "rbe");
    if (!file) {
        snprintf(why, STORE_WHY_BYTES, "snapshot file %.400s: %s", path, strerror(errno));
        return errno == ENOENT ? SP_ENOPOND : SP_ESYS;
    }
    int status = check_file(file, &bytes);
    if (status == SP_OK)
        status = read_pond(store, file, bytes, saved_ms);
    if (status != SP_OK)
        snprintf(why, STORE_WHY_BYTES, "snapshot file %.400s: %s", path, sp_status_text(status));
    fclose(file);
    return status;
}
