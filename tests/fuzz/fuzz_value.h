/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_value.h - what holds for each value that a source gives out, whatever its server sent.
 */
#ifndef SIDEPOND_TESTS_FUZZ_VALUE_H
#define SIDEPOND_TESTS_FUZZ_VALUE_H

#include <stdlib.h>

#include "alloc/row.h"

/* It is of the type that was described, has a text, and its own text is UTF-8. */
static inline void fuzz_check_value(const struct sp_value *value, enum sp_type type)
{
    struct sp_value parsed;
    char scratch[16], text[64];
    if (value->type != type)
        abort();
    row_value_text(value, text, sizeof(text));
    if (value->is_null || sp_type_width(value->type) > 0 || value->type == SP_TYPE_BYTES)
        return;
    if (!row_utf8_valid(value->bytes.data, value->bytes.size))
        abort();
    if (value->type == SP_TYPE_NUMERIC &&
        row_value_parse(SP_TYPE_NUMERIC, value->bytes.data, value->bytes.size, scratch, &parsed) !=
            SP_OK)
        abort();
}

#endif
