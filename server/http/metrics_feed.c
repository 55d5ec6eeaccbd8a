/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_feed.c - the metrics of tables of refresh mode feed, declared once like those of
 * metrics.c, which writes them behind its own. What is a group's has the same value for each of its
 * tables.
 */
#include "server/http/metrics_feed.h"

#include <math.h>

#include "alloc/clock.h"

struct feed_metric {
    const char *name, *type;
    const char *label; /* beside the table; NULL: none */
    const char *help;
    double (*value)(const struct refresh_feed_status *feed); /* NAN: none */
    /* With a label: its n-th value, and the name of that; NULL: no more. */
    const char *(*labelled)(const struct refresh_feed_status *feed, unsigned n, double *value);
};

static double following(const struct refresh_feed_status *feed)
{
    return feed->state == REFRESH_FEED_FOLLOWING;
}

static double fallen_back(const struct refresh_feed_status *feed)
{
    return feed->state == REFRESH_FEED_FALLEN_BACK;
}

static double age(const struct refresh_feed_status *feed)
{
    return feed->at_ms ? (double)(clock_wall_ms() - feed->at_ms) / 1000 : NAN;
}

static double delay(const struct refresh_feed_status *feed)
{
    return feed->at_ms ? feed->delay_ms / 1000.0 : NAN;
}

static double lag(const struct refresh_feed_status *feed)
{
    return feed->lag_bytes == UINT64_MAX ? NAN : (double)feed->lag_bytes;
}

static double transactions(const struct refresh_feed_status *feed)
{
    return (double)feed->transactions_total;
}

static double commits(const struct refresh_feed_status *feed)
{
    return (double)feed->commits_total;
}

static double comparisons(const struct refresh_feed_status *feed)
{
    return (double)feed->comparisons_total;
}

static double compared(const struct refresh_feed_status *feed)
{
    return feed->compared_at_ms ? (double)feed->compared_at_ms / 1000 : NAN;
}

static const char *rows(const struct refresh_feed_status *feed, unsigned n, double *value)
{
    static const char *const names[] = {"put", "removed", NULL};
    const uint64_t values[] = {feed->rows.put_total, feed->rows.removed_total, 0};
    *value = (double)values[n];
    return names[n];
}

static const char *drift(const struct refresh_feed_status *feed, unsigned n, double *value)
{
    static const char *const names[] = {"inserted", "updated", "deleted", NULL};
    const uint64_t values[] = {feed->rows.drift_inserted_total, feed->rows.drift_updated_total,
                               feed->rows.drift_deleted_total, 0};
    *value = (double)values[n];
    return names[n];
}

static const char *reloads(const struct refresh_feed_status *feed, unsigned n, double *value)
{
    unsigned reason = n + 1; /* the first is none */
    if (reason == REFRESH_RELOAD_COUNT)
        return NULL;
    *value = (double)feed->reloads_total[reason];
    return refresh_reload_names[reason];
}

static const struct feed_metric feed_metrics[] = {
    {"sidepond_feed_following", "gauge", NULL,
     "1 while the table's group follows its database, else 0.", .value = following},
    {"sidepond_feed_fallen_back", "gauge", NULL,
     "1 while the feed is not possible and all rows are read every `every`, else 0.",
     .value = fallen_back},
    {"sidepond_feed_age_seconds", "gauge", NULL,
     "Time since the moment, by the database's clock, whose state the pond has; a quiet database "
     "says that nothing is missing at least every ten seconds.",
     .value = age},
    {"sidepond_feed_delay_seconds", "gauge", NULL,
     "How long the last transactions took from the database's commit to here, less what the "
     "clocks differ by.",
     .value = delay},
    {"sidepond_feed_lag_bytes", "gauge", NULL,
     "What the database keeps for the group, or still has to send it.", .value = lag},
    {"sidepond_feed_transactions_total", "counter", NULL, "Transactions of the database.",
     .value = transactions},
    {"sidepond_feed_commits_total", "counter", NULL,
     "Commits of the pond that made these visible: each of one or more.", .value = commits},
    {"sidepond_feed_rows_total", "counter", "change", "Rows that came; change is put or removed.",
     .labelled = rows},
    {"sidepond_feed_reloads_total", "counter", "reason",
     "Times that all rows were read again: first (there was no position), changed (another "
     "database or other tables), lost (the position), reshaped (columns changed), missing (a "
     "change did not fit), lag (max_lag), data (a bad row, and on_bad_row: fail), drop (max_drop).",
     .labelled = reloads},
    {"sidepond_feed_comparisons_total", "counter", NULL,
     "Comparisons of all rows with the database.", .value = comparisons},
    {"sidepond_feed_compared_timestamp_seconds", "gauge", NULL,
     "When all rows were last read or compared (Unix time).", .value = compared},
    {"sidepond_feed_drift_rows_total", "counter", "change",
     "Rows that differed when they were compared, and were mended; change is inserted, updated or "
     "deleted.",
     .labelled = drift},
};
#define FEED_METRICS (sizeof(feed_metrics) / sizeof(feed_metrics[0]))

static void emit_table(const struct feed_metric *metric, const struct refresh_status *table,
                       struct text *out)
{
    double value = metric->value ? metric->value(&table->feed) : NAN;
    const char *label;
    if (!isnan(value))
        text_add(out, "%s{table=\"%s\"} %.17g\n", metric->name, table->table, value);
    for (unsigned n = 0; metric->labelled && (label = metric->labelled(&table->feed, n, &value));
         n++)
        text_add(out, "%s{table=\"%s\",%s=\"%s\"} %.17g\n", metric->name, table->table,
                 metric->label, label, value);
}

void feed_metrics_text(const struct observation *seen, struct text *out)
{
    for (size_t m = 0; m < FEED_METRICS; m++) {
        const struct feed_metric *metric = &feed_metrics[m];
        text_add(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                 metric->type);
        for (size_t i = 0; i < seen->table_count; i++)
            if (seen->tables[i].refresh.feed.state != REFRESH_FEED_NONE)
                emit_table(metric, &seen->tables[i].refresh, out);
    }
}

void feed_metrics_reference(FILE *out)
{
    for (size_t i = 0; i < FEED_METRICS; i++)
        fprintf(out, "| `%s` | %s | table%s%s | %s |\n", feed_metrics[i].name, feed_metrics[i].type,
                feed_metrics[i].label ? ", " : "",
                feed_metrics[i].label ? feed_metrics[i].label : "", feed_metrics[i].help);
}
