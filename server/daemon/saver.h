/* SPDX-License-Identifier: Apache-2.0
 *
 * saver.h - writes the snapshot file after commits, from a thread of its own.
 */
#ifndef SIDEPOND_DAEMON_SAVER_H
#define SIDEPOND_DAEMON_SAVER_H

#include "server/http/http.h"
#include "server/store/store.h"

struct saver;

/* Saves at most once in every_ms. The path is copied. SP_ENOMEM, SP_ESYS. */
int saver_start(struct store *store, const char *path, uint32_t every_ms,
                struct http_counters *counters, struct saver **out);
/* From the next save on: another file ("": none), another time. Does not wait for a save that runs.
 */
void saver_change(struct saver *saver, const char *path, uint32_t every_ms);
/* What is in the pond by now; a version that has not been saved will be. */
void saver_tell(struct saver *saver, uint64_t version);
/* Saves what is unsaved, waits for it for at most wait_ms, ends the thread. False: it did not end
 * in time and still uses the store. NULL is fine. */
bool saver_stop(struct saver *saver, uint32_t wait_ms);

#endif
