package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
)

// record is one line of a script, or of what it makes. Its key and value are nil for null.
type record struct {
	topic      string
	key, value *string
	at         int64  // Unix milliseconds
	headers    string // of what a script makes: names and values, with spaces between; each of the script has the header n, its number
}

// kind is a topology that both sides define under this name, with the topics that it reads.
type kind struct {
	name   string
	topics []string
	// ordered says that one record makes several of different keys whose order matters further on: with several partitions there is none.
	ordered bool
	// mixed says that what one record makes of different keys comes in another order: a row that names no other is answered at once, and in
	// Kafka Streams behind those that name it.
	mixed bool
}

// kinds are all topologies. Each has seedsPerKind scripts.
var kinds = []kind{
	{name: "stream-table", topics: []string{"left", "right"}},
	{name: "stream-table-left", topics: []string{"left", "right"}},
	{name: "stream-table-table", topics: []string{"left", "right", "third"}},
	{name: "stream-table-count", topics: []string{"left", "right"}},
	{name: "table-stream", topics: []string{"left"}},
	{name: "table-table", topics: []string{"left", "right"}},
	{name: "table-table-left", topics: []string{"left", "right"}},
	{name: "table-table-outer", topics: []string{"left", "right"}},
	{name: "table-table-table", topics: []string{"left", "right", "third"}},
	{name: "count", topics: []string{"left"}},
	{name: "count-by", topics: []string{"left"}},
	{name: "reduce", topics: []string{"left"}},
	{name: "aggregate", topics: []string{"left"}},
	{name: "count-table", topics: []string{"left", "right"}},
	{name: "group-table-count", topics: []string{"left"}},
	{name: "group-table-reduce", topics: []string{"left"}},
	{name: "group-table-aggregate", topics: []string{"left"}},
	{name: "group-table-gone", topics: []string{"left"}},
	{name: "group-table-reduce-gone", topics: []string{"left"}},
	{name: "group-table-chain", topics: []string{"left"}, ordered: true},
	{name: "foreign", topics: []string{"left", "right"}},
	{name: "foreign-left", topics: []string{"left", "right"}},
	{name: "foreign-chain", topics: []string{"left", "right", "third"}},
	{name: "foreign-self", topics: []string{"left"}, mixed: true},
	{name: "foreign-group", topics: []string{"left", "right"}, ordered: true},
	{name: "stream-global", topics: []string{"left", "right"}},
	{name: "stream-global-left", topics: []string{"left", "right"}},
	{name: "stream-global-table", topics: []string{"left", "right", "third"}},
}

const seedsPerKind = 150

// script makes the records of a kind's script: few keys, many nulls, times out of order.
func script(k kind, seed uint64) []record {
	r := rand.New(rand.NewPCG(seed, uint64(crc32.ChecksumIEEE([]byte(k.name))))) //nolint:gosec // scripts must come out the same
	keys, length := 1+r.IntN(4), 5+r.IntN(20)
	nulls, spread := r.Float64()*0.5, int64(1+r.IntN(300))
	var all []record
	now := int64(1000)
	for i := range length {
		now += r.Int64N(100)
		x := record{topic: k.topics[r.IntN(len(k.topics))], at: max(1, now-r.Int64N(spread))}
		if r.IntN(20) > 0 {
			x.key = new(string(rune('a' + r.IntN(keys))))
		}
		if r.Float64() >= nulls {
			x.value = new(string("abcx"[r.IntN(4)]) + strconv.Itoa(i))
		}
		all = append(all, x)
	}
	return all
}

// null is how scripts write it.
const null = `\N`

func show(s *string) string {
	if s == nil {
		return null
	}
	return *s
}

func read(s string) *string {
	if s == null {
		return nil
	}
	return &s
}

// line is a record as scripts have it.
func (r record) line() string {
	return fmt.Sprintf("%s\t%s\t%s\t%d", r.topic, show(r.key), show(r.value), r.at)
}

// result is a record as it is compared.
func (r record) result() string { return r.line() + "\t" + r.headers }

// text is what the reference reads.
func text(k kind, records []record) string {
	var b strings.Builder
	b.WriteString("script " + k.name + "\n")
	for _, r := range records {
		b.WriteString(r.line() + "\n")
	}
	b.WriteString("end\n")
	return b.String()
}

// golden is what the reference has made of a script.
type golden struct {
	kind string
	seed uint64
	sum  uint32     // of the script: that of today must be the same
	made [][]record // by the record that made them
}

// append writes a golden output: a head, then a line per record made, with the number of the one that made it.
func (g golden) append(dst []byte) []byte {
	dst = fmt.Appendf(dst, "script\t%s\t%d\t%d\t%d\n", g.kind, g.seed, g.sum, len(g.made))
	for i, made := range g.made {
		for _, r := range made {
			dst = fmt.Appendf(dst, "%d\t%s\t%s\t%d\t%s\n", i, show(r.key), show(r.value), r.at, r.headers)
		}
	}
	return dst
}

// parseGolden reads what append has written.
func parseGolden(b []byte) (all []golden, err error) {
	for i, line := range bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
		f := strings.Split(string(line), "\t")
		bad := func(err error) ([]golden, error) {
			return nil, fmt.Errorf("line %d of the golden outputs: %q: %w", i+1, line, err)
		}
		if f[0] == "script" && len(f) == 5 {
			var n int
			g := golden{kind: f[1]}
			if _, err := fmt.Sscan(strings.Join(f[2:], " "), &g.seed, &g.sum, &n); err != nil {
				return bad(err)
			}
			g.made = make([][]record, n)
			all = append(all, g)
			continue
		}
		var at int64
		n := 0
		if len(f) != 5 || len(all) == 0 {
			return bad(fmt.Errorf("%d fields", len(f)))
		}
		if _, err := fmt.Sscan(f[0]+" "+f[3], &n, &at); err != nil {
			return bad(err)
		}
		g := &all[len(all)-1]
		if n >= len(g.made) {
			return bad(fmt.Errorf("the script has %d records", len(g.made)))
		}
		g.made[n] = append(g.made[n], record{topic: "out", key: read(f[1]), value: read(f[2]), at: at, headers: f[4]})
	}
	return all, nil
}
