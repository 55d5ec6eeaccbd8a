/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_ring_drill.c - `sidepond ring drill`: stops or kills a node of a test ring while clients read
 * and write, and tells what they saw.
 *
 *   all well --SIGSTOP or SIGKILL--> for --time --SIGCONT--> until all is well again, or --wait
 *
 * A stopped node is set going again however this ends, but for SIGKILL: signals that would end the
 * tool are only looked at between the steps.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "json.h"
#include "ring_load.h"
#include "ring_nodes.h"

enum { BEFORE_MS = 500, LOOK_MS = 5, PICTURE_MS = 100 };

struct drill {
    struct tool *tool;
    const char *node;
    pid_t pid;
    bool kills;
    uint32_t time_ms, wait_ms;
    struct ring_load load;
    uint64_t fault_us;
    int64_t breaker_ms, complete_ms; /* since the fault, and since its end; -1: not */
    uint64_t lost;
    bool interrupted;
};

/* --- which process ---------------------------------------------------------------------------- */

static bool is_local(const char *address)
{
    static const char *const begins[] = {"127.", "localhost:", "[::1]:", "unix:"};
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++)
        if (strncmp(address, begins[i], strlen(begins[i])) == 0)
            return true;
    return false;
}

static int pid_of_option(struct drill *drill, const struct ring_picture *picture)
{
    uint64_t pid;
    int code = tool_option_count(drill->tool, "pid", 2, 0, &pid);
    if (code != TOOL_OK)
        return code;
    drill->pid = (pid_t)pid;
    for (size_t i = 0; drill->node == NULL && i < picture->count; i++)
        if (picture->figures[i].process_id == pid)
            drill->node = strdup(picture->nodes[i].name);
    if (drill->node != NULL)
        return TOOL_OK;
    tool_error("no node of the ring says that it is process %llu; name it with --node",
               (unsigned long long)pid);
    return TOOL_USAGE;
}

static int pid_find(struct drill *drill, const struct ring_picture *picture)
{
    if (tool_option(drill->tool, "node") != NULL) {
        int found =
            ring_node_find(picture->nodes, picture->count, tool_option(drill->tool, "node"));
        if (found < 0)
            return TOOL_USAGE;
        drill->node = strdup(picture->nodes[found].name);
        drill->pid = (pid_t)picture->figures[found].process_id;
        if (tool_option(drill->tool, "pid") == NULL && !is_local(picture->nodes[found].address)) {
            tool_error("node %s is at %s, which may be another host; give its --pid",
                       picture->nodes[found].name, picture->nodes[found].address);
            return TOOL_USAGE;
        }
    }
    int code = tool_option(drill->tool, "pid") != NULL ? pid_of_option(drill, picture) : TOOL_OK;
    if (code != TOOL_OK)
        return code;
    if (drill->pid > 1 && kill(drill->pid, 0) == 0)
        return TOOL_OK;
    tool_error("cannot signal process %d of node %s: %s", (int)drill->pid,
               drill->node != NULL ? drill->node : "?",
               drill->pid > 1 ? strerror(errno) : "it does not say its process");
    return TOOL_UNAVAILABLE;
}

/* --- the rehearsal ---------------------------------------------------------------------------- */

/* Waits; false: somebody wants the tool to end. */
static bool pause_ms(struct drill *drill, uint32_t ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (!drill->interrupted && sigtimedwait(&set, NULL, &pause) >= 0)
        drill->interrupted = true;
    return !drill->interrupted;
}

static bool kept_back(const struct drill *drill)
{
    struct sp_ring_node *nodes = NULL;
    size_t count = 0;
    bool back = false;
    if (sp_ring_nodes(drill->tool->ring, &nodes, &count, NULL) != SP_OK)
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(nodes[i].name, drill->node) == 0)
            back = nodes[i].kept_back;
    free(nodes);
    return back;
}

static void fault_pass(struct drill *drill)
{
    drill->fault_us = clock_us();
    uint64_t end_us = drill->fault_us + UINT64_C(1000) * drill->time_ms;
    while (clock_us() < end_us && pause_ms(drill, LOOK_MS))
        if (drill->breaker_ms < 0 && kept_back(drill))
            drill->breaker_ms = (int64_t)(clock_us() - drill->fault_us) / 1000;
}

/* All is well, and clients ask the node again, if it is still one. */
static bool is_well(struct drill *drill)
{
    struct ring_picture picture;
    if (ring_picture_take(drill->tool, &picture) != TOOL_OK)
        return false;
    bool well = ring_picture_complete(&picture) && !kept_back(drill);
    ring_picture_free(&picture);
    return well;
}

static void recover(struct drill *drill)
{
    uint64_t begun_us = clock_us(), end_us = begun_us + UINT64_C(1000) * drill->wait_ms;
    while (!drill->interrupted && drill->complete_ms < 0) {
        if (is_well(drill))
            drill->complete_ms =
                (int64_t)(clock_us() - (drill->kills ? drill->fault_us : begun_us)) / 1000;
        else if (clock_us() >= end_us || !pause_ms(drill, PICTURE_MS))
            break;
    }
}

static int rehearse(struct drill *drill)
{
    int status = ring_load_start(&drill->load, drill->tool->ring);
    if (status == SP_OK && pause_ms(drill, BEFORE_MS)) {
        if (kill(drill->pid, drill->kills ? SIGKILL : SIGSTOP) != 0) {
            tool_error("cannot signal process %d: %s", (int)drill->pid, strerror(errno));
            (void)ring_load_stop(&drill->load);
            return TOOL_UNAVAILABLE;
        }
        fault_pass(drill);
        if (!drill->kills)
            (void)kill(drill->pid, SIGCONT);
        recover(drill);
    }
    drill->lost = ring_load_stop(&drill->load);
    return status == SP_OK ? TOOL_OK : tool_failed(status, "cannot write to the ring");
}

/* --- what is told ----------------------------------------------------------------------------- */

static bool passed(struct drill *drill)
{
    return atomic_load(&drill->load.reads.failures) == 0 &&
           atomic_load(&drill->load.writes.failures) == 0 && atomic_load(&drill->load.stale) == 0 &&
           drill->lost == 0 && drill->complete_ms >= 0 && !drill->interrupted;
}

static json_t *ms_json(int64_t ms)
{
    return ms < 0 ? json_null() : json_integer(ms);
}

static json_t *figures_json(struct load_figures *figures)
{
    int status = atomic_load(&figures->first_failure);
    return json_pack("{s:I, s:I, s:I, s:f, s:s?}", "calls",
                     (json_int_t)atomic_load(&figures->calls), "failed",
                     (json_int_t)atomic_load(&figures->failures), "over_50_ms",
                     (json_int_t)atomic_load(&figures->slow), "slowest_ms",
                     (double)atomic_load(&figures->slowest_us) / 1000, "first_failure",
                     status != SP_OK ? sp_status_name(status) : NULL);
}

static int result_json(struct drill *drill)
{
    return json_print(
        json_pack("{s:s, s:i, s:s, s:I, s:b, s:o, s:o, s:I, s:I, s:o, s:o}", "node", drill->node,
                  "pid", (int)drill->pid, "fault", drill->kills ? "kill" : "stop", "time_ms",
                  (json_int_t)drill->time_ms, "passed", passed(drill), "reads",
                  figures_json(&drill->load.reads), "writes", figures_json(&drill->load.writes),
                  "stale_reads", (json_int_t)atomic_load(&drill->load.stale), "lost_writes",
                  (json_int_t)drill->lost, "breaker_opened_ms", ms_json(drill->breaker_ms),
                  "complete_ms", ms_json(drill->complete_ms)));
}

static void figures_print(const char *what, struct load_figures *figures)
{
    int status = atomic_load(&figures->first_failure);
    printf("%-8s%llu, %llu failed%s%s, %llu over 50 ms, slowest %.1f ms\n", what,
           (unsigned long long)atomic_load(&figures->calls),
           (unsigned long long)atomic_load(&figures->failures), status != SP_OK ? ": " : "",
           status != SP_OK ? sp_status_text(status) : "",
           (unsigned long long)atomic_load(&figures->slow),
           (double)atomic_load(&figures->slowest_us) / 1000);
}

static void result_print(struct drill *drill)
{
    const struct tool *tool = drill->tool;
    bool good = passed(drill);
    printf("fault   %s of %s, process %d", drill->kills ? "kill" : "stop", drill->node,
           (int)drill->pid);
    printf(drill->kills ? "\n" : ", for %u ms\n", drill->time_ms);
    figures_print("reads", &drill->load.reads);
    figures_print("writes", &drill->load.writes);
    printf("data    %llu reads older than an acknowledged write, %llu acknowledged writes lost\n",
           (unsigned long long)atomic_load(&drill->load.stale), (unsigned long long)drill->lost);
    if (drill->breaker_ms >= 0)
        printf("breaker opened after %lld ms\n", (long long)drill->breaker_ms);
    else
        puts("breaker did not open");
    if (drill->complete_ms >= 0)
        printf("whole   redundancy complete again %lld ms after the %s\n",
               (long long)drill->complete_ms, drill->kills ? "kill" : "end of the stop");
    else
        puts("whole   redundancy was not complete again in time");
    printf("%s%s%s\n", text_color_on(tool, good ? TEXT_GREEN : TEXT_RED),
           drill->interrupted ? "interrupted"
           : good             ? "passed"
                              : "not passed",
           text_color_off(tool));
}

/* --- the command ------------------------------------------------------------------------------ */

static int check_options(const struct tool *tool)
{
    if (tool_option(tool, "yes-this-is-a-test-ring") == NULL) {
        tool_error("this stops or kills a node while clients may need it; if nobody depends on "
                   "this ring, say --yes-this-is-a-test-ring");
        return TOOL_USAGE;
    }
    if (tool_option(tool, "node") != NULL || tool_option(tool, "pid") != NULL)
        return TOOL_OK;
    tool_error("which node? --node NAME or --pid PID");
    return TOOL_USAGE;
}

static int prepare(struct drill *drill)
{
    struct ring_picture picture = {0};
    int code = ring_picture_take(drill->tool, &picture);
    if (code != TOOL_OK)
        return code;
    code = pid_find(drill, &picture);
    if (code == TOOL_OK && !ring_picture_complete(&picture)) {
        tool_error("the ring's redundancy is not complete: see sidepond ring");
        code = TOOL_UNAVAILABLE;
    }
    ring_picture_free(&picture);
    return code;
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int tool_ring_drill(struct tool *tool)
{
    struct drill *drill = calloc(1, sizeof *drill);
    if (drill == NULL)
        return tool_failed(SP_ENOMEM, "drill");
    drill->tool = tool;
    drill->breaker_ms = drill->complete_ms = -1;
    drill->kills = tool_option(tool, "kill") != NULL;
    int code = check_options(tool);
    if (code == TOOL_OK)
        code = tool_option_ms(tool, "time", 3000, &drill->time_ms);
    if (code == TOOL_OK)
        code = tool_option_ms(tool, "wait", 30000, &drill->wait_ms);
    block_signals(); /* before any thread begins */
    if (code == TOOL_OK)
        code = tool_ring_open(tool);
    if (code == TOOL_OK)
        code = prepare(drill);
    if (code == TOOL_OK)
        code = rehearse(drill);
    if (code == TOOL_OK) {
        bool good = passed(drill);
        if (tool->json)
            code = result_json(drill);
        else
            result_print(drill);
        code = code == TOOL_OK && !good ? TOOL_NO : code;
    }
    free((char *)drill->node);
    free(drill);
    return code;
}
