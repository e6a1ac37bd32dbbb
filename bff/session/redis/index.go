package redis

import (
	"context"
	"encoding/json"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// index has the sets of sessions by subject and by sid. An entry without a session is harmless.
type index struct{ *server }

// add puts a session into the indexes until it expires, in milliseconds since 1970.
func (x index) add(ctx context.Context, id session.ID, f *fixed, expires int64) error {
	for _, key := range x.of(f) {
		err := x.run(ctx, addToIndex, []string{key}, itoa(expires), rueidis.BinaryString(id[:])).Error()
		if err != nil {
			return err
		}
	}
	return nil
}

// remove takes a session that has ended out of the indexes. An entry that stays there because of an
// error goes when the session would have expired.
func (x index) remove(ctx context.Context, id session.ID, m string) {
	var f fixed
	if err := json.Unmarshal([]byte(m), &f); err != nil {
		return
	}
	var commands rueidis.Commands
	for _, key := range x.of(&f) {
		commands = append(commands,
			x.client.B().Zrem().Key(key).Member(rueidis.BinaryString(id[:])).Build())
	}
	x.client.DoMulti(ctx, commands...)
}

func (x index) of(f *fixed) []string {
	in := []string{x.keys.subject(f.Issuer, f.Subject)}
	if f.SID != "" {
		in = append(in, x.keys.sid(f.Issuer, f.SID))
	}
	return in
}

// in returns the sessions in the index with a key.
func (x index) in(ctx context.Context, key string) ([]session.ID, error) {
	members, err := x.client.Do(ctx,
		x.client.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice()
	if err != nil {
		return nil, err
	}
	ids := make([]session.ID, 0, len(members))
	for _, m := range members {
		if len(m) == len(session.ID{}) {
			ids = append(ids, session.ID([]byte(m)))
		}
	}
	return ids, nil
}
