package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// holdBroker takes the brokers in hand: one at a time may be away, else the others would rightly refuse writes.
func (r *run) holdBroker() error {
	if !r.cluster.mu.TryLock() {
		return errBusy
	}
	return nil
}

func brokerKill(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	return brokerAway(ctx, r, rng, rng.IntN(brokers), true)
}

func brokerStop(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	return brokerAway(ctx, r, rng, rng.IntN(brokers), false)
}

func controllerKill(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	id, err := r.cluster.controller(ctx)
	if err != nil {
		return "", errBusy // it is being elected
	}
	return brokerAway(ctx, r, rng, int(id)-1, true)
}

func brokerAway(ctx context.Context, r *run, rng *rand.Rand, i int, kill bool) (string, error) {
	if err := r.holdBroker(); err != nil {
		return "", err
	}
	defer r.cluster.mu.Unlock()
	k := r.cluster.kafka
	what := fmt.Sprintf("broker %d", i+1)
	var err error
	if kill {
		err = k.Kill(i)
	} else {
		err = k.StopBroker(context.WithoutCancel(ctx), i)
	}
	if err != nil {
		return what, err
	}
	pause(ctx, between(rng, 0, 10*time.Second))
	// What was begun is ended, whatever ctx says, and the next waits until all replicas are in sync again.
	whole := context.WithoutCancel(ctx)
	return what, errors.Join(k.Restart(whole, i), r.cluster.inSync(whole, time.Minute))
}

// controller asks for the leader of the controllers' quorum.
func (c *cluster) controller(ctx context.Context) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rq := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	rq.Topics = append(rq.Topics, t)
	answer, err := rq.RequestWith(ctx, c.client)
	if err != nil {
		return 0, err
	}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return 0, err
			}
			if p.LeaderID > 0 && p.LeaderID <= brokers {
				return p.LeaderID, nil
			}
		}
	}
	return 0, errors.New("no controller leads")
}

// metadata asks for all topics.
func (c *cluster) metadata(ctx context.Context) (*kmsg.MetadataResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return kmsg.NewPtrMetadataRequest().RequestWith(ctx, c.client)
}

// inSync waits until every partition has a leader and all its replicas.
func (c *cluster) inSync(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := c.outOfSync(ctx)
		if err == nil {
			return nil
		}
		if ended := c.kafka.Ended(); ended != nil {
			return ended
		}
		if !pause(ctx, lookEvery) {
			return fmt.Errorf("replicas are not in sync within %s: %w", within, err)
		}
	}
}

// outOfSync asks each broker itself. One that was started again answers nothing before the controllers have taken it in anew; until
// then the others may believe that it was never away, and all replicas in sync.
func (c *cluster) outOfSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, b := range c.client.SeedBrokers() {
		got, err := b.Request(ctx, kmsg.NewPtrMetadataRequest())
		if err != nil {
			return err
		}
		answer, ok := got.(*kmsg.MetadataResponse)
		if !ok || len(answer.Brokers) < brokers {
			return errors.New("a broker does not know of all others")
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 || len(p.ISR) < len(p.Replicas) {
					return fmt.Errorf("%s/%d has %d of %d replicas in sync", *t.Topic, p.Partition, len(p.ISR), len(p.Replicas))
				}
			}
		}
	}
	return nil
}

// moveLeaders gives the partitions of one topic other preferred leaders, and has those elected.
func moveLeaders(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	if err := r.holdBroker(); err != nil {
		return "", err
	}
	defer r.cluster.mu.Unlock()
	answer, err := r.cluster.metadata(ctx)
	if err != nil || len(answer.Topics) == 0 {
		return "", errBusy
	}
	t := answer.Topics[rng.IntN(len(answer.Topics))]
	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	elect := kmsg.NewPtrElectLeadersRequest()
	mt, et := kmsg.NewAlterPartitionAssignmentsRequestTopic(), kmsg.NewElectLeadersRequestTopic()
	mt.Topic, et.Topic = *t.Topic, *t.Topic
	for _, p := range t.Partitions {
		x := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		x.Partition, x.Replicas = p.Partition, append(append([]int32{}, p.Replicas[1:]...), p.Replicas[0])
		mt.Partitions = append(mt.Partitions, x)
		et.Partitions = append(et.Partitions, p.Partition)
	}
	move.Topics, elect.Topics = append(move.Topics, mt), append(elect.Topics, et)
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if _, err := move.RequestWith(whole, r.cluster.client); err != nil {
		return mt.Topic, err
	}
	if _, err := elect.RequestWith(whole, r.cluster.client); err != nil {
		return mt.Topic, err
	}
	return mt.Topic, nil
}
