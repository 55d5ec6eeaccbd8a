/* SPDX-License-Identifier: Apache-2.0
 *
 * command.h - what is to be known of a command of Redis to send it to the right node.
 */
#ifndef SIDEPOND_NODES_COMMAND_H
#define SIDEPOND_NODES_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sidepond/ring.h"

#define COMMAND_NAME_BYTES 32u

/* Where the keys are. */
enum command_keys {
    KEYS_NONE,
    KEYS_RANGE,   /* first, last, step as COMMAND says */
    KEYS_COUNTED, /* argument `first` is their number, they follow */
    KEYS_STREAMS, /* after the word STREAMS, the first half of what follows */
};

struct command_info {
    char name[COMMAND_NAME_BYTES]; /* in small letters; "": a free place */
    bool reads, writes;
    bool random;  /* done twice it does not do the same: SPOP, EVAL, XADD ... */
    bool refused; /* it changes the connection, which is not the caller's */
    enum command_keys keys;
    int first, last, step;
};

struct commands;

/* Out of the reply to COMMAND. SP_EREFUSED: it is none. */
int commands_make(const struct sp_reply *reply, struct commands **out);
void commands_free(struct commands *commands); /* NULL is fine */
/* NULL: there is none of this name. */
const struct command_info *commands_find(const struct commands *commands, const char *name,
                                         size_t size);

/* The slot of a call's keys. SP_EINVAL with a detail: they are of several. */
struct command_place {
    bool keyed;
    unsigned slot;
    size_t key; /* the argument that is the first key */
};
int command_place(const struct command_info *info, const struct sp_ring_call *call, unsigned slots,
                  struct command_place *out);
size_t call_size(const struct sp_ring_call *call, size_t argument);

#endif
