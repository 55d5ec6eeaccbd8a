/* SPDX-License-Identifier: Apache-2.0
 *
 * client_asserts.h - what a call of the client library returns, for cmocka: a failure is told with
 * the call and the library's own words.
 */
#ifndef SIDEPOND_TESTS_CLIENT_ASSERTS_H
#define SIDEPOND_TESTS_CLIENT_ASSERTS_H

#define assert_status(expected, call) assert_status_at(expected, call, #call, __FILE__, __LINE__)
#define assert_ok(call)               assert_status(SP_OK, call)
void assert_status_at(int expected, int status, const char *call, const char *file, int line);

#endif
