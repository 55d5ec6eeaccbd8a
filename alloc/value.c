/* SPDX-License-Identifier: Apache-2.0
 *
 * value.c - names and widths of the column types, made from the one list in value.h.
 */
#include "sidepond/value.h"

const char *sp_type_name(enum sp_type type)
{
    switch (type) {
#define VALUE_TYPE_NAME(NAME, number, name, width)                                                 \
    case SP_TYPE_##NAME:                                                                           \
        return name;
        SP_TYPE_LIST(VALUE_TYPE_NAME)
#undef VALUE_TYPE_NAME
    default:
        return "unknown";
    }
}

size_t sp_type_width(enum sp_type type)
{
    switch (type) {
#define VALUE_TYPE_WIDTH(NAME, number, name, width)                                                \
    case SP_TYPE_##NAME:                                                                           \
        return width;
        SP_TYPE_LIST(VALUE_TYPE_WIDTH)
#undef VALUE_TYPE_WIDTH
    default:
        return 0;
    }
}
