package kafka

import (
	"fmt"
	"slices"
	"strings"
)

// markReleased is the text of the mark of a slot that nobody writes for.
const markReleased = "released"

// markOver stands between the owners in a mark, newest first.
const markOver = " over "

// Owner is one process as marks name it.
type Owner struct {
	Instance string // group.instance.id, and the end of the transactional id
	Nonce    string // different for each process
}

// String returns the text of a mark with this owner alone: instance/nonce.
func (o Owner) String() string { return o.Instance + "/" + o.Nonce }

// Validate says whether the owner can be told apart in a mark and be an instance id: letters, digits, '.', '_' and '-'.
func (o Owner) Validate() error {
	if !legalID(o.Instance) {
		return fmt.Errorf("instance id %q: use 1 to 249 letters, digits, '.', '_' or '-'", o.Instance)
	}
	if !legalID(o.Nonce) {
		return fmt.Errorf("nonce %q of instance %s: use 1 to 249 letters, digits, '.', '_' or '-'", o.Nonce, o.Instance)
	}
	return nil
}

func legalID(s string) bool {
	return s != "" && len(s) <= 249 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}) < 0
}

// Mark says who writes for a slot. It is kept as the metadata of a committed offset of the slot's partition of the slots
// topic, written by plain commits only. The zero Mark is that of a slot that was never taken.
//
// A slot with one owner belongs to it. "B/2 over A/1" is a slot that B is taking from A: both may have a transaction
// open, so who finds it fences both. Behind the owners may stand what kills processes, see Trying: "A/1 trying 1 0 count@512" says
// that A gives out records before 512 to agent count, in a window of level 1, with no deaths counted, "A/1 suspects 2 3 count@77"
// that three processes before A died with record 76 in hand, and "released suspects 2 3 count@77" that A has let go of it since.
type Mark struct {
	// Owners are those who may have a transaction open on the slot: the taker first, then whom it takes the slot from.
	Owners []Owner
	// Released says that the last owner let go of the slot in order: all it did is known to be committed.
	Released bool
	// Trying says which records may kill the process that has them in hand. Open only with one owner.
	Trying Trying
}

// Released is the mark of a slot that its owner let go of in order.
func Released() Mark { return Mark{Released: true} }

// ParseMark reads the text of a mark: empty, `released`, `instance/nonce`, or several of these with ` over ` between. Behind them may
// follow ` trying LEVEL DEATHS agent@offset agent@offset…` (of one owner only) or ` suspects …` in the same form.
func ParseMark(text string) (Mark, error) {
	if text == "" {
		return Mark{}, nil
	}
	owners, trying, err := cutTrying(text)
	if err != nil {
		return Mark{}, err
	}
	m := Mark{Trying: trying}
	if owners == markReleased && !trying.Open {
		m.Released = true
		return m, nil
	}
	for part := range strings.SplitSeq(owners, markOver) {
		instance, nonce, ok := strings.Cut(part, "/")
		o := Owner{instance, nonce}
		if !ok || o.Validate() != nil {
			return Mark{}, fmt.Errorf("mark %q of a slot: %q is not instance/nonce; was it committed by another program?", text, part)
		}
		m.Owners = append(m.Owners, o)
	}
	if trying.Open && len(m.Owners) > 1 {
		return Mark{}, fmt.Errorf("mark %q of a slot: only the one owner of a slot tries records; was it committed by another program?", text)
	}
	return m, nil
}

// String returns the mark as ParseMark reads it.
func (m Mark) String() string {
	if m.Released {
		return markReleased + m.Trying.text()
	}
	parts := make([]string, len(m.Owners))
	for i, o := range m.Owners {
		parts[i] = o.String()
	}
	return strings.Join(parts, markOver) + m.Trying.text()
}

// IsOf says whether the slot belongs to owner, and to no other.
func (m Mark) IsOf(owner Owner) bool { return len(m.Owners) == 1 && m.Owners[0] == owner }

// TakenBy returns the mark of a slot that owner is taking from those in m. An instance is named once, with its newest
// nonce: it has one transactional id, which is fenced once.
func (m Mark) TakenBy(owner Owner) Mark {
	taken := Mark{Owners: []Owner{owner}, Trying: m.suspects(owner)}
	for _, o := range m.Owners {
		if !slices.ContainsFunc(taken.Owners, func(x Owner) bool { return x.Instance == o.Instance }) {
			taken.Owners = append(taken.Owners, o)
		}
	}
	return taken
}

// Twin returns the owner in m that has the instance of owner but another nonce.
func (m Mark) Twin(owner Owner) (twin Owner, ok bool) {
	for _, o := range m.Owners {
		if o.Instance == owner.Instance && o.Nonce != owner.Nonce {
			return o, true
		}
	}
	return Owner{}, false
}
