//go:build linux

package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestMain starts this program in its other roles.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && (os.Args[1] == roleBare || os.Args[1] == rolePlain) {
		if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

// TestRun measures so few requests that the figures mean nothing: every variant starts and answers
// each request.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"-minimal", "-store=memory", "-metrics=false", "-sample=0"}} {
		var out bytes.Buffer
		if err := run(t.Context(), append(args, "-rounds=1", "-requests=8", "-connections=2"), &out); err != nil {
			t.Fatal(err)
		}
		for _, variant := range []string{"bare net/http handler", "plain grpc-gateway", "gateway + server in one", "everything in one", "bff alone", "bff + gateway in one", "three processes"} {
			if !strings.Contains(out.String(), "\n"+variant) {
				t.Errorf("%v: no line for %s:\n%s", args, variant, out.String())
			}
		}
	}
}

// TestAnswersAreCompared: a wrong answer of a variant is an error.
func TestAnswersAreCompared(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(bare))
	defer server.Close()
	address := server.Listener.Addr().String()
	for want, request := range map[string]string{
		"":         "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"answered": "GET / HTTP/1.1\r\nHost: h h\r\n\r\n",
		"EOF":      "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
	} {
		err := ask(t.Context(), &variant{address: address, requests: [][]byte{[]byte(request)}}, 1)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", request, err, want)
		}
	}
}
