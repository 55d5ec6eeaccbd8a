/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_attach.c - attaching to damaged ponds and reading everything in them.
 *
 * The pond is one that the store made, with versions, a deleted row and secondary indexes. An input
 * is a list of changes, each of 8 bytes: where (superblock, table slots, or a word of the arena
 * that is in use), how, and with what; then a last byte may ask for checksums that fit. The changes
 * are made, every function of the reader library is called, and the changes are undone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/hash.h"
#include "alloc/region.h"
#include "server/store/store.h"
#include "tests/unit/read_everything.h"

#define CHANGES_MAX 24u

/* Bits of the input's last byte. */
#define SIGN_SUPER 1u
#define SIGN_ROOT  2u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct reading reading = {.key_prefix = "k", .key_count = 24, .index_key = "odd"};
static char top[64];
static char directory[80];
static struct region region;

static void must(int status, const char *what)
{
    if (status == SP_OK)
        return;
    fprintf(stderr, "fuzz_attach: %s: %s\n", what, sp_status_text(status));
    abort();
}

static void clean_up(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", top);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", top);
}

static void put(struct store_table *table, const struct schema *schema, unsigned i, unsigned age)
{
    char key[16];
    uint8_t value[256];
    size_t size, done;
    int key_bytes = snprintf(key, sizeof key, "k%u", i);
    const char *name = i % 2 == 0 ? "even" : "odd";
    const struct sp_value values[] = {sp_null(SP_TYPE_TEXT), sp_text(name, strlen(name)),
                                      sp_int(age)};
    must(row_encode(schema, values, value, sizeof value, &size, NULL), "row_encode");
    struct store_row row = {
        .key = key, .key_bytes = (size_t)key_bytes, .value = value, .value_bytes = size};
    must(store_put(table, &row, 1, &done), "store_put");
}

static void fill(struct store *store, const struct schema *schema, unsigned from, unsigned to,
                 unsigned age)
{
    struct store_txn *txn;
    struct store_table *table;
    must(store_begin(store, &txn), "store_begin");
    must(store_table(txn, "rows", schema, 0, &table, NULL), "store_table");
    for (unsigned i = from; i < to; i++)
        put(table, schema, i, age);
    if (age > 1)
        must(store_delete(table, "k3", 2), "store_delete");
    must(store_commit(txn, NULL), "store_commit");
}

/* The snapshot keeps old versions in the pond; it ends with the process. */
static void build(struct store *store)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_TEXT, .key_position = 0},
        {.name = "name", .type = SP_TYPE_TEXT, .nullable = true, .key_position = -1},
        {.name = "age", .type = SP_TYPE_INT64, .key_position = -1},
    };
    const struct row_index index = {.name = "by_name", .column_count = 1, .columns = {1}};
    struct schema *schema;
    struct sp_pond *pond;
    struct sp_snapshot *snapshot;
    char why[256] = "";
    must(schema_build(columns, 3, &index, 1, &schema, why, sizeof why), why);
    fill(store, schema, 0, 20, 1);
    must(sp_open(directory, NULL, &pond), "sp_open");
    must(sp_snapshot_begin(pond, &snapshot), "sp_snapshot_begin");
    fill(store, schema, 0, 10, 2);
    store_close(store);
    sp_close(pond);
    schema_free(schema);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    snprintf(top, sizeof top, "/dev/shm/fuzz-attach-XXXXXX");
    if (mkdtemp(top) == NULL)
        abort();
    atexit(clean_up);
    snprintf(directory, sizeof directory, "%s/pond", top);
    struct store_options options = {.directory = directory,
                                    .name = "fuzz",
                                    .limit_bytes = UINT64_C(2) << 20,
                                    .lease_limit_ms = 60000,
                                    .gid = -1};
    struct store *store;
    struct store_opened opened;
    char why[STORE_WHY_BYTES] = "";
    must(store_open(&options, &store, &opened, why), why);
    build(store);
    must(region_attach_writer(directory, &region, why), why);
    if (read_everything(directory, &reading) < 40)
        must(SP_ECORRUPT, "the sound pond");
    return 0;
}

struct change {
    uint64_t *word;
    uint64_t was;
};

/* 8 bytes: part (2 bits) and way (6 bits), position (3 bytes), operand (4 bytes). */
static void apply(const uint8_t *bytes, struct change *change)
{
    uint64_t *parts[] = {(uint64_t *)region.super, (uint64_t *)region.slots,
                         (uint64_t *)region.arena, (uint64_t *)region.arena};
    uint64_t used = atomic_load(&region.super->used_units);
    uint64_t words = used > 0 && used < 4096 ? used * 2 : 4096;
    const uint64_t counts[] = {sizeof *region.super / 8, 2 * sizeof *region.slots / 8, words,
                               words};
    unsigned part = bytes[0] & 3, way = bytes[0] >> 2;
    uint32_t position = bytes[1] | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3] << 16;
    uint32_t operand;
    memcpy(&operand, bytes + 4, sizeof operand);
    change->word = parts[part] + position % counts[part];
    change->was = *change->word;
    if (way < 16)
        *change->word ^= UINT64_C(1) << operand % 64;
    else if (way < 32)
        *change->word = (uint64_t)operand << (way & 31);
    else if (way < 48)
        *change->word += (int64_t)(int32_t)operand;
    else
        *change->word = region.arena[0] + ((uint64_t *)region.arena)[operand % words];
}

static void sign(unsigned what)
{
    if ((what & SIGN_SUPER) != 0)
        region.super->checksum = super_checksum(region.super);
    uint64_t head = atomic_load(&region.slots[0].head);
    if ((what & SIGN_ROOT) == 0 || !region_holds(&region, head, 16))
        return;
    struct table_root *root = region_at(&region, head);
    if (!region_holds(&region, root->schema_unit, bytes_to_units(root->schema_bytes)))
        return;
    uint8_t *block = region_at(&region, root->schema_unit);
    if (root->schema_bytes > 8) {
        uint64_t sum = hash_bytes(block + 8, root->schema_bytes - 8);
        memcpy(block, &sum, sizeof sum);
    }
    root->checksum = root_checksum(root, block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct change changes[CHANGES_MAX];
    size_t count = 0;
    static uint8_t *before;
    const size_t header_bytes = FORMAT_SUPER_BYTES + 2 * FORMAT_SLOT_BYTES;
    const size_t arena_bytes = 64 * 1024;
    if (before == NULL) {
        before = malloc(header_bytes + arena_bytes);
        memcpy(before, region.base, header_bytes);
        memcpy(before + header_bytes, region.arena, arena_bytes);
    }
    for (; size >= 8 && count < CHANGES_MAX; size -= 8, data += 8)
        apply(data, &changes[count++]);
    if (size > 0)
        sign(data[0]);
    (void)read_everything(directory, &reading);
    /* Signing may have written elsewhere too. */
    memcpy(region.base, before, header_bytes);
    memcpy(region.arena, before + header_bytes, arena_bytes);
    return 0;
}
