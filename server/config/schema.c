/* SPDX-License-Identifier: Apache-2.0
 *
 * schema.c - the table of options as a libcyaml schema.
 *
 * libcyaml fills C structs by offset; ours are arrays of slots (schema.h), so that the schema of
 * any section follows from the number and the kinds of its options. It allocates every string and
 * list of the file and frees them again. The text of a value is not interpreted here.
 *
 * A schema of its own per load costs some kilobytes and keeps this free of state.
 */
#include "server/config/schema.h"

#include <cyaml/cyaml.h>
#include <stdlib.h>
#include <string.h>

#include "sidepond/status.h"

enum { SECTIONS_MAX = 16 };

struct section_schema {
    cyaml_schema_field_t fields[OPTION_COUNT_MAX + 1];
    cyaml_schema_value_t element; /* of a list of this section */
};

struct schema {
    struct section_schema sections[SECTIONS_MAX];
    unsigned section_count;
    cyaml_schema_value_t text; /* element of a list of texts */
    cyaml_schema_value_t top;
    cyaml_config_t config;
    cyaml_data_t *loaded;
    char message[256]; /* the first error that libcyaml told */
};

static void keep_message(cyaml_log_t level, void *context, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void keep_message(cyaml_log_t level, void *context, const char *format, va_list args)
{
    struct schema *schema = context;
    if (level < CYAML_LOG_ERROR || schema->message[0] != '\0')
        return;
    vsnprintf(schema->message, sizeof(schema->message), format, args);
    schema->message[strcspn(schema->message, "\n")] = '\0';
}

static const struct section_schema *add_section(struct schema *schema,
                                                const struct section *section);

static void fill_value(struct schema *schema, const struct option *option,
                       cyaml_schema_value_t *value)
{
    switch (option->kind) {
    case OPTION_LIST:
    case OPTION_LISTENS:
        *value = (cyaml_schema_value_t){CYAML_VALUE_SEQUENCE(
            CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *, &schema->text, 0, CYAML_UNLIMITED)};
        break;
    case OPTION_SECTIONS:
        *value = (cyaml_schema_value_t){CYAML_VALUE_SEQUENCE(
            CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct slot,
            &add_section(schema, option->section)->element, 0, CYAML_UNLIMITED)};
        value->data_size = value->sequence.entry->data_size;
        break;
    case OPTION_SECTION:
        *value = (cyaml_schema_value_t){
            CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct slot,
                                add_section(schema, option->section)->fields)};
        value->data_size = (uint32_t)(option->section->option_count * sizeof(struct slot));
        break;
    default:
        *value = (cyaml_schema_value_t){
            CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0, CYAML_UNLIMITED)};
        break;
    }
}

static const struct section_schema *add_section(struct schema *schema,
                                                const struct section *section)
{
    struct section_schema *out = &schema->sections[schema->section_count++];
    for (unsigned i = 0; i < section->option_count; i++) {
        cyaml_schema_field_t *field = &out->fields[i];
        field->key = section->options[i].key;
        field->data_offset = (uint32_t)(i * sizeof(struct slot) + offsetof(struct slot, data));
        field->count_offset = (uint32_t)(i * sizeof(struct slot) + offsetof(struct slot, count));
        field->count_size = sizeof(((struct slot *)0)->count);
        fill_value(schema, &section->options[i], &field->value);
    }
    out->element =
        (cyaml_schema_value_t){CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct slot, out->fields)};
    out->element.data_size = (uint32_t)(section->option_count * sizeof(struct slot));
    return out;
}

static void build_schema(struct schema *schema)
{
    schema->text =
        (cyaml_schema_value_t){CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};
    const struct section_schema *top = add_section(schema, &config_options);
    schema->top = top->element;
    schema->top.flags = CYAML_FLAG_POINTER;
    schema->config = (cyaml_config_t){
        .log_fn = keep_message,
        .log_ctx = schema,
        .mem_fn = cyaml_mem,
        .log_level = CYAML_LOG_ERROR,
        /* check.c has complained of them with their places. */
        .flags = CYAML_CFG_IGNORE_UNKNOWN_KEYS,
    };
}

int config_schema_load(const char *data, size_t size, struct complaints *complaints,
                       struct schema **out, const struct slot **slots)
{
    struct schema *schema = calloc(1, sizeof(*schema));
    if (!schema)
        return SP_ENOMEM;
    build_schema(schema);
    cyaml_err_t error = cyaml_load_data((const uint8_t *)data, size, &schema->config, &schema->top,
                                        &schema->loaded, NULL);
    if (error != CYAML_OK) {
        if (error != CYAML_ERR_OOM)
            config_complain(complaints, 0, 0, "cannot be loaded: %s",
                            schema->message[0] ? schema->message : cyaml_strerror(error));
        free(schema);
        return error == CYAML_ERR_OOM ? SP_ENOMEM : SP_ECONFIG;
    }
    *out = schema;
    *slots = schema->loaded;
    return SP_OK;
}

void config_schema_free(struct schema *schema)
{
    if (!schema)
        return;
    cyaml_free(&schema->config, &schema->top, schema->loaded, 0);
    free(schema);
}
