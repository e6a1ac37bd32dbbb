package postgres

// Acquired is how often a connection was wanted.
func Acquired(s *Store) int64 { return s.pool.Stat().AcquireCount() }
