/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.c - hiredis' reader of replies, which makes what the caller needs out of them at once:
 * values in the caller's buffers, or trees of struct sp_reply; see struct answer.
 *
 * Costs: flat, a copy of the value and no allocation; as a tree, one allocation for each reply of
 * it, and one for the items of each array.
 *
 * Limits: hiredis reads arrays within arrays seven deep.
 */
#include <stdlib.h>
#include <string.h>

#include "client/nodes/nodes.h"

/* What the reader takes for the object of a flat reply. */
static char flat;

static struct answer *answer_of(const redisReadTask *task)
{
    return task->privdata;
}

/* --- trees ------------------------------------------------------------------------------------ */

static struct sp_reply *tree_new(const redisReadTask *task, enum sp_reply_type type,
                                 const char *text, size_t size)
{
    struct sp_reply *reply = malloc(sizeof *reply + size + 1);
    if (reply == NULL)
        return NULL;
    char *copy = (char *)(reply + 1);
    if (size > 0)
        memcpy(copy, text, size);
    copy[size] = '\0';
    *reply = (struct sp_reply){.type = type, .text = copy, .size = size};
    if (task->parent != NULL)
        ((struct sp_reply *)task->parent->obj)->items[task->idx] = reply;
    return reply;
}

void sp_reply_free(struct sp_reply *reply)
{
    if (reply == NULL)
        return;
    for (size_t i = 0; i < reply->item_count; i++)
        sp_reply_free(reply->items[i]); /* NOLINT: as deep as the reader goes */
    free(reply->items);
    free(reply);
}

static struct sp_reply *tree_array(const redisReadTask *task, int elements)
{
    struct sp_reply *reply = tree_new(task, SP_REPLY_ARRAY, "", 0);
    size_t count = elements > 0 ? (size_t)elements : 0;
    if (reply == NULL || count == 0)
        return reply;
    reply->items = calloc(count, sizeof(struct sp_reply *));
    if (reply->items != NULL) {
        reply->item_count = count;
        return reply;
    }
    if (task->parent != NULL)
        ((struct sp_reply *)task->parent->obj)->items[task->idx] = NULL;
    free(reply);
    return NULL;
}

/* --- what the reader calls -------------------------------------------------------------------- */

static enum sp_reply_type type_of(int type)
{
    return type == REDIS_REPLY_ERROR ? SP_REPLY_ERROR : SP_REPLY_TEXT;
}

static void flat_text(struct answer *answer, const char *text, size_t size)
{
    size_t fits = size < sizeof answer->text ? size : sizeof answer->text - 1;
    memcpy(answer->text, text, fits);
    answer->text[fits] = '\0';
}

static void *on_string(const redisReadTask *task, char *text, size_t size)
{
    struct answer *answer = answer_of(task);
    if (answer->tree)
        return tree_new(task, type_of(task->type), text, size);
    if (task->parent != NULL) {
        if (task->idx == 0)
            flat_text(answer, text, size);
        return &flat;
    }
    answer->type = type_of(task->type);
    answer->status_text = task->type == REDIS_REPLY_STATUS;
    if (answer->value == NULL || task->type != REDIS_REPLY_STRING)
        flat_text(answer, text, size);
    else if (sp_buffer_set(answer->value, text, size) != SP_OK)
        return NULL;
    return &flat;
}

static void *on_array(const redisReadTask *task, int elements)
{
    struct answer *answer = answer_of(task);
    if (answer->tree)
        return tree_array(task, elements);
    if (task->parent == NULL) {
        answer->type = SP_REPLY_ARRAY;
        memset(answer->numbers, 0, sizeof answer->numbers);
    }
    return &flat;
}

static void *on_integer(const redisReadTask *task, long long number)
{
    struct answer *answer = answer_of(task);
    if (answer->tree) {
        struct sp_reply *reply = tree_new(task, SP_REPLY_INTEGER, "", 0);
        if (reply != NULL)
            reply->integer = number;
        return reply;
    }
    if (task->parent == NULL)
        answer->type = SP_REPLY_INTEGER;
    int at = task->parent == NULL ? 0 : task->idx;
    if (at < (int)ANSWER_NUMBERS)
        answer->numbers[at] = number;
    return &flat;
}

static void *on_nil(const redisReadTask *task)
{
    struct answer *answer = answer_of(task);
    if (answer->tree)
        return tree_new(task, SP_REPLY_NULL, "", 0);
    if (task->parent == NULL)
        answer->type = SP_REPLY_NULL;
    return &flat;
}

static void on_free(void *object)
{
    if (object != &flat)
        sp_reply_free(object);
}

redisReader *answer_reader_new(void)
{
    static redisReplyObjectFunctions functions = {.createString = on_string,
                                                  .createArray = on_array,
                                                  .createInteger = on_integer,
                                                  .createNil = on_nil,
                                                  .freeObject = on_free};
    return redisReaderCreateWithFunctions(&functions);
}
