/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_source.c - a library to be preloaded: what a process connects to on loopback sees it come
 * from the address RING_SOURCE, 127.0.0.x, so that ring_proxy can part some processes from others.
 * Without the variable, and where the socket has an address already, nothing is changed.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

static void bind_source(int fd)
{
    const char *source = getenv("RING_SOURCE");
    struct sockaddr_in own = {.sin_family = AF_UNSPEC};
    socklen_t size = sizeof(own);
    int one = 1;
    if (!source || getsockname(fd, (struct sockaddr *)&own, &size) != 0 ||
        own.sin_family != AF_INET || own.sin_port != 0)
        return;
    if (inet_pton(AF_INET, source, &own.sin_addr) != 1)
        return;
    /* The port is chosen by connect, so that one serves for several destinations. */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    (void)bind(fd, (const struct sockaddr *)&own, sizeof(own));
}

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    static int (*real)(int, const struct sockaddr *, socklen_t);
    const int error = errno;
    if (!real)
        real = (int (*)(int, const struct sockaddr *, socklen_t))(uintptr_t)dlsym(RTLD_NEXT,
                                                                                  "connect");
    if (address->sa_family == AF_INET && size >= (socklen_t)sizeof(struct sockaddr_in) &&
        ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127)
        bind_source(fd);
    errno = error;
    return real(fd, address, size);
}
