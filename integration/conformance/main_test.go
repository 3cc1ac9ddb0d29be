package conformance

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the documentation anew")
	flag.Parse()
	const scripts = "8" // at a time: they wait more than they compute
	if err := flag.Set("test.parallel", scripts); err != nil {
		panic(err)
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/confluentinc/confluent-kafka-go/v2/kafka.(*Consumer).Close")); err != nil {
			os.Stderr.WriteString(err.Error() + "\n") //nolint:errcheck,gosec // there is nothing else to say it with
			code = 1
		}
	}
	os.Exit(code)
}
