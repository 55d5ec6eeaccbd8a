/* SPDX-License-Identifier: Apache-2.0
 *
 * build.c - fills struct config along the table of options.
 *
 * Texts stay where libcyaml put them; what has another form in struct config (lists, paths, arrays
 * of sections, composed defaults) comes from an arena. Cost: one allocation for each of these.
 */
#include "server/config/build.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/config/values.h"

struct arena_block {
    struct arena_block *next;
    max_align_t data[];
};

struct build {
    struct arena *arena;
    const char *file;
};

void *config_arena_alloc(struct arena *arena, size_t bytes)
{
    struct arena_block *block = calloc(1, sizeof(*block) + bytes);
    if (!block)
        return NULL;
    block->next = arena->blocks;
    arena->blocks = block;
    return block->data;
}

char *config_arena_format(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : config_arena_alloc(arena, (size_t)length + 1);
    if (!text)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void config_arena_free(struct arena *arena)
{
    struct arena_block *next;
    for (struct arena_block *block = arena->blocks; block; block = next) {
        next = block->next;
        free(block);
    }
    arena->blocks = NULL;
}

static int store_text(char *member, const char *text)
{
    if (!text)
        return SP_ENOMEM;
    memcpy(member, &text, sizeof(text));
    return SP_OK;
}

static int store_path(struct build *build, char *member, const char *text)
{
    const char *slash = strrchr(build->file, '/');
    if (*text == '/' || !slash)
        return store_text(member, text);
    return store_text(member,
                      config_arena_format(build->arena, "%.*s%s", (int)(slash + 1 - build->file),
                                          build->file, text));
}

static void store_number(char *member, uint32_t bytes, uint64_t number)
{
    bool flag = number != 0;
    uint32_t small = (uint32_t)number;
    if (bytes == sizeof(flag))
        memcpy(member, &flag, sizeof(flag));
    else if (bytes == sizeof(small))
        memcpy(member, &small, sizeof(small));
    else
        memcpy(member, &number, sizeof(number));
}

static int store_scalar(struct build *build, const struct option *option, const char *text,
                        const struct value *value, char *member)
{
    switch (option->kind) {
    case OPTION_TEXT:
    case OPTION_NAME:
    case OPTION_ADDRESS:
    case OPTION_WORD:
    case OPTION_LETTERS:
        return store_text(member, text);
    case OPTION_PATH:
        return store_path(build, member, text);
    case OPTION_PERCENT:
        memcpy(member, &value->fraction, sizeof(value->fraction));
        return SP_OK;
    default:
        store_number(member, option->bytes, value->number);
        return SP_OK;
    }
}

static int fill_scalar(struct build *build, const struct option *option, const struct slot *slot,
                       char *member)
{
    struct value value;
    char why[VALUE_WHY_BYTES];
    const char *text = slot ? slot->data : NULL;
    if (!text || !config_value_parse(option, text, &value, why))
        text = option->fallback;
    if (!text || !config_value_parse(option, text, &value, why))
        return SP_OK;
    return store_scalar(build, option, text, &value, member);
}

static int fill_list(struct build *build, const struct slot *slot, char *member)
{
    if (!slot || !slot->data)
        return SP_OK;
    const char **list = config_arena_alloc(build->arena, (slot->count + 1) * sizeof(*list));
    if (!list)
        return SP_ENOMEM;
    if (slot->count)
        memcpy(list, slot->data, slot->count * sizeof(*list));
    memcpy(member, &list, sizeof(list));
    return SP_OK;
}

static int fill_section(struct build *build, const struct section *section,
                        const struct slot *slots, char *base);

static int fill_sections(struct build *build, const struct option *option, const struct slot *slot,
                         char *base)
{
    const struct section *section = option->section;
    unsigned count = slot && slot->data ? slot->count : 0;
    const struct slot *slots = count ? slot->data : NULL;
    char *elements = config_arena_alloc(build->arena, (size_t)count * section->struct_bytes);
    if (!elements)
        return SP_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        int status = fill_section(build, section, slots + (size_t)i * section->option_count,
                                  elements + (size_t)i * section->struct_bytes);
        if (status != SP_OK)
            return status;
    }
    memcpy(base + option->offset, &elements, sizeof(elements));
    memcpy(base + option->count_offset, &count, sizeof(count));
    return SP_OK;
}

static int fill_option(struct build *build, const struct option *option, const struct slot *slot,
                       char *base)
{
    switch (option->kind) {
    case OPTION_LIST:
    case OPTION_LISTENS:
        return fill_list(build, slot, base + option->offset);
    case OPTION_SECTION:
        return fill_section(build, option->section, slot ? slot->data : NULL,
                            base + option->offset);
    case OPTION_SECTIONS:
        return fill_sections(build, option, slot, base);
    default:
        return fill_scalar(build, option, slot, base + option->offset);
    }
}

static int fill_section(struct build *build, const struct section *section,
                        const struct slot *slots, char *base)
{
    int status = SP_OK;
    for (unsigned i = 0; status == SP_OK && i < section->option_count; i++)
        status = fill_option(build, &section->options[i], slots ? &slots[i] : NULL, base);
    return status;
}

static const struct config_source *find_source(const struct config *config, const char *name)
{
    for (unsigned i = 0; name && i < config->source_count; i++)
        if (config->sources[i].name && strcmp(config->sources[i].name, name) == 0)
            return &config->sources[i];
    return NULL;
}

static int finish_refresh(struct arena *arena, struct config_table *table)
{
    struct config_refresh *refresh = &table->refresh;
    bool notified = refresh->mode == CONFIG_REFRESH_NOTIFIED;
    if (refresh->every_ms == 0)
        refresh->every_ms = notified ? 10 : 10000;
    if (refresh->full_every_ms == 0)
        refresh->full_every_ms = refresh->mode == CONFIG_REFRESH_FEED ? 86400000 : 3600000;
    bool listens = notified && table->source && table->source->type &&
                   strcmp(table->source->type, "postgresql") == 0;
    if (!listens || refresh->channel || !table->name)
        return SP_OK;
    refresh->channel = config_arena_format(arena, "sidepond_%s", table->name);
    return refresh->channel ? SP_OK : SP_ENOMEM;
}

static bool is_listed(const char *const *list, const char *name)
{
    for (; *list; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

static int finish_fields(struct arena *arena, struct config_table *table)
{
    size_t most = 1, count = 0;
    for (unsigned n = 0; n < table->index_count; n++)
        for (unsigned i = 0; table->indexes[n].columns && table->indexes[n].columns[i]; i++)
            most++;
    const char **fields = config_arena_alloc(arena, most * sizeof(*fields));
    if (!fields)
        return SP_ENOMEM;
    for (unsigned n = 0; n < table->index_count; n++)
        for (unsigned i = 0; table->indexes[n].columns && table->indexes[n].columns[i]; i++)
            if (!is_listed(fields, table->indexes[n].columns[i]))
                fields[count++] = table->indexes[n].columns[i];
    table->fields = fields;
    return SP_OK;
}

static int finish_table(struct arena *arena, const struct config *config,
                        struct config_table *table)
{
    table->source = find_source(config, table->source_name);
    bool pipeline =
        table->source && table->source->type && strcmp(table->source->type, "mongodb") == 0;
    if (!table->relation && (!table->query || pipeline))
        table->relation = table->name;
    if (!table->group)
        table->group = table->name;
    int status = finish_fields(arena, table);
    return status == SP_OK ? finish_refresh(arena, table) : status;
}

static unsigned line_of(struct tree *tree, const char *list, unsigned n)
{
    yaml_node_t *node =
        config_tree_item(tree, config_tree_value(tree, config_tree_root(tree), list), n);
    return node ? config_tree_line(node) : 0;
}

static int finish_cache(struct arena *arena, struct tree *tree, struct config *config)
{
    struct config_cache *cache = &config->cache;
    cache->enabled = config_tree_value(tree, config_tree_root(tree), "cache") != NULL;
    if (cache->memory_bytes == 0)
        cache->memory_bytes = config->memory_bytes / 2;
    if (!cache->notify)
        cache->notify = "";
    cache->socket = config_arena_format(arena, "%s/%s", config->directory, CONFIG_CACHE_SOCKET);
    return cache->socket ? SP_OK : SP_ENOMEM;
}

static const struct config_ring_node *ring_node(const struct config_ring *ring, const char *name)
{
    for (unsigned i = 0; name && i < ring->node_count; i++)
        if (ring->nodes[i].name && strcmp(ring->nodes[i].name, name) == 0)
            return &ring->nodes[i];
    return NULL;
}

/* "HOSTNAME:PORT", with the port of the address; of a Unix socket, the host's name alone. */
static const char *name_node(struct arena *arena, const char *address)
{
    char host[HOST_NAME_MAX + 1] = "";
    const char *port = strncmp(address, "unix:", 5) == 0 ? NULL : strrchr(address, ':');
    if (gethostname(host, sizeof(host) - 1) != 0)
        return "";
    return config_arena_format(arena, "%s%s", host, port ? port : "");
}

/* A node of a static list is as the list says; one that has no name has the one of its address. */
static int finish_ring(struct arena *arena, struct tree *tree, struct config *config)
{
    struct config_ring *ring = &config->ring;
    ring->enabled = config_tree_value(tree, config_tree_root(tree), "ring") != NULL;
    for (unsigned i = 0; !ring->node && ring->address && i < ring->node_count; i++)
        if (ring->nodes[i].address && strcmp(ring->nodes[i].address, ring->address) == 0)
            ring->node = ring->nodes[i].name;
    const struct config_ring_node *listed = ring_node(ring, ring->node);
    if (listed) {
        ring->address = ring->address ? ring->address : listed->address;
        ring->zone = listed->zone;
        ring->weight = listed->weight;
    }
    if (!ring->node && ring->address)
        ring->node = name_node(arena, ring->address);
    if (!ring->password_file && !ring->user)
        ring->password_file = config->cache.password_file;
    return !ring->address || ring->node ? SP_OK : SP_ENOMEM;
}

/* What depends on other values. The arrays are the arena's and still private to this build, hence
 * the casts. */
static int finish(struct arena *arena, struct tree *tree, struct config *config)
{
    for (unsigned i = 0; i < config->source_count; i++)
        ((struct config_source *)config->sources)[i].line = line_of(tree, "sources", i);
    for (unsigned i = 0; i < config->table_count; i++) {
        struct config_table *table = &((struct config_table *)config->tables)[i];
        table->line = line_of(tree, "tables", i);
        int status = finish_table(arena, config, table);
        if (status != SP_OK)
            return status;
    }
    config->agent.enabled = config_tree_value(tree, config_tree_root(tree), "agent") != NULL;
    if (!config->directory)
        config->directory = config_arena_format(arena, "/dev/shm/sidepond/%s", config->pond);
    int status = config->directory ? finish_cache(arena, tree, config) : SP_ENOMEM;
    return status == SP_OK ? finish_ring(arena, tree, config) : status;
}

int config_build(struct arena *arena, const char *file, const struct slot *slots, struct tree *tree,
                 struct config *config)
{
    struct build build = {.arena = arena, .file = config_arena_format(arena, "%s", file)};
    if (!build.file)
        return SP_ENOMEM;
    config->file = build.file;
    int status = fill_section(&build, &config_options, slots, (char *)config);
    return status == SP_OK ? finish(arena, tree, config) : status;
}
