package kafka

import (
	"hash/crc32"
	"strings"
)

// Partitioner says to which of n partitions a key goes. It is a pure function, the same on every node and for every
// program that writes the topic.
type Partitioner struct {
	// Name is what a definition calls it; see PartitionerNamed.
	Name string
	// Hash returns the partition of a key, 0 ≤ partition < n. n must be positive. It keeps nothing of key.
	Hash func(key []byte, n int32) int32
}

// Murmur2 is the partitioner of Java's clients, and so of Kafka Streams and ksqlDB: the low 31 bits of murmur2, modulo n.
// It is the default.
func Murmur2() Partitioner { return Partitioner{Name: "murmur2", Hash: murmur2Partition} }

// CRC32 is the partitioner that librdkafka calls "consistent", the default of the clients built on it: the unsigned
// CRC-32 (IEEE), modulo n.
func CRC32() Partitioner { return Partitioner{Name: "crc32", Hash: crc32Partition} }

// FNV1a is the partitioner of sarama, and so of goka: FNV-1a of 32 bits as a signed number, modulo n, without its sign.
func FNV1a() Partitioner { return Partitioner{Name: "fnv1a", Hash: fnv1aPartition} }

// Partitioners returns all partitioners that PartitionerNamed knows, the default first.
func Partitioners() []Partitioner { return []Partitioner{Murmur2(), CRC32(), FNV1a()} }

// PartitionerNamed returns the partitioner of a name, in any case; the empty name is the default, murmur2.
func PartitionerNamed(name string) (p Partitioner, ok bool) {
	if name == "" {
		return Murmur2(), true
	}
	for _, p := range Partitioners() {
		if strings.EqualFold(p.Name, name) {
			return p, true
		}
	}
	return Partitioner{}, false
}

func murmur2Partition(key []byte, n int32) int32 { return int32(murmur2(key)&0x7fffffff) % n }

func crc32Partition(key []byte, n int32) int32 { return int32(crc32.ChecksumIEEE(key) % uint32(n)) }

func fnv1aPartition(key []byte, n int32) int32 {
	h := uint32(2166136261)
	for _, b := range key {
		h = (h ^ uint32(b)) * 16777619
	}
	p := int32(h) % n
	if p < 0 { // as sarama does it: the sign is dropped after the division, not before
		return -p
	}
	return p
}

// murmur2 is the hash of org.apache.kafka.common.utils.Utils.murmur2.
func murmur2(key []byte) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := (uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24) * m
		h = h*m ^ (k^k>>24)*m
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
