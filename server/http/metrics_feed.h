/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_feed.h - the metrics of tables that follow their database, for metrics.c.
 */
#ifndef SIDEPOND_HTTP_METRICS_FEED_H
#define SIDEPOND_HTTP_METRICS_FEED_H

#include <stdio.h>

#include "server/http/observe.h"

/* Tables of other modes have none of them. */
void feed_metrics_text(const struct observation *seen, struct text *out);
void feed_metrics_reference(FILE *out);

#endif
