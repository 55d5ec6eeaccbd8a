/* SPDX-License-Identifier: Apache-2.0
 *
 * member_node.c - a node of a ring that is a member and nothing else, for test_member.py.
 *
 *   member_node KEY=VALUE...   servers, cluster, session (ms), credential, file; name, address,
 * zone, weight, start, slots, replicas; later=1: it registers on command; hold=1: it becomes a
 * holder of whatever it is a target of; answers=NAME,NAME or all: who answers when asked; without:
 * NULL
 *
 * Says on standard output, one JSON object a line, what the member tells it: {"map": ...},
 * {"status": ...}, {"lost": true}, {"asked": NAME}. Does what standard input says, and answers by
 * {"done": COMMAND, "status": ...}:
 *
 *   status | map | slots | register START | unregister | leave | hold | want NAME DRAIN WEIGHT |
 * wanted NAME | answers NAMES | fork | quit
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/member/member.h"

#define WAIT_MS 5000

struct program {
    struct member_options options;
    struct ring_node node;
    struct member *member;
    _Atomic(struct member *) opened; /* for the callbacks */
    bool hold;
    pthread_mutex_t mutex; /* of what follows, and of standard output */
    char answers[1024];
};

/* --- saying ----------------------------------------------------------------------------------- */

/* Which slots this node is a target of, and no holder. */
static unsigned missing(const struct ring_map *map, const struct ring_node *node,
                        uint64_t out[RING_SLOT_WORDS])
{
    unsigned count = 0;
    int at = ring_map_find(map, node->name);
    memset(out, 0, RING_SLOT_WORDS * sizeof *out);
    for (unsigned slot = 0; at >= 0 && slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        bool target = false, holder = false;
        for (unsigned i = 0; i < copies->target_count; i++)
            target = target || copies->targets[i] == at;
        for (unsigned i = 0; i < copies->holder_count; i++)
            holder = holder || copies->holders[i] == at;
        if (target && !holder) {
            out[slot / 64] |= UINT64_C(1) << (slot % 64);
            count++;
        }
    }
    return count;
}

static bool settled(const struct ring_map *map)
{
    for (unsigned slot = 0; slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        if (copies->holder_count != copies->target_count ||
            memcmp(copies->holders, copies->targets,
                   copies->holder_count * sizeof copies->holders[0]) != 0)
            return false;
    }
    return true;
}

/* The checksum that ends the encoded map. */
static uint64_t checksum(const struct ring_map *map)
{
    uint8_t *bytes;
    size_t size;
    uint64_t sum = 0;
    if (ring_map_encode(map, &bytes, &size) != SP_OK)
        return 0;
    memcpy(&sum, bytes + size - sizeof sum, sizeof sum);
    free(bytes);
    return sum;
}

static void print_map(struct program *program, const struct ring_map *map)
{
    pthread_mutex_lock(&program->mutex);
    printf("{\"map\": {\"epoch\": %" PRIu64 ", \"sum\": \"%016" PRIx64 "\", \"settled\": %s, "
           "\"slots\": %u, \"nodes\": {",
           map->epoch, checksum(map), settled(map) ? "true" : "false", map->parameters.slots);
    for (uint32_t i = 0; i < map->node_count; i++) {
        const struct ring_node *node = &map->nodes[i];
        printf("%s\"%s\": [\"%s\", %u, %u, \"%" PRIx64 "\"]", i > 0 ? ", " : "", node->name,
               node->address, node->weight, node->state, node->start);
    }
    printf("}}}\n");
    fflush(stdout);
    pthread_mutex_unlock(&program->mutex);
}

/* The holders of each slot. */
static void print_slots(struct program *program, const struct ring_map *map)
{
    pthread_mutex_lock(&program->mutex);
    printf("{\"slots\": [");
    for (unsigned slot = 0; slot < map->parameters.slots; slot++) {
        const struct ring_slot_copies *copies = &map->slots[slot];
        printf("%s[", slot > 0 ? ", " : "");
        for (unsigned i = 0; i < copies->holder_count; i++)
            printf("%s\"%s\"", i > 0 ? ", " : "", map->nodes[copies->holders[i]].name);
        printf("]");
    }
    printf("]}\n");
    pthread_mutex_unlock(&program->mutex);
}

/* Quotation marks become apostrophes. */
static void print_status(struct program *program, const struct member_status *status)
{
    static const char *const links[] = {"connecting", "connected", "refused"};
    char why[MEMBER_WHY_BYTES];
    snprintf(why, sizeof why, "%s", status->why);
    for (char *at = why; *at != '\0'; at++)
        if (*at == '"' || *at == '\\' || *at < ' ')
            *at = '\'';
    pthread_mutex_lock(&program->mutex);
    printf("{\"status\": {\"link\": \"%s\", \"registered\": %s, \"session_ms\": %" PRIu64
           ", \"lost\": %" PRIu64 ", \"changes\": %" PRIu64 ", \"away_ms\": %" PRIu64
           ", \"why\": \"%s\"}}\n",
           links[status->link], status->registered ? "true" : "false", status->session_ms,
           status->sessions_lost, status->map_changes, status->away_ms, why);
    fflush(stdout);
    pthread_mutex_unlock(&program->mutex);
}

static void print_done(struct program *program, const char *command, int status)
{
    pthread_mutex_lock(&program->mutex);
    printf("{\"done\": \"%s\", \"status\": \"%s\"}\n", command, sp_status_name(status));
    fflush(stdout);
    pthread_mutex_unlock(&program->mutex);
}

/* --- what the member tells -------------------------------------------------------------------- */

static void on_map(void *context, const struct ring_map *map)
{
    struct program *program = context;
    uint64_t slots[RING_SLOT_WORDS];
    struct member *member = program->opened;
    print_map(program, map);
    if (program->hold && member != NULL && missing(map, &program->node, slots) > 0)
        member_hold(member, slots);
}

static void on_status(void *context, const struct member_status *status)
{
    print_status(context, status);
}

static void on_session_lost(void *context)
{
    struct program *program = context;
    pthread_mutex_lock(&program->mutex);
    puts("{\"lost\": true}");
    fflush(stdout);
    pthread_mutex_unlock(&program->mutex);
}

static bool answers(void *context, const struct ring_node *node)
{
    struct program *program = context;
    pthread_mutex_lock(&program->mutex);
    bool found = strcmp(program->answers, "all") == 0;
    const char *at = program->answers;
    for (size_t size = 0; !found && *at != '\0'; at += size + (at[size] == ',')) {
        size = strcspn(at, ",");
        found = strlen(node->name) == size && strncmp(at, node->name, size) == 0;
    }
    printf("{\"asked\": \"%s\"}\n", node->name);
    fflush(stdout);
    pthread_mutex_unlock(&program->mutex);
    return found;
}

/* --- commands --------------------------------------------------------------------------------- */

static int hold_all(struct program *program)
{
    uint64_t slots[RING_SLOT_WORDS];
    struct ring_map *map = member_map(program->member);
    if (map == NULL)
        return SP_ENOTREADY;
    (void)missing(map, &program->node, slots);
    ring_map_unref(map);
    member_hold(program->member, slots);
    return SP_OK;
}

/* A child that tries to use the member, and drops it. */
static int fork_child(struct program *program)
{
    int state = 0;
    pid_t child = fork();
    if (child == 0) {
        struct member_wish wish;
        struct member_status status;
        member_status(program->member, &status);
        bool used = member_map(program->member) != NULL ||
                    member_wait(program->member, 1, 10) == SP_OK || status.session_ms != 0 ||
                    member_wanted(program->member, "a", &wish, 10) == SP_OK;
        member_register(program->member, false, 1);
        member_close(program->member);
        _exit(used);
    }
    if (child < 0 || waitpid(child, &state, 0) != child)
        return SP_ESYS;
    return WIFEXITED(state) && WEXITSTATUS(state) == 0 ? SP_OK : SP_EINVAL;
}

static int run_wish(struct program *program, bool write, const char *name)
{
    struct member_wish wish = {0};
    const char *drain = strtok(NULL, " "), *weight = strtok(NULL, " ");
    if (write && drain != NULL && weight != NULL) {
        wish.drain = strcmp(drain, "1") == 0;
        wish.weight = (uint16_t)strtoul(weight, NULL, 10);
        return member_want(program->member, name, &wish, WAIT_MS);
    }
    int status = member_wanted(program->member, name, &wish, WAIT_MS);
    pthread_mutex_lock(&program->mutex);
    printf("{\"wanted\": [%s, %u]}\n", wish.drain ? "true" : "false", wish.weight);
    pthread_mutex_unlock(&program->mutex);
    return status;
}

static int run_query(struct program *program, const char *command)
{
    struct member_status status;
    if (strcmp(command, "status") == 0) {
        member_status(program->member, &status);
        print_status(program, &status);
        return SP_OK;
    }
    struct ring_map *map = member_map(program->member);
    if (map == NULL)
        return SP_ENOTREADY;
    if (strcmp(command, "slots") == 0)
        print_slots(program, map);
    else
        print_map(program, map);
    ring_map_unref(map);
    return SP_OK;
}

static int run_command(struct program *program, const char *command, const char *argument)
{
    if (strcmp(command, "status") == 0 || strcmp(command, "map") == 0 ||
        strcmp(command, "slots") == 0)
        return run_query(program, command);
    if (strcmp(command, "hold") == 0)
        return hold_all(program);
    if (strcmp(command, "fork") == 0)
        return fork_child(program);
    if (strcmp(command, "want") == 0 || strcmp(command, "wanted") == 0)
        return run_wish(program, strcmp(command, "want") == 0, argument);
    if (strcmp(command, "answers") == 0) {
        pthread_mutex_lock(&program->mutex);
        snprintf(program->answers, sizeof program->answers, "%s", argument);
        pthread_mutex_unlock(&program->mutex);
        return SP_OK;
    }
    if (strcmp(command, "leave") == 0) {
        member_leave(program->member);
        return SP_OK;
    }
    if (strcmp(command, "register") == 0)
        program->node.start = strtoull(argument, NULL, 16);
    else if (strcmp(command, "unregister") != 0)
        return SP_EINVAL;
    member_register(program->member, strcmp(command, "register") == 0, program->node.start);
    return SP_OK;
}

/* --- the beginning ---------------------------------------------------------------------------- */

static void set_text(char *out, size_t room, const char *value)
{
    snprintf(out, room, "%s", value);
}

static void set_node(struct program *program, const char *key, const char *value)
{
    struct ring_node *node = &program->node;
    if (strcmp(key, "name") == 0) {
        set_text(node->name, sizeof node->name, value);
        program->options.node = node;
    } else if (strcmp(key, "address") == 0)
        set_text(node->address, sizeof node->address, value);
    else if (strcmp(key, "zone") == 0)
        set_text(node->zone, sizeof node->zone, value);
    else if (strcmp(key, "weight") == 0)
        node->weight = (uint16_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "start") == 0)
        node->start = strtoull(value, NULL, 16);
}

static void set_option(struct program *program, const char *key, const char *value)
{
    struct member_options *options = &program->options;
    if (strcmp(key, "servers") == 0)
        options->servers = value;
    else if (strcmp(key, "cluster") == 0)
        options->cluster = value;
    else if (strcmp(key, "credential") == 0)
        options->credential = value;
    else if (strcmp(key, "file") == 0)
        options->file = value;
    else if (strcmp(key, "session") == 0)
        options->session_ms = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "slots") == 0)
        options->parameters.slots = (uint16_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "replicas") == 0)
        options->parameters.replicas = (uint8_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "later") == 0)
        options->registers_at_once = false;
    else if (strcmp(key, "hold") == 0)
        program->hold = true;
    else if (strcmp(key, "answers") == 0) {
        options->answers = answers;
        set_text(program->answers, sizeof program->answers, value);
    } else
        set_node(program, key, value);
}

static void take_arguments(struct program *program, int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value == NULL)
            continue;
        *value = '\0';
        set_option(program, arguments[i], value + 1);
    }
}

static void serve(struct program *program)
{
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *command = strtok(line, " \n");
        char *argument = strtok(NULL, " \n");
        if (command == NULL)
            continue;
        if (strcmp(command, "quit") == 0)
            return;
        print_done(program, command,
                   run_command(program, command, argument != NULL ? argument : ""));
    }
}

int main(int count, char **arguments)
{
    static struct program program = {
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .node = {.weight = 100, .start = 1},
        .options = {.cluster = "test",
                    .session_ms = 1000,
                    .registers_at_once = true,
                    .parameters = RING_PARAMETERS_INIT,
                    .on_map = on_map,
                    .on_session_lost = on_session_lost,
                    .on_status = on_status,
                    .context = &program},
    };
    char why[MEMBER_WHY_BYTES];
    take_arguments(&program, count, arguments);
    int status = member_open(&program.options, &program.member, why);
    if (status != SP_OK) {
        printf("{\"failed\": \"%s\", \"why\": \"%s\"}\n", sp_status_name(status), why);
        return 1;
    }
    program.opened = program.member;
    if (program.hold)
        (void)hold_all(&program);
    serve(&program);
    member_close(program.member);
    print_done(&program, "quit", SP_OK);
    return 0;
}
