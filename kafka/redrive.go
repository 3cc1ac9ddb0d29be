package kafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Redrive is what the RedriveHeader of a record says, as JSON: it is a dead letter that was sent to its topic again, for one
// agent. All others of any topology that read the topic pass over it.
type Redrive struct {
	Topology  string    `json:"topology"`
	Agent     string    `json:"agent"`
	Topic     string    `json:"topic"` // into which it was redriven: elsewhere the header means nothing
	Partition int32     `json:"partition"`
	Letter    string    `json:"letter"`            // of its last failure: PARTITION@OFFSET
	Attempts  int       `json:"attempts"`          // in all its failures
	History   []Failure `json:"history,omitempty"` // the oldest first, the last one included
}

// NewRedrive makes the header for a letter that lies at the given place of its topic.
func NewRedrive(topology string, l Letter, place Place) Redrive {
	last := l.Failure
	last.Letter = place.String()
	r := Redrive{Topology: topology, Agent: l.Agent, Topic: l.Topic, Partition: l.Partition, Letter: place.String()}
	r.History = pastOf(append(append([]Failure(nil), l.History...), last))
	for _, f := range r.History {
		r.Attempts += f.Attempts
	}
	return r
}

// Append appends the header to those of a record. size is that of the record's key, value and headers, limit what its topic
// takes, 0 if unknown; the oldest failures are left out where they do not fit.
func (r Redrive) Append(headers []byte, size, limit int) []byte {
	for {
		own := AppendHeaders(nil, Header{Key: RedriveHeader, Value: mustJSON(r)})
		if len(r.History) == 0 || limit <= 0 || size+len(own)+letterMargin <= limit {
			return append(headers, own...)
		}
		r.History = r.History[1:]
	}
}

var redriveKey = []byte(RedriveHeader)

// ParseRedrive cuts the RedriveHeader off a record's headers; nil where there is none that can be read.
func ParseRedrive(raw []byte) (rest []byte, r *Redrive) {
	if !bytes.Contains(raw, redriveKey) {
		return raw, nil
	}
	at := lastHeader(raw, RedriveHeader)
	if at < 0 {
		return raw, nil
	}
	h, behind, _ := nextHeader(raw[at:])
	r = new(Redrive)
	if json.Unmarshal(h.Value, r) != nil || r.Topology == "" || r.Agent == "" || r.Topic == "" {
		return raw, nil
	}
	return append(raw[:at:at], behind...), r
}

// redriven is a record of a batch that has a RedriveHeader.
type redriven struct {
	offset int64
	header *Redrive
}

// noteRedriven notes what the headers of a record say.
func (b *Batch) noteRedriven(offset int64, rawHeaders []byte) {
	if _, r := ParseRedrive(rawHeaders); r != nil {
		b.redriven = append(b.redriven, redriven{offset, r})
	}
}

// HasRedriven says whether some record of the batch may have been redriven: almost always false, and costs nothing.
func (b *Batch) HasRedriven() bool { return len(b.redriven) > 0 }

// Redriven returns what the RedriveHeader of record i says, if it was redriven into this topic; else nil. It must not be changed.
func (b *Batch) Redriven(i int) *Redrive {
	for _, x := range b.redriven {
		if x.offset == b.Records[i].Offset && x.header.Topic == b.Topic {
			return x.header
		}
	}
	return nil
}

// Place is where a record of the topic of dead letters lies.
type Place struct {
	Partition int32
	Offset    int64
}

// String is PARTITION@OFFSET.
func (p Place) String() string { return fmt.Sprintf("%d@%d", p.Partition, p.Offset) }

// ParsePlace is the reverse of String.
func ParsePlace(s string) (p Place, err error) {
	part, offset, ok := strings.Cut(s, "@")
	n, err1 := strconv.ParseInt(part, 10, 32)
	at, err2 := strconv.ParseInt(offset, 10, 64)
	if !ok || err1 != nil || err2 != nil || n < 0 || at < 0 {
		return p, fmt.Errorf("%q is no place of a dead letter: it is PARTITION@OFFSET, as in 0@17", s)
	}
	return Place{int32(n), at}, nil
}

// What a receipt says has become of a letter.
const (
	ReceiptRedriven = "redriven"
	ReceiptDropped  = "dropped"
)

// Receipt is a record of the topic of dead letters that says what became of a letter before it in the same partition. It is
// written in the transaction that does it, so a letter without one is still to be dealt with.
type Receipt struct {
	Letter string    `json:"letter"` // PARTITION@OFFSET
	Done   string    `json:"done"`   // ReceiptRedriven or ReceiptDropped
	Agent  string    `json:"agent,omitempty"`
	Time   time.Time `json:"time"`
}

// Headers are those of the receipt's record, encoded as by AppendHeaders.
func (r Receipt) Headers() []byte {
	return AppendHeaders(nil, Header{Key: receiptHeader, Value: mustJSON(r)})
}

// ParseReceipt reads a receipt; ok is false if the record is none.
func ParseReceipt(raw []byte) (r Receipt, ok bool, err error) {
	h, rest, found := nextHeader(raw)
	if !found || len(rest) > 0 || h.Key != receiptHeader {
		return r, false, nil
	}
	if err := json.Unmarshal(h.Value, &r); err != nil {
		return r, true, fmt.Errorf("header %s: %w", receiptHeader, err)
	}
	return r, true, nil
}

// Headers yields headers that AppendHeaders has encoded. Their bytes belong to raw.
func Headers(raw []byte) iter.Seq[Header] {
	return span{keyLen: -1, valueLen: -1, headersLen: int32(len(raw))}.headers(raw)
}

// lastHeader returns where the last header of a name begins; -1 if there is none.
func lastHeader(raw []byte, name string) int {
	at := -1
	for rest := raw; len(rest) > 0; {
		h, next, ok := nextHeader(rest)
		if !ok {
			break
		}
		if h.Key == name {
			at = len(raw) - len(rest)
		}
		rest = next
	}
	return at
}
