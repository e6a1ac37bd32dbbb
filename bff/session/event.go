package session

// Reason is why a session ended, for other tabs and for the log. It decides nothing.
type Reason uint8

// The reasons.
const (
	// ReasonUnknown is the reason of an end that was noticed afterwards, as after a lost
	// connection.
	ReasonUnknown Reason = iota
	// ReasonSignedOut says that the user signed out of the session.
	ReasonSignedOut
	// ReasonReplaced says that a login in the same browser replaced the session.
	ReasonReplaced
	// ReasonElsewhere says that the user ended it from another session.
	ReasonElsewhere
	// ReasonOperator says that an operator ended it.
	ReasonOperator
	// ReasonProvider says that the provider signed the user out, or refused to refresh the tokens.
	ReasonProvider
	// ReasonExpired says that the idle or absolute timeout passed, or the access token expired and
	// could not be refreshed.
	ReasonExpired
	// ReasonEvicted says that the user had too many sessions, and had used others more recently.
	ReasonEvicted
)

var reasons = [...]string{"unknown", "signed_out", "replaced", "elsewhere", "operator", "provider",
	"expired", "evicted"}

// String returns the reason in one word, such as "signed_out", for browsers and logs.
func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return reasons[ReasonUnknown]
}

// Event reports that a session ended or changed.
type Event struct {
	// ID is the session's. The zero ID says that events may be missing: every session of interest
	// must be read again.
	ID ID
	// Ended is whether the session ended, and Reason why. Otherwise Sealed or IdleExpiresAt was
	// written.
	Ended  bool
	Reason Reason
}
