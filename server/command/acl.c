/* SPDX-License-Identifier: Apache-2.0
 *
 * acl.c - the set of users: finding, changing, loading and saving them; and the checks.
 */
#include "server/command/acl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "server/command/acl_rules.h"
#include "server/resp/glob.h"
#include "sidepond/status.h"

/* --- one user ------------------------------------------------------------------------------- */

static struct acl_user *user_new(const char *name, size_t bytes)
{
    struct acl_user *user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    atomic_init(&user->references, 1);
    memcpy(user->name, name, bytes);
    if (!acl_reset(user)) {
        acl_release(user);
        return NULL;
    }
    return user;
}

static struct acl_user *user_copy(const struct acl_user *from)
{
    struct acl_user *user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    atomic_init(&user->references, 1);
    memcpy(user->name, from->name, sizeof(user->name));
    memcpy(user->allowed, from->allowed, sizeof(user->allowed));
    user->on = from->on;
    user->nopass = from->nopass;
    user->all_keys = from->all_keys;
    user->all_channels = from->all_channels;
    if (acl_list_copy(&user->passwords, &from->passwords) &&
        acl_list_copy(&user->keys, &from->keys) &&
        acl_list_copy(&user->channels, &from->channels) &&
        acl_list_copy(&user->rules, &from->rules))
        return user;
    acl_release(user);
    return NULL;
}

void acl_release(const struct acl_user *shared)
{
    struct acl_user *user = (struct acl_user *)shared;
    if (!user || atomic_fetch_sub(&user->references, 1) != 1)
        return;
    acl_list_clear(&user->passwords);
    acl_list_clear(&user->keys);
    acl_list_clear(&user->channels);
    acl_list_clear(&user->rules);
    free(user);
}

static struct acl_user *default_user(void)
{
    static const char *const rules[] = {"on", "nopass", "allkeys", "allchannels", "allcommands"};
    struct acl_user *user = user_new("default", 7);
    for (size_t i = 0; user && i < sizeof(rules) / sizeof(rules[0]); i++)
        acl_apply(user, &(struct resp_arg){rules[i], strlen(rules[i])});
    return user;
}

/* --- the set -------------------------------------------------------------------------------- */

int acl_init(struct acl *acl)
{
    *acl = (struct acl){0};
    pthread_mutex_init(&acl->lock, NULL);
    atomic_init(&acl->generation, 1);
    acl->users = malloc(sizeof(*acl->users));
    struct acl_user *user = acl->users ? default_user() : NULL;
    if (!user)
        return SP_ENOMEM;
    acl->users[acl->count++] = user;
    return SP_OK;
}

static void free_users(struct acl_user **users, size_t count)
{
    for (size_t i = 0; i < count; i++)
        acl_release(users[i]);
    free(users);
}

void acl_destroy(struct acl *acl)
{
    free_users(acl->users, acl->count);
    pthread_mutex_destroy(&acl->lock);
}

static size_t position_of(struct acl_user *const *users, size_t count, const char *name,
                          size_t bytes)
{
    size_t i = 0;
    while (i < count &&
           (strlen(users[i]->name) != bytes || memcmp(users[i]->name, name, bytes) != 0))
        i++;
    return i;
}

const struct acl_user *acl_find(struct acl *acl, const char *name, size_t bytes)
{
    struct acl_user *user = NULL;
    pthread_mutex_lock(&acl->lock);
    size_t at = position_of(acl->users, acl->count, name, bytes);
    if (at < acl->count) {
        user = acl->users[at];
        atomic_fetch_add(&user->references, 1);
    }
    pthread_mutex_unlock(&acl->lock);
    return user;
}

static bool is_name(const struct resp_arg *name, char *why)
{
    for (size_t i = 0; i < name->size; i++) {
        if (isspace((unsigned char)name->bytes[i]) || name->bytes[i] == '\0') {
            snprintf(why, ACL_WHY_BYTES, "Usernames can't contain spaces or null characters");
            return false;
        }
    }
    if (name->size <= ACL_NAME_MAX)
        return true;
    snprintf(why, ACL_WHY_BYTES, "Usernames can't be longer than %u bytes", ACL_NAME_MAX);
    return false;
}

static int apply_all(struct acl_user *user, const struct resp_arg *rules, size_t count, char *why)
{
    for (size_t i = 0; i < count; i++) {
        const char *wrong = acl_apply(user, &rules[i]);
        if (!wrong)
            continue;
        snprintf(why, ACL_WHY_BYTES, "Error in ACL SETUSER modifier '%.*s': %s",
                 rules[i].size < 64 ? (int)rules[i].size : 64, rules[i].bytes, wrong);
        return SP_EINVAL;
    }
    return SP_OK;
}

/* Adds a user, or puts it in another one's place; takes the reference. */
static int put_user(struct acl_user ***users, size_t *count, struct acl_user *user)
{
    size_t at = position_of(*users, *count, user->name, strlen(user->name));
    if (at == *count) {
        struct acl_user **more = realloc(*users, (*count + 1) * sizeof(*more));
        if (!more)
            return SP_ENOMEM;
        *users = more;
        ++*count;
    } else {
        acl_release((*users)[at]);
    }
    (*users)[at] = user;
    return SP_OK;
}

/* Rules on top of what the user of this name is. */
static int set_user(struct acl_user ***users, size_t *count, const struct resp_arg *name,
                    const struct resp_arg *rules, size_t rule_count, char *why)
{
    if (!is_name(name, why))
        return SP_EINVAL;
    size_t at = position_of(*users, *count, name->bytes, name->size);
    struct acl_user *user =
        at < *count ? user_copy((*users)[at]) : user_new(name->bytes, name->size);
    snprintf(why, ACL_WHY_BYTES, "out of memory");
    if (!user)
        return SP_ENOMEM;
    int status = apply_all(user, rules, rule_count, why);
    if (status == SP_OK)
        status = put_user(users, count, user);
    if (status != SP_OK)
        acl_release(user);
    return status;
}

int acl_set(struct acl *acl, const struct resp_arg *name, const struct resp_arg *rules,
            size_t rule_count, char *why)
{
    pthread_mutex_lock(&acl->lock);
    int status = set_user(&acl->users, &acl->count, name, rules, rule_count, why);
    if (status == SP_OK)
        atomic_fetch_add(&acl->generation, 1);
    pthread_mutex_unlock(&acl->lock);
    return status;
}

bool acl_delete(struct acl *acl, const char *name, size_t bytes)
{
    pthread_mutex_lock(&acl->lock);
    size_t at = position_of(acl->users, acl->count, name, bytes);
    bool there = at < acl->count && at > 0;
    if (there) {
        acl_release(acl->users[at]);
        memmove(&acl->users[at], &acl->users[at + 1], (--acl->count - at) * sizeof(*acl->users));
        atomic_fetch_add(&acl->generation, 1);
    }
    pthread_mutex_unlock(&acl->lock);
    return there;
}

/* --- files ---------------------------------------------------------------------------------- */

#define LINE_RULES_MAX 256

/* One line: `user NAME rule...`, empty, or a comment. */
static int load_line(struct acl_user ***users, size_t *count, char *line, char *why)
{
    struct resp_arg words[LINE_RULES_MAX];
    size_t word_count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " \t\r\n", &rest); word && word_count < LINE_RULES_MAX;
         word = strtok_r(NULL, " \t\r\n", &rest))
        words[word_count++] = (struct resp_arg){word, strlen(word)};
    if (word_count == 0 || words[0].bytes[0] == '#')
        return SP_OK;
    if (word_count < 2 || strcmp(words[0].bytes, "user") != 0) {
        snprintf(why, ACL_WHY_BYTES, "a line is `user NAME rules...`");
        return SP_EINVAL;
    }
    return set_user(users, count, &words[1], words + 2, word_count - 2, why);
}

static int load_lines(FILE *file, const char *path, struct acl_user ***users, size_t *count,
                      char *why)
{
    char *line = NULL, wrong[ACL_WHY_BYTES];
    size_t cap = 0;
    unsigned number = 0;
    int status = SP_OK;
    while (status == SP_OK && getline(&line, &cap, file) >= 0) {
        number++;
        status = load_line(users, count, line, wrong);
        if (status != SP_OK)
            snprintf(why, ACL_WHY_BYTES, "%.100s:%u: %.120s", path, number, wrong);
    }
    free(line);
    return status;
}

int acl_load(struct acl *acl, const char *path, char *why)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(why, ACL_WHY_BYTES, "%.150s: %s", path, strerror(errno));
        return SP_ESYS;
    }
    struct acl_user **users = malloc(sizeof(*users)), *user = default_user();
    size_t count = 0;
    int status = users && user ? put_user(&users, &count, user) : SP_ENOMEM;
    if (status == SP_OK)
        status = load_lines(file, path, &users, &count, why);
    fclose(file);
    if (status == SP_OK) {
        pthread_mutex_lock(&acl->lock);
        struct acl_user **old = acl->users;
        size_t old_count = acl->count;
        acl->users = users;
        acl->count = count;
        atomic_fetch_add(&acl->generation, 1);
        pthread_mutex_unlock(&acl->lock);
        users = old;
        count = old_count;
    }
    free_users(users, count);
    return status;
}

static bool write_users(struct acl *acl, FILE *file)
{
    bool good = true;
    pthread_mutex_lock(&acl->lock);
    for (size_t i = 0; i < acl->count && good; i++) {
        char *line = acl_describe(acl->users[i]);
        good = line && fprintf(file, "%s\n", line) > 0;
        free(line);
    }
    pthread_mutex_unlock(&acl->lock);
    return good;
}

int acl_save(struct acl *acl, const char *path, char *why)
{
    char temporary[4096];
    snprintf(temporary, sizeof(temporary), "%s.new", path);
    FILE *file = fopen(temporary, "we");
    bool good = file && write_users(acl, file) && fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (file)
        good = fclose(file) == 0 && good;
    if (good && rename(temporary, path) == 0)
        return SP_OK;
    snprintf(why, ACL_WHY_BYTES, "%.150s: %s", path, strerror(errno));
    unlink(temporary);
    return SP_ESYS;
}

/* --- checks --------------------------------------------------------------------------------- */

/* Looks at every password, so that the time says nothing. */
static bool has_password(const struct acl_user *user, const char *hex)
{
    bool right = false;
    for (size_t i = 0; i < user->passwords.count; i++)
        right |= CRYPTO_memcmp(user->passwords.items[i].bytes, hex, ACL_HASH_HEX) == 0;
    return right;
}

const struct acl_user *acl_authenticate(struct acl *acl, const struct resp_arg *name,
                                        const struct resp_arg *password)
{
    char hex[ACL_HASH_HEX + 1];
    acl_hash(password->bytes, password->size, hex);
    const struct acl_user *user = acl_find(acl, name->bytes, name->size);
    if (user && user->on && (user->nopass | has_password(user, hex)))
        return user;
    acl_release(user);
    return NULL;
}

static bool key_allowed(const struct acl_user *user, const struct resp_arg *key, unsigned access)
{
    for (size_t i = 0; i < user->keys.count; i++) {
        const struct acl_text *pattern = &user->keys.items[i];
        if ((pattern->access & access) == access &&
            glob_match(pattern->bytes, pattern->size, key->bytes, key->size, false))
            return true;
    }
    return false;
}

enum acl_denial acl_check(const struct acl_user *user, const struct call *call, size_t *argument)
{
    const struct command *command = call->command;
    *argument = 0;
    if (!(user->allowed[command->number / 64] >> (command->number % 64) & 1))
        return ACL_DENIED_COMMAND;
    if (user->all_keys)
        return ACL_ALLOWED;
    struct command_keys keys = command_keys(command, call->count);
    unsigned access = command->flags & COMMAND_WRITE ? ACL_READ | ACL_WRITE : ACL_READ;
    if (command->flags & COMMAND_OVERWRITES)
        access = ACL_WRITE;
    for (size_t i = keys.first; keys.first != 0 && i <= keys.last; i += keys.step) {
        if (!key_allowed(user, &call->args[i], access)) {
            *argument = i;
            return ACL_DENIED_KEY;
        }
    }
    return ACL_ALLOWED;
}

bool acl_allows_channel(const struct acl_user *user, const char *name, size_t bytes, bool pattern)
{
    if (user->all_channels)
        return true;
    for (size_t i = 0; i < user->channels.count; i++) {
        const struct acl_text *channel = &user->channels.items[i];
        /* A pattern must be one of the user's, letter by letter. */
        if (pattern ? channel->size == bytes && memcmp(channel->bytes, name, bytes) == 0
                    : glob_match(channel->bytes, channel->size, name, bytes, false))
            return true;
    }
    return false;
}
