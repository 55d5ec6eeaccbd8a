/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - the smallest user of the installed library: C11 and C++ alike.
 */
#include <sidepond/sidepond.h>

#include <stdio.h>

int main(void)
{
    struct sp_pond *pond = NULL;
    int status = sp_open("/nonexistent/pond", NULL, &pond);
    printf("sidepond %s: %s\n", sp_version(), sp_status_text(status));
    sp_close(pond);
    return status == SP_ENOPOND ? 0 : 1;
}
