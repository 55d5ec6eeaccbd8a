/* SPDX-License-Identifier: Apache-2.0
 *
 * observe.h - everything that is reported, taken at one time.
 */
#ifndef SIDEPOND_HTTP_OBSERVE_H
#define SIDEPOND_HTTP_OBSERVE_H

#include "server/command/stats.h"
#include "server/http/http.h"
#include "server/http/text.h"
#include "sidepond/sidepond.h"

struct seen_table {
    struct refresh_status refresh;
    bool in_pond;
    struct sp_table_info pond; /* zeros if it is not there */
};

struct observation {
    const struct http_counters *counters;
    struct store_info store;
    struct seen_table *tables;
    size_t table_count;
    const struct service *service; /* NULL: no cache, and no figures of it */
    struct service_figures cache;
};

int observe(const struct http_options *options, struct observation *out);
void observation_free(struct observation *seen);

#endif
