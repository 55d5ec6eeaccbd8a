/* SPDX-License-Identifier: Apache-2.0
 *
 * reference.c - the table of options as Markdown, for people.
 */
#include <inttypes.h>
#include <stdio.h>

#include "server/config/config.h"
#include "server/config/options.h"
#include "server/config/values.h"

static void print_words(const struct option *option, FILE *out)
{
    for (unsigned i = 0; option->choices[i]; i++)
        fprintf(out, "%s`%s`", i ? ", " : "", option->choices[i]);
}

static void print_type(const struct option *option, FILE *out)
{
    char low[VALUE_PRINT_BYTES];
    char high[VALUE_PRINT_BYTES];
    switch (option->kind) {
    case OPTION_TEXT:
        fprintf(out, "text, up to %" PRIu64 " bytes", option->max);
        break;
    case OPTION_NAME:
        fprintf(out, "name");
        break;
    case OPTION_PATH:
        fprintf(out, "path");
        break;
    case OPTION_ADDRESS:
        fprintf(out, "address");
        break;
    case OPTION_WORD:
    case OPTION_CHOICE:
        print_words(option, out);
        break;
    case OPTION_BOOL:
        fprintf(out, "`true` or `false`");
        break;
    case OPTION_NUMBER:
        fprintf(out, "number, %" PRIu64 " to %" PRIu64, option->min, option->max);
        break;
    case OPTION_MODE:
        fprintf(out, "permissions in octal");
        break;
    case OPTION_LETTERS:
        fprintf(out, "letters of `%s`", option->choices[0]);
        break;
    case OPTION_DURATION:
        fprintf(out, "duration, %s to %s", config_print_duration(option->min, low),
                config_print_duration(option->max, high));
        break;
    case OPTION_SIZE:
        fprintf(out, "size, %s to %s", config_print_size(option->min, low),
                config_print_size(option->max, high));
        break;
    case OPTION_PERCENT:
        fprintf(out, "percentage, %" PRIu64 "%% to %" PRIu64 "%%", option->min, option->max);
        break;
    case OPTION_OVERLAP:
        fprintf(out, "duration or number");
        break;
    case OPTION_LIST:
        fprintf(out, "list of %" PRIu64 " to %" PRIu64 " columns", option->min, option->max);
        break;
    case OPTION_LISTENS:
        fprintf(out, "list of %" PRIu64 " to %" PRIu64 " addresses", option->min, option->max);
        break;
    case OPTION_SECTION:
        fprintf(out, "mapping, see below");
        break;
    case OPTION_SECTIONS:
        fprintf(out, "list of %" PRIu64 " to %" PRIu64 " mappings, see below", option->min,
                option->max);
        break;
    }
}

static void print_option(const struct option *option, FILE *out)
{
    fprintf(out, "| `%s` | ", option->key);
    print_type(option, out);
    if (option->required)
        fprintf(out, " | required");
    else if (option->fallback)
        fprintf(out, " | `%s`", option->fallback);
    else
        fprintf(out, " | %s",
                option->otherwise                ? option->otherwise
                : option->kind == OPTION_SECTION ? "its defaults"
                                                 : "none");
    fprintf(out, " | %s%s%s |\n", option->only ? option->only : "", option->only ? ": " : "",
            option->help);
}

static void print_section(const struct section *section, FILE *out)
{
    fprintf(out, "### %s%s%s\n\n%s\n\n", *section->path ? "`" : "",
            *section->path ? section->path : "Top level", *section->path ? "`" : "", section->help);
    fprintf(out, "| option | type | default | meaning |\n|---|---|---|---|\n");
    for (unsigned i = 0; i < section->option_count; i++)
        print_option(&section->options[i], out);
    for (unsigned i = 0; i < section->option_count; i++) {
        if (section->options[i].section) {
            fprintf(out, "\n");
            print_section(section->options[i].section, out);
        }
    }
}

void config_reference(FILE *out)
{
    print_section(&config_options, out);
}
