/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_store.h - not a simulation, but server/store. Its capacity is the memory that so many
 * entries take on average.
 */
#ifndef SIDEPOND_POLICY_STORE_H
#define SIDEPOND_POLICY_STORE_H

#include "policy.h"

extern const struct policy policy_store;

#endif
