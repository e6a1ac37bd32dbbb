package postgres

// Acquired returns how often a connection was acquired.
func Acquired(s *Store) int64 { return s.pool.Stat().AcquireCount() }
