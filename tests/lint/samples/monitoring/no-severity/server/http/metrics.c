/* SPDX-License-Identifier: Apache-2.0 */
{"sidepond_table_rows"}
