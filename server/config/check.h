/* SPDX-License-Identifier: Apache-2.0
 *
 * check.h - the document against the table of options.
 */
#ifndef SIDEPOND_CONFIG_CHECK_H
#define SIDEPOND_CONFIG_CHECK_H

#include "server/config/complaints.h"
#include "server/config/tree.h"

/* Complains of every unknown, repeated and missing key, wrong shape and bad value. False if the
 * shape of the file is so wrong that libcyaml will not load it. */
bool config_check(struct tree *tree, struct complaints *complaints);

#endif
