/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb.h - the rows of rows.h in a mongo-java-server of our own (tests/system/mongo_server.py),
 * as database.h has them for other databases: a document {_id: key, v: value} each.
 */
#ifndef SIDEPOND_BENCH_MONGODB_H
#define SIDEPOND_BENCH_MONGODB_H

#include <stdint.h>

#include <mongoc/mongoc.h>

/* Runs this program again with a server beside it, unless it is there: returns in that one only. */
void mongodb_need(char **argv);
const char *mongodb_uri(void); /* with the database */
mongoc_client_t *mongodb_connect(void);
/* Makes the collection `name`. */
void mongodb_make(mongoc_client_t *client, const char *name, uint32_t rows);
/* Reads all documents and looks at no field of them; how many bytes. */
uint64_t mongodb_read_all(mongoc_client_t *client, const char *name);

#endif
