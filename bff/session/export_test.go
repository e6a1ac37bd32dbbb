package session

// SealPlain seals data of any format for a session, as a newer build would.
func (m *Manager) SealPlain(s *Session, plain []byte) ([]byte, error) {
	return m.keys.Seal(purpose, sealContext(s.value, &s.Record), plain)
}

// OpenPlain opens what is sealed of a session and does not decode it.
func (m *Manager) OpenPlain(s *Session, sealed []byte) ([]byte, error) {
	return m.keys.Open(purpose, sealContext(s.value, &s.Record), sealed)
}

// EncodeData is what is sealed of a session.
func EncodeData(d Data) ([]byte, error) { return encodeData(d) }
