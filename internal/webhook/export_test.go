package webhook

import "time"

// Age makes the sender's connections older by d.
func (s *Sender) Age(d time.Duration) {
	older := *s.current.Load()
	older.born = older.born.Add(-d)
	s.current.Store(&older)
	s.nextCheck.Store(0)
	if s.plain != nil {
		for _, w := range s.plain.kept {
			w.born = w.born.Add(-d)
		}
	}
}
