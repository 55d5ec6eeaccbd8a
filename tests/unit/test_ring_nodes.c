/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_nodes.c - what the ring's client decides without a network: lists of nodes, the order
 * of candidates, breakers, replies, and the keys of commands.
 *
 * Method: the parts themselves; the order of candidates in every combination of what two or three
 * nodes can be; replies cut into pieces at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/nodes/nodes.h"

/* --- lists ------------------------------------------------------------------------------------ */

static void test_lists(void **state)
{
    static const char *const wrong[] = {
        "",           "a",       "=x:1",   "a=",           "a=x:1,", "a=x:1*0",
        "a=x:1*1001", "a=x:1*x", "a=x:1@", "a=x:1,,b=y:2", "a=x:1*"};
    struct ring_node *nodes;
    size_t count;
    char why[RING_WHY_BYTES];
    (void)state;
    assert_int_equal(
        SP_OK, node_list_parse("a=h:1,b=[::1]:2@z*50,c=unix:/x*7,d=h:4@q", &nodes, &count, why));
    assert_int_equal(count, 4);
    assert_string_equal(nodes[0].name, "a");
    assert_string_equal(nodes[0].address, "h:1");
    assert_string_equal(nodes[0].zone, "");
    assert_int_equal(nodes[0].weight, 100);
    assert_string_equal(nodes[1].address, "[::1]:2");
    assert_string_equal(nodes[1].zone, "z");
    assert_int_equal(nodes[1].weight, 50);
    assert_string_equal(nodes[2].address, "unix:/x");
    assert_int_equal(nodes[2].weight, 7);
    assert_string_equal(nodes[3].zone, "q");
    free(nodes);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        why[0] = '\0';
        if (node_list_parse(wrong[i], &nodes, &count, why) != SP_EINVAL || why[0] == '\0')
            fail_msg("\"%s\" is taken for a list", wrong[i]);
        assert_null(nodes);
    }
}

/* --- candidates ------------------------------------------------------------------------------- */

#define SLOT 5u

struct fixture {
    struct view *view;
    struct ring_slot_copies slots[RING_SLOTS_LEAST];
    struct ring_map map;
    struct node nodes[3];
};

static void make(struct fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->map = (struct ring_map){.node_count = 3,
                                     .parameters = {.slots = RING_SLOTS_LEAST, .replicas = 2},
                                     .slots = fixture->slots};
    fixture->slots[SLOT] = (struct ring_slot_copies){
        .holders = {2, 0}, .targets = {2, 1}, .holder_count = 2, .target_count = 2};
    fixture->view = calloc(1, sizeof *fixture->view + 3 * sizeof(struct node *));
    assert_non_null(fixture->view);
    fixture->view->map = &fixture->map;
    for (unsigned i = 0; i < 3; i++)
        fixture->view->nodes[i] = &fixture->nodes[i];
}

static void become(struct fixture *fixture, unsigned states)
{
    for (unsigned i = 0; i < 3; i++) {
        atomic_store(&fixture->nodes[i].open, (states >> i & 1) != 0);
        atomic_store(&fixture->nodes[i].distrusted, (states >> (3 + i) & 1) != 0);
        atomic_store(&fixture->nodes[i].missed[0],
                     (states >> (3 + i) & 1) != 0 ? UINT64_C(1) << SLOT : 0);
    }
}

/* How late a node is asked: first the good, then those kept back, then the distrusted, and last
 * those that are both. */
static unsigned rank_of(unsigned states, unsigned node)
{
    return (states >> (3 + node) & 1) * 2 + (states >> node & 1);
}

/* All of them, each once, whatever they are; ranks never fall, and equals keep the map's order. */
static void test_candidates(void **state)
{
    static const uint16_t order[] = {2, 0, 1}; /* holders, then the target */
    static struct fixture fixture;
    uint16_t got[CANDIDATES_MAX];
    (void)state;
    make(&fixture);
    for (unsigned states = 0; states < 64; states++) {
        become(&fixture, states);
        assert_int_equal(view_candidates(fixture.view, SLOT, false, got), 3);
        unsigned at = 0;
        for (unsigned rank = 0; rank < 4; rank++)
            for (unsigned i = 0; i < 3; i++)
                if (rank_of(states, order[i]) == rank)
                    assert_int_equal(got[at++], order[i]);
        assert_int_equal(at, 3);
    }
    become(&fixture, 7u << 3); /* of another slot */
    assert_int_equal(view_candidates(fixture.view, SLOT + 1, false, got), 0);
    free(fixture.view);
}

/* What a holder lacks is not there, unless it has missed something, or may be empty: as it has hung
 * up, or is another process by a map that is later than the one of the call. */
static void test_believed(void **state)
{
    static struct fixture fixture;
    struct ring_node nodes[3] = {{.start = 1}, {.start = 2}, {.start = 3}};
    (void)state;
    make(&fixture);
    fixture.map.nodes = nodes;
    for (unsigned i = 0; i < 3; i++)
        atomic_store(&fixture.nodes[i].start, i + 1);
    become(&fixture, 0);
    assert_true(view_believes(fixture.view, SLOT, &fixture.nodes[0]));
    assert_true(view_believes(fixture.view, SLOT, &fixture.nodes[2]));
    assert_false(view_believes(fixture.view, SLOT, &fixture.nodes[1])); /* a target */
    atomic_store(&fixture.nodes[0].restarted, true);
    assert_false(view_believes(fixture.view, SLOT, &fixture.nodes[0]));
    atomic_store(&fixture.nodes[0].start, 9);
    atomic_store(&fixture.nodes[0].restarted, false);
    assert_false(view_believes(fixture.view, SLOT, &fixture.nodes[0]));
    nodes[0].start = 9;
    assert_true(view_believes(fixture.view, SLOT, &fixture.nodes[0]));
    become(&fixture, 1u << 3);
    assert_false(view_believes(fixture.view, SLOT, &fixture.nodes[0]));
    free(fixture.view);
}

/* --- breakers and figures --------------------------------------------------------------------- */

static void test_breaker(void **state)
{
    static const struct ring_node of = {.name = "a", .address = "127.0.0.1:1"};
    struct node *node = node_new(&of);
    uint32_t median, p99;
    (void)state;
    assert_non_null(node);
    assert_false(node_failed(node, true));
    node_answered(node, 10, 1);
    assert_false(node_failed(node, true)); /* not in a row */
    assert_false(node_kept_back(node));
    assert_true(node_failed(node, true));
    assert_true(node_kept_back(node) && !node_down(node)); /* only slow */
    assert_false(node_failed(node, true));                 /* is open already */
    node_answered(node, 10, 1);
    assert_false(node_kept_back(node));
    assert_true(node_failed(node, false)); /* refused: at once */
    assert_true(node_kept_back(node) && node_down(node));
    node_close_breaker(node);
    assert_false(node_kept_back(node) || node_down(node));
    for (uint32_t i = 1; i <= NODE_LATENCIES; i++)
        node_answered(node, i * 10, 1);
    node_latencies(node, &median, &p99);
    assert_in_range(median, 1200, 1400);
    assert_in_range(p99, 2500, 2560);
    node_unref(node);
}

/* --- lanes ------------------------------------------------------------------------------------ */

/* Of a node without an address nothing has been sent, whatever lay in memory before. */
static void test_nothing_sent(void **state)
{
    static const struct lane_rules rules = {NULL, NULL};
    static struct sp_ring ring = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                  .woken = PTHREAD_COND_INITIALIZER,
                                  .settings.connect_ms = 100};
    static struct fixture fixture;
    struct lanes lanes;
    (void)state;
    make(&fixture);
    memset(&lanes, 1, sizeof lanes);
    lanes_begin(&lanes, &ring, fixture.view);
    const struct lane *lane = lanes_add(&lanes, &fixture.nodes[0], true, false, &rules, NULL);
    assert_non_null(lane);
    assert_int_equal(lane->state, LANE_LOST);
    assert_int_equal(lane->status, SP_ENODAEMON);
    assert_false(lane->sent);
    lanes_end(&lanes);
    free(fixture.view);
}

/* --- missed slots ----------------------------------------------------------------------------- */

static bool is_missed(const struct node *node, unsigned slot)
{
    return (atomic_load(&node->missed[slot / 64]) >> (slot % 64) & 1) != 0;
}

/* A node that missed a write of a checksum's slot missed it by each other number of slots, and
 * nothing that it might not have missed. */
static void test_renumber(void **state)
{
    static struct node node;
    (void)state;
    for (unsigned before = RING_SLOTS_LEAST; before <= RING_SLOTS_MAX; before *= 4)
        for (unsigned now = RING_SLOTS_LEAST; now <= RING_SLOTS_MAX; now *= 2)
            for (unsigned checksum = 5; checksum < 65536; checksum += 7919) {
                unsigned slot = checksum & (before - 1), marked = 0;
                for (unsigned i = 0; i < RING_SLOT_WORDS; i++)
                    atomic_store(&node.missed[i], 0);
                atomic_store(&node.missed[slot / 64], UINT64_C(1) << (slot % 64));
                trust_renumber(&node, before, now);
                assert_true(is_missed(&node, checksum & (now - 1)));
                for (unsigned i = 0; i < RING_SLOTS_MAX; i++)
                    marked += is_missed(&node, i);
                assert_int_equal(marked, now > before ? now / before : 1);
            }
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* A socket's time-out of so many ms lasts up to two ticks longer. */
static void test_receive_ms(void **state)
{
    static const uint32_t ticks_us[] = {1000, 3333, 4000, 10000};
    (void)state;
    for (size_t i = 0; i < sizeof ticks_us / sizeof ticks_us[0]; i++)
        for (uint32_t hedge_ms = 0; hedge_ms <= 1000; hedge_ms++) {
            uint32_t tick_us = ticks_us[i], ms = receive_ms_of(hedge_ms, tick_us);
            uint32_t ticks = (ms * 1000 + tick_us - 1) / tick_us;
            if (ms != 0 && (ticks + 2) * tick_us > hedge_ms * 1000 + tick_us / 2)
                fail_msg("%u ms may last longer than %u", ms, hedge_ms);
            if ((ticks + 4) * tick_us <= hedge_ms * 1000)
                fail_msg("%u ms of %u is less than there could be", ms, hedge_ms);
        }
}

/* --- replies ---------------------------------------------------------------------------------- */

/* The first reply of these bytes, fed in two pieces. */
static void *read_in_two(redisReader *reader, struct answer *answer, const char *bytes, size_t cut)
{
    void *reply = NULL;
    reader->privdata = answer;
    assert_int_equal(redisReaderFeed(reader, bytes, cut), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    if (reply == NULL) {
        assert_int_equal(redisReaderFeed(reader, bytes + cut, strlen(bytes) - cut), REDIS_OK);
        assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    }
    assert_non_null(reply);
    return reply;
}

static void test_flat_replies(void **state)
{
    static const char bytes[] = "*3\r\n$4\r\n6f3c\r\n:17\r\n:123456789012\r\n";
    (void)state;
    for (size_t cut = 0; cut < sizeof bytes - 1; cut++) {
        redisReader *reader = answer_reader_new();
        struct answer answer = {0};
        read_in_two(reader, &answer, bytes, cut);
        assert_int_equal(answer.type, SP_REPLY_ARRAY);
        assert_string_equal(answer.text, "6f3c");
        assert_int_equal(answer.numbers[1], 17);
        assert_int_equal(answer.numbers[2], 123456789012);
        redisReaderFree(reader);
    }
    struct sp_buffer value = {0};
    struct answer answer = {.value = &value};
    redisReader *reader = answer_reader_new();
    read_in_two(reader, &answer, "$5\r\na\r\nbc\r\n", 6);
    assert_int_equal(answer.type, SP_REPLY_TEXT);
    assert_int_equal(value.size, 5);
    assert_memory_equal(value.data, "a\r\nbc", 5);
    read_in_two(reader, &answer, "-ERR no\r\n", 3);
    assert_int_equal(answer.type, SP_REPLY_ERROR);
    assert_string_equal(answer.text, "ERR no");
    read_in_two(reader, &answer, "$-1\r\n", 3);
    assert_int_equal(answer.type, SP_REPLY_NULL);
    redisReaderFree(reader);
    sp_buffer_free(&value);
}

static void test_trees(void **state)
{
    static const char bytes[] = "*4\r\n*2\r\n:1\r\n$1\r\nx\r\n$-1\r\n*0\r\n+OK\r\n";
    (void)state;
    for (size_t cut = 0; cut < sizeof bytes - 1; cut++) {
        redisReader *reader = answer_reader_new();
        struct answer answer = {.tree = true};
        struct sp_reply *reply = read_in_two(reader, &answer, bytes, cut);
        assert_int_equal(reply->item_count, 4);
        assert_int_equal(reply->items[0]->items[0]->integer, 1);
        assert_string_equal(reply->items[0]->items[1]->text, "x");
        assert_int_equal(reply->items[1]->type, SP_REPLY_NULL);
        assert_int_equal(reply->items[2]->type, SP_REPLY_ARRAY);
        assert_string_equal(reply->items[3]->text, "OK");
        sp_reply_free(reply);
        redisReaderFree(reader);
    }
    /* Half of a tree goes with its reader. */
    redisReader *reader = answer_reader_new();
    struct answer answer = {.tree = true};
    void *reply = NULL;
    reader->privdata = &answer;
    redisReaderFeed(reader, bytes, 20);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_null(reply);
    redisReaderFree(reader);
}

/* --- commands --------------------------------------------------------------------------------- */

static struct commands *commands_for_test(void)
{
    static const char bytes[] =
        "*5\r\n"
        "*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
        "*6\r\n$4\r\nmset\r\n:-3\r\n*1\r\n+write\r\n:1\r\n:-1\r\n:2\r\n"
        "*6\r\n$4\r\neval\r\n:-3\r\n*1\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n"
        "*6\r\n$5\r\nxread\r\n:-4\r\n*1\r\n+readonly\r\n:0\r\n:0\r\n:0\r\n"
        "*6\r\n$5\r\nbitop\r\n:-4\r\n*1\r\n+write\r\n:2\r\n:-1\r\n:1\r\n";
    redisReader *reader = answer_reader_new();
    struct answer answer = {.tree = true};
    struct commands *commands;
    struct sp_reply *reply = read_in_two(reader, &answer, bytes, 0);
    assert_int_equal(commands_make(reply, &commands), SP_OK);
    sp_reply_free(reply);
    redisReaderFree(reader);
    return commands;
}

static int place(const struct commands *commands, struct command_place *out, size_t count,
                 const char *const *arguments)
{
    const struct sp_ring_call call = {.argument_count = count, .arguments = arguments};
    const struct command_info *info = commands_find(commands, arguments[0], strlen(arguments[0]));
    assert_non_null(info);
    return command_place(info, &call, 16384, out);
}
#define PLACE(...)                                                                                 \
    place(commands, &at, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                   \
          (const char *[]){__VA_ARGS__})

static void test_commands(void **state)
{
    struct commands *commands = commands_for_test();
    struct command_place at;
    unsigned slot = ring_slot("{t}1", 4, 16384);
    (void)state;
    assert_null(commands_find(commands, "nothing", 7));
    assert_true(commands_find(commands, "GET", 3)->reads);
    assert_true(commands_find(commands, "Mset", 4)->writes);
    assert_true(commands_find(commands, "eval", 4)->writes);
    assert_int_equal(PLACE("GET", "{t}1"), SP_OK);
    assert_true(at.keyed && at.slot == slot && at.key == 1);
    assert_int_equal(PLACE("MSET", "{t}1", "a", "{t}2", "b"), SP_OK);
    assert_true(at.keyed && at.slot == slot);
    assert_int_equal(PLACE("MSET", "{t}1", "a", "other", "b"), SP_EINVAL);
    assert_int_equal(PLACE("EVAL", "return 1", "0"), SP_OK);
    assert_false(at.keyed);
    assert_int_equal(PLACE("EVAL", "return 1", "1", "{t}1", "x"), SP_OK);
    assert_true(at.keyed && at.slot == slot && at.key == 3);
    assert_int_equal(PLACE("EVAL", "return 1", "99999999999999999999", "k"), SP_OK);
    assert_int_equal(PLACE("XREAD", "COUNT", "2", "streams", "{t}1", "{t}2", "0", "0"), SP_OK);
    assert_true(at.keyed && at.slot == slot && at.key == 4);
    assert_int_equal(PLACE("XREAD", "STREAMS"), SP_OK);
    assert_int_equal(PLACE("BITOP", "AND", "{t}1", "{t}2"), SP_OK);
    assert_true(at.keyed && at.slot == slot && at.key == 2);
    assert_int_equal(PLACE("BITOP", "AND"), SP_OK);
    assert_int_equal(PLACE("GET"), SP_OK);
    assert_false(at.keyed);
    commands_free(commands);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_breaker),      cmocka_unit_test(test_flat_replies),
        cmocka_unit_test(test_trees),        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_receive_ms),   cmocka_unit_test(test_renumber),
        cmocka_unit_test(test_nothing_sent), cmocka_unit_test(test_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
