/* SPDX-License-Identifier: Apache-2.0
 *
 * about_commands.c - COMMAND and its subcommands: the table of commands, as clients ask for it.
 */
#include <string.h>

#include "server/command/acl.h"
#include "server/command/commands.h"
#include "server/resp/glob.h"

/* --- COMMAND INFO ----------------------------------------------------------------------------- */

static const struct {
    uint32_t flag;
    const char *word;
} flag_words[] = {
    {COMMAND_WRITE, "write"},     {COMMAND_READONLY, "readonly"}, {COMMAND_DENYOOM, "denyoom"},
    {COMMAND_ADMIN, "admin"},     {COMMAND_PUBSUB, "pubsub"},     {COMMAND_NOSCRIPT, "noscript"},
    {COMMAND_LOADING, "loading"}, {COMMAND_STALE, "stale"},       {COMMAND_FAST, "fast"},
    {COMMAND_NO_AUTH, "no_auth"}, {COMMAND_NO_MULTI, "no_multi"}, {COMMAND_BLOCKING, "blocking"},
};
#define FLAG_WORDS (sizeof(flag_words) / sizeof(flag_words[0]))

static void reply_flag_words(struct session *session, uint32_t flags)
{
    size_t count = 0;
    for (size_t i = 0; i < FLAG_WORDS; i++)
        count += (flags & flag_words[i].flag) != 0;
    reply_set(&session->reply, count);
    for (size_t i = 0; i < FLAG_WORDS; i++) {
        if (flags & flag_words[i].flag)
            reply_simple(&session->reply, flag_words[i].word);
    }
}

static void reply_categories(struct session *session, uint32_t categories)
{
    char word[32] = "@";
    reply_set(&session->reply, (size_t)__builtin_popcount(categories));
    for (unsigned i = 0; i < CATEGORY_COUNT; i++) {
        if (!(categories >> i & 1))
            continue;
        strcpy(word + 1, acl_category_names[i]);
        reply_simple(&session->reply, word);
    }
}

/* Where the keys are, as the specifications of Redis 7 have it. */
static void reply_key_specs(struct session *session, const struct command *command)
{
    if (command->first_key == 0) {
        reply_set(&session->reply, 0);
        return;
    }
    bool writes = command->flags & COMMAND_WRITE;
    reply_set(&session->reply, 1);
    reply_map(&session->reply, 3);
    reply_text(&session->reply, "flags");
    reply_set(&session->reply, 2);
    reply_simple(&session->reply, writes ? "RW" : "RO");
    reply_simple(&session->reply, writes ? "update" : "access");
    reply_text(&session->reply, "begin_search");
    reply_map(&session->reply, 2);
    reply_text(&session->reply, "type");
    reply_text(&session->reply, "index");
    reply_text(&session->reply, "spec");
    reply_map(&session->reply, 1);
    reply_text(&session->reply, "index");
    reply_integer(&session->reply, command->first_key);
    reply_text(&session->reply, "find_keys");
    reply_map(&session->reply, 2);
    reply_text(&session->reply, "type");
    reply_text(&session->reply, "range");
    reply_text(&session->reply, "spec");
    reply_map(&session->reply, 3);
    reply_text(&session->reply, "lastkey");
    reply_integer(&session->reply, command->last_key < 0 ? command->last_key
                                                         : command->last_key - command->first_key);
    reply_text(&session->reply, "keystep");
    reply_integer(&session->reply, command->key_step);
    reply_text(&session->reply, "limit");
    reply_integer(&session->reply, 0);
}

static void reply_info(struct session *session, const struct command *command)
{
    reply_array(&session->reply, 10);
    reply_text(&session->reply, command_full_name(command));
    reply_integer(&session->reply, command->arity);
    reply_flag_words(session, command->flags);
    reply_integer(&session->reply, command->first_key);
    reply_integer(&session->reply, command->last_key);
    reply_integer(&session->reply, command->key_step);
    reply_categories(session, command->categories);
    reply_array(&session->reply, 0); /* tips */
    reply_key_specs(session, command);
    reply_array(&session->reply, command->subcommand_count);
    for (unsigned i = 0; i < command->subcommand_count; i++)
        reply_info(session, &command->subcommands[i]); /* which have none of their own */
}

void run_command(struct session *session, const struct call *call)
{
    (void)call;
    reply_array(&session->reply, command_count);
    for (size_t i = 0; i < command_count; i++)
        reply_info(session, &commands[i]);
}

void run_command_count(struct session *session, const struct call *call)
{
    (void)call;
    reply_integer(&session->reply, (int64_t)command_count);
}

void run_command_info(struct session *session, const struct call *call)
{
    if (call->count == 2) {
        run_command(session, call);
        return;
    }
    reply_array(&session->reply, call->count - 2);
    for (size_t i = 2; i < call->count; i++) {
        const struct command *command = command_find_full(&call->args[i]);
        if (command)
            reply_info(session, command);
        else
            reply_null_array(&session->reply);
    }
}

/* --- COMMAND DOCS and LIST -------------------------------------------------------------------- */

static void reply_docs(struct session *session, const struct command *command)
{
    bool has_subs = command->subcommand_count > 0;
    reply_text(&session->reply, command_full_name(command));
    reply_map(&session->reply, 4u + has_subs);
    reply_text(&session->reply, "summary");
    reply_text(&session->reply, command->summary);
    reply_text(&session->reply, "since");
    reply_text(&session->reply, command->since);
    reply_text(&session->reply, "group");
    reply_text(&session->reply, command->group);
    reply_text(&session->reply, "complexity");
    reply_text(&session->reply, command->complexity);
    if (!has_subs)
        return;
    reply_text(&session->reply, "subcommands");
    reply_map(&session->reply, command->subcommand_count);
    for (unsigned i = 0; i < command->subcommand_count; i++)
        reply_docs(session, &command->subcommands[i]);
}

void run_command_docs(struct session *session, const struct call *call)
{
    size_t count = 0;
    if (call->count == 2) {
        reply_map(&session->reply, command_count);
        for (size_t i = 0; i < command_count; i++)
            reply_docs(session, &commands[i]);
        return;
    }
    for (size_t i = 2; i < call->count; i++)
        count += command_find_full(&call->args[i]) != NULL;
    reply_map(&session->reply, count);
    for (size_t i = 2; i < call->count; i++) {
        const struct command *command = command_find_full(&call->args[i]);
        if (command)
            reply_docs(session, command);
    }
}

struct list_filter {
    const struct resp_arg *pattern; /* NULL: all */
    uint32_t category;              /* 0: all */
    bool none;
};

/* FILTERBY MODULE | ACLCAT | PATTERN name; false, with the error replied. */
static bool take_filter(struct session *session, const struct call *call,
                        struct list_filter *filter)
{
    *filter = (struct list_filter){NULL, 0, false};
    if (call->count == 2)
        return true;
    if (call->count != 5 || !arg_is(&call->args[2], "filterby")) {
        reply_syntax_error(session);
        return false;
    }
    const struct resp_arg *name = &call->args[4];
    if (arg_is(&call->args[3], "pattern")) {
        filter->pattern = name;
    } else if (arg_is(&call->args[3], "aclcat")) {
        filter->category = acl_category(name->bytes, name->size);
        filter->none = filter->category == 0;
    } else if (arg_is(&call->args[3], "module")) {
        filter->none = true;
    } else {
        reply_syntax_error(session);
        return false;
    }
    return true;
}

static bool is_listed(const struct list_filter *filter, const struct command *command)
{
    const struct resp_arg *pattern = filter->pattern;
    return !filter->none && (filter->category == 0 || (command->categories & filter->category)) &&
           (!pattern ||
            glob_match(pattern->bytes, pattern->size, command->name, strlen(command->name), true));
}

void run_command_list(struct session *session, const struct call *call)
{
    struct list_filter filter;
    size_t count = 0;
    if (!take_filter(session, call, &filter))
        return;
    for (size_t i = 0; i < command_count; i++)
        count += is_listed(&filter, &commands[i]);
    reply_array(&session->reply, count);
    for (size_t i = 0; i < command_count; i++) {
        if (is_listed(&filter, &commands[i]))
            reply_text(&session->reply, commands[i].name);
    }
}

void run_command_getkeys(struct session *session, const struct call *call)
{
    const struct command *command = command_find_full(&call->args[2]);
    if (command && command->subcommand_count > 0 && call->count > 3)
        command = command_find_sub(command, call->args[3].bytes, call->args[3].size);
    if (!command) {
        reply_error(&session->reply, "ERR Invalid command specified");
        return;
    }
    if (!command_takes(command, call->count - 2)) {
        reply_error(&session->reply, "ERR Invalid number of arguments specified for command");
        return;
    }
    struct command_keys keys = command_keys(command, call->count - 2);
    if (keys.first == 0) {
        reply_error(&session->reply, "ERR The command has no key arguments");
        return;
    }
    reply_array(&session->reply, (keys.last - keys.first) / keys.step + 1);
    for (size_t i = keys.first; i <= keys.last; i += keys.step)
        reply_bulk(&session->reply, call->args[2 + i].bytes, call->args[2 + i].size);
}
