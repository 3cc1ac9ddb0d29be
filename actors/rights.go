package actors

import (
	"context"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// checkRights asks, where the brokers tell, whether the node may do what it will do: so that all missing rights are reported at
// once, before anything starts, and not one after the other as they are needed.
func checkRights(ctx context.Context, p *plan.Plan, admin kafka.Admin) error {
	asked, ok := admin.(kafka.Rights)
	if !ok {
		return nil
	}
	needed, whole := rightsFor(p)
	return asked.Lacking(ctx, needed, whole)
}

// rightsFor are the rights that a node needs on topics that exist and on its group, and those that it needs in whole on its
// internal topics: to make them, to let them grow, to delete what was read.
func rightsFor(p *plan.Plan) (needed, whole []kafka.Right) {
	for _, t := range p.Topics {
		for _, op := range opsOn(t) {
			needed = append(needed, kafka.Right{Op: op, Kind: kafka.OnTopic, Name: t.Name})
		}
		whole = append(whole, kafka.Right{Op: "Describe", Kind: kafka.OnTopic, Name: t.Name})
		if t.Kind != plan.External {
			for _, op := range []string{"Create", "Alter", "Delete"} {
				whole = append(whole, kafka.Right{Op: op, Kind: kafka.OnTopic, Name: t.Name})
			}
		}
	}
	for _, op := range []string{"Read", "Describe"} {
		needed = append(needed, kafka.Right{Op: op, Kind: kafka.OnGroup, Name: p.Name})
	}
	return needed, whole
}

// opsOn is what is done with a topic all the time.
func opsOn(t *plan.Topic) []string {
	ops := []string{"DescribeConfigs"}
	if t.Source || t.Global || t.Kind == plan.Changelog || t.Kind == plan.Slots || t.Kind == plan.Leader {
		ops = append(ops, "Read")
	}
	if t.Sink || t.Kind == plan.Changelog || t.Kind == plan.Slots || t.Kind == plan.DeadLetters {
		ops = append(ops, "Write")
	}
	return ops
}
