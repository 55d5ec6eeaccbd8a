/* SPDX-License-Identifier: Apache-2.0
 *
 * text.h - a text that grows.
 */
#ifndef SIDEPOND_HTTP_TEXT_H
#define SIDEPOND_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *bytes;
    size_t size, cap;
    bool failed;
};
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The text, to be freed; NULL: no memory. */
char *text_take(struct text *text);

#endif
