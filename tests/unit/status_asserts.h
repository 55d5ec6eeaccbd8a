/* SPDX-License-Identifier: Apache-2.0
 *
 * status_asserts.h - status codes for cmocka, by their names; to be included behind it.
 */
#ifndef SIDEPOND_TESTS_STATUS_ASSERTS_H
#define SIDEPOND_TESTS_STATUS_ASSERTS_H

#include "sidepond/status.h"

#define assert_ok(status) assert_string_equal(sp_status_name(status), "SP_OK")
#define assert_status(status, expected)                                                            \
    assert_string_equal(sp_status_name(status), sp_status_name(expected))

#endif
