/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_ring.h - the metrics of a node of a ring, for metrics.c.
 */
#ifndef SIDEPOND_HTTP_METRICS_RING_H
#define SIDEPOND_HTTP_METRICS_RING_H

#include <stdio.h>

#include "server/http/observe.h"

/* Without a ring, what they are, and no values. */
void ring_metrics_text(const struct observation *seen, struct text *out);
void ring_metrics_reference(FILE *out);

#endif
