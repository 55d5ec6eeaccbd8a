/* SPDX-License-Identifier: Apache-2.0
 *
 * hello.c - HELLO: which protocol, who, and what is on the other side.
 */
#include <string.h>

#include "server/command/access.h"
#include "server/command/commands.h"
#include "server/resp/number.h"

static void field(struct session *session, const char *name, const char *value)
{
    reply_bulk(&session->reply, name, strlen(name));
    reply_bulk(&session->reply, value, strlen(value));
}

static void reply_hello(struct session *session)
{
    reply_map(&session->reply, 7);
    field(session, "server", "redis"); /* what clients know */
    field(session, "version", SERVICE_REDIS_VERSION);
    reply_bulk(&session->reply, "proto", 5);
    reply_integer(&session->reply, session->reply.protocol);
    reply_bulk(&session->reply, "id", 2);
    reply_integer(&session->reply, (int64_t)session->id);
    field(session, "mode", "standalone");
    field(session, "role", "master");
    reply_bulk(&session->reply, "modules", 7);
    reply_array(&session->reply, 0);
}

struct hello {
    const struct resp_arg *user, *password, *name;
};

static bool take_hello_options(struct session *session, const struct call *call,
                               struct hello *hello)
{
    for (size_t i = 2; i < call->count; i++) {
        if (arg_is(&call->args[i], "auth") && i + 2 < call->count) {
            hello->user = &call->args[i + 1];
            hello->password = &call->args[i + 2];
            i += 2;
        } else if (arg_is(&call->args[i], "setname") && i + 1 < call->count) {
            hello->name = &call->args[++i];
            if (!client_name_is_fine(session, hello->name))
                return false;
        } else {
            reply_error(&session->reply, "ERR Syntax error in HELLO option '%.*s'",
                        arg_print(&call->args[i]), call->args[i].bytes);
            return false;
        }
    }
    return true;
}

void run_hello(struct session *session, const struct call *call)
{
    struct hello hello = {0};
    int64_t protocol = session->reply.protocol;
    if (call->count > 1 && !number_parse(call->args[1].bytes, call->args[1].size, &protocol)) {
        reply_error(&session->reply, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (protocol < 2 || protocol > 3) {
        reply_error(&session->reply, "NOPROTO unsupported protocol version");
        return;
    }
    if (!take_hello_options(session, call, &hello))
        return;
    if (hello.user && !access_authenticate(session, hello.user, hello.password))
        return;
    if (!session->user) {
        reply_error(&session->reply,
                    "NOAUTH HELLO must be called with the client already authenticated, "
                    "otherwise the HELLO <proto> AUTH <user> <pass> option can be used to "
                    "authenticate the client and select the RESP protocol version at the same "
                    "time");
        return;
    }
    if (hello.name && !client_set_name(session, hello.name))
        return;
    session->reply.protocol = (unsigned)protocol;
    atomic_store_explicit(&session->client->protocol, (uint32_t)protocol, memory_order_relaxed);
    reply_hello(session);
}
