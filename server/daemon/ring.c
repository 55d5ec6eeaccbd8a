/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c - from the configuration of a ring to the options that the cache's service starts it with.
 */
#include "server/daemon/ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/log/log.h"

#define PUBLISHED_MODE 0640 /* as all files of a pond */
#define LEAVE_MS       200L /* until clients have learnt that a node has gone */

/* --- options ---------------------------------------------------------------------------------- */

static void fill_node(struct ring_node *node, const char *name, const char *address,
                      const char *zone, uint32_t weight)
{
    *node = (struct ring_node){.weight = (uint16_t)weight, .state = RING_NODE_READY, .start = 1};
    snprintf(node->name, sizeof(node->name), "%s", name);
    snprintf(node->address, sizeof(node->address), "%s", address);
    snprintf(node->zone, sizeof(node->zone), "%s", zone ? zone : "");
}

static int read_secret(const char *path, char **out, char *why)
{
    if (!path)
        return SP_OK;
    int status = config_password_file(path, out, why, NET_WHY_BYTES);
    if (status == SP_OK && why[0])
        log_warning("ring", "%s", why);
    return status;
}

/* "USER:PASSWORD". */
static int read_credential(const struct config_ring *config, char **out, char *why)
{
    char *password = NULL;
    int status = read_secret(config->zookeeper_password_file, &password, why);
    if (status == SP_OK && password) {
        size_t bytes = strlen(config->zookeeper_user) + strlen(password) + 2;
        *out = malloc(bytes);
        if (*out)
            snprintf(*out, bytes, "%s:%s", config->zookeeper_user, password);
        else
            status = SP_ENOMEM;
    }
    config_password_free(password);
    return status;
}

static bool fill_list(const struct config_ring *config, struct daemon_ring *out)
{
    out->list = calloc(config->node_count + 1, sizeof(*out->list));
    for (unsigned i = 0; out->list && i < config->node_count; i++) {
        const struct config_ring_node *node = &config->nodes[i];
        fill_node(&out->list[i], node->name, node->address, node->zone, node->weight);
    }
    return out->list != NULL;
}

static void on_published(void *context, const char *path)
{
    const long *gid = context;
    bool good = *gid < 0 || chown(path, (uid_t)-1, (gid_t)*gid) == 0;
    if (!good || chmod(path, PUBLISHED_MODE) != 0)
        log_error("ring", "cannot give %s to the pond's readers: %s", path, strerror(errno));
}

static void fill_options(const struct config *config, const long *gid, struct daemon_ring *out)
{
    const struct config_ring *ring = &config->ring;
    struct ring_options *options = &out->options;
    snprintf(out->published, sizeof(out->published), "%s/%s", config->directory, DAEMON_RING_FILE);
    snprintf(out->also, sizeof(out->also), "%s-%s", out->published, ring->cluster);
    *options = (struct ring_options){.parameters = {.slots = (uint16_t)ring->slots,
                                                    .replicas = (uint8_t)ring->replicas,
                                                    .kind = RING_SIDEPOND},
                                     .cluster = ring->cluster,
                                     .zookeeper = ring->zookeeper,
                                     .credential = out->credential,
                                     .session_ms = ring->session_ms,
                                     .list = out->list,
                                     .list_count = ring->node_count,
                                     .file = ring->file,
                                     .also = out->also,
                                     .published = out->published,
                                     .on_published = on_published,
                                     .context = (void *)(uintptr_t)gid,
                                     .user = ring->user,
                                     .password = out->password,
                                     .ack_timeout_ms = ring->ack_timeout_ms,
                                     .compare_ms = ring->compare_ms,
                                     .clock_ahead_ms = ring->clock_ahead_ms,
                                     .tombstone_ms = ring->tombstones_ms,
                                     .throttle_bytes = ring->throttle_bytes};
    fill_node(&options->node, ring->node, ring->address, ring->zone, ring->weight);
}

int daemon_ring_read(const struct config *config, const long *gid, struct daemon_ring *out,
                     char *why)
{
    memset(out, 0, sizeof(*out));
    snprintf(why, NET_WHY_BYTES, "out of memory");
    int status = read_credential(&config->ring, &out->credential, why);
    if (status == SP_OK)
        status = read_secret(config->ring.password_file, &out->password, why);
    if (status == SP_OK && !fill_list(&config->ring, out))
        status = SP_ENOMEM;
    if (status != SP_OK) {
        daemon_ring_free(out);
        return status;
    }
    fill_options(config, gid, out);
    return SP_OK;
}

void daemon_ring_free(struct daemon_ring *ring)
{
    config_password_free(ring->credential);
    config_password_free(ring->password);
    free(ring->list);
    memset(ring, 0, sizeof(*ring));
}

/* --- a reload --------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_nodes(const struct config_ring *from, const struct config_ring *to)
{
    bool equal = from->node_count == to->node_count;
    for (unsigned i = 0; equal && i < from->node_count; i++) {
        const struct config_ring_node *a = &from->nodes[i], *b = &to->nodes[i];
        equal = same(a->name, b->name) && same(a->address, b->address) && same(a->zone, b->zone) &&
                a->weight == b->weight;
    }
    return equal;
}

const char *daemon_ring_needs_restart(const struct config_ring *from, const struct config_ring *to)
{
    const struct {
        const char *option, *from, *to;
    } texts[] = {
        {"ring.cluster", from->cluster, to->cluster},
        {"ring.zookeeper", from->zookeeper, to->zookeeper},
        {"ring.zookeeper_user", from->zookeeper_user, to->zookeeper_user},
        {"ring.zookeeper_password_file", from->zookeeper_password_file,
         to->zookeeper_password_file},
        {"ring.node", from->node, to->node},
        {"ring.address", from->address, to->address},
        {"ring.zone", from->zone, to->zone},
        {"ring.file", from->file, to->file},
        {"ring.user", from->user, to->user},
        {"ring.password_file", from->password_file, to->password_file},
    };
    if (from->enabled != to->enabled)
        return "ring";
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!same(texts[i].from, texts[i].to))
            return texts[i].option;
    if (from->session_ms != to->session_ms)
        return "ring.session";
    if (from->weight != to->weight)
        return "ring.weight";
    if (from->replicas != to->replicas)
        return "ring.replicas";
    if (from->slots != to->slots)
        return "ring.slots";
    return same_nodes(from, to) ? NULL : "ring.nodes";
}

/* --- the end ---------------------------------------------------------------------------------- */

void daemon_ring_leave(struct ring *ring, bool in_zookeeper)
{
    const struct timespec moment = {.tv_nsec = LEAVE_MS * 1000 * 1000};
    if (!ring || !in_zookeeper)
        return;
    ring_leave(ring);
    log_info("ring", "this node has left the ring");
    nanosleep(&moment, NULL);
}
