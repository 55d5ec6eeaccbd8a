// SPDX-License-Identifier: Apache-2.0
//
// main.go - FerretDB as one program for tests: ferretdb ADDRESS:PORT DIRECTORY [CERT KEY]. It speaks
// MongoDB's protocol, by TLS if it is given a certificate and its key in PEM, and keeps the data in
// SQLite files in the directory; it ends with SIGTERM or SIGINT.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 && len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb ADDRESS:PORT DIRECTORY [CERT KEY]")
		os.Exit(2)
	}
	listener := ferretdb.ListenerConfig{TCP: os.Args[1]}
	if len(os.Args) == 5 {
		listener = ferretdb.ListenerConfig{
			TLS:         os.Args[1],
			TLSCertFile: os.Args[3],
			TLSKeyFile:  os.Args[4],
		}
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  listener,
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[2] + "/",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := server.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
