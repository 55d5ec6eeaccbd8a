/* SPDX-License-Identifier: Apache-2.0
 *
 * counters.c - values that are numbers: INCR and its kin.
 */
#include "server/command/commands.h"

#include <math.h>

#include "server/resp/number.h"

/* Writes the new number with the old one's expiry; false, with the error replied. */
static bool put_number(struct session *session, const struct call *call, const char *text,
                       size_t bytes, const struct cache_entry *old)
{
    int64_t expiry_ms = old ? old->expiry_ms : CACHE_NO_EXPIRY;
    int status = key_put(session, &call->args[1], call->hash, text, bytes, expiry_ms);
    if (status != SP_OK)
        reply_store_error(session, status);
    return status == SP_OK;
}

static void add(struct session *session, const struct call *call, int64_t by)
{
    struct cache_entry old;
    int64_t value = 0;
    char text[NUMBER_INT_BYTES];
    bool found = key_find(session, &call->args[1], &old);
    if (found && !number_parse((const char *)old.value, old.value_bytes, &value)) {
        reply_not_integer(session);
        return;
    }
    if (__builtin_add_overflow(value, by, &value)) {
        reply_error(&session->reply, "ERR increment or decrement would overflow");
        return;
    }
    size_t bytes = number_print(text, value);
    if (!put_number(session, call, text, bytes, found ? &old : NULL))
        return;
    key_event(session, EVENT_STRING, "incrby", &call->args[1]);
    reply_integer(&session->reply, value);
}

void run_incr(struct session *session, const struct call *call)
{
    add(session, call, 1);
}

void run_decr(struct session *session, const struct call *call)
{
    add(session, call, -1);
}

void run_incrby(struct session *session, const struct call *call)
{
    int64_t by;
    if (arg_integer(session, &call->args[2], &by))
        add(session, call, by);
}

void run_decrby(struct session *session, const struct call *call)
{
    int64_t by;
    if (!arg_integer(session, &call->args[2], &by))
        return;
    if (by == INT64_MIN)
        reply_error(&session->reply, "ERR decrement would overflow");
    else
        add(session, call, -by);
}

void run_incrbyfloat(struct session *session, const struct call *call)
{
    struct cache_entry old;
    long double value = 0, by;
    char text[NUMBER_FLOAT_BYTES];
    bool found = key_find(session, &call->args[1], &old);
    if ((found && !number_parse_long_double((const char *)old.value, old.value_bytes, &value)) ||
        !number_parse_long_double(call->args[2].bytes, call->args[2].size, &by)) {
        reply_error(&session->reply, "ERR value is not a valid float");
        return;
    }
    value += by;
    if (isnan(value) || isinf(value)) {
        reply_error(&session->reply, "ERR increment would produce NaN or Infinity");
        return;
    }
    size_t bytes = number_print_long_double(text, value);
    if (!put_number(session, call, text, bytes, found ? &old : NULL))
        return;
    key_event(session, EVENT_STRING, "incrbyfloat", &call->args[1]);
    reply_bulk(&session->reply, text, bytes);
}
