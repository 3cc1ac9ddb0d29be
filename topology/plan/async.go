package plan

// Async is an Input for programs that begin to work on records before their turns.
type Async interface {
	// Ahead returns up to n records: that of the turn at hand, and those that have come and whose turns are next, in order.
	Ahead(n int) []Rec
	// Beside runs f on a goroutine of its own, and closes what it returns when that has ended.
	Beside(f func()) <-chan struct{}
	// Await waits until done is closed, however long that takes: it heeds no context, so that what hangs is known to hang. Where nobody will close
	// it any more, it returns an error.
	Await(done <-chan struct{}) error
}

// Panic is a panic on another goroutine, with which the turn that it belongs to panics again.
type Panic struct {
	Value any
	Stack string
}
