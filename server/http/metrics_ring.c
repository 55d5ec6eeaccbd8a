/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_ring.c - the metrics of a node of a ring, declared once like those of metrics.c, which
 * writes them behind its own. None of them has a value without a ring; those of peers have the
 * other node's name as label.
 */
#include "server/http/metrics_ring.h"

#include <stdlib.h>

#include "server/command/service.h"
#include "server/ring/ring.h"

struct ring_metric {
    const char *name, *type, *help;
    double (*value)(const struct ring_figures *figures);
    double (*peer_value)(const struct ring_peer_figures *figures); /* one for each peer */
};

static double epoch(const struct ring_figures *figures)
{
    return (double)figures->epoch;
}

static double in_map(const struct ring_figures *figures)
{
    return figures->in_map;
}

static double stands_in(const struct ring_figures *figures)
{
    return figures->stands_in;
}

static double owned(const struct ring_figures *figures)
{
    return figures->owned;
}

static double held(const struct ring_figures *figures)
{
    return figures->held;
}

static double pulling(const struct ring_figures *figures)
{
    return figures->pulling;
}

static double suspect(const struct ring_figures *figures)
{
    return figures->suspect;
}

static double under_replicated(const struct ring_figures *figures)
{
    return figures->under_replicated;
}

static double pulled_entries(const struct ring_figures *figures)
{
    return (double)figures->pulled_entries;
}

static double pulled_bytes(const struct ring_figures *figures)
{
    return (double)figures->pulled_bytes;
}

static double compared(const struct ring_figures *figures)
{
    return (double)figures->compared_slots;
}

static double differing(const struct ring_figures *figures)
{
    return (double)figures->differing_slots;
}

static double connected(const struct ring_figures *figures)
{
    return figures->member.link == MEMBER_CONNECTED;
}

static double registered(const struct ring_figures *figures)
{
    return figures->member.registered;
}

static double sessions_lost(const struct ring_figures *figures)
{
    return (double)figures->member.sessions_lost;
}

static double map_changes(const struct ring_figures *figures)
{
    return (double)figures->member.map_changes;
}

static double peer_reachable(const struct ring_peer_figures *peer)
{
    return peer->reachable;
}

static double peer_sent(const struct ring_peer_figures *peer)
{
    return (double)peer->sent;
}

static double peer_failed(const struct ring_peer_figures *peer)
{
    return (double)peer->failed;
}

static double peer_queued(const struct ring_peer_figures *peer)
{
    return (double)peer->queued;
}

static double peer_missed(const struct ring_peer_figures *peer)
{
    return peer->missed;
}

static double peer_repaired_out(const struct ring_peer_figures *peer)
{
    return (double)peer->repaired_out;
}

static double peer_repaired_in(const struct ring_peer_figures *peer)
{
    return (double)peer->repaired_in;
}

static const struct ring_metric ring_metrics[] = {
    {"sidepond_ring_epoch", "gauge", "The epoch of the map that this node has; 0: none yet.",
     .value = epoch},
    {"sidepond_ring_in_map", "gauge",
     "1 if that map has this node in it; if not, the node answers for no slot.", .value = in_map},
    {"sidepond_ring_stands_in", "gauge",
     "1 if ZooKeeper has not answered since the start, and the node goes on by the last map known.",
     .value = stands_in},
    {"sidepond_ring_owned_slots", "gauge", "Slots whose first holder this node is.",
     .value = owned},
    {"sidepond_ring_held_slots", "gauge", "Slots that this node answers reads for.", .value = held},
    {"sidepond_ring_pulling_slots", "gauge",
     "Slots that this node shall hold and does not have all of yet.", .value = pulling},
    {"sidepond_ring_suspect_slots", "gauge",
     "Slots that this node holds by the map and answers no reads for, until it is known that what "
     "it has is current.",
     .value = suspect},
    {"sidepond_ring_under_replicated_slots", "gauge",
     "Slots of the whole ring with fewer holders than there shall be copies.",
     .value = under_replicated},
    {"sidepond_ring_pulled_entries_total", "counter", "Entries taken over from other nodes.",
     .value = pulled_entries},
    {"sidepond_ring_pulled_bytes_total", "counter",
     "Keys and values that other nodes have sent to be looked at for that.", .value = pulled_bytes},
    {"sidepond_ring_compared_slots_total", "counter",
     "Slots whose digest was compared with another holder's.", .value = compared},
    {"sidepond_ring_differing_slots_total", "counter",
     "Slots that were found to differ by that, twice in a row.", .value = differing},
    {"sidepond_ring_zookeeper_connected", "gauge", "1 if there is a connection to ZooKeeper.",
     .value = connected},
    {"sidepond_ring_registered", "gauge", "1 if this node is registered in ZooKeeper.",
     .value = registered},
    {"sidepond_ring_sessions_lost_total", "counter", "Sessions of ZooKeeper that expired.",
     .value = sessions_lost},
    {"sidepond_ring_map_changes_total", "counter", "Maps that this node has written.",
     .value = map_changes},
    {"sidepond_ring_peer_reachable", "gauge", "1 if this node is connected to that one.",
     .peer_value = peer_reachable},
    {"sidepond_ring_peer_sent_total", "counter", "Writes passed on that it took.",
     .peer_value = peer_sent},
    {"sidepond_ring_peer_failed_total", "counter", "Writes passed on that it has missed.",
     .peer_value = peer_failed},
    {"sidepond_ring_peer_queued", "gauge", "Writes that wait for it.", .peer_value = peer_queued},
    {"sidepond_ring_peer_missed_slots", "gauge", "Slots in which it has missed writes.",
     .peer_value = peer_missed},
    {"sidepond_ring_peer_repaired_out_total", "counter",
     "Entries sent to it because it had missed them.", .peer_value = peer_repaired_out},
    {"sidepond_ring_peer_repaired_in_total", "counter",
     "Entries taken from it because this node had missed them.", .peer_value = peer_repaired_in},
};
#define RING_METRICS (sizeof(ring_metrics) / sizeof(ring_metrics[0]))

static void emit(const struct ring_metric *metric, const struct ring_figures *figures,
                 const struct ring_peer_figures *peers, size_t peer_count, struct text *out)
{
    text_add(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
             metric->type);
    if (metric->value && figures)
        text_add(out, "%s %.17g\n", metric->name, metric->value(figures));
    for (size_t i = 0; metric->peer_value && i < peer_count; i++)
        text_add(out, "%s{peer=\"%s\"} %.17g\n", metric->name, peers[i].name,
                 metric->peer_value(&peers[i]));
}

void ring_metrics_text(const struct observation *seen, struct text *out)
{
    struct ring *ring = seen->service ? service_ring(seen->service) : NULL;
    struct ring_figures figures;
    struct ring_peer_figures *peers = ring ? calloc(RING_NODES_MAX, sizeof(*peers)) : NULL;
    size_t count = peers ? ring_peer_figures(ring, peers, RING_NODES_MAX) : 0;
    if (ring)
        ring_figures(ring, &figures);
    for (size_t i = 0; i < RING_METRICS; i++)
        emit(&ring_metrics[i], ring ? &figures : NULL, peers, count, out);
    free(peers);
}

void ring_metrics_reference(FILE *out)
{
    for (size_t i = 0; i < RING_METRICS; i++)
        fprintf(out, "| `%s` | %s | %s | %s |\n", ring_metrics[i].name, ring_metrics[i].type,
                ring_metrics[i].peer_value ? "peer" : "", ring_metrics[i].help);
}
