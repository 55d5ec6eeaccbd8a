/* SPDX-License-Identifier: Apache-2.0
 *
 * acl_rules.c - what a rule does to a user, and the text of what a user may.
 */
#include "server/command/acl_rules.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

const char *const acl_category_names[CATEGORY_COUNT] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};

uint32_t acl_category(const char *name, size_t bytes)
{
    for (unsigned i = 0; i < CATEGORY_COUNT; i++) {
        if (strlen(acl_category_names[i]) == bytes &&
            strncasecmp(acl_category_names[i], name, bytes) == 0)
            return UINT32_C(1) << i;
    }
    return 0;
}

void acl_hash(const char *password, size_t bytes, char hex[ACL_HASH_HEX + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_Digest(password, bytes, digest, &size, EVP_sha256(), NULL);
    for (unsigned i = 0; i < ACL_HASH_HEX / 2; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

/* --- lists ---------------------------------------------------------------------------------- */

static bool list_add(struct acl_list *list, const char *bytes, size_t size, unsigned access)
{
    struct acl_text *items = realloc(list->items, (list->count + 1) * sizeof(*items));
    if (!items)
        return false;
    list->items = items;
    char *copy = malloc(size + 1);
    if (!copy)
        return false;
    memcpy(copy, bytes, size);
    copy[size] = '\0';
    items[list->count++] = (struct acl_text){access, size, copy};
    return true;
}

static void list_remove(struct acl_list *list, size_t at)
{
    free(list->items[at].bytes);
    memmove(&list->items[at], &list->items[at + 1], (--list->count - at) * sizeof(list->items[0]));
}

void acl_list_clear(struct acl_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].bytes);
    free(list->items);
    *list = (struct acl_list){NULL, 0};
}

bool acl_list_copy(struct acl_list *to, const struct acl_list *from)
{
    *to = (struct acl_list){NULL, 0};
    for (size_t i = 0; i < from->count; i++) {
        const struct acl_text *item = &from->items[i];
        if (!list_add(to, item->bytes, item->size, item->access))
            return false;
    }
    return true;
}

static size_t list_find(const struct acl_list *list, const char *bytes, size_t size)
{
    size_t i = 0;
    while (i < list->count &&
           (list->items[i].size != size || memcmp(list->items[i].bytes, bytes, size) != 0))
        i++;
    return i;
}

/* --- commands ------------------------------------------------------------------------------- */

static void allow(struct acl_user *user, const struct command *command, bool allowed)
{
    uint64_t bit = UINT64_C(1) << (command->number % 64);
    uint64_t *word = &user->allowed[command->number / 64];
    *word = allowed ? *word | bit : *word & ~bit;
}

static void allow_with_subs(struct acl_user *user, const struct command *command, bool allowed)
{
    allow(user, command, allowed);
    for (unsigned i = 0; i < command->subcommand_count; i++)
        allow(user, &command->subcommands[i], allowed);
}

static void allow_category(struct acl_user *user, uint32_t category, bool allowed)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &commands[i];
        if (command->categories & category)
            allow(user, command, allowed);
        for (unsigned s = 0; s < command->subcommand_count; s++)
            if (command->subcommands[s].categories & category)
                allow(user, &command->subcommands[s], allowed);
    }
}

/* A rule about the same command, or a part of it, has no effect any more. */
static void drop_overruled(struct acl_list *rules, const char *name, size_t size)
{
    for (size_t i = rules->count; i-- > 1;) {
        const struct acl_text *rule = &rules->items[i];
        bool same = rule->size >= size + 1 && memcmp(rule->bytes + 1, name, size) == 0 &&
                    (rule->size == size + 1 || rule->bytes[size + 1] == '|');
        if (same)
            list_remove(rules, i);
    }
}

static bool note_rule(struct acl_user *user, const struct resp_arg *rule)
{
    char text[128];
    if (rule->size >= sizeof(text))
        return false;
    for (size_t i = 0; i < rule->size; i++)
        text[i] = (char)tolower((unsigned char)rule->bytes[i]);
    drop_overruled(&user->rules, text + 1, rule->size - 1);
    return list_add(&user->rules, text, rule->size, 0);
}

static bool set_all_commands(struct acl_user *user, bool allowed)
{
    for (size_t i = 0; i < command_count; i++)
        allow_with_subs(user, &commands[i], allowed);
    acl_list_clear(&user->rules);
    return list_add(&user->rules, allowed ? "+@all" : "-@all", 5, 0);
}

static const char unknown_command[] = "Unknown command or category name in ACL";

/* +name, -name, +name|sub, +@category; NULL if it was right, else what is wrong. */
static const char *apply_command(struct acl_user *user, const struct resp_arg *rule)
{
    bool allowed = rule->bytes[0] == '+';
    const char *name = rule->bytes + 1;
    size_t size = rule->size - 1;
    const char *bar = memchr(name, '|', size);
    if (size > 0 && name[0] == '@') {
        uint32_t category = acl_category(name + 1, size - 1);
        if (size == 4 && strncasecmp(name, "@all", 4) == 0)
            return set_all_commands(user, allowed) ? NULL : "out of memory";
        if (category == 0)
            return unknown_command;
        allow_category(user, category, allowed);
    } else {
        const struct command *command = command_find(name, bar ? (size_t)(bar - name) : size);
        if (command && bar)
            command = command_find_sub(command, bar + 1, size - (size_t)(bar + 1 - name));
        if (!command)
            return unknown_command;
        allow_with_subs(user, command, allowed);
    }
    return note_rule(user, rule) ? NULL : "out of memory";
}

/* --- keys, channels, passwords -------------------------------------------------------------- */

static const char *add_pattern(struct acl_user *user, const char *pattern, size_t size,
                               unsigned access)
{
    size_t at = list_find(&user->keys, pattern, size);
    if (user->all_keys)
        return "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does "
               "not have any effect. Try 'resetkeys' to start with an empty list of patterns";
    if (size == 1 && pattern[0] == '*' && access == (ACL_READ | ACL_WRITE)) {
        acl_list_clear(&user->keys);
        user->all_keys = true;
    } else if (at < user->keys.count) {
        user->keys.items[at].access |= access;
    } else if (!list_add(&user->keys, pattern, size, access)) {
        return "out of memory";
    }
    return NULL;
}

/* %R~pattern, %W~pattern, %RW~pattern. */
static const char *apply_access(struct acl_user *user, const struct resp_arg *rule)
{
    unsigned access = 0;
    size_t i = 1;
    for (; i < rule->size && rule->bytes[i] != '~'; i++) {
        char letter = (char)toupper((unsigned char)rule->bytes[i]);
        if (letter != 'R' && letter != 'W')
            return "Syntax error";
        access |= letter == 'R' ? ACL_READ : ACL_WRITE;
    }
    if (i == rule->size || access == 0)
        return "Syntax error";
    return add_pattern(user, rule->bytes + i + 1, rule->size - i - 1, access);
}

static const char *add_channel(struct acl_user *user, const char *pattern, size_t size)
{
    if (user->all_channels)
        return "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and "
               "does not have any effect. Try 'resetchannels' to start with an empty list of "
               "channels";
    if (size == 1 && pattern[0] == '*') {
        acl_list_clear(&user->channels);
        user->all_channels = true;
    } else if (list_find(&user->channels, pattern, size) == user->channels.count &&
               !list_add(&user->channels, pattern, size, 0)) {
        return "out of memory";
    }
    return NULL;
}

static bool is_hash(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!isdigit((unsigned char)text[i]) && (text[i] < 'a' || text[i] > 'f'))
            return false;
    }
    return size == ACL_HASH_HEX;
}

/* >password, #hash, <password, !hash. */
static const char *apply_password(struct acl_user *user, const struct resp_arg *rule)
{
    char hex[ACL_HASH_HEX + 1];
    char kind = rule->bytes[0];
    const char *text = rule->bytes + 1;
    size_t size = rule->size - 1;
    if (kind == '>' || kind == '<') {
        acl_hash(text, size, hex);
        text = hex;
        size = ACL_HASH_HEX;
    }
    if (!is_hash(text, size))
        return "The password hash must be exactly 64 characters and contain only lowercase "
               "hexadecimal characters";
    size_t at = list_find(&user->passwords, text, size);
    if (kind == '<' || kind == '!') {
        if (at == user->passwords.count)
            return "The password you are trying to remove from the user does not exist";
        list_remove(&user->passwords, at);
        return NULL;
    }
    user->nopass = false;
    if (at == user->passwords.count && !list_add(&user->passwords, text, size, 0))
        return "out of memory";
    return NULL;
}

/* --- words ---------------------------------------------------------------------------------- */

static bool is_word(const struct resp_arg *rule, const char *word)
{
    return rule->size == strlen(word) && strncasecmp(rule->bytes, word, rule->size) == 0;
}

/* Rules that are words; false: it is none of them. */
static bool apply_word(struct acl_user *user, const struct resp_arg *rule)
{
    if (is_word(rule, "on")) {
        user->on = true;
    } else if (is_word(rule, "off")) {
        user->on = false;
    } else if (is_word(rule, "nopass")) {
        user->nopass = true;
        acl_list_clear(&user->passwords);
    } else if (is_word(rule, "resetpass")) {
        user->nopass = false;
        acl_list_clear(&user->passwords);
    } else if (is_word(rule, "resetkeys")) {
        user->all_keys = false;
        acl_list_clear(&user->keys);
    } else if (is_word(rule, "resetchannels")) {
        user->all_channels = false;
        acl_list_clear(&user->channels);
    } else if (is_word(rule, "skip-sanitize-payload") || is_word(rule, "sanitize-payload") ||
               is_word(rule, "clearselectors")) {
        return true; /* nothing of these is here, and payloads are always checked */
    } else {
        return false;
    }
    return true;
}

bool acl_reset(struct acl_user *user)
{
    user->on = user->nopass = user->all_keys = user->all_channels = false;
    acl_list_clear(&user->passwords);
    acl_list_clear(&user->keys);
    acl_list_clear(&user->channels);
    return set_all_commands(user, false);
}

const char *acl_apply(struct acl_user *user, const struct resp_arg *rule)
{
    if (is_word(rule, "allkeys"))
        return user->all_keys ? NULL : add_pattern(user, "*", 1, ACL_READ | ACL_WRITE);
    if (is_word(rule, "allchannels"))
        return user->all_channels ? NULL : add_channel(user, "*", 1);
    if (is_word(rule, "allcommands"))
        return set_all_commands(user, true) ? NULL : "out of memory";
    if (is_word(rule, "nocommands"))
        return set_all_commands(user, false) ? NULL : "out of memory";
    if (is_word(rule, "reset"))
        return acl_reset(user) ? NULL : "out of memory";
    if (apply_word(user, rule))
        return NULL;
    switch (rule->size > 0 ? rule->bytes[0] : '\0') {
    case '>':
    case '<':
    case '#':
    case '!':
        return apply_password(user, rule);
    case '~':
        return add_pattern(user, rule->bytes + 1, rule->size - 1, ACL_READ | ACL_WRITE);
    case '%':
        return apply_access(user, rule);
    case '&':
        return add_channel(user, rule->bytes + 1, rule->size - 1);
    case '+':
    case '-':
        return apply_command(user, rule);
    case '(':
        return "selectors are not supported";
    default:
        return "Syntax error";
    }
}

/* --- describing ----------------------------------------------------------------------------- */

struct text {
    char *bytes;
    size_t size;
    FILE *file;
};

static bool text_open(struct text *text)
{
    text->file = open_memstream(&text->bytes, &text->size);
    return text->file != NULL;
}

static char *text_close(struct text *text)
{
    return fclose(text->file) == 0 ? text->bytes : NULL;
}

static void print_commands(const struct acl_user *user, FILE *out)
{
    for (size_t i = 0; i < user->rules.count; i++)
        fprintf(out, "%s%s", i ? " " : "", user->rules.items[i].bytes);
}

static void print_keys(const struct acl_user *user, FILE *out)
{
    static const char *const before[] = {"~", "%R~", "%W~", "~"};
    if (user->all_keys)
        fputs("~*", out);
    for (size_t i = 0; i < user->keys.count; i++)
        fprintf(out, "%s%s%s", i ? " " : "", before[user->keys.items[i].access & 3],
                user->keys.items[i].bytes);
}

static void print_channels(const struct acl_user *user, FILE *out)
{
    if (user->all_channels)
        fputs("&*", out);
    for (size_t i = 0; i < user->channels.count; i++)
        fprintf(out, "%s&%s", i ? " " : "", user->channels.items[i].bytes);
}

static char *describe_by(const struct acl_user *user,
                         void (*print)(const struct acl_user *, FILE *))
{
    struct text text = {0};
    if (!text_open(&text))
        return NULL;
    print(user, text.file);
    return text_close(&text);
}

char *acl_describe_commands(const struct acl_user *user)
{
    return describe_by(user, print_commands);
}

char *acl_describe_keys(const struct acl_user *user)
{
    return describe_by(user, print_keys);
}

char *acl_describe_channels(const struct acl_user *user)
{
    return describe_by(user, print_channels);
}

static void print_user(const struct acl_user *user, FILE *out)
{
    fprintf(out, "user %s %s ", user->name, user->on ? "on" : "off");
    if (user->nopass)
        fputs("nopass ", out);
    for (size_t i = 0; i < user->passwords.count; i++)
        fprintf(out, "#%s ", user->passwords.items[i].bytes);
    print_keys(user, out);
    if (user->all_keys || user->keys.count)
        fputc(' ', out);
    if (!user->all_channels)
        fprintf(out, "resetchannels ");
    print_channels(user, out);
    if (user->all_channels || user->channels.count)
        fputc(' ', out);
    print_commands(user, out);
}

char *acl_describe(const struct acl_user *user)
{
    return describe_by(user, print_user);
}
