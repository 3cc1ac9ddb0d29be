package confluent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

// member is what the broker knows a consumer by, with the metadata to send along with a transaction's offsets.
type member struct {
	kafka.Member
	metadata *rdk.ConsumerGroupMetadata
}

// valid says whether the consumer is in the group at all. One that was thrown out has an empty id, and its old generation.
func (m member) valid() bool { return m.ID != "" && m.Generation >= 0 }

// memberOf returns the member that a consumer is at this moment. The Go client hides it; its serialized form is
// librdkafka's: "CGMDv2:" generation(int32, native) group\0 member\0 isNull(int8) [instance\0].
func memberOf(c *rdk.Consumer, group, instance string) (member, error) {
	md, err := c.GetConsumerGroupMetadata()
	if err != nil {
		return member{}, fmt.Errorf("ask for the group's metadata: %w", err)
	}
	f := reflect.ValueOf(md).Elem().FieldByName("serialized") // reading an unexported []byte needs no unsafe
	if !f.IsValid() || f.Kind() != reflect.Slice || f.Type().Elem().Kind() != reflect.Uint8 {
		return member{}, errors.New("this version of the Kafka client keeps its group metadata elsewhere")
	}
	m, err := parseMember(string(f.Bytes()), group, instance)
	return member{m, md}, err
}

func parseMember(serialized, group, instance string) (kafka.Member, error) {
	b, ok := strings.CutPrefix(serialized, "CGMDv2:")
	if !ok || len(b) < 4 {
		return kafka.Member{}, fmt.Errorf("the client's group metadata has another version: %q", serialized)
	}
	s := strings.Split(b[4:], "\x00")
	if len(s) != 5 || s[0] != group || s[3] != instance { // group, member, isNull=0 (ends a string too), instance, rest
		return kafka.Member{}, fmt.Errorf("the client's group metadata cannot be read: %q", serialized)
	}
	return kafka.Member{Generation: int32(binary.NativeEndian.Uint32([]byte(b[:4]))), ID: s[1], Instance: s[3]}, nil
}
