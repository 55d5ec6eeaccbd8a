/* SPDX-License-Identifier: Apache-2.0
 *
 * acl.h - users: who may call which commands on which keys and channels.
 *
 * A user does not change: a rule makes a new one in the place of the old one. A session holds the
 * one that it has authenticated as, and looks for a newer one when the generation has changed. So a
 * check of a call takes no lock. Passwords are kept as SHA-256, as Redis' ACL files have them.
 *
 * Rules are those of Redis 7: on, off, nopass, >password, <password, #hash, !hash, resetpass,
 * ~pattern, %R~pattern, %W~pattern, %RW~pattern, allkeys, resetkeys, &pattern, allchannels,
 * resetchannels, +command, -command, +command|subcommand, +@category, -@category, allcommands,
 * nocommands, reset. There are no selectors.
 */
#ifndef SIDEPOND_COMMAND_ACL_H
#define SIDEPOND_COMMAND_ACL_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/command/command.h"

#define ACL_NAME_MAX  255u /* bytes of a user's name */
#define ACL_WHY_BYTES 256
#define ACL_HASH_HEX  64 /* digits of a password's hash */

enum acl_access { ACL_READ = 1, ACL_WRITE = 2 };

struct acl_text {
    unsigned access; /* of a key pattern: enum acl_access */
    size_t size;
    char *bytes; /* terminated */
};

struct acl_list {
    struct acl_text *items;
    size_t count;
};

struct acl_user {
    _Atomic unsigned references;
    char name[ACL_NAME_MAX + 1];
    bool on, nopass, all_keys, all_channels;
    uint64_t allowed[COMMAND_NUMBERS_MAX / 64]; /* by command number */
    struct acl_list passwords, keys, channels;
    struct acl_list rules; /* of commands, as ACL LIST shows them; the first is -@all or +@all */
};

struct acl {
    pthread_mutex_t lock;
    _Atomic uint64_t generation; /* raised when any user changes */
    struct acl_user **users;     /* users[0] is `default` */
    size_t count;
};

/* `default` may do everything and has no password. SP_ENOMEM. */
int acl_init(struct acl *acl);
void acl_destroy(struct acl *acl);

/* The user of a name as it is now, to be released; NULL: there is none. */
const struct acl_user *acl_find(struct acl *acl, const char *name, size_t bytes);
void acl_release(const struct acl_user *user); /* NULL is fine */

/* Makes or changes a user by rules, all of them or none. SP_EINVAL with a sentence in why
 * (ACL_WHY_BYTES): which rule, and what is wrong with it. */
int acl_set(struct acl *acl, const struct resp_arg *name, const struct resp_arg *rules,
            size_t rule_count, char *why);
bool acl_delete(struct acl *acl, const char *name, size_t bytes);

/* Takes all users from the text of a file, in place of those that are there; users that it does not
 * name are gone, `default` is as at the start. SP_EINVAL: nothing changes, why names the line. */
int acl_load(struct acl *acl, const char *path, char *why);
int acl_save(struct acl *acl, const char *path, char *why);

/* The user to be, to be released, or NULL: wrong password, no such user, switched off. Takes the
 * same time for each reason. */
const struct acl_user *acl_authenticate(struct acl *acl, const struct resp_arg *name,
                                        const struct resp_arg *password);

enum acl_denial {
    ACL_ALLOWED,
    ACL_DENIED_COMMAND,
    ACL_DENIED_KEY,
    ACL_DENIED_CHANNEL,
    ACL_DENIED_AUTH /* only in the log */
};

/* Whether the user may make this call; for a key or channel, which argument is denied. */
enum acl_denial acl_check(const struct acl_user *user, const struct call *call, size_t *argument);
bool acl_allows_channel(const struct acl_user *user, const char *name, size_t bytes, bool pattern);

/* A user as a line of ACL LIST; to be freed. NULL: no memory. */
char *acl_describe(const struct acl_user *user);
/* The rules of commands, keys or channels alone. */
char *acl_describe_commands(const struct acl_user *user);
char *acl_describe_keys(const struct acl_user *user);
char *acl_describe_channels(const struct acl_user *user);

/* The category of a name, 0: there is none; and the name of a category by its bit's position. */
uint32_t acl_category(const char *name, size_t bytes);
extern const char *const acl_category_names[CATEGORY_COUNT];

#endif
