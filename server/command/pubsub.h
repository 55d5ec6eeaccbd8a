/* SPDX-License-Identifier: Apache-2.0
 *
 * pubsub.h - who hears what: channels, patterns, and the events of keys.
 *
 * One registry for all threads, under one lock. A message goes to each thread that has subscribers
 * of it, once, and is there appended to their outputs; so messages of one publisher arrive in
 * order, and a subscriber's output is touched by its own thread only.
 */
#ifndef SIDEPOND_COMMAND_PUBSUB_H
#define SIDEPOND_COMMAND_PUBSUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pubsub;
struct service;
struct session;

struct pubsub *pubsub_new(void); /* NULL: no memory */
void pubsub_free(struct pubsub *pubsub);

/* To whoever hears it; how many those are. Any thread, also with the cache's lock. */
size_t pubsub_publish(struct service *service, const void *channel, size_t channel_bytes,
                      const void *payload, size_t payload_bytes);

/* A session ends: it hears nothing any more. */
void pubsub_leave(struct session *session);
/* Channels and patterns that a session hears. */
size_t pubsub_count(const struct session *session);
/* Channels and patterns that anybody hears. */
void pubsub_totals(struct service *service, size_t *channels, size_t *patterns);

/* The classes of events of a text as notify-keyspace-events has it ("KEA"); false: a letter of it
 * is none. And back, into 16 bytes. */
bool events_parse(const char *text, size_t bytes, uint32_t *events);
void events_print(uint32_t events, char out[16]);

#endif
