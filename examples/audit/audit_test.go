package audit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	_, err := Topology().Plan()
	require.NoError(t, err)
}

// What the actor does in a node is tested with the command, in cmd/node.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		order Order
		want  []string
	}{
		{Order{"ada", 4200, "EUR"}, nil},
		{Order{"ada", Limit, "EUR"}, nil},
		{Order{" ", 100, "EUR"}, []string{"no customer"}},
		{Order{"grace", -5, "usd"}, []string{"amount -5 is not positive", `currency "usd" is not three capital letters`}},
		{Order{"alan", Limit + 1, "GBP"}, []string{"amount 1000001 is over 1000000"}},
	} {
		require.Equal(t, Finding{Order: c.order, OK: c.want == nil, Problems: c.want}, Check(c.order))
	}
}
