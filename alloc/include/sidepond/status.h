/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/status.h - every status code of Sidepond, with its name and its text.
 *
 * A function that can fail returns an int: SP_OK (zero) or one of the negative codes below, and
 * hands results out through pointers. A code says what happened; where there is more to say (a
 * path, a table, a key), the component that knows it writes that into an error buffer or its log.
 */
#ifndef SIDEPOND_STATUS_H
#define SIDEPOND_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/* X(name, value, text) */
#define SP_STATUS_LIST(X)                                                                          \
    X(OK, 0, "success")                                                                            \
    X(ENOTFOUND, -1, "no such key")                                                                \
    X(ENOTABLE, -2, "no such table")                                                               \
    X(ENOCOLUMN, -3, "no such column")                                                             \
    X(ENOINDEX, -4, "no such index")                                                               \
    X(EINVAL, -5, "invalid argument")                                                              \
    X(ETYPE, -6, "value is of another type")                                                       \
    X(ENULL, -7, "value is NULL")                                                                  \
    X(ERANGE, -8, "does not fit into the buffer given")                                            \
    X(ETOOBIG, -9, "key or value exceeds the limit")                                               \
    X(ENOTREADY, -10, "pond is loading: nothing has been committed yet")                           \
    X(EOLD, -11, "table is older than its max_stale and its policy is to fail")                    \
    X(ESTALE, -12, "snapshot lost its lease: what was read through it may be wrong")               \
    X(ENOPOND, -13, "no such pond")                                                                \
    X(EFORMAT, -14, "not a pond, or of a format this build cannot read")                           \
    X(ECORRUPT, -15, "pond is corrupt")                                                            \
    X(ENOSPC, -16, "no space left in the pond")                                                    \
    X(ENOSHM, -17, "no space left in the file system that holds the pond")                         \
    X(ENOMEM, -18, "out of memory")                                                                \
    X(EBUSY, -19, "in use by another process")                                                     \
    X(EACCESS, -20, "permission denied")                                                           \
    X(ETIMEDOUT, -21, "timed out")                                                                 \
    X(ECANCELED, -22, "canceled")                                                                  \
    X(ENOLEASE, -23, "every snapshot lease is taken")                                              \
    X(EFORKED, -24, "snapshot belongs to the process before the fork")                             \
    X(ESOURCE, -25, "the source database failed")                                                  \
    X(ECONFIG, -26, "configuration is wrong")                                                      \
    X(EDATA, -27, "bad row")                                                                       \
    X(EDROP, -28, "refresh would drop more rows than max_drop allows")                             \
    X(EEXISTS, -29, "exists already")                                                              \
    X(ESYS, -30, "system call failed")                                                             \
    X(ENODAEMON, -31, "no connection to the daemon")                                               \
    X(EREFUSED, -32, "the server refused the command")                                             \
    X(ENONODE, -33, "no copy of the key could be reached")                                         \
    X(EUNKNOWN, -34, "no answer came: it is not known whether it was done")                        \
    X(EPARTIAL, -35, "not all copies have it")

enum sp_status {
#define SP_STATUS_ENUM(name, value, text) SP_##name = (value),
    SP_STATUS_LIST(SP_STATUS_ENUM)
#undef SP_STATUS_ENUM
};

/* The text of a status, in static storage; "unknown status" for what is not one. */
const char *sp_status_text(int status);

/* The name of a status as written in code ("SP_ENOTFOUND"), in static storage. */
const char *sp_status_name(int status);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
