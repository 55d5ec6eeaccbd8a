/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_server.c - starting and ending resp_server for a test.
 */
#include "tests/system/cache_server.h"

#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16

static void make_directory(struct cache_server *server)
{
    char folder[] = "/dev/shm/sidepond-test-client.XXXXXX";
    assert_non_null(mkdtemp(folder));
    snprintf(server->directory, sizeof server->directory, "%s", folder);
    snprintf(server->address, sizeof server->address, "unix:%s/socket", folder);
}

static void become_server(const struct cache_server *server, const char *const *options, int output)
{
    char program[4096];
    char *arguments[ARGUMENTS_MAX] = {program, (char *)server->directory, (char *)server->address};
    const char *build = getenv("SIDEPOND_BUILD_DIR");
    snprintf(program, sizeof program, "%s/bin/resp_server", build != NULL ? build : "build/dev");
    for (size_t i = 3; options != NULL && *options != NULL && i + 1 < ARGUMENTS_MAX; i++)
        arguments[i] = (char *)*options++;
    dup2(output, STDOUT_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail */
    execv(program, arguments);
    perror(program);
    _exit(127);
}

void cache_server_start(struct cache_server *server, const char *const *options)
{
    int output[2];
    char said[6] = "";
    size_t size = 0;
    ssize_t more = 1;
    if (server->directory[0] == '\0')
        make_directory(server);
    assert_int_equal(pipe(output), 0);
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0)
        become_server(server, options, output[1]);
    close(output[1]);
    while (size < sizeof said && more > 0) {
        more = read(output[0], said + size, sizeof said - size);
        size += more > 0 ? (size_t)more : 0;
    }
    close(output[0]);
    assert_memory_equal(said, "ready\n", sizeof said);
}

void cache_server_end(struct cache_server *server, int signal)
{
    if (server->pid <= 0)
        return;
    kill(server->pid, signal);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void cache_server_open(struct cache_server *server)
{
    assert_ok(sp_open(server->directory, NULL, &server->pond));
    assert_ok(sp_cache_open(server->pond, &server->cache));
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat, (void)type, (void)walk;
    return remove(path);
}

void cache_server_remove(struct cache_server *server)
{
    sp_close(server->pond);
    cache_server_end(server, SIGTERM);
    if (server->directory[0] != '\0')
        nftw(server->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    memset(server, 0, sizeof *server);
}

int cache_server_setup(void **state)
{
    static struct cache_server server;
    *state = &server;
    cache_server_start(&server, NULL);
    cache_server_open(&server);
    return 0;
}

int cache_server_teardown(void **state)
{
    cache_server_remove(*state);
    return 0;
}
