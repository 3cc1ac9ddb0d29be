package actors

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
)

// other wraps an error and tells it in words of its own.
type other struct{ error }

func (o other) Error() string { return fmt.Sprintf("%q", o.error.Error()) }
func (o other) Unwrap() error { return o.error }

// Of an error that quotes a value the rest is logged: why its dead letter cannot be written, whatever else has failed.
func TestErrorText(t *testing.T) {
	t.Parallel()
	decode := &topology.DecodeError{Topic: "cards", Partition: 1, Offset: 7, Part: "value", Type: "card", Err: errors.New("cannot make a card of 4711")}
	entry := &tables.EntryError{Table: "last", Part: "value", Key: []byte("ada"), Err: errors.New("cannot make a card of 4712")}
	for name, c := range map[string]struct {
		err  error
		want []string
	}{
		"alone":   {decode, []string{decode.Redacted()}},
		"wrapped": {fmt.Errorf("its dead letter cannot be written: topic gone; it failed: %w", decode), []string{"topic gone", decode.Redacted()}},
		"two":     {errors.Join(fmt.Errorf("first: %w", decode), fmt.Errorf("then: %w", topology.Permanent(entry))), []string{"first: " + decode.Redacted(), "then: " + entry.Redacted()}},
		"retold":  {fmt.Errorf("so: %w", other{decode}), []string{decode.Redacted()}},
		"a function in a table": {
			fmt.Errorf("twice: %w", &tables.FuncError{Table: "last", Key: []byte("ada"), Err: errors.New("the bank is closed")}), []string{"twice: table last: the bank is closed"},
		},
		"an entry in a table": {&tables.FuncError{Table: "last", Key: []byte("ada"), Err: fmt.Errorf("no: %w", entry)}, []string{"table last: no: " + entry.Redacted()}},
		"too large":           {&tables.TooLargeError{Table: "last", Key: []byte("ada"), Size: 9, Limit: 8}, []string{"table last: key and value have 9 bytes"}},
		"none":                {errors.New("the bank is closed"), []string{"the bank is closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.err.Error(), errorText(c.err, true))
			text := errorText(c.err, false)
			for _, want := range c.want {
				require.Contains(t, text, want)
			}
			for _, secret := range []string{"4711", "4712", "ada"} {
				require.NotContains(t, text, secret)
			}
		})
	}
}
