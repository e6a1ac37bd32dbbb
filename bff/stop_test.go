package bff_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A stop waits for a refresh under way. Otherwise the rotated refresh token, and
// with it the session, would be lost.
func TestStopWaitsForRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		stop := s.running(t)
		b := s.browser().signIn()
		time.Sleep(4*time.Minute + 30*time.Second) // due, and still valid
		s.idp.change(func(p *provider) { p.instead["/token"] = after(p, 3*time.Second) })
		b.access() // does not wait
		began := time.Now()
		stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the stop took %v, want the 3s that the provider takes", took)
		}
		s.reconfigure() // the same node after a restart
		time.Sleep(time.Minute)
		if b.as(s).access() == "" || len(s.idp.refreshes()) != 1 {
			t.Errorf("%d refreshes, want 1", len(s.idp.refreshes()))
		}
	})
}

// A stop with nothing under way takes no time. One with a provider that does not
// answer takes the refresh timeout and 5 seconds.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		stop := s.running(t)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("a stop with nothing under way took %v, want 0", took)
		}
		b := s.browser().signIn()
		time.Sleep(4*time.Minute + 30*time.Second)
		s.idp.change(func(p *provider) {
			p.instead["/revoke"] = func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }
		})
		s.idp.change(func(p *provider) { p.instead["/token"] = p.instead["/revoke"] })
		b.access()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		synctest.Wait()
		began = time.Now()
		cancel()
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "not finished within 35s") {
			t.Errorf("Run returned %v, want an error about the time limit", err)
		}
		if took := time.Since(began); took != 35*time.Second {
			t.Errorf("the stop took %v, want 35s", took)
		}
		time.Sleep(time.Hour)
	})
}

// after delays the answer of the provider.
func after(p *provider, d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			p.token(w, r)
		case <-r.Context().Done():
		}
	}
}
