/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c - tables by name, their names, and their columns as of now.
 */
#include <stdlib.h>
#include <string.h>

#include "client/local/find.h"

/* Names handed out live as long as the pond, so each is kept, but once: a pond whose tables come
 * and go takes no more memory for that. The pond's list is sorted. */
struct known_name {
    struct known_name *next;
    char text[FORMAT_NAME_BYTES];
};

struct name_list {
    size_t count;
    char names[FORMAT_TABLES_MAX][FORMAT_NAME_BYTES];
};

/* --- opening ---------------------------------------------------------------------------------- */

/* The root of a table at the newest version: SP_OK, or why there is none. */
static int read_root(struct sp_table *table, const struct sp_schema **schema)
{
    struct binding *binding = table_binding(table);
    uint32_t tries = 0;
    int status;
    do {
        struct find_path path;
        if (!find_begin(&path, binding)) {
            status = find_no_version(table, &binding, path.version);
            continue;
        }
        enum find result = find_root(&path, 0);
        if (result != FIND_HIT)
            status = find_settle(table, &binding, &path, result, false, &tries);
        else
            status = schema_of(table, binding, &path, schema);
        if (status == READ_AGAIN && ++tries > READ_TRIES_MAX)
            status = SP_ECORRUPT;
    } while (status == READ_AGAIN);
    return status;
}

static struct sp_table *table_known(const struct sp_pond *pond, const char *name)
{
    struct sp_table *table = pond->tables;
    while (table != NULL && strcmp(table->name, name) != 0)
        table = table->next;
    return table;
}

/* Mutex held. */
static int table_add(struct sp_pond *pond, const char *name, struct sp_table **out)
{
    struct mapping *map = pond_mapping(pond);
    if (mapping_slot(map, name) == NULL)
        return SP_ENOTABLE;
    struct sp_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return SP_ENOMEM;
    memcpy(table->name, name, strlen(name) + 1);
    table->pond = pond;
    if (binding_make(table, map) == NULL) {
        free(table);
        return SP_ENOMEM;
    }
    table->next = pond->tables;
    pond->tables = table;
    *out = table;
    return SP_OK;
}

int sp_table_open(struct sp_pond *pond, const char *name, struct sp_table **out)
{
    *out = NULL;
    size_t size = strlen(name);
    if (size == 0 || size > SP_NAME_BYTES_MAX || strcmp(name, FORMAT_CACHE_NAME) == 0)
        return error_set(SP_ENOTABLE, "no table can be named \"%.80s\"", name);
    if ((map_committed(pond_mapping(pond)) & VERSION_RETIRED) != 0) {
        int status = pond_follow(pond);
        if (status != SP_OK)
            return status;
    }
    pthread_mutex_lock(&pond->mutex);
    struct sp_table *table = table_known(pond, name);
    int status = table != NULL ? SP_OK : table_add(pond, name, &table);
    pthread_mutex_unlock(&pond->mutex);
    if (status == SP_ENOTABLE)
        return error_set(status, "the pond in %s has no table \"%s\"", pond->directory, name);
    if (status != SP_OK)
        return error_plain(status);
    const struct sp_schema *schema;
    status = read_root(table, &schema);
    if (status == SP_ENOTABLE)
        return error_set(status, "table \"%s\" was dropped", name);
    /* A table that is being loaded for the first time can be opened, and answers SP_ENOTREADY. */
    if (status != SP_OK && status != SP_ENOTREADY)
        return error_plain(status);
    *out = table;
    return SP_OK;
}

void bindings_free(struct sp_table *table)
{
    struct binding *binding = table_binding(table);
    while (binding != NULL) {
        struct binding *older = binding->older;
        free(binding);
        binding = older;
    }
}

void tables_free(struct sp_pond *pond)
{
    while (pond->tables != NULL) {
        struct sp_table *table = pond->tables;
        pond->tables = table->next;
        bindings_free(table);
        free(table);
    }
    while (pond->names != NULL) {
        struct known_name *next = pond->names->next;
        free(pond->names);
        pond->names = next;
    }
}

const char *sp_table_name(const struct sp_table *table)
{
    return table->name;
}

int sp_table_schema(struct sp_table *table, const struct sp_schema **out)
{
    int status = read_root(table, out);
    return status == SP_OK ? SP_OK : error_set(status, "table \"%s\"", table->name);
}

/* --- names ------------------------------------------------------------------------------------ */

/* Whether the slot's newest root that counts says that the table was dropped. */
static bool was_dropped(const struct binding *binding)
{
    struct find_path path;
    enum find result;
    uint32_t tries = 0;
    do {
        if (!find_begin(&path, binding))
            return false;
        result = find_root(&path, 0);
        if (result == FIND_HIT)
            result = FIND_NO_INDEX; /* as far as the root, which is all that was read */
    } while (!find_unchanged(&path, result) && ++tries < READ_TRIES_MAX);
    return result == FIND_NO_TABLE && path.head != 0;
}

static void collect_names(const struct mapping *map, struct name_list *list)
{
    const struct region *region = &map->region;
    uint32_t count = atomic_load_explicit(&region->super->table_count, memory_order_acquire);
    struct binding binding = {.super = region->super, .arena = region->arena};
    atomic_init(&binding.limit_bytes, mapping_usable_bytes(map));
    for (uint32_t i = 0; i < count && i < FORMAT_TABLES_MAX; i++) {
        binding.slot = &region->slots[i];
        char *name = list->names[list->count];
        race_copy(name, region->slots[i].name, FORMAT_NAME_BYTES);
        name[FORMAT_NAME_BYTES - 1] = '\0';
        if (name[0] != '\0' && strcmp(name, FORMAT_CACHE_NAME) != 0 && !was_dropped(&binding))
            list->count++;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Mutex held. The pond's own copy of a name, at *at or behind it; NULL: no memory. */
static const char *keep_name(struct known_name ***at, const char *text)
{
    while (**at != NULL && strcmp((**at)->text, text) < 0)
        *at = &(**at)->next;
    if (**at != NULL && strcmp((**at)->text, text) == 0)
        return (**at)->text;
    struct known_name *name = malloc(sizeof *name);
    if (name == NULL)
        return NULL;
    memcpy(name->text, text, FORMAT_NAME_BYTES);
    name->next = **at;
    **at = name;
    return name->text;
}

size_t sp_table_names(struct sp_pond *pond, const char **names, size_t max)
{
    struct name_list *list = calloc(1, sizeof *list);
    if (list == NULL)
        return 0;
    pthread_mutex_lock(&pond->mutex);
    collect_names(pond_mapping(pond), list);
    qsort(list->names, list->count, sizeof list->names[0], compare_names);
    struct known_name **at = &pond->names;
    size_t count = list->count;
    for (size_t i = 0; i < list->count && i < max; i++) {
        names[i] = keep_name(&at, list->names[i]);
        if (names[i] == NULL)
            count = max = 0;
    }
    pthread_mutex_unlock(&pond->mutex);
    free(list);
    return count;
}
