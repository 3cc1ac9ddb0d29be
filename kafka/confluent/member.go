package confluent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// memberOf returns the member that a consumer is at this moment. The Go client hides it; its serialized form is
// librdkafka's: "CGMDv2:" generation(int32, native) group\0 member\0 isNull(int8) [instance\0].
func memberOf(c *rdk.Consumer, group, instance string) (protocol.Member, error) {
	md, err := c.GetConsumerGroupMetadata()
	if err != nil {
		return protocol.Member{}, fmt.Errorf("ask for the group's metadata: %w", err)
	}
	f := reflect.ValueOf(md).Elem().FieldByName("serialized") // reading an unexported []byte needs no unsafe
	if !f.IsValid() || f.Kind() != reflect.Slice || f.Type().Elem().Kind() != reflect.Uint8 {
		return protocol.Member{}, errors.New("this version of the Kafka client keeps its group metadata elsewhere")
	}
	m, err := parseMember(string(f.Bytes()), group, instance)
	return protocol.Member{Member: m, Metadata: md}, err
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
