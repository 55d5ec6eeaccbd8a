/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb.c - filling and reading a collection of MongoDB.
 */
#include "mongodb.h"

#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "rows.h"

#define ROWS_OF_AN_INSERT 1000
#define ROWS_OF_A_BATCH   10000 /* the server would send all of them at once */

const char *mongodb_uri(void)
{
    return getenv("SIDEPOND_MONGO_URI");
}

void mongodb_need(char **argv)
{
    if (!mongodb_uri())
        bench_run_under("mongo_server.py", "bench", argv);
}

mongoc_client_t *mongodb_connect(void)
{
    mongoc_init();
    mongoc_client_t *client = mongoc_client_new(mongodb_uri());
    if (!client)
        bench_die("MongoDB: %s is no URI", mongodb_uri());
    return client;
}

static mongoc_collection_t *collection_of(mongoc_client_t *client, const char *name)
{
    const mongoc_uri_t *uri = mongoc_client_get_uri(client);
    return mongoc_client_get_collection(client, mongoc_uri_get_database(uri), name);
}

static void put_row(mongoc_bulk_operation_t *bulk, uint32_t number)
{
    char key[ROWS_KEY_BYTES];
    unsigned char value[ROWS_VALUE_BYTES];
    bson_t document = BSON_INITIALIZER;
    rows_key(number, key);
    rows_value(number, 0, value, sizeof(value));
    bson_append_utf8(&document, "_id", -1, key, sizeof(key));
    bson_append_binary(&document, "v", -1, BSON_SUBTYPE_BINARY, value, sizeof(value));
    mongoc_bulk_operation_insert(bulk, &document);
    bson_destroy(&document);
}

void mongodb_make(mongoc_client_t *client, const char *name, uint32_t rows)
{
    mongoc_collection_t *collection = collection_of(client, name);
    bson_error_t why;
    for (uint32_t i = 0; i < rows;) {
        mongoc_bulk_operation_t *bulk =
            mongoc_collection_create_bulk_operation_with_opts(collection, NULL);
        for (uint32_t end = i + ROWS_OF_AN_INSERT; i < end && i < rows; i++)
            put_row(bulk, i);
        if (!mongoc_bulk_operation_execute(bulk, NULL, &why))
            bench_die("MongoDB: %s", why.message);
        mongoc_bulk_operation_destroy(bulk);
    }
    mongoc_collection_destroy(collection);
}

uint64_t mongodb_read_all(mongoc_client_t *client, const char *name)
{
    mongoc_collection_t *collection = collection_of(client, name);
    bson_t all = BSON_INITIALIZER;
    bson_t *options = BCON_NEW("batchSize", BCON_INT32(ROWS_OF_A_BATCH));
    const bson_t *document;
    bson_error_t why;
    uint64_t bytes = 0;
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, &all, options, NULL);
    while (mongoc_cursor_next(cursor, &document))
        bytes += document->len;
    if (mongoc_cursor_error(cursor, &why))
        bench_die("MongoDB: %s", why.message);
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    mongoc_collection_destroy(collection);
    return bytes;
}
