/* SPDX-License-Identifier: Apache-2.0
 *
 * source_internal.h - what the sources share: building SQL, being woken, and wording complaints.
 */
#ifndef SIDEPOND_SOURCE_INTERNAL_H
#define SIDEPOND_SOURCE_INTERNAL_H

#include <stdatomic.h>

#include "sidepond/source.h"

extern const struct source_class source_mongodb;
extern const struct source_class source_sqlite;
extern const struct source_class source_postgresql;
extern const struct source_class source_mariadb;
extern const struct source_class source_mysql; /* the same */

/* --- SQL as it is put together ---------------------------------------------------------------- */

/* Grows as needed; after a failed allocation it stays as it is and sql_failed says so. */
struct sql_text {
    char *text; /* zero-terminated, or NULL while empty */
    size_t size, cap;
    bool failed;
};

void sql_put(struct sql_text *sql, const char *text);
void sql_put_bytes(struct sql_text *sql, const char *text, size_t bytes);

/* A name between quote characters, which are doubled where the name has them. */
void sql_put_name(struct sql_text *sql, const char *name, char quote);

/* A SELECT as a subquery: "(query\n) AS q", without the semicolons at its end. */
void sql_put_subquery(struct sql_text *sql, const char *query);

/* " WHERE (condition\n)", if the table has one; whether it has. */
bool sql_put_where(struct sql_text *sql, const struct source_table *table);

/* The end of one part of a relation's name: a part in quotes, or up to the next point. */
const char *sql_part_end(const char *at, char quote);

static inline bool sql_failed(const struct sql_text *sql)
{
    return sql->failed || !sql->text;
}
void sql_free(struct sql_text *sql);

/* --- waiting that another thread can end ------------------------------------------------------ */

struct waker {
    atomic_bool asked;
    int event_fd;
};

int waker_open(struct waker *waker); /* SP_OK or SP_ESYS */
void waker_close(struct waker *waker);
void waker_ask(struct waker *waker); /* any thread */

static inline bool waker_asked(const struct waker *waker)
{
    return atomic_load_explicit(&waker->asked, memory_order_relaxed);
}

/* Whether it was asked; takes the request back, so that it ends one call only. */
bool waker_take(struct waker *waker);

/* Waits until fd (-1: none) is ready for `events`, for at most timeout_ms (-1: forever), or until
 * somebody asks. Returns whether fd is ready. */
bool waker_poll(struct waker *waker, int fd, short events, int timeout_ms);

/* Milliseconds of the monotonic clock; and what is left until a deadline as poll wants it (-1:
 * there is none, which is written as 0). */
int waker_left_ms(uint64_t deadline_ms);

/* --- columns of a table that were asked for --------------------------------------------------- */

/* The names a table has. */
struct source_names {
    unsigned count;
    const char *(*name)(const void *context, unsigned i); /* valid until the next call */
    const void *context;
};

/* Checks that columns, key and watermark of the table are among the names, that no name is there
 * twice, and that key and watermark are among the columns asked for. SP_ECONFIG with a text. */
int source_check_names(const struct source_table *table, const struct source_names *names,
                       struct source_error *error);

/* "id, email, name", ending in "..." where it does not fit. */
void source_names_list(const struct source_names *names, char *out, size_t cap);

/* The position of a name, or -1. */
int source_name_find(const struct source_names *names, const char *name);

/* Allocates the description's columns. SP_ENOMEM. */
int source_description_alloc(struct source_description *description, unsigned count,
                             struct source_error *error);

/* Whether two descriptions have the same columns; if not, `error` says which one differs. */
int source_description_compare(const struct source_table *table,
                               const struct source_description *described,
                               const struct source_description *now, struct source_error *error);

/* The position of the table's watermark column in the description, or -1 if it has none. */
int source_watermark_column(const struct source_table *table,
                            const struct source_description *description);

/* SP_ECONFIG for a watermark of this column. */
int source_no_watermark(const struct source_table *table, const struct source_column *column,
                        struct source_error *error);

/* Memory of one column for what has to be written out; zeroed at first, `text` to be freed. */
struct source_scratch {
    char *text;
    size_t cap;
};

/* Makes it so large at least; false: no memory. */
bool source_scratch_reserve(struct source_scratch *scratch, size_t bytes);

/* Copies a name or type into one of the description's buffers, cut where it does not fit. */
void source_copy(char *out, size_t cap, const char *text);

/* Tells who may cancel: of the source once its waker is open, of NULL before it is freed. */
void source_announce(const struct source_options *options, struct source *source);

int source_no_memory(struct source_error *error);

#endif
