package session

// Reason says why a session ended, for other tabs and for the log. Nothing is decided by it.
type Reason uint8

// The reasons for an end.
const (
	// ReasonUnknown is all that is known of an end that was seen only afterwards, as after a broken connection.
	ReasonUnknown Reason = iota
	// ReasonSignedOut: the person signed out of this session.
	ReasonSignedOut
	// ReasonReplaced: a new login in the same browser took its place.
	ReasonReplaced
	// ReasonElsewhere: the person ended it from another of their sessions.
	ReasonElsewhere
	// ReasonOperator: an operator ended it.
	ReasonOperator
	// ReasonProvider: the provider signed the person out, or renews their tokens no more.
	ReasonProvider
	// ReasonExpired: its idle or its absolute timeout passed, or its access token did and there is no other.
	ReasonExpired
)

var reasons = [...]string{"unknown", "signed_out", "replaced", "elsewhere", "operator", "provider", "expired"}

// String is the reason in one word, fit for a browser and for logs.
func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return reasons[ReasonUnknown]
}

// Event tells of a session that ended or changed.
type Event struct {
	// ID is whose event it is. The zero ID means that anything may have happened to any session: look again at all that
	// matter.
	ID ID
	// Ended tells whether it has ended, and Reason why. Otherwise what is sealed or its idle timeout was written.
	Ended  bool
	Reason Reason
}
