package host

import (
	"context"
	"fmt"

	"github.com/troupe-stream/troupe/kafka"
)

// openOperator opens what commands need of a cluster beyond what nodes do.
func openOperator(ctx context.Context, d kafka.Driver) (kafka.Operator, error) {
	o, ok := d.(interface {
		OpenOperator(ctx context.Context) (kafka.Operator, error)
	})
	if !ok {
		return nil, fmt.Errorf("client of type %T cannot look at groups and brokers", d)
	}
	return o.OpenOperator(ctx)
}
