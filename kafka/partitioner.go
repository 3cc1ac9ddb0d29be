package kafka

// Partitioner says to which of n partitions a key goes. It is a pure function, the same on every node and for every
// program that writes the topic.
type Partitioner struct {
	Name string
	Hash func(key []byte, n int32) int32
}
