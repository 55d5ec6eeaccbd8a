/* SPDX-License-Identifier: Apache-2.0
 *
 * acl_commands.c - AUTH, and ACL with its subcommands; and what a denied call is told.
 */
#include "server/command/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "alloc/clock.h"
#include "server/command/acl.h"
#include "server/command/client.h"
#include "server/command/commands.h"

/* --- who a session is ------------------------------------------------------------------------ */

static void become(struct session *session, const struct acl_user *user)
{
    struct client *client = session->client;
    acl_release(session->user);
    session->user = user;
    pthread_mutex_lock(&session->service->clients.lock);
    snprintf(client->user, sizeof(client->user), "%s", user->name);
    pthread_mutex_unlock(&session->service->clients.lock);
    session->acl_generation = atomic_load(&session->service->acl.generation);
}

void access_begin(struct session *session)
{
    struct acl *acl = &session->service->acl;
    uint64_t generation = atomic_load(&acl->generation);
    const struct acl_user *user = acl_find(acl, "default", 7);
    if (user && user->on && user->nopass)
        become(session, user);
    else
        acl_release(user);
    session->acl_generation = generation;
}

void access_end(struct session *session)
{
    acl_release(session->user);
    session->user = NULL;
}

/* A user that was changed is looked at anew; one that is gone or off is nobody any more. */
static void renew_user(struct session *session)
{
    struct acl *acl = &session->service->acl;
    uint64_t generation = atomic_load_explicit(&acl->generation, memory_order_acquire);
    if (session->acl_generation == generation)
        return;
    session->acl_generation = generation;
    if (!session->user)
        return;
    const struct acl_user *now = acl_find(acl, session->user->name, strlen(session->user->name));
    acl_release(session->user);
    session->user = now;
    if (now && now->on)
        return;
    acl_release(now);
    session->user = NULL;
    session->closing = true; /* as Redis ends the connections of a user that is deleted */
}

bool access_allows(struct session *session, const struct call *call)
{
    size_t argument;
    renew_user(session);
    if (call->command->flags & COMMAND_NO_AUTH)
        return true;
    if (!session->user) {
        reply_error(&session->reply, "NOAUTH Authentication required.");
        return false;
    }
    switch (acl_check(session->user, call, &argument)) {
    case ACL_ALLOWED:
        return true;
    case ACL_DENIED_KEY:
        acl_log_add(session, ACL_DENIED_KEY, &call->args[argument], call);
        reply_error(&session->reply, "NOPERM this user has no permissions to access one of the "
                                     "keys used as arguments");
        return false;
    default:
        acl_log_add(session, ACL_DENIED_COMMAND, NULL, call);
        reply_error(&session->reply, "NOPERM this user has no permissions to run the '%s' command",
                    command_full_name(call->command));
        return false;
    }
}

bool access_authenticate(struct session *session, const struct resp_arg *name,
                         const struct resp_arg *password)
{
    const struct acl_user *user = acl_authenticate(&session->service->acl, name, password);
    if (user) {
        become(session, user);
        return true;
    }
    acl_log_add(session, ACL_DENIED_AUTH, name, NULL);
    reply_error(&session->reply, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

void run_auth(struct session *session, const struct call *call)
{
    static const struct resp_arg default_name = {"default", 7};
    if (call->count > 3) {
        reply_syntax_error(session);
        return;
    }
    const struct acl_user *user =
        call->count == 2 ? acl_find(&session->service->acl, "default", 7) : NULL;
    bool needless = user && user->nopass;
    acl_release(user);
    if (needless)
        reply_error(&session->reply,
                    "ERR AUTH <password> called without any password configured for the default "
                    "user. Are you sure your configuration is correct?");
    else if (access_authenticate(session, call->count == 2 ? &default_name : &call->args[1],
                                 &call->args[call->count - 1]))
        reply_ok(&session->reply);
}

/* --- ACL: asking ------------------------------------------------------------------------------ */

void run_acl_whoami(struct session *session, const struct call *call)
{
    (void)call;
    const char *name = session->user ? session->user->name : "";
    reply_bulk(&session->reply, name, strlen(name));
}

static void reply_users(struct session *session, bool whole)
{
    struct acl *acl = &session->service->acl;
    pthread_mutex_lock(&acl->lock);
    reply_array(&session->reply, acl->count);
    for (size_t i = 0; i < acl->count; i++) {
        char *line = whole ? acl_describe(acl->users[i]) : NULL;
        reply_text(&session->reply, line ? line : acl->users[i]->name);
        free(line);
    }
    pthread_mutex_unlock(&acl->lock);
}

void run_acl_list(struct session *session, const struct call *call)
{
    (void)call;
    reply_users(session, true);
}

void run_acl_users(struct session *session, const struct call *call)
{
    (void)call;
    reply_users(session, false);
}

static void reply_flags(struct session *session, const struct acl_user *user)
{
    reply_set(&session->reply, 1u + user->nopass);
    reply_text(&session->reply, user->on ? "on" : "off");
    if (user->nopass)
        reply_text(&session->reply, "nopass");
}

void run_acl_getuser(struct session *session, const struct call *call)
{
    const struct resp_arg *name = &call->args[2];
    const struct acl_user *user = acl_find(&session->service->acl, name->bytes, name->size);
    if (!user) {
        reply_null(&session->reply);
        return;
    }
    char *described[] = {acl_describe_commands(user), acl_describe_keys(user),
                         acl_describe_channels(user)};
    static const char *const names[] = {"commands", "keys", "channels"};
    reply_map(&session->reply, 6);
    reply_text(&session->reply, "flags");
    reply_flags(session, user);
    reply_text(&session->reply, "passwords");
    reply_array(&session->reply, user->passwords.count);
    for (size_t i = 0; i < user->passwords.count; i++)
        reply_text(&session->reply, user->passwords.items[i].bytes);
    for (unsigned i = 0; i < 3; i++) {
        reply_text(&session->reply, names[i]);
        reply_text(&session->reply, described[i] ? described[i] : "");
        free(described[i]);
    }
    reply_text(&session->reply, "selectors");
    reply_array(&session->reply, 0);
    acl_release(user);
}

static void reply_category(struct session *session, uint32_t category)
{
    size_t count = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        if (pass == 1)
            reply_array(&session->reply, count);
        for (size_t i = 0; i < command_count; i++) {
            const struct command *command = &commands[i];
            if (command->categories & category) {
                count += pass == 0;
                if (pass == 1)
                    reply_text(&session->reply, command->name);
            }
            for (unsigned s = 0; s < command->subcommand_count; s++) {
                if (!(command->subcommands[s].categories & category))
                    continue;
                count += pass == 0;
                if (pass == 1)
                    reply_text(&session->reply, command_full_name(&command->subcommands[s]));
            }
        }
    }
}

void run_acl_cat(struct session *session, const struct call *call)
{
    if (call->count == 2) {
        reply_array(&session->reply, CATEGORY_COUNT);
        for (unsigned i = 0; i < CATEGORY_COUNT; i++)
            reply_text(&session->reply, acl_category_names[i]);
        return;
    }
    uint32_t category = acl_category(call->args[2].bytes, call->args[2].size);
    if (call->count > 3)
        reply_wrong_arity(session, call->command);
    else if (category == 0)
        reply_error(&session->reply, "ERR Unknown category '%.*s'", arg_print(&call->args[2]),
                    call->args[2].bytes);
    else
        reply_category(session, category);
}

/* The call that DRYRUN is about, as a request would make it. */
static bool dry_call(struct session *session, const struct call *call, struct call *dry)
{
    *dry = (struct call){.args = call->args + 3, .count = call->count - 3};
    dry->command = command_find(dry->args[0].bytes, dry->args[0].size);
    if (!dry->command) {
        reply_error(&session->reply, "ERR Command '%.*s' not found", arg_print(dry->args),
                    dry->args[0].bytes);
        return false;
    }
    if (dry->command->subcommand_count > 0 && dry->count > 1) {
        const struct command *sub =
            command_find_sub(dry->command, dry->args[1].bytes, dry->args[1].size);
        dry->command = sub ? sub : dry->command;
    }
    if (command_takes(dry->command, dry->count))
        return true;
    reply_wrong_arity(session, dry->command);
    return false;
}

void run_acl_dryrun(struct session *session, const struct call *call)
{
    const struct resp_arg *name = &call->args[2];
    struct call dry;
    size_t argument;
    const struct acl_user *user = acl_find(&session->service->acl, name->bytes, name->size);
    if (!user) {
        reply_error(&session->reply, "ERR User '%.*s' not found", arg_print(name), name->bytes);
        return;
    }
    if (dry_call(session, call, &dry)) {
        char text[ACL_WHY_BYTES];
        enum acl_denial denial = acl_check(user, &dry, &argument);
        if (denial == ACL_ALLOWED) {
            reply_ok(&session->reply);
        } else {
            if (denial == ACL_DENIED_KEY)
                snprintf(text, sizeof(text),
                         "This user has no permissions to access the '%.*s' key",
                         arg_print(&dry.args[argument]), dry.args[argument].bytes);
            else
                snprintf(text, sizeof(text), "This user has no permissions to run the '%s' command",
                         command_full_name(dry.command));
            reply_text(&session->reply, text);
        }
    }
    acl_release(user);
}

void run_acl_genpass(struct session *session, const struct call *call)
{
    unsigned char random[512];
    char hex[2 * sizeof(random) + 1];
    int64_t bits = 256;
    if (call->count > 2 && !arg_integer(session, &call->args[2], &bits))
        return;
    if (bits <= 0 || bits > 4096) {
        reply_error(&session->reply,
                    "ERR ACL GENPASS argument must be the number of bits for the output "
                    "password, a positive number up to 4096");
        return;
    }
    size_t digits = (size_t)(bits + 3) / 4;
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        reply_error(&session->reply, "ERR the system has no random numbers");
        return;
    }
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(hex + 2 * i, 3, "%02x", random[i]);
    reply_bulk(&session->reply, hex, digits);
}

/* --- ACL: changing ---------------------------------------------------------------------------- */

void run_acl_setuser(struct session *session, const struct call *call)
{
    char why[ACL_WHY_BYTES];
    if (acl_set(&session->service->acl, &call->args[2], call->args + 3, call->count - 3, why) ==
        SP_OK)
        reply_ok(&session->reply);
    else
        reply_error(&session->reply, "ERR %s", why);
}

void run_acl_deluser(struct session *session, const struct call *call)
{
    int64_t deleted = 0;
    for (size_t i = 2; i < call->count; i++) {
        if (call->args[i].size == 7 && memcmp(call->args[i].bytes, "default", 7) == 0) {
            reply_error(&session->reply, "ERR The 'default' user cannot be removed");
            return;
        }
    }
    for (size_t i = 2; i < call->count; i++)
        deleted += acl_delete(&session->service->acl, call->args[i].bytes, call->args[i].size);
    reply_integer(&session->reply, deleted);
}

static void reply_file_result(struct session *session, int status, const char *why)
{
    if (status == SP_OK)
        reply_ok(&session->reply);
    else
        reply_error(&session->reply, "ERR %s", why);
}

static const char *users_file(struct session *session)
{
    const char *path = session->service->options.users_file;
    if (!path)
        reply_error(&session->reply, "ERR there is no file of users: name one with users_file in "
                                     "the configuration");
    return path;
}

void run_acl_load(struct session *session, const struct call *call)
{
    (void)call;
    char why[ACL_WHY_BYTES] = "out of memory";
    const char *path = users_file(session);
    if (path)
        reply_file_result(session, acl_load(&session->service->acl, path, why), why);
}

void run_acl_save(struct session *session, const struct call *call)
{
    (void)call;
    char why[ACL_WHY_BYTES] = "out of memory";
    const char *path = users_file(session);
    if (path)
        reply_file_result(session, acl_save(&session->service->acl, path, why), why);
}
