// Command meter stands between clients and an S3 server and counts what goes over the wire.
//
//	meter http://127.0.0.1:9000
//
// It prints the URL at which it listens. Then it answers each line on standard input with what it has
// counted since the one before, as JSON, and ends with the input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
)

// Counts are what has gone over the wire since they were last taken. Their methods may be called
// concurrently.
type counts struct {
	up, down                    atomic.Int64 // bytes from and to clients, headers included
	writes, reads, lists, drops atomic.Int64 // requests
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: meter URL")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(server string) error {
	target, err := url.Parse(server)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c := new(counts)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			c.count(r.In)
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	}
	served := make(chan error, 1)
	go func() { served <- http.Serve(countedListener{listener, c}, proxy) }()
	fmt.Printf("http://%v\n", listener.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := json.NewEncoder(os.Stdout).Encode(c.take()); err != nil {
			return err
		}
	}
	listener.Close()
	<-served // it says that the listener was closed
	return nil
}

// count counts a request by what it costs where requests cost: puts and the like, gets, listings, and
// deletions, which are free.
func (c *counts) count(r *http.Request) {
	query := r.URL.Query()
	_, key, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodDelete || r.Method == http.MethodPost && query.Has("delete"):
		c.drops.Add(1)
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		c.writes.Add(1)
	case r.Method == http.MethodGet && (key == "" || query.Has("list-type")):
		c.lists.Add(1)
	default:
		c.reads.Add(1)
	}
}

// take returns what has been counted, and begins anew.
func (c *counts) take() map[string]int64 {
	return map[string]int64{
		"up": c.up.Swap(0), "down": c.down.Swap(0),
		"writes": c.writes.Swap(0), "reads": c.reads.Swap(0), "lists": c.lists.Swap(0), "deletions": c.drops.Swap(0),
	}
}

type countedListener struct {
	net.Listener
	c *counts
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countedConn{conn, l.c}, err
}

type countedConn struct {
	net.Conn
	c *counts
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.c.up.Add(int64(n))
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.c.down.Add(int64(n))
	return n, err
}
