package session

// SealPlain seals data of any format for a session, as a newer version would.
func (m *Manager) SealPlain(s *Session, plain []byte) ([]byte, error) {
	return m.keys.Seal(purpose, sealContext(s.value, &s.Record), plain)
}

// OpenPlain opens the sealed data of a session without decoding it.
func (m *Manager) OpenPlain(s *Session, sealed []byte) ([]byte, error) {
	return m.keys.Open(purpose, sealContext(s.value, &s.Record), sealed)
}

// EncodeData returns the data of a session before sealing.
func EncodeData(d Data) ([]byte, error) { return encodeData(&d) }

// DecodeData is the inverse of EncodeData.
func DecodeData(b []byte) (Data, error) { return decodeData(b) }
