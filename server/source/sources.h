/* SPDX-License-Identifier: Apache-2.0
 *
 * sources.h - the daemon's side of sidepond/source.h: finding and loading sources, and what those
 * that are built in share with who calls them.
 */
#ifndef SIDEPOND_SOURCES_H
#define SIDEPOND_SOURCES_H

#include "sidepond/source.h"

/* The class of a type that is built in, or NULL. */
const struct source_class *source_find(const char *type);

/* Loads a module, once; any thread. SP_ECONFIG with a sentence in why. */
int source_load(const char *path, const struct source_class **out, char *why, size_t why_bytes);

void source_description_free(struct source_description *description);

/* Fills an error; returns `status`, so that `return source_fail(...)` reads well. */
int source_fail(struct source_error *error, int status, bool transient, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
