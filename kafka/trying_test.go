package kafka_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

func parse(t require.TestingT, text string) kafka.Mark {
	m, err := kafka.ParseMark(text)
	require.NoError(t, err)
	require.Equal(t, text, m.String())
	return m
}

// TestADeathCountsForWhoOpenedTheWindow is the table of all ways on which a suspicion goes from owner to owner.
func TestADeathCountsForWhoOpenedTheWindow(t *testing.T) {
	t.Parallel()
	b := kafka.Owner{Instance: "B", Nonce: "1"}
	for mark, want := range map[string]string{
		"":                              "B/1",
		"released":                      "B/1",
		"A/1":                           "B/1",
		"A/1 trying 0 0 x@5 y@7":        "B/1 suspects 1 0 x@5 y@7",
		"A/1 trying 1 0 x@5":            "B/1 suspects 2 0 x@5",
		"A/1 trying 2 0 x@5":            "B/1 suspects 2 1 x@5",
		"A/1 trying 2 4 x@5":            "B/1 suspects 2 5 x@5",
		"A/1 suspects 2 4 x@5":          "B/1 suspects 2 4 x@5", // A did not come to it
		"C/1 over A/1 suspects 1 0 x@5": "B/1 suspects 1 0 x@5",
		"released suspects 2 3 x@5":     "B/1 suspects 2 3 x@5",
		"B/0 trying 2 3 x@5":            "B/1 suspects 2 4 x@5", // the process before, of the same instance
		"B/1 trying 2 3 x@5":            "B/1 suspects 2 3 x@5", // B lost the slot and has it back: it has not died
		"B/1 trying 1 0 x@5":            "B/1 suspects 1 0 x@5",
		"B/1 trying 0 0 x@5":            "B/1",
	} {
		m := parse(t, mark)
		require.Equal(t, want, m.Taken(b).String(), mark)
		over := parse(t, m.TakenBy(b).String())
		require.Equal(t, want, over.Taken(b).String(), "%s: whose taker has died before it was through, or has gone on", mark)
		require.Equal(t, strings.ReplaceAll(want, "B/1", "D/1"), over.Taken(kafka.Owner{Instance: "D", Nonce: "1"}).String(), mark)
	}
}

func TestWhatIsLetGoOfStaysSuspect(t *testing.T) {
	t.Parallel()
	for mark, want := range map[string]string{
		"A/1":                  "released",
		"A/1 trying 0 0 x@5":   "released",
		"A/1 trying 1 0 x@5":   "released suspects 1 0 x@5",
		"A/1 trying 2 3 x@5":   "released suspects 2 3 x@5",
		"A/1 suspects 2 3 x@5": "released suspects 2 3 x@5",
	} {
		require.Equal(t, want, parse(t, mark).LetGo().String())
	}
}

func TestAnnouncementsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"A/1 trying ", "A/1 trying 0", "A/1 trying 0 0", "A/1 trying 3 0 x@1", "A/1 trying 1 1 x@1", "A/1 trying 2 -1 x@1", "A/1 trying 02 0 x@1",
		"A/1 trying 0 0 x", "A/1 trying 0 0 @1", "A/1 trying 0 0 x@-1", "A/1 trying 0 0 x@01", "A/1 trying 0 0  x@1", "A/1 suspects 0 0 x@1",
		"B/1 over A/1 trying 0 0 x@1", "released trying 0 0 x@1", " trying 0 0 x@1",
	} {
		_, err := kafka.ParseMark(text)
		require.Error(t, err, text)
	}
}

func TestAnnouncementsFitAMark(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x := kafka.Trying{Level: 1, Open: true}
		for range 40 {
			x.Add(strings.Repeat("n", rapid.IntRange(1, 249).Draw(t, "name")), rapid.Int64Range(0, 1<<62).Draw(t, "to"))
		}
		require.NotEmpty(t, x.To)
		require.LessOrEqual(t, len(x.To), 16)
		me := kafka.Owner{Instance: strings.Repeat("i", 249), Nonce: strings.Repeat("o", 249)}
		m := kafka.Mark{Owners: []kafka.Owner{me}, Trying: x}
		require.Less(t, len(m.String()), kafka.MaxMetadata)
		require.Equal(t, m, parse(t, m.String()))
	})
}
