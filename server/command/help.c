/* SPDX-License-Identifier: Apache-2.0
 *
 * help.c - ACL HELP, CLIENT HELP, COMMAND HELP and PUBSUB HELP: what these can be asked.
 *
 * As Redis does, an array of simple strings: a subcommand with its arguments, then lines that begin
 * with spaces and say what it does. Only what is there is listed. The texts of the other containers
 * stand beside their functions, which are in one file each.
 */
#include "server/command/commands.h"

void run_acl_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "CAT [<category>]",
        "    The categories, or the commands of one.",
        "DELUSER <username> [<username> ...]",
        "    Deletes users and ends their connections.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Whether a user may make a call, without making it.",
        "GENPASS [<bits>]",
        "    A password of so many random bits, in hexadecimal; 256 unless a number is given.",
        "GETUSER <username>",
        "    What one user may.",
        "LIST",
        "    All users, in the form of a file of users.",
        "LOAD",
        "    Reads the file of users again.",
        "LOG [<count> | RESET]",
        "    What was refused of late, or forgets it.",
        "SAVE",
        "    Writes the file of users.",
        "SETUSER <username> [<rule> ...]",
        "    Makes a user or changes what it may.",
        "USERS",
        "    The names of all users.",
        "WHOAMI",
        "    Who this connection is.",
        NULL};
    (void)call;
    reply_help(session, "ACL", lines);
}

void run_client_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "CACHING (YES|NO)",
        "    Whether the keys of the next request are tracked, with OPTIN or OPTOUT.",
        "GETNAME",
        "    The name of this connection.",
        "GETREDIR",
        "    The connection that is told in the place of this one which keys have changed.",
        "ID",
        "    The number of this connection.",
        "INFO",
        "    What LIST says of this connection.",
        "KILL <ip:port>",
        "    Ends the connection from an address.",
        "KILL <option> <value> [<option> <value> ...]",
        "    Ends the connections that all options hold for:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Those from this address.",
        "    * ID <clientid>",
        "      The one with this number.",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Those to this address.",
        "    * SKIPME (YES|NO)",
        "      Whether this connection stays; it does unless NO is given.",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Those that hear channels, or do not; there are no masters and replicas.",
        "    * USER <username>",
        "      Those of this user.",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <clientid> [<clientid> ...]]",
        "    All connections, those of a type, or those with these numbers.",
        "NO-EVICT (ON|OFF)",
        "    Is taken note of; no connection is ended for memory of others.",
        "NO-TOUCH (ON|OFF)",
        "    Whether what this connection reads does not count as use.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Lets writing requests, or all, wait for so many milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Sends replies, sends none, or leaves out the next one.",
        "SETINFO (LIB-NAME|LIB-VER) <text>",
        "    Says which library this is.",
        "SETNAME <name>",
        "    Gives this connection a name.",
        "TRACKING (ON|OFF) [REDIRECT <clientid>] [BCAST] [PREFIX <prefix> [PREFIX ...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Tells when keys change that were read, or that begin as it says.",
        "TRACKINGINFO",
        "    How this connection is told of keys that change.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Ends the waiting of a connection.",
        "UNPAUSE",
        "    Ends a pause.",
        NULL};
    (void)call;
    reply_help(session, "CLIENT", lines);
}

void run_command_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    What INFO says of all commands.",
        "COUNT",
        "    How many commands there are.",
        "DOCS [<command> ...]",
        "    What commands do; all unless some are named.",
        "GETKEYS <command> [<arg> ...]",
        "    Which arguments of a call are keys.",
        "INFO [<command> ...]",
        "    What is to be known of commands for calling them; all unless some are named.",
        "LIST [FILTERBY (MODULE <module>|ACLCAT <category>|PATTERN <pattern>)]",
        "    The names of all commands, or of some.",
        NULL};
    (void)call;
    reply_help(session, "COMMAND", lines);
}

void run_pubsub_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "CHANNELS [<pattern>]",
        "    Channels that somebody hears, all or those that match.",
        "NUMPAT",
        "    How many patterns are heard.",
        "NUMSUB [<channel> ...]",
        "    How many hear each of these channels, not counting patterns.",
        NULL};
    (void)call;
    reply_help(session, "PUBSUB", lines);
}
