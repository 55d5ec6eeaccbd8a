/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.h - what a thread knows of the pond's tables.
 */
#ifndef SIDEPOND_COMMAND_ROWS_H
#define SIDEPOND_COMMAND_ROWS_H

struct row_tables;

struct row_tables *row_tables_new(void);         /* NULL: no memory */
void row_tables_free(struct row_tables *tables); /* NULL is fine */

#endif
