package kafka

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What a mark says behind its owner of records that may kill a process.
const (
	markTrying   = " trying "   // its owner gives out these records; if it dies meanwhile, one of them may be why
	markSuspects = " suspects " // so a process before it did, and died
)

// FinestLevel is the level of a Trying that names one record of one agent.
const FinestLevel = 2

// maxTrying and maxTryingText bound what a mark names: it must fit the metadata of an offset beside its owners.
const (
	maxTrying     = 16
	maxTryingText = 3000
)

// AgentOffset is an offset of an agent's source.
type AgentOffset struct {
	Agent  string
	Offset int64
}

// Trying is the part of a slot's mark that finds a record that kills the process: a dead process cannot count. The owner of a slot
// that was not released in order announces what it gives out before it does, in windows that get narrower with each death, until
// one holds a single record, of which the deaths are counted. The zero Trying announces nothing.
type Trying struct {
	// Level says how narrow: 0 wide, 1 narrow, FinestLevel one record, that before the offset of its one agent.
	Level int
	// Deaths is how many processes have died on that one record. 0 below FinestLevel.
	Deaths int
	// Open says that the mark's owner may have given the records out. Else they are suspects that it has taken over.
	Open bool
	// To are the agents concerned, each with the offset before which it has been given, or may be, what it has not committed.
	To []AgentOffset
}

// IsZero says whether nothing is announced.
func (t Trying) IsZero() bool { return len(t.To) == 0 }

// Add adds an agent, unless that would make the mark too long.
func (t *Trying) Add(agent string, to int64) bool {
	size := 0
	for _, x := range t.To {
		size += len(x.Agent) + 20
	}
	if len(t.To) >= maxTrying || size+len(agent)+20 > maxTryingText && len(t.To) > 0 {
		return false
	}
	t.To = append(t.To, AgentOffset{agent, to})
	return true
}

// Of returns the offset of an agent; ok is false if it is not concerned.
func (t Trying) Of(agent string) (to int64, ok bool) {
	for _, x := range t.To {
		if x.Agent == agent {
			return x.Offset, true
		}
	}
	return 0, false
}

// text is what a mark says behind its owner.
func (t Trying) text() string {
	if t.IsZero() {
		return ""
	}
	b := new(strings.Builder)
	word := markSuspects
	if t.Open {
		word = markTrying
	}
	fmt.Fprintf(b, "%s%d %d", word, t.Level, t.Deaths)
	for _, x := range t.To {
		fmt.Fprintf(b, " %s@%d", x.Agent, x.Offset)
	}
	return b.String()
}

// cutTrying cuts what text writes off a mark.
func cutTrying(mark string) (owners string, t Trying, err error) {
	at, open := strings.Index(mark, markTrying), true
	word := markTrying
	if at < 0 {
		at, open, word = strings.Index(mark, markSuspects), false, markSuspects
	}
	if at < 0 {
		return mark, Trying{}, nil
	}
	fault := fmt.Errorf("mark %q of a slot: behind%sthere must be a level, a number of deaths, and agent@offset; was it committed by another program?", mark, word)
	fields := strings.Split(mark[at+len(word):], " ")
	if len(fields) < 3 {
		return "", Trying{}, fault
	}
	level, ok1 := natural(fields[0])
	deaths, ok2 := natural(fields[1])
	if !ok1 || !ok2 || level > FinestLevel || deaths > 0 && level < FinestLevel || level == 0 && !open {
		return "", Trying{}, fault
	}
	t = Trying{Level: int(level), Deaths: int(deaths), Open: open}
	for _, f := range fields[2:] {
		i := strings.LastIndexByte(f, '@')
		to, ok := natural(f[i+1:])
		if i <= 0 || !ok {
			return "", Trying{}, fault
		}
		t.To = append(t.To, AgentOffset{f[:i], to})
	}
	return mark[:at], t, nil
}

// natural reads a number as it is written here.
func natural(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// suspects is what the next owner of a slot with this mark has to suspect. It counts a death only of the very process that had opened
// the window: not of one that had taken it over and did not come to it, nor of itself, which lives.
func (m Mark) suspects(next Owner) Trying {
	t := m.Trying
	if !t.Open {
		return t
	}
	t.Open, t.To = false, slices.Clone(t.To)
	switch {
	case m.IsOf(next):
		if t.Level == 0 {
			return Trying{}
		}
	case t.Level == FinestLevel:
		t.Deaths++
	default:
		t.Level++
	}
	return t
}

// LetGo returns the mark of the slot when its owner lets go of it in order. What it suspects stays suspect.
func (m Mark) LetGo() Mark {
	r := Released()
	if len(m.Owners) > 0 {
		r.Trying = m.suspects(m.Owners[0])
	}
	return r
}

// Taken returns the mark once those in TakenBy are fenced: the slot is owner's alone.
func (m Mark) Taken(owner Owner) Mark {
	return Mark{Owners: []Owner{owner}, Trying: m.suspects(owner)}
}
