package session

// SealPlain seals data of any format for a session, as a newer build would.
func (m *Manager) SealPlain(s *Session, plain []byte) ([]byte, error) {
	return m.keys.Seal(purpose, sealContext(s.value, &s.Record), plain)
}

// EncodeData is what is sealed of a session.
func EncodeData(d Data) ([]byte, error) { return encodeData(d) }
