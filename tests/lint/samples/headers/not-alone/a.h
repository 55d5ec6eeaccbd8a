/* SPDX-License-Identifier: Apache-2.0 */
static inline size_t f(void) { return 1; }
