package wordcount

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"":                         {},
		" \t--- ":                  {},
		"To be, or not to be:":     {"to", "be", "or", "not", "to", "be"},
		"it's 2026":                {"it", "s", "2026"},
		"Ünïcode ΓΔ ١٢ 漢字かな x²":    {"ünïcode", "γδ", "١٢", "漢字かな", "x"},
		"bad\xff\xfebytes\x00here": {"bad", "bytes", "here"},
	} {
		require.Equal(t, want, Words(line), line)
	}
}
