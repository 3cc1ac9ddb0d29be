package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The steps at which a record can fail.
const (
	StepDecode  = "decode"         // its key or value are not what the topic declares
	StepHandler = "handler"        // the agent's function
	StepTable   = "table function" // a function inside a table
	StepSend    = "send"           // what the handler sends or writes cannot be encoded or is not declared
	StepCommit  = "commit"         // the broker refuses its effects
	StepRedrive = "redrive"        // it was redriven for an agent that its topic does not have
	StepProcess = "process"        // processes have died with it in hand
)

// Headers of dead letters, of redriven records and of receipts.
const (
	letterTopic     = "troupe.topic" // the first of a letter's own: what lies before it is the record's
	letterPartition = "troupe.partition"
	letterOffset    = "troupe.offset"
	letterAgent     = "troupe.agent"
	letterStep      = "troupe.step"
	letterAttempts  = "troupe.attempts"
	letterError     = "troupe.error"
	letterStack     = "troupe.stack"
	letterNode      = "troupe.node"
	letterTime      = "troupe.time"
	letterHistory   = "troupe.history"
	letterFailedIn  = "troupe.failed-in"

	// RedriveHeader marks a record that is meant for one agent only.
	RedriveHeader = "troupe.redrive"
	receiptHeader = "troupe.receipt"
)

// How much of a failure is kept.
const (
	maxStack        = 8 << 10 // bytes
	maxError        = 8 << 10
	maxPastError    = 1 << 10
	maxHistory      = 20  // failures before this one
	letterMargin    = 512 // bytes of a record batch beside key, value and headers, generously
	shortenedSuffix = "…"
)

// ErrLetterTooLarge says that a record does not fit the topic of dead letters, however short the rest of its letter is.
var ErrLetterTooLarge = errors.New("the record does not fit the topic of dead letters")

// Failure is what is known of a record that was given up.
type Failure struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Agent     string `json:"agent"`
	// FailedIn is the agent that failed, if it is another one: the record's agent is that of its topic, from which it came there through
	// channels in memory.
	FailedIn string    `json:"failed_in,omitempty"`
	Step     string    `json:"step,omitempty"` // empty in letters of an older version
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"` // with all that it wraps
	Stack    string    `json:"stack,omitempty"`
	Node     string    `json:"node,omitempty"`
	Time     time.Time `json:"time"`
	// Letter is where the dead letter of a failure in a history lies: PARTITION@OFFSET of the topic of dead letters.
	Letter string `json:"letter,omitempty"`
}

// Letter is what a dead letter holds beside the record: why it was given up, and what became of it before. Key, value,
// headers and timestamp of the record are the letter's own; its failure is in headers behind the record's.
type Letter struct {
	Failure
	History []Failure `json:"history,omitempty"` // earlier failures of a redriven record, the oldest first, without stacks
}

// Append appends the letter to the headers of a record, encoded as by AppendHeaders. size is that of the record's key, value and
// headers, limit what the topic takes, 0 if unknown. A letter that would be too large loses its stack, then its error,
// then the oldest of its history; ErrLetterTooLarge if that is not enough.
func (l Letter) Append(headers []byte, size, limit int) ([]byte, error) {
	l.Stack, l.Error = cutText(l.Stack, maxStack), cutText(l.Error, maxError)
	l.History = pastOf(l.History)
	for {
		own := l.headers()
		over := size + len(own) + letterMargin - limit
		switch {
		case limit <= 0 || over <= 0:
			return append(headers, own...), nil
		case l.Stack != "":
			l.Stack = cutText(l.Stack, len(l.Stack)-over)
		case l.Error != "":
			l.Error = cutText(l.Error, len(l.Error)-over)
		case len(l.History) > 0:
			l.History = l.History[1:]
		default:
			return nil, fmt.Errorf("%w: it has %d bytes, its letter needs %d more, and the topic takes %d: raise its max.message.bytes",
				ErrLetterTooLarge, size, len(own)+letterMargin, limit)
		}
	}
}

func (l Letter) headers() []byte {
	text := func(key, value string) Header { return Header{Key: key, Value: []byte(value)} }
	all := []Header{
		text(letterTopic, l.Topic), text(letterPartition, strconv.Itoa(int(l.Partition))), text(letterOffset, strconv.FormatInt(l.Offset, 10)),
		text(letterAgent, l.Agent), text(letterStep, l.Step), text(letterAttempts, strconv.Itoa(l.Attempts)), text(letterError, l.Error),
		text(letterStack, l.Stack), text(letterNode, l.Node), text(letterTime, l.Time.UTC().Format(time.RFC3339Nano)),
	}
	if l.FailedIn != "" {
		all = append(all, text(letterFailedIn, l.FailedIn))
	}
	if len(l.History) > 0 {
		all = append(all, Header{Key: letterHistory, Value: mustJSON(l.History)})
	}
	return AppendHeaders(nil, all...)
}

// pastOf is a history as it is kept: bounded, without stacks.
func pastOf(history []Failure) []Failure {
	history = slices.Clone(history[max(0, len(history)-maxHistory):])
	for i := range history {
		history[i].Error, history[i].Stack = cutText(history[i].Error, maxPastError), ""
	}
	return history
}

// ParseLetter cuts the headers of a record of the topic of dead letters into those of the original record and its letter. ok is
// false if it is no letter; an error names the header that is not as it should be.
func ParseLetter(raw []byte) (l Letter, original []byte, ok bool, err error) {
	at := lastHeader(raw, letterTopic)
	if at < 0 {
		return l, raw, false, nil
	}
	original = raw[:at:at]
	var faults []error
	number := func(h Header, bits int) int64 {
		n, err := strconv.ParseInt(string(h.Value), 10, bits)
		if err != nil {
			faults = append(faults, fmt.Errorf("header %s: %w", h.Key, err))
		}
		return n
	}
	for h := range Headers(raw[at:]) {
		v := string(h.Value)
		switch h.Key {
		case letterTopic:
			l.Topic = v
		case letterPartition:
			l.Partition = int32(number(h, 32))
		case letterOffset:
			l.Offset = number(h, 64)
		case letterAgent:
			l.Agent = v
		case letterFailedIn:
			l.FailedIn = v
		case letterStep:
			l.Step = v
		case letterAttempts:
			l.Attempts = int(number(h, 32))
		case letterError:
			l.Error = v
		case letterStack:
			l.Stack = v
		case letterNode:
			l.Node = v
		case letterTime:
			if l.Time, err = time.Parse(time.RFC3339Nano, v); err != nil {
				faults = append(faults, fmt.Errorf("header %s: %w", h.Key, err))
			}
		case letterHistory:
			if err := json.Unmarshal(h.Value, &l.History); err != nil {
				faults = append(faults, fmt.Errorf("header %s: %w", h.Key, err))
			}
		}
	}
	return l, original, true, errors.Join(faults...)
}

// cutText cuts text to a number of bytes, between runes, and says so at its end.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	if most -= len(shortenedSuffix); most <= 0 {
		return ""
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.TrimSuffix(s[:most], shortenedSuffix) + shortenedSuffix
}

// mustJSON encodes what always can be.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("kafka: encode %T: %v", v, err))
	}
	return b
}
