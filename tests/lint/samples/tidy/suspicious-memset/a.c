/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
void f(char *p);
void f(char *p)
{
    memset(p, 0, sizeof(p));
    if (p != 0);
        p[0] = 1;
}
