package confluent

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

func TestMemberIsReadFromTheClientsForm(t *testing.T) {
	t.Parallel()
	form := func(version, group, id, instance string) string {
		return version + ":" + string(binary.NativeEndian.AppendUint32(nil, 7)) + group + "\x00" + id + "\x00\x00" + instance + "\x00"
	}
	m, err := parseMember(form("CGMDv2", "g", "A-1", "A"), "g", "A")
	require.NoError(t, err)
	require.Equal(t, kafka.Member{ID: "A-1", Instance: "A", Generation: 7}, m)
	for _, s := range []string{"", "CGMDv2:", form("CGMDv3", "g", "A-1", "A"), form("CGMDv2", "other", "A-1", "A"), form("CGMDv2", "g", "A-1", "B")} {
		_, err := parseMember(s, "g", "A")
		require.ErrorContains(t, err, "group metadata", "%q", s)
	}
	require.False(t, protocol.Member{Member: kafka.Member{Generation: 7}}.Valid(), "a member that was thrown out keeps its generation")
}
