//go:build !crashpoints

package crashpoint

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWithoutTheTag: a build without the tag goes on, whatever the environment says. That released programs do not even
// hold the names of the variables is checked by integration: TestReleasesHaveNoCrashPoints.
func TestWithoutTheTag(t *testing.T) {
	for name, value := range map[string]string{"TROUPE_CRASHPOINT": "test.step@1", "TROUPE_TRACE": "nonsense", "TROUPE_PAUSE": "1ms"} {
		t.Setenv(name, value)
	}
	Hit("test.step")
	require.Equal(t, time.Hour, Pause(time.Hour))
	require.Zero(t, testing.AllocsPerRun(100, func() { Hit("test.step") }))
}
