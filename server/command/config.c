/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c - CONFIG: the settings that there are under Redis' names, and changing those that can
 * change while the service runs.
 *
 * A change holds until the next reload of the configuration's file or the end of the daemon; the
 * file itself is the operator's, and is not written. SET checks all its pairs before it changes
 * anything. Settings are guarded by the cache's lock.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "server/command/acl.h"
#include "server/command/commands.h"
#include "server/command/pubsub.h"
#include "server/resp/glob.h"
#include "server/resp/number.h"

#define VALUE_BYTES       640u
#define CACHE_BYTES_LEAST (UINT64_C(1) << 20)
#define WHY_BYTES         192u

/* What GET shows and SET changes. */
struct config_view {
    struct service *service;
    struct service_settings settings;
    struct service_addresses addresses;
};

struct setting {
    const char *name;
    void (*print)(const struct config_view *view, char out[VALUE_BYTES]);
    /* NULL: cannot change. False with a reason in why (WHY_BYTES). */
    bool (*set)(struct config_view *view, const struct resp_arg *value, char *why);
    const char *fixed; /* with neither: the only value that it has */
};

/* --- values ----------------------------------------------------------------------------------- */

static bool take_number(const struct resp_arg *value, int64_t least, int64_t most, int64_t *out,
                        char *why)
{
    if (!number_parse(value->bytes, value->size, out)) {
        snprintf(why, WHY_BYTES, "argument couldn't be parsed into an integer");
        return false;
    }
    if (*out >= least && *out <= most)
        return true;
    snprintf(why, WHY_BYTES, "argument must be between %lld and %lld inclusive", (long long)least,
             (long long)most);
    return false;
}

/* Bytes, also as "100mb" (1024 * 1024), "100m" (1000 * 1000) and so on. */
static bool take_bytes(const struct resp_arg *value, uint64_t *out, char *why)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1},           {"b", 1},       {"k", 1000},
                 {"kb", 1024},      {"m", 1000000}, {"mb", 1024 * 1024},
                 {"g", 1000000000}, {"gb", 1 << 30}};
    size_t digits = 0;
    int64_t number;
    while (digits < value->size && isdigit((unsigned char)value->bytes[digits]))
        digits++;
    const struct resp_arg unit = {value->bytes + digits, value->size - digits};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (arg_is(&unit, units[i].name) && number_parse(value->bytes, digits, &number) &&
            number <= INT64_MAX / (int64_t)units[i].bytes) {
            *out = (uint64_t)number * units[i].bytes;
            return true;
        }
    }
    snprintf(why, WHY_BYTES, "argument must be a memory value");
    return false;
}

static void print_number(char out[VALUE_BYTES], int64_t value)
{
    snprintf(out, VALUE_BYTES, "%lld", (long long)value);
}

/* --- settings that can change ----------------------------------------------------------------- */

static void print_maxmemory(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, (int64_t)view->settings.cache_bytes);
}

/* Unlike Redis' the cache has a limit always: the pond's other tenants need the rest. */
static bool set_maxmemory(struct config_view *view, const struct resp_arg *value, char *why)
{
    struct sp_pond_info pond = SP_POND_INFO_INIT;
    uint64_t wanted;
    if (!take_bytes(value, &wanted, why))
        return false;
    if (sp_pond_info(view->service->pond, &pond) != SP_OK || wanted < CACHE_BYTES_LEAST ||
        wanted >= pond.limit_bytes) {
        snprintf(why, WHY_BYTES, "argument must be between %llu and less than the pond's %llu",
                 (unsigned long long)CACHE_BYTES_LEAST, (unsigned long long)pond.limit_bytes);
        return false;
    }
    view->settings.cache_bytes = wanted;
    return true;
}

static void print_policy(const struct config_view *view, char out[VALUE_BYTES])
{
    snprintf(out, VALUE_BYTES, "%s", view->settings.evict ? "allkeys-lru" : "noeviction");
}

static bool set_policy(struct config_view *view, const struct resp_arg *value, char *why)
{
    static const char *const evicting[] = {"allkeys-lru", "allkeys-lfu", "allkeys-random"};
    for (size_t i = 0; i < sizeof(evicting) / sizeof(evicting[0]); i++) {
        if (arg_is(value, evicting[i])) {
            view->settings.evict = true;
            return true;
        }
    }
    if (arg_is(value, "noeviction")) {
        view->settings.evict = false;
        return true;
    }
    snprintf(why, WHY_BYTES,
             "argument(s) must be one of the following: allkeys-lru, allkeys-lfu, allkeys-random, "
             "noeviction");
    return false;
}

static void print_maxclients(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, view->settings.limits.clients_max);
}

static bool set_maxclients(struct config_view *view, const struct resp_arg *value, char *why)
{
    int64_t wanted;
    if (!take_number(value, 1, UINT32_MAX, &wanted, why))
        return false;
    uint32_t possible = net_clients_possible((uint32_t)wanted);
    if (possible < wanted) {
        snprintf(why, WHY_BYTES,
                 "The operating system is not able to handle the specified number of clients, try "
                 "with %u",
                 possible);
        return false;
    }
    view->settings.limits.clients_max = (uint32_t)wanted;
    return true;
}

static void print_timeout(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, view->settings.limits.idle_ms / 1000);
}

static bool set_timeout(struct config_view *view, const struct resp_arg *value, char *why)
{
    int64_t wanted;
    if (!take_number(value, 0, INT32_MAX, &wanted, why))
        return false;
    view->settings.limits.idle_ms = (uint64_t)wanted * 1000;
    return true;
}

static void print_query_limit(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, (int64_t)view->settings.limits.query_bytes_max);
}

static bool set_query_limit(struct config_view *view, const struct resp_arg *value, char *why)
{
    uint64_t wanted;
    if (!take_bytes(value, &wanted, why))
        return false;
    if (wanted < CACHE_BYTES_LEAST) {
        snprintf(why, WHY_BYTES, "argument must be at least %llu",
                 (unsigned long long)CACHE_BYTES_LEAST);
        return false;
    }
    view->settings.limits.query_bytes_max = wanted;
    return true;
}

static void print_events(const struct config_view *view, char out[VALUE_BYTES])
{
    events_print(view->settings.events, out);
}

static bool set_events(struct config_view *view, const struct resp_arg *value, char *why)
{
    if (events_parse(value->bytes, value->size, &view->settings.events))
        return true;
    snprintf(why, WHY_BYTES, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    return false;
}

static void print_slow_after(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, view->settings.slow_after_us);
}

static bool set_slow_after(struct config_view *view, const struct resp_arg *value, char *why)
{
    return take_number(value, -1, INT64_MAX, &view->settings.slow_after_us, why);
}

static void print_slow_length(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, view->settings.slow_length);
}

static bool set_slow_length(struct config_view *view, const struct resp_arg *value, char *why)
{
    int64_t wanted;
    if (!take_number(value, 0, SLOWLOG_LENGTH_MAX, &wanted, why))
        return false;
    view->settings.slow_length = (uint32_t)wanted;
    return true;
}

static void print_tracked_keys(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, (int64_t)view->settings.tracked_keys_max);
}

static bool set_tracked_keys(struct config_view *view, const struct resp_arg *value, char *why)
{
    int64_t wanted;
    if (!take_number(value, 0, INT64_MAX, &wanted, why))
        return false;
    view->settings.tracked_keys_max = (uint64_t)wanted;
    return true;
}

/* --- settings that cannot --------------------------------------------------------------------- */

static void print_port(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, view->addresses.port);
}

static void print_tls_port(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, view->addresses.tls_port);
}

static void print_bind(const struct config_view *view, char out[VALUE_BYTES])
{
    snprintf(out, VALUE_BYTES, "%s", view->addresses.bind);
}

static void print_unix_socket(const struct config_view *view, char out[VALUE_BYTES])
{
    snprintf(out, VALUE_BYTES, "%s", view->addresses.unix_socket);
}

static void print_io_threads(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, view->service->thread_count);
}

static void print_bulk_len(const struct config_view *view, char out[VALUE_BYTES])
{
    print_number(out, (int64_t)view->service->resp_limits.arg_bytes_max);
}

static void print_output_limit(const struct config_view *view, char out[VALUE_BYTES])
{
    const struct net_output_limits *limits = &view->settings.limits.output;
    char one[128];
    snprintf(one, sizeof(one), "%llu %llu %u", (unsigned long long)limits->bytes_max,
             (unsigned long long)limits->soft_bytes, limits->soft_ms / 1000);
    snprintf(out, VALUE_BYTES, "normal %s slave 0 0 0 pubsub %s", one, one);
}

/* That there is a password, but not which: only its hash is kept. */
static void print_password(const struct config_view *view, char out[VALUE_BYTES])
{
    const struct acl_user *user = acl_find(&view->service->acl, "default", strlen("default"));
    snprintf(out, VALUE_BYTES, "%s", user && user->passwords.count > 0 ? "(hidden)" : "");
    acl_release(user);
}

static const struct setting all_settings[] = {
    {"appendonly", NULL, NULL, "no"},
    {"bind", print_bind, NULL, NULL},
    {"client-output-buffer-limit", print_output_limit, NULL, NULL},
    {"client-query-buffer-limit", print_query_limit, set_query_limit, NULL},
    {"cluster-enabled", NULL, NULL, "no"},
    {"databases", NULL, NULL, "1"},
    {"io-threads", print_io_threads, NULL, NULL},
    {"maxclients", print_maxclients, set_maxclients, NULL},
    {"maxmemory", print_maxmemory, set_maxmemory, NULL},
    {"maxmemory-policy", print_policy, set_policy, NULL},
    {"notify-keyspace-events", print_events, set_events, NULL},
    {"port", print_port, NULL, NULL},
    {"proto-max-bulk-len", print_bulk_len, NULL, NULL},
    {"requirepass", print_password, NULL, NULL},
    {"save", NULL, NULL, ""},
    {"slowlog-log-slower-than", print_slow_after, set_slow_after, NULL},
    {"slowlog-max-len", print_slow_length, set_slow_length, NULL},
    {"timeout", print_timeout, set_timeout, NULL},
    {"tls-port", print_tls_port, NULL, NULL},
    {"tracking-table-max-keys", print_tracked_keys, set_tracked_keys, NULL},
    {"unixsocket", print_unix_socket, NULL, NULL},
};
#define SETTINGS (sizeof(all_settings) / sizeof(all_settings[0]))

/* --- CONFIG ----------------------------------------------------------------------------------- */

/* With the cache's lock. */
static struct config_view view_of(struct service *service)
{
    return (struct config_view){service, service->settings, service->addresses};
}

static bool is_asked_for(const struct setting *setting, const struct call *call)
{
    for (size_t i = 2; i < call->count; i++) {
        const struct resp_arg *pattern = &call->args[i];
        if (glob_match(pattern->bytes, pattern->size, setting->name, strlen(setting->name), true))
            return true;
    }
    return false;
}

void run_config_get(struct session *session, const struct call *call)
{
    char value[VALUE_BYTES];
    size_t mark = reply_mark(&session->reply), count = 0;
    thread_lock(session->thread);
    struct config_view view = view_of(session->service);
    thread_unlock(session->thread);
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *setting = &all_settings[i];
        if (!is_asked_for(setting, call))
            continue;
        if (setting->print)
            setting->print(&view, value);
        reply_text(&session->reply, setting->name);
        reply_text(&session->reply, setting->print ? value : setting->fixed);
        count++;
    }
    reply_map_at(&session->reply, mark, count);
}

static const struct setting *setting_find(const struct resp_arg *name)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (arg_is(name, all_settings[i].name))
            return &all_settings[i];
    }
    return NULL;
}

static bool is_twice(const struct call *call, size_t at)
{
    for (size_t i = 2; i < at; i += 2) {
        if (setting_find(&call->args[i]) == setting_find(&call->args[at]))
            return true;
    }
    return false;
}

/* One pair of CONFIG SET, not yet in use; false, with a reason in why. */
static bool take_pair(struct config_view *view, const struct call *call, size_t at, char *why)
{
    const struct setting *setting = setting_find(&call->args[at]);
    const struct resp_arg *value = &call->args[at + 1];
    if (is_twice(call, at)) {
        snprintf(why, WHY_BYTES, "duplicate parameter");
        return false;
    }
    if (setting->set)
        return setting->set(view, value, why);
    if (setting->fixed && arg_is(value, setting->fixed))
        return true;
    snprintf(why, WHY_BYTES, "can't set immutable config");
    return false;
}

void run_config_set(struct session *session, const struct call *call)
{
    char why[WHY_BYTES];
    struct config_view view = view_of(session->service);
    if (call->count % 2 != 0) {
        reply_syntax_error(session);
        return;
    }
    for (size_t i = 2; i < call->count; i += 2) {
        const struct resp_arg *name = &call->args[i];
        if (!setting_find(name)) {
            reply_error(&session->reply,
                        "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                        arg_print(name), name->bytes);
            return;
        }
    }
    for (size_t i = 2; i < call->count; i += 2) {
        struct resp_arg name = call->args[i];
        const struct setting *setting = setting_find(&name);
        if (take_pair(&view, call, i, why))
            continue;
        if (setting->set && !is_twice(call, i)) /* Redis names the setting itself then */
            name = (struct resp_arg){setting->name, strlen(setting->name)};
        reply_error(&session->reply,
                    "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s",
                    arg_print(&name), name.bytes, why);
        return;
    }
    service_configure_locked(session->service, &view.settings);
    reply_ok(&session->reply);
}

void run_config_resetstat(struct session *session, const struct call *call)
{
    (void)call;
    if (stats_reset(session->service))
        reply_ok(&session->reply);
    else
        reply_error(&session->reply, "ERR out of memory");
}

void run_config_rewrite(struct session *session, const struct call *call)
{
    (void)call;
    reply_error(&session->reply,
                "ERR The configuration is a YAML file of the operator, which is not rewritten: "
                "change it and reload");
}

void run_config_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "GET <pattern> [<pattern> ...]",
        "    Settings whose names match.",
        "RESETSTAT",
        "    Lets what INFO counts begin again.",
        "REWRITE",
        "    An error: the file of the configuration is the operator's.",
        "SET <setting> <value> [<setting> <value> ...]",
        "    Changes settings, until the next reload or restart.",
        NULL};
    (void)call;
    reply_help(session, "CONFIG", lines);
}
