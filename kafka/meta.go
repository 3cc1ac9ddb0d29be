package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ErrMetadata is matched by errors of progress that does not fit MaxMetadata. Nothing is lost: it is not committed.
var ErrMetadata = errors.New("what is done out of order does not fit the metadata of a committed offset")

// MaxMetadata is how many bytes of metadata a broker takes beside a committed offset, by default
// (offset.metadata.max.bytes).
const MaxMetadata = 4096

// Meta is what a bundle writes beside each source offset, in the same transaction: the number of the bundle, how far
// each agent is beyond the offset, and when each timer fired last.
type Meta struct {
	// Seq is the slot's number of the bundle: it tells whether a commit with an unknown outcome happened.
	Seq int64 `json:"s"`
	// Agents holds each agent that reads the topic. One that is missing is new to the topology.
	Agents map[string]Ahead `json:"a,omitempty"`
	// Timers holds the last firing of each timer of the partition, in milliseconds since the Unix epoch. One that has never fired has the
	// negative of when it was there first.
	Timers map[string]int64 `json:"t,omitempty"`
	// Clocks holds the time of each table of the partition whose entries expire, in milliseconds since the Unix epoch.
	Clocks map[string]int64 `json:"c,omitempty"`
}

// Ahead is how far an agent is beyond a committed offset: through with all up to the offset plus UpTo, and with the
// ranges Beyond it, relative to the offset as well: from, to, from, to, … with each `to` exclusive.
type Ahead struct {
	UpTo   int64   `json:"u,omitempty"`
	Beyond []int64 `json:"b,omitempty"`
}

// RangeSize is how many characters a range of Ahead.Beyond takes at most: two numbers of ten digits.
const RangeSize = 22

// MetaRoom is how many characters MaxMetadata leaves for what agents have done beyond an offset, where the metadata names these agents, timers,
// and tables with a clock, with any progress. It may be negative.
func MetaRoom(agents, timers, clocks []string) int {
	const (
		frame  = len(`{"s":9223372036854775807,"a":{},"t":{},"c":{}}`)
		agent  = len(`"":{"u":9999999999999,"b":[]},`)
		moment = len(`"":-9999999999999,`)
	)
	room := MaxMetadata - frame - len(agents)*agent - (len(timers)+len(clocks))*moment
	for _, names := range [][]string{agents, timers, clocks} {
		for _, name := range names {
			room -= len(name)
		}
	}
	return room
}

// Encode returns the metadata as text.
func (m Meta) Encode() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("kafka: metadata of plain numbers cannot fail to encode: %v", err)) // a bug here
	}
	return string(b)
}

// ParseMeta reads what Encode wrote. Empty text is the zero Meta: nothing has been committed yet, or by another program.
func ParseMeta(text string) (Meta, error) {
	var m Meta
	if text == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("metadata %q of a committed offset: %w", text, err)
	}
	for name, a := range m.Agents {
		if a.UpTo < 0 || len(a.Beyond)%2 != 0 {
			return m, fmt.Errorf("metadata %q of a committed offset: agent %s has an impossible progress", text, name)
		}
	}
	return m, nil
}

// SeqOf returns the number in the metadata of a committed offset, 0 where there is none.
func SeqOf(text string) int64 {
	m, err := ParseMeta(text)
	if err != nil {
		return 0
	}
	return m.Seq
}
