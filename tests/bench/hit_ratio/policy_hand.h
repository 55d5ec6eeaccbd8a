/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_hand.h - the policies whose hands sweep entries in the order of their hashes.
 */
#ifndef SIDEPOND_POLICY_HAND_H
#define SIDEPOND_POLICY_HAND_H

#include "policy.h"

struct hand_rules {
    uint8_t main_from;      /* lower states are probation; 0: there is none, and one hand */
    uint8_t state_max;      /* at most 3 */
    uint8_t known;          /* state of a new entry that the ghost table has; of others it is 0 */
    unsigned ghost_percent; /* marks, of the capacity; 0: no ghost table */
    unsigned share_percent; /* of the probation, at first */
    unsigned least_percent; /* its limits, if it moves */
    unsigned most_percent;  /* 0: it does not */
    bool by_buckets;        /* sweep bucket by bucket, not first slots first */
};

extern const struct policy policy_clock, policy_gclock, policy_gclock_ghost;
extern const struct policy policy_ours;
extern const struct policy policy_known_2, policy_by_buckets, policy_share_20, policy_adaptive,
    policy_aged;

#endif
