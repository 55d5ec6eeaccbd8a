/* SPDX-License-Identifier: Apache-2.0
 *
 * pond_kit.c - see pond_kit.h.
 *
 * A body is: table, id, state (8 bytes each), size (8), then bytes that follow from these, and in
 * the last 8 a checksum over all before. So bytes of two states, of another row or of no row at all
 * show.
 */
#include "tests/mp/pond_kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc/hash.h"

/* --- random numbers ------------------------------------------------------------------------- */

uint64_t kit_mix(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

uint64_t kit_random(struct kit_random *random)
{
    return kit_mix(random->state += UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t kit_below(struct kit_random *random, uint64_t bound)
{
    return kit_random(random) % bound;
}

uint64_t kit_seed(const char *test)
{
    const char *text = getenv("SIDEPOND_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = text
                        ? strtoull(text, NULL, 0)
                        : kit_mix((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec) >> 32;
    printf("%s: seed %llu (SIDEPOND_SEED repeats it)\n", test, (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

/* --- time and directories ------------------------------------------------------------------- */

uint64_t kit_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void kit_directory_make(char *out, size_t cap)
{
    const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    snprintf(out, cap, "%s/sidepond-test-XXXXXX", root ? root : "/tmp");
    if (!mkdtemp(out)) {
        perror(out);
        exit(1);
    }
}

void kit_directory_remove(const char *directory)
{
    DIR *dir = opendir(directory);
    const struct dirent *item;
    while (dir && (item = readdir(dir)) != NULL)
        if (item->d_name[0] != '.' || strlen(item->d_name) > 2)
            unlinkat(dirfd(dir), item->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(directory);
}

bool kit_slow(void)
{
    const char *text = getenv("SIDEPOND_SLOW");
    return text && *text;
}

bool kit_long(void)
{
    const char *text = getenv("SIDEPOND_LONG");
    return text && *text && strcmp(text, "0") != 0;
}

/* --- rows ----------------------------------------------------------------------------------- */

enum { COLUMN_ID, COLUMN_GROUP, COLUMN_CODE, COLUMN_BODY, COLUMN_NOTE };

struct schema *kit_schema(unsigned what)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_INT64, .key_position = 0},
        {.name = "grp", .type = SP_TYPE_INT64, .nullable = true, .key_position = -1},
        {.name = "code", .type = SP_TYPE_INT64, .key_position = -1},
        {.name = "body", .type = SP_TYPE_BYTES, .key_position = -1},
        {.name = "note", .type = SP_TYPE_TEXT, .nullable = true, .key_position = -1}};
    struct row_index indexes[2];
    unsigned count = 0;
    if (what & KIT_INDEX_GROUP)
        indexes[count++] =
            (struct row_index){.name = "by_grp", .column_count = 1, .columns = {COLUMN_GROUP}};
    if (what & KIT_INDEX_CODE)
        indexes[count++] = (struct row_index){
            .name = "by_code", .unique = true, .column_count = 1, .columns = {COLUMN_CODE}};
    struct schema *schema;
    char why[256];
    if (schema_build(columns, what & KIT_NOTE ? 5 : 4, indexes, count, &schema, why, sizeof(why)) !=
        SP_OK) {
        fprintf(stderr, "schema: %s\n", why);
        exit(1);
    }
    return schema;
}

size_t kit_encode(const struct schema *schema, const struct kit_row *row, uint8_t **buffer,
                  size_t *cap)
{
    struct sp_value values[5] = {
        sp_int(row->id), row->grp == KIT_NO_GROUP ? sp_null(SP_TYPE_INT64) : sp_int(row->grp),
        sp_int(row->code), sp_bytes(SP_TYPE_BYTES, row->body, row->body_bytes),
        sp_null(SP_TYPE_TEXT)};
    size_t size = 0;
    int status = row_encode(schema, values, *buffer, *cap, &size, NULL);
    if (status == SP_ERANGE) {
        *cap = size * 2;
        *buffer = realloc(*buffer, *cap);
        status = *buffer ? row_encode(schema, values, *buffer, *cap, &size, NULL) : SP_ENOMEM;
    }
    if (status != SP_OK) {
        fprintf(stderr, "row_encode: %s\n", sp_status_text(status));
        exit(1);
    }
    return size;
}

int kit_put(struct store_table *table, const struct schema *schema, const struct kit_row *row,
            enum store_change *change)
{
    uint8_t *buffer = NULL;
    size_t cap = 0, done, size = kit_encode(schema, row, &buffer, &cap);
    struct store_row put = {&row->id, sizeof(row->id), buffer, size, STORE_UNCHANGED};
    int status = store_put(table, &put, 1, &done);
    free(buffer);
    if (change)
        *change = put.change;
    return status;
}

int kit_delete(struct store_table *table, int64_t id)
{
    return store_delete(table, &id, sizeof(id));
}

bool kit_decode(const struct schema *schema, const void *value, size_t value_bytes,
                struct kit_row *out)
{
    static const int64_t no_key = 0;
    struct sp_value grp, code, body;
    if (row_column_get(schema, COLUMN_GROUP, &no_key, 8, value, value_bytes, &grp) != SP_OK ||
        row_column_get(schema, COLUMN_CODE, &no_key, 8, value, value_bytes, &code) != SP_OK ||
        row_column_get(schema, COLUMN_BODY, &no_key, 8, value, value_bytes, &body) != SP_OK)
        return false;
    *out = (struct kit_row){0, grp.is_null ? KIT_NO_GROUP : grp.i, code.i, body.bytes.data,
                            body.bytes.size};
    return true;
}

struct body_head {
    uint64_t table;
    int64_t id;
    uint64_t state, bytes;
};

void kit_body(void *out, size_t bytes, uint64_t table, int64_t id, uint64_t state)
{
    struct body_head head = {table, id, state, bytes};
    uint8_t *to = out;
    uint64_t filler = kit_mix(state ^ (uint64_t)id << 20 ^ table << 56), sum;
    size_t end = bytes - sizeof(sum);
    memcpy(to, &head, sizeof(head));
    for (size_t i = sizeof(head); i < end; i++)
        to[i] = (uint8_t)(filler >> (i % 8 * 8));
    sum = hash_bytes(to, end);
    memcpy(to + end, &sum, sizeof(sum));
}

bool kit_body_state(const void *body, size_t bytes, uint64_t table, int64_t id, uint64_t *state)
{
    struct body_head head;
    uint64_t sum;
    if (bytes < KIT_BODY_MIN)
        return false;
    memcpy(&head, body, sizeof(head));
    memcpy(&sum, (const uint8_t *)body + bytes - sizeof(sum), sizeof(sum));
    *state = head.state;
    return head.table == table && head.id == id && head.bytes == bytes &&
           sum == hash_bytes(body, bytes - sizeof(sum));
}

/* --- the checker ---------------------------------------------------------------------------- */

static void print_complaint(void *context, const char *text)
{
    (void)context;
    printf("  checker: %s\n", text);
}

uint64_t kit_check(const char *directory, bool live, struct check_report *report)
{
    struct check_report own;
    struct check_options options = {
        .live = live, .complain = print_complaint, .complaints_max = 20};
    struct region region;
    char why[REGION_WHY_BYTES];
    if (!report)
        report = &own;
    if (region_attach(directory, &region, why) != SP_OK) {
        printf("  checker: %s\n", why);
        return 1;
    }
    check_pond(&region, &options, report);
    region_detach(&region);
    if (report->leaked_units)
        printf("  checker: %llu units leaked\n", (unsigned long long)report->leaked_units);
    fflush(stdout);
    return report->complaints + report->leaked_units;
}
