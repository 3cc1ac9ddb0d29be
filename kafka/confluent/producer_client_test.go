package confluent

import (
	"context"
	"errors"
	"fmt"
	"testing"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/troupe-stream/troupe/kafka/protocol"
)

func TestErrorsAreClassified(t *testing.T) {
	t.Parallel()
	code := func(c rdk.ErrorCode) error { return fmt.Errorf("in some place: %w", rdk.NewError(c, "text", false)) }
	for name, c := range map[string]struct {
		err  error
		want protocol.Kind
	}{
		"too large":              {code(rdk.ErrMsgSizeTooLarge), protocol.Sick},
		"too large, by franz-go": {kerr.MessageTooLarge, protocol.Sick},
		"fenced":                 {code(rdk.ErrFenced), protocol.Fenced},
		"fenced, by the broker":  {kerr.ProducerFenced, protocol.Fenced},
		"an old epoch":           {kerr.InvalidProducerEpoch, protocol.Fenced},
		"unknown member":         {kerr.UnknownMemberID, protocol.NotMember},
		"fenced instance":        {code(rdk.ErrFencedInstanceID), protocol.NotMember},
		"inconsistent":           {code(rdk.ErrInconsistent), protocol.Inconsistent},
		"another":                {kerr.RebalanceInProgress, protocol.Other},
		"the first counts":       {errors.Join(code(rdk.ErrTimedOut), code(rdk.ErrFenced)), protocol.Other},
	} {
		classified := classify(c.err)
		require.Equal(t, c.want, protocol.KindOf(classified), name)
		require.ErrorIs(t, classified, c.err, name)
		require.Equal(t, c.err.Error(), classified.Error(), name)
	}
	require.Equal(t, protocol.Sick, protocol.KindOf(classify(sick(errors.New("a timestamp out of range")))))
	require.NoError(t, classify(nil))
	require.Equal(t, context.Canceled, classify(context.Canceled), "what comes beside it counts")
}
