/* SPDX-License-Identifier: Apache-2.0
 *
 * estimate.c - what tables will take, from a sample of their real rows.
 *
 * Up to `sample` rows of a table are read and encoded as a refresh would; the sum is scaled to the
 * number of rows, which is what the database estimates or, where it has no estimate, counted by
 * reading on to the end. Reckoned are entries in whole units, the primary index at its usual fill,
 * and for each secondary index one posting for each different key of the sample, and each row's
 * place in it. Limits: the first rows a database returns are not a random sample; a table whose
 * later rows are larger is underestimated. The database's own estimate of rows can be old.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/hash.h"
#include "server/refresh/internal.h"

/* Bytes of an index for each entry: 64-byte buckets of 7 slots, filled to about 0.8, and the
 * directory. */
#define SLOT_BYTES    11.8
#define POSTING_BYTES 8 /* number and count */
#define POSTING_ROW   2 /* each row's size in a posting */
#define ENOUGH        1 /* how the sink ends a stream; no status is positive */

struct secondary {
    uint64_t *hashes; /* of the sample's keys; sorted at the end */
    uint64_t count;
    uint64_t key_bytes;
};

struct sampler {
    struct intake intake;
    struct source_sink sink; /* the intake's */
    uint64_t limit;
    bool count_on;    /* to the end, when the sample is complete */
    uint64_t counted; /* rows after the sample */
    struct secondary *secondaries;
    uint64_t key_bytes;
};

static bool never_stopped(void *context)
{
    (void)context;
    return false;
}

static void sample_secondary(struct sampler *sampler, unsigned n, const struct sp_value *values)
{
    const struct schema *schema = sampler->intake.schema;
    const struct row_index *index = &schema->indexes[n];
    struct secondary *secondary = &sampler->secondaries[n];
    struct sp_value key[ROW_KEY_COLUMNS_MAX];
    unsigned char bytes[1024];
    size_t size = 0;
    for (unsigned i = 0; i < index->column_count; i++)
        key[i] = values[index->columns[i]];
    if (row_key_encode(schema, index->columns, index->column_count, key, index->column_count, bytes,
                       sizeof(bytes), &size) != SP_OK)
        return; /* NULL: not in the index; longer ones are rare enough */
    secondary->hashes[secondary->count++] = hash_bytes(bytes, size);
    secondary->key_bytes += size;
}

static int sample_row(void *context, const struct sp_value *values, unsigned count)
{
    struct sampler *sampler = context;
    if (sampler->intake.read == sampler->limit && !sampler->count_on)
        return ENOUGH;
    if (sampler->intake.read == sampler->limit) {
        sampler->counted++;
        return SP_OK;
    }
    int status = sampler->sink.row(&sampler->intake, values, count);
    for (unsigned n = 0; status == SP_OK && n < sampler->intake.schema->index_count; n++)
        sample_secondary(sampler, n, values);
    return status;
}

static int sample_bad_row(void *context, const struct sp_value *values, unsigned count,
                          unsigned column, const char *why)
{
    struct sampler *sampler = context;
    (void)values;
    (void)count;
    (void)column;
    (void)why;
    if (sampler->intake.read == sampler->limit)
        return sampler->count_on ? SP_OK : ENOUGH;
    sampler->intake.read++;
    sampler->intake.skipped[REFRESH_SKIP_UNDECODABLE]++;
    return SP_OK;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t count_different(struct secondary *secondary)
{
    uint64_t different = 0;
    qsort(secondary->hashes, secondary->count, sizeof(uint64_t), by_value);
    for (uint64_t i = 0; i < secondary->count; i++)
        different += i == 0 || secondary->hashes[i] != secondary->hashes[i - 1];
    return different;
}

/* Bytes of a secondary index over the sample's rows. */
static double secondary_bytes(struct secondary *secondary, double primary_key_bytes, double scale)
{
    if (secondary->count == 0)
        return 0;
    double rows = (double)secondary->count;
    double different = (double)count_different(secondary);
    double key = (double)secondary->key_bytes / rows;
    /* Keys that repeat in the sample repeat more in the table; those that do not, do not there. */
    double keys = different > 0.9 * rows ? different * scale : different;
    double total_rows = rows * scale;
    double per_posting = (double)intake_entry_bytes((size_t)key + POSTING_BYTES, 0) + 8;
    return keys * (per_posting + SLOT_BYTES) + total_rows * (primary_key_bytes + POSTING_ROW);
}

static void reckon(struct sampler *sampler, const struct source_description *description,
                   bool ended, struct refresh_estimate *out)
{
    const struct intake *in = &sampler->intake;
    uint64_t good = in->read;
    for (unsigned i = 0; i < REFRESH_SKIP_COUNT; i++)
        out->skipped += in->skipped[i];
    good -= out->skipped < good ? out->skipped : good;
    out->sampled = in->read;
    out->exact = ended;
    out->rows = good + sampler->counted;
    if (!ended && description->row_estimate > (int64_t)good)
        out->rows = (uint64_t)description->row_estimate;
    if (good == 0)
        return;
    double scale = (double)out->rows / (double)good;
    out->row_bytes = (double)in->data_bytes / (double)good;
    out->data_bytes = (uint64_t)((double)in->data_bytes * scale);
    out->entry_bytes = (uint64_t)((double)in->units_bytes * scale);
    double index = (double)out->rows * SLOT_BYTES;
    double key = (double)sampler->key_bytes / (double)good;
    for (unsigned n = 0; n < in->schema->index_count; n++)
        index += secondary_bytes(&sampler->secondaries[n], key, scale);
    out->index_bytes = (uint64_t)index;
    out->total_bytes = out->entry_bytes + out->index_bytes;
}

static int secondaries_new(struct sampler *sampler, unsigned count)
{
    sampler->secondaries = calloc(count ? count : 1, sizeof(*sampler->secondaries));
    if (!sampler->secondaries)
        return SP_ENOMEM;
    for (unsigned n = 0; n < count; n++) {
        sampler->secondaries[n].hashes = malloc(sampler->limit * sizeof(uint64_t));
        if (!sampler->secondaries[n].hashes)
            return SP_ENOMEM;
    }
    return SP_OK;
}

static void secondaries_free(struct sampler *sampler, unsigned count)
{
    for (unsigned n = 0; sampler->secondaries && n < count; n++)
        free(sampler->secondaries[n].hashes);
    free(sampler->secondaries);
}

/* Streams the sample. `*ended`: the table had no more rows. */
static int stream_sample(struct connection *connection, const struct source_table *table,
                         const struct source_description *description, struct sampler *sampler,
                         bool *ended, struct source_error *error)
{
    struct source_sink sink = {.context = sampler, .row = sample_row, .bad_row = sample_bad_row};
    int status = connection->class->begin(connection->source, error);
    if (status != SP_OK)
        return status;
    status = connection->class->stream(connection->source, table, description, NULL, &sink, error);
    *ended = status == SP_OK;
    return status == ENOUGH ? SP_OK : status;
}

static int estimate_with(struct connection *connection, const struct config_table *config,
                         uint64_t sample, struct refresh_estimate *out, struct source_error *error)
{
    struct source_table table;
    struct source_description description = {0};
    struct schema *schema = NULL;
    struct batch batch = {0};
    bool ended = false;
    shape_source_table(config, &table);
    int status = refresh_describe(connection, config, &table, &description, error);
    if (status != SP_OK)
        return status;
    struct sampler sampler = {.limit = sample,
                              .count_on = description.row_estimate <= (int64_t)sample};
    struct config_table lenient = *config;
    lenient.on_bad_row = CONFIG_ON_BAD_ROW_SKIP;
    status = shape_build(config, &description, &schema, error->text, sizeof(error->text));
    if (status == SP_OK)
        status = batch_init(&batch);
    if (status == SP_OK)
        status = secondaries_new(&sampler, schema->index_count);
    if (status == SP_OK) {
        sampler.intake = (struct intake){.config = &lenient,
                                         .schema = schema,
                                         .batch = &batch,
                                         .mark_column = -1,
                                         .stopped = never_stopped};
        sampler.sink = intake_sink(&sampler.intake);
        status = stream_sample(connection, &table, &description, &sampler, &ended, error);
    }
    if (status == SP_OK)
        reckon(&sampler, &description, ended, out);
    if (schema)
        secondaries_free(&sampler, schema->index_count);
    batch_free(&batch);
    schema_free(schema);
    source_description_free(&description);
    return status;
}

static int estimate_table(const struct config_table *config, source_finder *find, uint64_t sample,
                          struct refresh_estimate *out, char *why)
{
    struct connection connection;
    struct source_error error = {0};
    *out = (struct refresh_estimate){.table = config->name};
    int status = refresh_connection_open(&connection, config->source, find, NULL, NULL, &error);
    if (status == SP_OK) {
        status = estimate_with(&connection, config, sample, out, &error);
        refresh_connection_close(&connection);
    }
    if (status != SP_OK && refresh_text_names(error.text, config->name))
        snprintf(why, SOURCE_ERROR_BYTES, "%s", error.text);
    else if (status != SP_OK)
        snprintf(why, SOURCE_ERROR_BYTES, "table %s: %.480s", config->name,
                 error.text[0] ? error.text : sp_status_text(status));
    return status;
}

int refresh_estimate(const struct config *config, source_finder *find, uint64_t sample,
                     struct refresh_estimate *out, char *why)
{
    int status = SP_OK;
    for (unsigned i = 0; i < config->table_count && status == SP_OK; i++)
        status =
            estimate_table(&config->tables[i], find ? find : source_find, sample, &out[i], why);
    return status;
}
