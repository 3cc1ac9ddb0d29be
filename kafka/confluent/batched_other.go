//go:build !linux

package confluent

import (
	"errors"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// batchedFault says why there is no batched client here.
func batchedFault() error { return errors.New("it is made for Linux only") }

func openIntake(*rdk.Consumer) (intake, error) { return nil, batchedFault() }

func openOutlet(*rdk.Producer, []string) (outlet, error) { return nil, batchedFault() }
