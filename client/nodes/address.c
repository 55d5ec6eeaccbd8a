/* SPDX-License-Identifier: Apache-2.0
 *
 * address.c - a node's address as socket addresses, found when the node is new, and by lookup.c,
 * not with each connection.
 *
 * Limits: the first NODE_ADDRESSES of a name. A name that is none of numbers is looked up by the
 * system, which has its own time-outs; that is waited for by the thread that makes the first view.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>
#include <sys/un.h>

#include "client/cache/link.h"
#include "client/nodes/nodes.h"

static const char unix_prefix[] = "unix:";
#define UNIX_PREFIX (sizeof unix_prefix - 1)

static void resolve_unix(const char *path, struct node_addresses *out)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, path, strlen(path));
    memcpy(&out->at[0], &name, sizeof name);
    out->sizes[0] = sizeof name;
    out->count = 1;
}

static void take_found(const struct addrinfo *found, struct node_addresses *out)
{
    for (; found != NULL && out->count < NODE_ADDRESSES; found = found->ai_next) {
        memcpy(&out->at[out->count], found->ai_addr, found->ai_addrlen);
        out->sizes[out->count++] = found->ai_addrlen;
    }
}

int node_resolve(const char *address, struct node_addresses *out)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char host[LINK_ADDRESS_BYTES];
    const char *port;
    out->count = 0;
    int status = connection_check_address(address);
    if (status != SP_OK)
        return status;
    if (strncmp(address, unix_prefix, UNIX_PREFIX) == 0) {
        resolve_unix(address + UNIX_PREFIX, out);
        return SP_OK;
    }
    if (!connection_split_address(address, host, &port))
        return SP_EINVAL;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0)
        return error_set(SP_ENODAEMON, "%s: %s", address, gai_strerror(failed));
    take_found(found, out);
    freeaddrinfo(found);
    return SP_OK;
}

bool node_has_name(const char *address)
{
    char host[LINK_ADDRESS_BYTES], number[sizeof(struct in6_addr)];
    const char *port;
    return strncmp(address, unix_prefix, UNIX_PREFIX) != 0 &&
           connection_split_address(address, host, &port) &&
           inet_pton(AF_INET, host, number) != 1 && inet_pton(AF_INET6, host, number) != 1;
}
