/* SPDX-License-Identifier: Apache-2.0
 *
 * acl_log.h - what was refused of late, for ACL LOG.
 */
#ifndef SIDEPOND_COMMAND_ACL_LOG_H
#define SIDEPOND_COMMAND_ACL_LOG_H

#include <pthread.h>

#include "server/command/acl.h"

#define ACL_LOG_MAX 128u

struct acl_log_entry {
    enum acl_denial why;
    bool in_multi;
    uint64_t count;
    int64_t at_ms; /* wall clock, of the last one */
    size_t object_bytes;
    char object[64]; /* the command, or the beginning of the key or name */
    char user[64], client[512];
};

struct acl_log {
    pthread_mutex_t lock;
    struct acl_log_entry entries[ACL_LOG_MAX]; /* the newest first */
    size_t count;
};

/* `call` may be NULL where an object is given. */
void acl_log_add(struct session *session, enum acl_denial why, const struct resp_arg *object,
                 const struct call *call);

#endif
