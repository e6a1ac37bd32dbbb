package gatehouse

import (
	"fmt"
	"strings"
	"testing"
)

func TestSessionStores(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		store    string
		replicas int
		problem  string // in the error; "" for none
	}{
		{"memory:", 1, ""},
		{"sqlite:sessions.db", 1, ""},
		{"postgres://user:hunter2@db.example/gatehouse", 3, ""},
		{"postgresql://db.example/gatehouse?sslmode=verify-full", 3, ""},
		{"redis://cache.example", 3, ""},
		{"rediss://user:hunter2@cache.example:6380/2", 3, ""},
		{"redis-cluster://a.example:6379,b.example:6379", 3, ""},
		{"redis-sentinel://:hunter2@a.example,b.example,c.example/main", 3, ""},
		{"memory:", 2, "GATEHOUSE_REPLICAS=2 (environment): needs a session store that is shared, which memory: is not"},
		{"sqlite:sessions.db", 2, "GATEHOUSE_REPLICAS=2 (environment): needs a session store that is shared, which sqlite: is not"},
		{"sqlite:/no/such/folder/sessions.db", 1, "is in the folder /no/such/folder, which does not exist"},
		{"sqlite:", 1, "is no session store"},
		{"memory:x", 1, "is no session store"},
		{"mysql://user:hunter2@db/x", 1, "is no session store"},
		{"redis:hunter2@cache:6379", 1, "is no session store"},
		{"postgres://user:hunter2@db:54x/x", 1, "not an address of PostgreSQL"},
		{"redis://user:hunter2@cache:63x", 1, "an invalid port"},
		{"redis://user:hunt%er2@cache", 1, "percent-encode"},
		{"redis://a,b", 1, "redis-cluster://"},
		{"redis-sentinel://user:hunter2@a:26379", 1, "lacks the sentinels' name of the master"},
		{"redis-cluster://user:hunter2@a/1", 1, "a cluster has no databases"},
		{"redis://a/x?hunter2=1", 1, "a database that is not a number"},
	} {
		err := validated(t, partSet{BFF: true}, bffEnvironment("GATEHOUSE_SESSION_STORE="+c.store, fmt.Sprintf("GATEHOUSE_REPLICAS=%d", c.replicas))...)
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s with %d replicas: %v", c.store, c.replicas, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s with %d replicas: %v, want %q and no password", c.store, c.replicas, err, c.problem)
		}
	}
}
