/* SPDX-License-Identifier: Apache-2.0
 *
 * acl_rules.h - a user that is being made: for acl.c.
 */
#ifndef SIDEPOND_COMMAND_ACL_RULES_H
#define SIDEPOND_COMMAND_ACL_RULES_H

#include "server/command/acl.h"

/* Applies one rule: NULL, or what is wrong with it. */
const char *acl_apply(struct acl_user *user, const struct resp_arg *rule);
/* As a new user is: off, nothing allowed. False: no memory. */
bool acl_reset(struct acl_user *user);

bool acl_list_copy(struct acl_list *to, const struct acl_list *from);
void acl_list_clear(struct acl_list *list);

void acl_hash(const char *password, size_t bytes, char hex[ACL_HASH_HEX + 1]);

#endif
