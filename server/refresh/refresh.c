/* SPDX-License-Identifier: Apache-2.0
 *
 * refresh.c - all groups: starting, changing and ending them, and what they say of themselves.
 *
 * A change of the configuration keeps the groups that are configured as before. The others are
 * asked to end; when all of those have, their successors start, and tables that nobody configures
 * any more are dropped from the pond. None of this waits: refresh_tick carries it on.
 */
#include <stdlib.h>
#include <string.h>

#include "server/log/log.h"
#include "server/refresh/feed.h"

int refresh_new(const struct refresh_options *options, struct refresh **out)
{
    struct refresh *refresh = calloc(1, sizeof(*refresh));
    if (!refresh)
        return SP_ENOMEM;
    refresh->options = *options;
    refresh->find_source = options->find_source ? options->find_source : source_find;
    if (pthread_mutex_init(&refresh->lock, NULL) != 0)
        goto free_refresh;
    if (pthread_mutex_init(&refresh->pond_lock, NULL) != 0)
        goto destroy_lock;
    if (pthread_mutex_init(&refresh->feeds_lock, NULL) != 0)
        goto destroy_pond_lock;
    *out = refresh;
    return SP_OK;
destroy_pond_lock:
    pthread_mutex_destroy(&refresh->pond_lock);
destroy_lock:
    pthread_mutex_destroy(&refresh->lock);
free_refresh:
    free(refresh);
    return SP_ENOMEM;
}

struct sp_pond *refresh_pond(struct refresh *refresh)
{
    pthread_mutex_lock(&refresh->pond_lock);
    if (!refresh->pond && sp_open(refresh->options.directory, NULL, &refresh->pond) != SP_OK)
        refresh->pond = NULL;
    struct sp_pond *pond = refresh->pond;
    pthread_mutex_unlock(&refresh->pond_lock);
    return pond;
}

bool refresh_table_loaded(struct sp_pond *pond, const char *name, struct sp_table **out)
{
    const struct sp_schema *schema;
    return pond && sp_table_open(pond, name, out) == SP_OK &&
           sp_table_schema(*out, &schema) == SP_OK;
}

void refresh_release_config(struct shared_config *shared)
{
    if (!shared || --shared->users > 0)
        return;
    config_free(shared->config);
    free(shared);
}

/* --- changing the configuration ------------------------------------------------------------- */

static struct group *find_kept(struct refresh *refresh, const struct config *config,
                               const char *name)
{
    for (struct group *group = refresh->groups; group; group = group->next)
        if (group->state != GROUP_STOPPING && strcmp(group->name, name) == 0 &&
            refresh_same_group(group->config->config, config, name))
            return group;
    return NULL;
}

static void free_list(struct group *group)
{
    while (group) {
        struct group *next = group->next;
        group->config->users--;
        group_free(group);
        group = next;
    }
}

/* The groups that are new in this configuration, pending. */
static int make_groups(struct refresh *refresh, struct shared_config *shared, struct group **out)
{
    struct group *list = NULL;
    const struct config *config = shared->config;
    for (unsigned i = 0; i < config->table_count; i++) {
        struct group *group;
        const char *name = config->tables[i].group;
        if (config_first_of_group(config, name) != &config->tables[i] ||
            find_kept(refresh, config, name))
            continue;
        int status = group_new(refresh, shared, name, &group);
        if (status != SP_OK) {
            free_list(list);
            return status;
        }
        group->next = list;
        list = group;
    }
    *out = list;
    return SP_OK;
}

static bool stays(const struct group *group, const struct config *config)
{
    return config && config_first_of_group(config, group->name) &&
           refresh_same_group(group->config->config, config, group->name);
}

/* Asks those groups to end that this configuration (NULL: none) does not have; pending ones are
 * gone at once. */
static void end_groups(struct refresh *refresh, const struct config *config)
{
    struct group **link = &refresh->groups;
    while (*link) {
        struct group *group = *link;
        if (group->state == GROUP_STOPPING || stays(group, config)) {
            link = &group->next;
        } else if (group->state == GROUP_STARTED) {
            group->state = GROUP_STOPPING;
            group_stop(group);
            link = &group->next;
        } else {
            *link = group->next;
            refresh_release_config(group->config);
            group_free(group);
        }
    }
}

static void append(struct refresh *refresh, struct group *list)
{
    struct group **link = &refresh->groups;
    while (*link)
        link = &(*link)->next;
    *link = list;
}

/* The table by name in a group that has not started, or NULL. */
static struct group_table *find_heir(struct refresh *refresh, const char *table,
                                     struct group **owner)
{
    for (struct group *group = refresh->groups; group; group = group->next)
        for (unsigned i = 0; group->state == GROUP_PENDING && i < group->table_count; i++)
            if (strcmp(group->tables[i].config->name, table) == 0) {
                *owner = group;
                return &group->tables[i];
            }
    return NULL;
}

/* What an operator holds is held by its next group from its first moment on. */
static void carry_holds(struct refresh *refresh)
{
    for (struct group *group = refresh->groups; group; group = group->next)
        for (unsigned i = 0; group->state == GROUP_STOPPING && i < group->table_count; i++) {
            struct group *owner;
            if (group_held(group) && find_heir(refresh, group->tables[i].config->name, &owner))
                group_hold(owner);
        }
}

int refresh_apply(struct refresh *refresh, struct config *config)
{
    struct group *added = NULL;
    struct shared_config *shared = calloc(1, sizeof(*shared));
    if (!shared) {
        config_free(config);
        return SP_ENOMEM;
    }
    shared->config = config;
    shared->users = 1;
    int status = make_groups(refresh, shared, &added);
    if (status != SP_OK) {
        refresh_release_config(shared);
        return status;
    }
    pthread_mutex_lock(&refresh->lock);
    end_groups(refresh, config);
    append(refresh, added);
    carry_holds(refresh);
    struct shared_config *old = refresh->config;
    refresh->config = shared;
    refresh->drop_pending = true;
    refresh->stopping = false;
    pthread_mutex_unlock(&refresh->lock);
    refresh_release_config(old);
    return SP_OK;
}

const struct config *refresh_config(const struct refresh *refresh)
{
    return refresh->config ? refresh->config->config : NULL;
}

void refresh_stop(struct refresh *refresh)
{
    pthread_mutex_lock(&refresh->lock);
    end_groups(refresh, NULL);
    refresh->drop_pending = false;
    refresh->stopping = true;
    pthread_mutex_unlock(&refresh->lock);
}

/* --- carrying it on ------------------------------------------------------------------------- */

/* A table's counters go on when its group is another one. */
static void hand_over(struct refresh *refresh, const struct group *group)
{
    for (unsigned i = 0; i < group->table_count; i++) {
        const struct refresh_status *old = &group->tables[i].status;
        struct group *owner = NULL;
        struct group_table *heir = find_heir(refresh, old->table, &owner);
        if (!heir)
            continue;
        struct refresh_status *status = &heir->status;
        struct refresh_status named = *status;
        *status = *old;
        memcpy(status->group, named.group, sizeof(status->group));
        memcpy(status->source, named.source, sizeof(status->source));
        status->phase = REFRESH_WAITING;
        if (!owner->feed || status->feed.state == REFRESH_FEED_NONE)
            status->feed = named.feed;
    }
}

/* Takes away groups that have ended; true if none is left that should. */
static bool reap(struct refresh *refresh)
{
    bool all = true;
    struct group **link = &refresh->groups;
    while (*link) {
        struct group *group = *link;
        if (group->state != GROUP_STOPPING || !atomic_load(&group->finished)) {
            if (group->state == GROUP_STOPPING) {
                group_stop(group);
                all = false;
            }
            link = &group->next;
            continue;
        }
        pthread_join(group->thread, NULL);
        *link = group->next;
        hand_over(refresh, group);
        feed_drop_group(refresh, group);
        refresh_release_config(group->config);
        group_free(group);
    }
    return all;
}

static bool config_has_table(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->table_count; i++)
        if (strcmp(config->tables[i].name, name) == 0)
            return true;
    return false;
}

static int drop_tables(struct refresh *refresh, const char *const *names, size_t count)
{
    struct store_txn *txn;
    size_t dropped = 0;
    int status = store_begin(refresh->options.store, &txn);
    if (status != SP_OK)
        return status;
    for (size_t i = 0; i < count && status == SP_OK; i++) {
        status = store_drop(txn, names[i]);
        if (status == SP_OK)
            log_event(LOG_INFO, "refresh", "table is configured no more: dropped",
                      LOG_STR("table", names[i]));
        dropped += status == SP_OK;
        if (status == SP_ENOTABLE)
            status = SP_OK;
    }
    if (status == SP_OK && dropped > 0)
        return store_commit(txn, NULL);
    store_abort(txn);
    return status;
}

/* Drops what the pond holds and nobody configures. */
static bool drop_unknown(struct refresh *refresh)
{
    const char *names[SP_TABLES_MAX];
    struct sp_pond *pond = refresh_pond(refresh);
    size_t count = pond ? sp_table_names(pond, names, SP_TABLES_MAX) : 0;
    size_t unknown = 0;
    for (size_t i = 0; i < count && i < SP_TABLES_MAX; i++)
        if (!config_has_table(refresh->config->config, names[i]) &&
            strcmp(names[i], FEED_TABLE) != 0)
            names[unknown++] = names[i];
    int status = unknown ? drop_tables(refresh, names, unknown) : SP_OK;
    if (status != SP_OK)
        log_limited(LOG_WARNING, "refresh", 60, "dropping tables: %s", sp_status_text(status));
    return status == SP_OK;
}

static bool start_pending(struct refresh *refresh)
{
    bool all = true;
    for (struct group *group = refresh->groups; group; group = group->next) {
        if (group->state != GROUP_PENDING)
            continue;
        if (group_start(group) == SP_OK) {
            group->state = GROUP_STARTED;
        } else {
            log_limited(LOG_ERR, "refresh", 60, "cannot start a thread for group %s", group->name);
            all = false;
        }
    }
    return all;
}

bool refresh_tick(struct refresh *refresh)
{
    pthread_mutex_lock(&refresh->lock);
    bool done = reap(refresh) && feed_drop_reap(refresh, refresh->stopping);
    if (done && refresh->drop_pending) {
        bool told = feed_drop_leavers(refresh);
        refresh->drop_pending = !drop_unknown(refresh) || !told;
    }
    if (done)
        done = start_pending(refresh) && !refresh->drop_pending;
    pthread_mutex_unlock(&refresh->lock);
    return done;
}

void refresh_free(struct refresh *refresh)
{
    if (!refresh)
        return;
    refresh_release_config(refresh->config);
    sp_close(refresh->pond);
    pthread_mutex_destroy(&refresh->feeds_lock);
    pthread_mutex_destroy(&refresh->pond_lock);
    pthread_mutex_destroy(&refresh->lock);
    free(refresh);
}

/* --- wishes from outside -------------------------------------------------------------------- */

/* The table by name in its group that goes on, or NULL; with the lock held. */
static struct group_table *find_table(struct refresh *refresh, const char *name,
                                      struct group **owner)
{
    for (struct group *group = refresh->groups; group; group = group->next)
        for (unsigned i = 0; group->state != GROUP_STOPPING && i < group->table_count; i++)
            if (strcmp(group->tables[i].config->name, name) == 0) {
                *owner = group;
                return &group->tables[i];
            }
    return NULL;
}

int refresh_now(struct refresh *refresh, const char *table, uint64_t *ticket)
{
    struct group *owner = NULL;
    uint64_t calls = 0;
    int status = SP_OK;
    pthread_mutex_lock(&refresh->lock);
    if (!table) {
        for (struct group *group = refresh->groups; group; group = group->next)
            group_wake(group);
    } else if (find_table(refresh, table, &owner)) {
        calls = group_release(owner);
    } else {
        status = SP_ENOTABLE;
    }
    pthread_mutex_unlock(&refresh->lock);
    if (ticket)
        *ticket = calls;
    return status;
}

/* Whether something of a table was held that this lets go. */
static bool confirm(struct group *group, struct group_table *table)
{
    pthread_mutex_lock(&group->lock);
    bool dropping = table->status.state == SP_TABLE_HELD;
    bool held = dropping || group->held;
    table->confirmed |= dropping;
    pthread_mutex_unlock(&group->lock);
    return held;
}

int refresh_confirm(struct refresh *refresh, const char *table, uint64_t *ticket)
{
    struct group *owner = NULL;
    uint64_t calls = 0;
    int status = SP_ENOTABLE;
    pthread_mutex_lock(&refresh->lock);
    struct group_table *found = find_table(refresh, table, &owner);
    if (found)
        status = confirm(owner, found) ? SP_OK : SP_EINVAL;
    if (status == SP_OK)
        calls = group_release(owner);
    pthread_mutex_unlock(&refresh->lock);
    if (ticket)
        *ticket = calls;
    return status;
}

int refresh_hold(struct refresh *refresh, const char *table)
{
    struct group *owner = NULL;
    pthread_mutex_lock(&refresh->lock);
    bool found = find_table(refresh, table, &owner) != NULL;
    if (found)
        group_hold(owner);
    pthread_mutex_unlock(&refresh->lock);
    return found ? SP_OK : SP_ENOTABLE;
}

/* --- status --------------------------------------------------------------------------------- */

/* With the group's lock. What max_drop holds back says so also while an operator holds it. */
static void print_status(const struct group *group, const struct group_table *table,
                         struct refresh_status *out)
{
    *out = table->status;
    out->held_by_operator = group->held;
    if (!group->held || out->state == SP_TABLE_HELD)
        return;
    out->state = SP_TABLE_HELD;
    snprintf(out->error, sizeof(out->error),
             "held by an operator: group %s is not refreshed until SIDEPOND REFRESH %s",
             group->name, out->table);
}

static void copy_status(struct refresh *refresh, const char *table, struct refresh_status *out)
{
    struct group *owner = NULL;
    const struct group_table *found = find_table(refresh, table, &owner);
    if (!found)
        return;
    pthread_mutex_lock(&owner->lock);
    print_status(owner, found, out);
    pthread_mutex_unlock(&owner->lock);
}

int refresh_ended(struct refresh *refresh, const char *table, uint64_t ticket,
                  struct refresh_status *out)
{
    struct group *owner = NULL;
    int status = SP_ENOTABLE;
    pthread_mutex_lock(&refresh->lock);
    const struct group_table *found = find_table(refresh, table, &owner);
    if (found) {
        pthread_mutex_lock(&owner->lock);
        if (owner->calls >= ticket) /* else it is another group */
            status = owner->answered >= ticket ? SP_OK : SP_EBUSY;
        print_status(owner, found, out);
        pthread_mutex_unlock(&owner->lock);
    }
    pthread_mutex_unlock(&refresh->lock);
    return status;
}

int refresh_status(struct refresh *refresh, struct refresh_status **out, size_t *count)
{
    int status = SP_OK;
    pthread_mutex_lock(&refresh->lock);
    const struct config *config = refresh_config(refresh);
    *count = config ? config->table_count : 0;
    *out = calloc(*count ? *count : 1, sizeof(**out));
    if (!*out)
        status = SP_ENOMEM;
    for (unsigned i = 0; *out && i < *count; i++)
        copy_status(refresh, config->tables[i].name, &(*out)[i]);
    pthread_mutex_unlock(&refresh->lock);
    return status;
}

/* --- readiness ------------------------------------------------------------------------------ */

static bool table_ready(struct sp_pond *pond, const char *name, char *why, size_t why_bytes)
{
    struct sp_table *table;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    if (!refresh_table_loaded(pond, name, &table) || sp_table_info(table, &info) != SP_OK) {
        snprintf(why, why_bytes, "table %s has not been loaded yet", name);
        return false;
    }
    if (info.stale && info.fails_when_stale) {
        snprintf(why, why_bytes, "table %s is stale and its on_stale is fail", name);
        return false;
    }
    return true;
}

bool refresh_ready(struct refresh *refresh, char *why, size_t why_bytes)
{
    struct sp_pond *pond = refresh_pond(refresh);
    pthread_mutex_lock(&refresh->lock);
    const struct config *config = refresh_config(refresh);
    bool ready = config != NULL;
    if (!ready)
        snprintf(why, why_bytes, "the databases are being looked at");
    for (unsigned i = 0; ready && config && i < config->table_count; i++)
        ready = table_ready(pond, config->tables[i].name, why, why_bytes);
    pthread_mutex_unlock(&refresh->lock);
    return ready;
}
