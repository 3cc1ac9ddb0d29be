package host

import (
	"fmt"
	"runtime"
)

// CheckPlatform refuses operating systems on which nodes have never been tried.
func CheckPlatform() error { return checkPlatform(runtime.GOOS) }

func checkPlatform(goos string) error {
	switch goos {
	case "linux", "darwin":
		return nil
	case "windows":
		return fmt.Errorf("troupe does not run on Windows: run it on Linux or macOS, for instance under WSL 2")
	default:
		return fmt.Errorf("troupe does not run on %s: run it on Linux or macOS", goos)
	}
}
