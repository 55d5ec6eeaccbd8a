/* SPDX-License-Identifier: Apache-2.0
 *
 * floor.h - a server that only finds where commands of RESP end, and answers constants: what the
 * sockets and a loop over them cost.
 */
#ifndef SIDEPOND_BENCH_FLOOR_H
#define SIDEPOND_BENCH_FLOOR_H

/* Serves the listening socket until the process is killed. A GET is answered by a value of 100
 * bytes, anything else by +OK. */
_Noreturn void floor_serve(int listener);

#endif
