/* SPDX-License-Identifier: Apache-2.0
 *
 * options.h - the one table of every option of the configuration file.
 *
 * A section is a YAML mapping; its options are the keys it may have. From this table follow the
 * libcyaml schema (schema.c), the check with line numbers (check.c), the defaults and the filling
 * of struct config (build.c), and the reference for people (reference.c).
 */
#ifndef SIDEPOND_CONFIG_OPTIONS_H
#define SIDEPOND_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_TEXT,     /* const char *; min and max are its length in bytes */
    OPTION_NAME,     /* const char *; letters, digits, _ . -, 1 to 63 of them */
    OPTION_PATH,     /* const char *; relative to the file's directory */
    OPTION_ADDRESS,  /* const char *; ADDRESS:PORT */
    OPTION_WORD,     /* const char *; one of choices */
    OPTION_CHOICE,   /* an enum whose values are the positions in choices */
    OPTION_BOOL,     /* bool */
    OPTION_NUMBER,   /* uint32_t, a whole number */
    OPTION_MODE,     /* uint32_t, permissions of a file in octal */
    OPTION_LETTERS,  /* const char *; letters out of choices[0] */
    OPTION_DURATION, /* uint32_t, milliseconds */
    OPTION_SIZE,     /* uint32_t or uint64_t, bytes */
    OPTION_PERCENT,  /* double, 0 to 1 */
    OPTION_OVERLAP,  /* int64_t: a duration in microseconds, or a plain number */
    OPTION_LIST,     /* const char *const *, NULL-terminated; min and max are its count */
    OPTION_LISTENS,  /* the same, of addresses to listen on: ADDRESS:PORT or unix:/PATH */
    OPTION_SECTION,  /* a mapping: its members lie at `offset` of the same struct */
    OPTION_SECTIONS, /* a list of mappings: pointer at `offset`, unsigned count at `count_offset` */
};

struct section;

struct option {
    const char *key;
    enum option_kind kind;
    bool required;
    uint32_t offset; /* of the member in the section's struct */
    uint32_t bytes;  /* of the member */
    uint32_t count_offset;
    uint64_t min, max;          /* inclusive; in the kind's unit */
    const char *const *choices; /* NULL-terminated */
    const struct section *section;
    const char *only;     /* the source types that have this option, with ", " between; NULL: all */
    const char *fallback; /* the default as one would write it; NULL: the member stays 0 */
    const char *otherwise; /* what the reference says of a default that is not a constant */
    const char *help;
};

struct section {
    const char *path; /* as the reference calls it; "" for the top */
    const char *help;
    const struct option *options;
    unsigned option_count;
    uint32_t struct_bytes; /* of one element, for lists of sections */
};

enum { OPTION_COUNT_MAX = 24 }; /* options of one section, at most */
enum { OPTION_NAME_MAX = 63 };  /* bytes of a name, at most */

/* The whole file. */
extern const struct section config_options;

/* The option of a key, or NULL. */
const struct option *config_option_find(const struct section *section, const char *key);

/* The key of the section that was probably meant, or NULL if none is near. */
const char *config_option_near(const struct section *section, const char *key);

/* The word of NULL-terminated `words` that was probably meant, or NULL. */
const char *config_word_near(const char *const *words, const char *word);

#endif
