package tables

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

// column is an array that grows in chunks: what is in it is copied only while it is small. What at returns holds until the next add.
type column[T any] struct {
	chunks [][]T
	n      int32
}

func (c *column[T]) at(i int32) *T { return &c.chunks[i>>chunkBits][i&(chunkSize-1)] }

// add appends the zero value.
func (c *column[T]) add() {
	if c.n&(chunkSize-1) == 0 {
		c.chunks = append(c.chunks, nil)
		if c.n > 0 {
			c.chunks[len(c.chunks)-1] = make([]T, 0, chunkSize)
		}
	}
	var zero T
	last := &c.chunks[len(c.chunks)-1]
	*last = append(*last, zero)
	c.n++
}
