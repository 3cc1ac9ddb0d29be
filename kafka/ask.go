package kafka

import (
	"bytes"
	"encoding/json"
)

const (
	// AskHeader marks a record as a request that is to be answered: see Ask.
	AskHeader = "troupe.ask"
	// ReplyHeader is that of the answer to one: see Reply.
	ReplyHeader = "troupe.reply"
)

// RepliesTopic is the topic into which the agents of a topology answer.
func RepliesTopic(topology string) string { return topology + "-replies" }

// Ask is what the AskHeader of a record says, as JSON: one agent of one topology is to answer it. To all others it is a record like any.
type Ask struct {
	ID        string `json:"id"` // of the request, unique; the key of its answer
	Topology  string `json:"topology"`
	Agent     string `json:"agent"`
	Topic     string `json:"topic"`     // into which it was sent: elsewhere the header means nothing
	Partition int32  `json:"partition"` // of the topic of replies, from which the asker reads
	// To is another topic for the answer, under Key: one that the agent is declared to answer to. Empty: the topic of replies.
	To  string `json:"to,omitempty"`
	Key []byte `json:"key,omitempty"`
	// By names the record whose handler asks an agent of its own partition; empty for all others.
	By string `json:"by,omitempty"`
}

// Header is the header of a request.
func (a Ask) Header() Header { return Header{Key: AskHeader, Value: mustJSON(a)} }

var askKey = []byte(AskHeader)

// AskOf returns what an agent is asked by record i of a batch; nil if it is not. A record that was redriven from the dead letters asks
// nobody: it was answered when it was given up.
func AskOf(b *Batch, i int, topology, agent string) *Ask {
	raw := b.RawHeaders(i)
	if !bytes.Contains(raw, askKey) || b.Redriven(i) != nil {
		return nil
	}
	at := lastHeader(raw, AskHeader)
	if at < 0 {
		return nil
	}
	h, _, _ := nextHeader(raw[at:])
	var a Ask
	if json.Unmarshal(h.Value, &a) != nil || a.ID == "" || a.Topology != topology || a.Agent != agent || a.Topic != b.Topic {
		return nil
	}
	return &a
}

// Reply is what the ReplyHeader of an answer says, as JSON. The record's key is the ID, its value the encoded answer; null with a Failure.
type Reply struct {
	ID      string        `json:"id"` // that of the Ask
	Agent   string        `json:"agent"`
	Failure *ReplyFailure `json:"failure,omitempty"`
	// Early says that it was sent before what it tells of was committed. That answer follows, with the commit.
	Early bool `json:"early,omitempty"`
}

// ReplyFailure says why a request has no other answer than this: its record was given up.
type ReplyFailure struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Step      string `json:"step"`     // at which it failed
	Attempts  int    `json:"attempts"` // how often it was tried
	Error     string `json:"error"`    // shortened
	Letter    bool   `json:"letter"`   // it is in the dead letters; else it was skipped
}

// Append writes the answer to an ask into outputs, into a topic by its number, with how many partitions it has. value is nil with a
// Failure. timestamp is that of an answer that goes To a topic; for the topic of replies it is the producer's clock, since that
// topic forgets answers by their time, and that of the request may be long ago. An ask for a partition that the topic does not
// have is dropped: nobody reads there.
func (r Reply) Append(out *Outputs, to *Ask, topic int32, p Partitioner, partitions int32, timestamp int64, value []byte) {
	key, partition := []byte(to.ID), to.Partition
	if to.To != "" {
		key, partition = append([]byte{}, to.Key...), p.Hash(to.Key, partitions)
	} else {
		timestamp = 0
	}
	if partition < 0 || partition >= partitions {
		return
	}
	r.ID = to.ID
	if r.Failure != nil {
		f := *r.Failure
		f.Error, r.Failure = cutText(f.Error, maxError), &f
	}
	out.Append(topic, partition, timestamp, key, value, AppendHeaders(nil, Header{Key: ReplyHeader, Value: mustJSON(r)}))
}

// ParseReply reads the headers of an answer; nil if it is none.
func ParseReply(raw []byte) *Reply {
	at := lastHeader(raw, ReplyHeader)
	if at < 0 {
		return nil
	}
	h, _, _ := nextHeader(raw[at:])
	var r Reply
	if json.Unmarshal(h.Value, &r) != nil || r.ID == "" {
		return nil
	}
	return &r
}
