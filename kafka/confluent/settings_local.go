package confluent

import (
	"errors"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/troupe-stream/troupe/kafka"
)

func settings(user map[string]string, role string) (*rdk.ConfigMap, error) {
	cm := rdk.ConfigMap{}
	for k, v := range user {
		cm[k] = v
	}
	return &cm, nil
}

func rawClient(brokers []string, user map[string]string, clientID string) (*kgo.Client, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.OffsetCommit.Int16(), 9) // from 10 on they want topic ids
	versions.SetMaxKeyVersion(kmsg.OffsetFetch.Int16(), 9)
	return kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MaxVersions(versions), kgo.ClientID(clientID))
}

func openAdmin(d *Driver) (kafka.Admin, error)   { return nil, errors.New("none") }
func openReader(d *Driver) (kafka.Reader, error) { return nil, errors.New("none") }
