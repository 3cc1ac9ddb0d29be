package tables

// tidySteps is how many entries are looked at for each one that is removed: so all are, by the time that a quarter of them is gone.
const tidySteps = 4

// tidy moves keys out of blocks most of whose keys are gone, a few each time that an entry is removed: else one key that stays holds a whole
// block, and keys that come and go around those that stay would take more memory for ever.
func (s *ShardOf[V]) tidy() {
	for range tidySteps {
		if !s.keys.wasteful() {
			return
		}
		if s.tidied >= s.entries.n {
			s.tidied = 0
		}
		if e := s.entries.at(s.tidied); *e != (entry{}) && s.keys.sparse(e.key) {
			s.move(s.tidied, e)
		}
		s.tidied++
	}
}

// move copies the key of an entry into another block, for all that keep it.
func (s *ShardOf[V]) move(i int32, e *entry) {
	s.disarm(i)
	old := s.keys.at(e.key)
	before := e.key
	e.key = s.keys.add(keyBytes(old))
	s.keys.remove(before)
	key := s.keys.at(e.key)
	s.arm(i)
	if s.order != nil {
		s.order.Delete(old)
		s.order.Set(key, i)
	}
	if s.ttl != nil {
		s.ttl.move(key)
	}
	for _, x := range s.indexes {
		x.move(key)
	}
}

// move lets a side keep this string of a key that it has already.
func (s *side[T]) move(key string) {
	if v, ok := s.of[key]; ok {
		s.drop(key)
		s.put(key, v)
	}
}
